"""robomimic's HDF5 files, which LIBERO, MimicGen and RoboCasa use, too.

    data/demo_3/  obs/<key> [T]  next_obs/<key> [T]  actions [T, A]  rewards [T]  dones [T]
    data@env_args  JSON: env_name, env_kwargs.control_freq      mask/<split>: names of demos

T actions, in as many rows and one more: row t + 1 holds action t, its reward and, in the final row,
whether it was the done of the episode. The final row shows the last `next_obs`, or repeats the last
observation where that was not kept. Where neither next_obs nor rewards nor dones were kept there is
nothing to show after the last action, and there are T rows. Sources: robomimic's documentation,
"Dataset structure" (Mandlekar et al. 2021); robosuite's controllers for what actions mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reverie.core.spec import Space
from reverie.data.arrays import (
    Read,
    Stored,
    cast,
    column,
    dress,
    flags,
    led_here,
    natural,
    sensed,
    sensor_name,
    span,
    stored,
)
from reverie.data.container import Array
from reverie.data.datasets import About, ActionInfo, DatasetError, Episode
from reverie.data.hdf5 import Hdf5
from reverie.data.sidecar import read_sidecar

SUFFIXES = (".hdf5", ".h5")

_KINDS = {
    "OSC_POSE": ("delta", "absolute"),
    "OSC_POSITION": ("delta", "absolute"),
    "IK_POSE": ("delta", "absolute"),
    "JOINT_VELOCITY": ("velocity", "velocity"),
    "JOINT_TORQUE": ("effort", "effort"),
}
"""robosuite's controllers -> kind of action with `control_delta`, and without."""


def recognises(place: Path | str) -> bool:
    """Whether an HDF5 file with a group `data` is there."""
    path = Path(place)
    if path.suffix not in SUFFIXES or not path.is_file():
        return False
    file = Hdf5(path)
    try:
        return bool(file.names("data"))
    finally:
        file.close()


def open(place: Path | str, dt: float | None = None) -> Robomimic:
    """The dataset in a file, to read only.

    Args:
        place: the file.
        dt: world time per decision [s]; None: as `reverie.json` says, or else the file.

    Raises:
        DatasetError: it is damaged, or nothing says dt.
        ImportError: h5py is not installed.
    """
    return Robomimic(Path(place), dt)


class Robomimic:
    """A file of robomimic; see `open`. `about.extra["splits"]` has the names in each mask."""

    def __init__(self, path: Path, dt: float | None = None) -> None:
        self.where = str(path)
        self._file = Hdf5(path)
        self._names = sorted((n for n in self._file.names("data") if "demo" in n), key=natural)
        if not self._names:
            problem = "it has no demos (demo_0, demo_1, ...)."
            raise DatasetError(path, "data", problem)
        self._first = find_steps(self._file, f"data/{self._names[0]}", "obs", "actions")
        side = read_sidecar(path)
        self.obs: Mapping[str, Space] = side.sensors(self._first.spaces)
        env = self._file.attribute_json("data", "env_args")
        options = env.get("env_kwargs")
        options = options if isinstance(options, dict) else {}
        info = ActionInfo(kind=_kind(options))  # type: ignore[arg-type]
        self.action, info = side.actions(self._first.action, info)
        rate = options.get("control_freq")
        found = 1 / rate if isinstance(rate, int | float) and rate > 0 else None
        extra = {"env_args": env, "splits": self._splits()}
        source = side.env or str(env.get("env_name", ""))
        self.about = About("robomimic hdf5", side.seconds(dt, found), source, info, extra)
        told = self._file.attribute_json("data", "problem_info")
        self._task = str(told.get("language_instruction") or side.task)
        self._episodes: list[Episode] | None = None
        self._steps: dict[str, Steps] = {}

    def _splits(self) -> dict[str, list[str]]:
        """Names of the demos in each group of `mask`."""
        found = {}
        for split in self._file.names("mask"):
            path = f"mask/{split}"
            found[split] = self._file.texts(path, 0, self._file.rows(path, "OS"))
        return found

    def episodes(self) -> Sequence[Episode]:
        """All demos, by number."""
        if self._episodes is None:
            self._episodes = [
                Episode(name, self._first.count_rows(f"data/{name}"), self._words(name))
                for name in self._names
            ]
        return self._episodes

    def _find(self, name: str) -> Steps:
        if name not in self._steps:
            if name not in self._names:
                raise KeyError(f"{self.where} has no demo {name!r}; see episodes().")
            steps = find_steps(self._file, f"data/{name}", "obs", "actions")
            steps.require_like(self._first)
            self._steps[name] = steps
        return self._steps[name]

    def _words(self, name: str) -> str:
        said = self._file.attribute_json(f"data/{name}", "ep_meta")
        return str(said.get("lang") or self._task)

    def read(
        self, name: str, start: int = 0, stop: int | None = None, only: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Rows of a demo; see `Dataset.read`."""
        steps = self._find(name)
        return steps.read(start, span(name, steps.rows, start, stop), only)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _kind(options: Mapping[str, Any]) -> str:
    """What robosuite's controller takes the numbers of an action for; unknown if it is another."""
    controller = options.get("controller_configs")
    if not isinstance(controller, dict) or controller.get("type") not in _KINDS:
        return "unknown"
    delta = controller.get("control_delta")
    kinds = _KINDS[controller["type"]]
    if kinds[0] == kinds[1]:
        return kinds[0]
    return kinds[0 if delta else 1] if isinstance(delta, bool) else "unknown"


# -------------------------------------------------------------------------------------------------
# Steps of one episode in an HDF5 file


@dataclass(frozen=True)
class Steps:
    """The arrays of one episode of T steps in an HDF5 file."""

    file: Hdf5
    at: str
    """Path of the group that holds them."""
    steps: int
    """T."""
    action: Space
    actions: str
    """Path of the actions, from `at` on, as those below."""
    sensors: Mapping[str, tuple[str, Stored]]
    """Name -> path, and how it is stored."""
    final: Mapping[str, str] = field(default_factory=dict)
    """Name -> path of what was sensed after each step, where it was kept."""
    rewards: str = ""
    """Empty where none were kept."""
    dones: str = ""

    @property
    def rows(self) -> int:
        """T + 1, or T where nothing was kept of what came of the last action."""
        return self.steps + bool(self.final or self.rewards or self.dones)

    def count_rows(self, at: str) -> int:
        """`rows` of another episode of the file, without a look at its sensors."""
        after = (f"next_{path}" for path, _ in self.sensors.values())
        kept = any(self.file.has(_join(at, path)) for path in ("rewards", "dones", *after))
        return self.file.rows(_join(at, self.actions)) + kept

    @property
    def spaces(self) -> dict[str, Space]:
        """Of the sensors."""
        return {name: sensor.space for name, (_, sensor) in self.sensors.items()}

    def require_like(self, first: Steps) -> None:
        """Raise a DatasetError where this episode has other arrays than the first."""
        for name in sorted(set(self.sensors) | set(first.sensors)):
            mine, its = self.sensors.get(name), first.sensors.get(name)
            if mine is None or its is None or mine[1].space != its[1].space:
                here, there = (_shape(steps) for steps in (mine, its))
                problem = f"{name!r} is {here} here and {there} in the first episode, {first.at}."
                raise DatasetError(self.file.path, self.at, problem)
        if self.action.shape != first.action.shape:
            problem = f"{self.action.size} entries; the first episode has {first.action.size}."
            raise DatasetError(self.file.path, _join(self.at, self.actions), problem)

    def read(self, start: int, stop: int, only: Sequence[str] | None) -> dict[str, Array]:
        """Rows start..stop."""
        found: dict[str, Array] = {}
        for name, (path, sensor) in self.sensors.items():
            if only is None or name in only:
                final = self._entries(self.final[name], sensor) if name in self.final else None
                last = self._last(final) if final is not None else None
                found[name] = sensed(self._entries(path, sensor), self.steps, start, stop, last)
        found["action"] = led_here(self._actions, start, stop, self.action.shape, "float32")
        reward = self._outcome(self.rewards) if self.rewards else _none
        found["reward"] = led_here(reward, start, stop, (), "float32")
        done = bool(self.dones) and bool(self._last(self._outcome(self.dones))(0, 1).any())
        return found | flags(start, stop, self.rows, done)

    def _last(self, read: Read) -> Read:
        return lambda low, high: read(self.steps - 1, self.steps)

    def _actions(self, low: int, high: int) -> Array:
        values = cast(self._file_read(self.actions, low, high), "float32")
        return values.reshape(high - low, *self.action.shape)

    def _outcome(self, path: str) -> Read:
        return self._turned(path, column)

    def _entries(self, path: str, sensor: Stored) -> Read:
        def entries(values: Array) -> Array:
            if values.shape[1:] != sensor.shape:
                raise ValueError(f"entries have shape {values.shape[1:]}; not {sensor.shape}.")
            return dress(values, sensor)

        return self._turned(path, entries)

    def _turned(self, path: str, turn: Callable[[Array], Array]) -> Read:
        """Reads an array and turns it; what `turn` says of the values becomes a DatasetError."""

        def turned(low: int, high: int) -> Array:
            values = self._file_read(path, low, high)
            try:
                return turn(values)
            except ValueError as error:
                raise DatasetError(self.file.path, _join(self.at, path), str(error)) from error

        return turned

    def _file_read(self, path: str, low: int, high: int) -> Array:
        full = _join(self.at, path)
        count = self.file.rows(full)
        if count != self.steps:
            problem = f"it has {count} entries and its episode {self.steps} actions."
            raise DatasetError(self.file.path, full, problem)
        return self.file.read(full, low, high)


def find_steps(file: Hdf5, at: str, obs: str, actions: str) -> Steps:
    """The arrays of an episode: sensors under `obs`, `actions`, and what there is of next_obs,
    rewards and dones, all in the group `at`.

    Raises:
        DatasetError: actions or sensors are missing, or hold no numbers.
    """
    array = file.array(_join(at, actions))
    if not 1 <= len(array.shape) <= 2 or not array.shape[0] or 0 in array.shape:
        problem = f"it has shape {array.shape}; at least one action [T, A] is expected."
        raise DatasetError(file.path, _join(at, actions), problem)
    sensors: dict[str, tuple[str, Stored]] = {}
    for leaf in file.arrays(_join(at, obs)):
        path, name = f"{obs}/{leaf}", sensor_name(leaf.split("/"))
        found = file.array(_join(at, path))
        if name in sensors or not found.shape:
            problem = f"two sensors are called {name!r}." if name in sensors else "it has no axis."
            raise DatasetError(file.path, _join(at, path), problem)
        try:
            sensors[name] = (path, stored(found.dtype, found.shape[1:]))
        except ValueError as error:
            raise DatasetError(file.path, _join(at, path), str(error)) from error
    if not sensors:
        raise DatasetError(file.path, _join(at, obs), "there are no sensors.")
    after = {n: f"next_{path}" for n, (path, _) in sensors.items()}
    kept = {n: path for n, path in after.items() if file.has(_join(at, path))}
    flags_kept = [name if file.has(_join(at, name)) else "" for name in ("rewards", "dones")]
    action = Space((array.shape[1] if len(array.shape) == 2 else 1,))
    return Steps(file, at, array.shape[0], action, actions, sensors, kept, *flags_kept)


def _join(at: str, path: str) -> str:
    return f"{at}/{path}" if at else path


def _shape(sensor: tuple[str, Stored] | None) -> str:
    return "missing" if sensor is None else f"{sensor[1].space.dtype} {sensor[1].space.shape}"


def _none(low: int, high: int) -> Array:
    return np.zeros(high - low, np.float32)
