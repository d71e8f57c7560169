"""A folder of episodes: arrays in `NAME.npz`, pictures beside them in mp4 files.

    push_3.npz            action [T, A], reward [T], terminated [T], pose [T + 1, 3], task, dt
    push_3.front.mp4      or push_3/front.mp4: the camera "front"
    push_3.mp4            the camera "image"

T actions. `action` is needed; every other array is a sensor, but `reward`, `terminated`, a text
`task` and a number `dt` [s]. Arrays and films have T or T + 1 entries. Of T entries, entry t is
what was sensed when action t was chosen, or for reward and terminated what came of it; of T + 1,
entry t belongs to row t. There are T + 1 rows if a sensor has T + 1 entries or rewards or
terminations were kept; sensors of T entries repeat their last one then. Otherwise there are T rows,
and the last action has none.

A file with an array `first` holds rows as they are, each with the action that led to it: what
`np.savez(NAME, **dataset.read(...))` writes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reverie.core.spec import Space
from reverie.data.arrays import (
    ENTRIES,
    Read,
    Stored,
    cast,
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
from reverie.data.datasets import About, DatasetError, Episode
from reverie.data.films import FilmFolder
from reverie.data.inside import inside
from reverie.data.npz import Npz
from reverie.data.sidecar import read_sidecar

_ALONE = "image"
"""Camera of NAME.mp4."""
_KEPT = 64
"""Most episodes whose headers are kept."""


def recognises(place: Path | str) -> bool:
    """Whether a folder with .npz files is there."""
    path = Path(place)
    return path.is_dir() and any(path.glob("*.npz"))


def open(place: Path | str, dt: float | None = None) -> Folder:
    """The episodes in a folder, to read only.

    Args:
        place: the folder.
        dt: world time per decision [s]; None: as `reverie.json` says, or else the first file.

    Raises:
        DatasetError: it is damaged, or nothing says dt.
        ImportError: there are films, and PyAV is not installed.
    """
    return Folder(Path(place), dt)


@dataclass(frozen=True)
class Take:
    """One episode: its arrays and films."""

    arrays: Npz
    films: Mapping[str, Path]
    """By camera."""
    sensors: Mapping[str, tuple[str, Stored]]
    """Name -> its array, or "" for a film, and how it is stored."""
    counts: Mapping[str, int]
    """Entries of each sensor."""
    steps: int
    """T."""
    rows: int
    by_row: bool
    """Whether the arrays are rows."""


class Folder:
    """A folder of episodes; see `open`."""

    def __init__(self, place: Path, dt: float | None = None) -> None:
        self.where = str(place)
        self._place = place
        self._paths = {
            f.stem: f for f in sorted(place.glob("*.npz"), key=lambda f: natural(f.stem))
        }
        if not self._paths:
            raise DatasetError(place, "", "it has no episodes: no .npz files.")
        self._mp4 = sorted(place.glob("*.mp4"))
        self._films = FilmFolder(place)
        self._takes: OrderedDict[str, Take] = OrderedDict()
        self._first: Take | None = None
        first = self._first = self._take(next(iter(self._paths)))
        side = read_sidecar(place)
        self.obs: Mapping[str, Space] = side.sensors(_spaces(first))
        self.action, info = side.actions(_action(first))
        self.about = About("folder of npz and mp4", side.seconds(dt, _dt(first)), side.env, info)
        self._task = side.task
        self._episodes: list[Episode] | None = None

    def episodes(self) -> Sequence[Episode]:
        """All episodes, ordered by name and number."""
        if self._episodes is None:
            self._episodes = []
            for name in self._paths:
                take = self._take(name)
                said = take.arrays.single("task") if "task" in take.arrays.arrays else ""
                self._episodes.append(Episode(name, take.rows, str(said) or self._task))
        return self._episodes

    def read(
        self, name: str, start: int = 0, stop: int | None = None, only: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Rows of an episode; see `Dataset.read`."""
        take = self._take(name)
        stop = span(name, take.rows, start, stop)
        found: dict[str, Array] = {}
        for sensor in take.sensors:
            if only is None or sensor in only:
                read = self._sensor(take, sensor)
                found[sensor] = sensed(read, take.counts[sensor], start, stop)
        shape = self.action.shape

        def actions(low: int, high: int) -> Array:
            return _numbers(take, "action")(low, high).reshape(high - low, *shape)

        if take.by_row:
            found["action"] = actions(start, stop)
        else:
            found["action"] = led_here(actions, start, stop, shape, "float32")
        found["reward"] = _outcome(take, "reward", start, stop)
        ended = _outcome(take, "terminated", take.rows - 1, take.rows)
        found |= flags(start, stop, take.rows, bool(ended.any()))
        for flag in ("first", "last", "terminated"):
            if take.by_row and flag in take.arrays.arrays:
                found[flag] = take.arrays.read(flag, start, stop).astype(bool)
        return found

    def _sensor(self, take: Take, name: str) -> Read:
        array, sensor = take.sensors[name]

        def read(low: int, high: int) -> Array:
            if not array:
                return self._films.read(take.films[name], low, high)
            try:
                return dress(take.arrays.read(array, low, high), sensor)
            except DatasetError:
                raise
            except ValueError as error:
                raise DatasetError(take.arrays.path, array, str(error)) from error

        return read

    def close(self) -> None:
        """Close the films."""
        self._films.close()

    # -- opening an episode ----------------------------------------------------------------------

    def _take(self, name: str) -> Take:
        if name not in self._paths:
            raise KeyError(f"{self.where} has no episode {name!r}; see episodes().")
        if name not in self._takes:
            take = self._open(name)
            if self._first is not None:
                _require_like(take, self._first)
            self._takes[name] = take
            while len(self._takes) > _KEPT:
                self._takes.popitem(last=False)
        self._takes.move_to_end(name)
        return self._takes[name]

    def _open(self, name: str) -> Take:
        arrays = Npz(inside(self._paths[name], self._place))
        shapes = {n: member.shape for n, member in arrays.arrays.items()}
        if not shapes.get("action"):
            raise DatasetError(arrays.path, "action", "there is no array of that name over time.")
        films = self._find_films(name)
        sensors: dict[str, tuple[str, Stored]] = {}
        counts: dict[str, int] = {}
        for array, member in arrays.arrays.items():
            if array in (*ENTRIES, "task", "dt"):
                continue
            sensor = sensor_name([array])
            if sensor in sensors or sensor in films:
                problem = f"another array or a film makes a sensor {sensor!r}, too; rename one."
                raise DatasetError(arrays.path, array, problem)
            if not member.shape or member.dtype.kind == "U":
                problem = f"{member.dtype} {list(member.shape)} is no sensor: numbers over time."
                raise DatasetError(arrays.path, array, problem)
            try:
                sensors[sensor] = (array, stored(member.dtype, member.shape[1:]))
            except ValueError as error:
                raise DatasetError(arrays.path, array, str(error)) from error
            counts[sensor] = member.shape[0]
        for camera, path in films.items():
            count, height, width = self._films.size(path)
            picture = Space((3, height, width), "uint8", 0, 255)
            sensors[camera] = ("", Stored(picture, (height, width, 3), 2))
            counts[camera] = count
        if not sensors:
            raise DatasetError(arrays.path, "", "it has no sensors, neither arrays nor films.")
        return _measured(arrays, films, sensors, counts)

    def _find_films(self, name: str) -> dict[str, Path]:
        """Films of an episode by camera."""
        base = self._paths[name].with_suffix("")
        found = [(_ALONE, base.with_name(f"{name}.mp4"))]
        found += [(p.name[len(name) + 1 : -4], p) for p in self._beside(name)]
        found += [(p.stem, p) for p in (sorted(base.glob("*.mp4")) if base.is_dir() else [])]
        films: dict[str, Path] = {}
        for camera, path in found:
            if not path.is_file():
                continue
            if sensor_name([camera]) in films:
                raise DatasetError(path, "", f"there is another film of the camera {camera!r}.")
            films[sensor_name([camera])] = inside(path, self._place)
        return films

    def _beside(self, name: str) -> list[Path]:
        """Films called NAME.<camera>.mp4."""
        inner = [p for p in self._mp4 if p.name.startswith(f"{name}.") and p.stem != name]
        return [p for p in inner if "." not in p.name[len(name) + 1 : -4]]


def _measured(
    arrays: Npz,
    films: Mapping[str, Path],
    sensors: Mapping[str, tuple[str, Stored]],
    counts: Mapping[str, int],
) -> Take:
    """The episode of these, its lengths found to agree."""
    members = arrays.arrays
    by_row = "first" in members
    told = [n for n in ("reward", "first", "last", "terminated") if n in members]
    lengths = dict(counts) | {n: (members[n].shape or (0,))[0] for n in told}
    entries = members["action"].shape[0]
    steps = entries - 1 if by_row else entries
    allowed = (entries,) if by_row else (steps, steps + 1)
    for name, length in lengths.items():
        if length not in allowed or (name in told and len(members[name].shape) != 1):
            wanted = " or ".join(map(str, allowed))
            file = films.get(name, arrays.path)
            problem = f"it has {length} entries; with {entries} actions, {wanted} are expected."
            raise DatasetError(file, name, problem)
    more = any(count == steps + 1 for count in counts.values())
    kept = any(name in members for name in ("reward", "terminated"))
    rows = entries if by_row else steps + (more or kept)
    if len(members["action"].shape) > 2 or not entries:
        problem = f"it has shape {members['action'].shape}; [T, A] is expected."
        raise DatasetError(arrays.path, "action", problem)
    return Take(arrays, films, sensors, counts, steps, rows, by_row)


def _outcome(take: Take, name: str, start: int, stop: int) -> Array:
    """Rows start..stop of rewards or terminations; zeros where none were kept."""
    if name not in take.arrays.arrays:
        return np.zeros(stop - start, np.float32)
    read = _numbers(take, name)
    if take.arrays.arrays[name].shape[0] == take.steps + 1:
        return read(start, stop)
    return led_here(read, start, stop, (), "float32")


def _numbers(take: Take, name: str) -> Read:
    return lambda low, high: cast(take.arrays.read(name, low, high), "float32")


def _dt(take: Take) -> float | None:
    """World time per decision [s], where the file says it."""
    member = take.arrays.arrays.get("dt")
    if member is None:
        return None
    if member.dtype.kind not in "iuf" or member.shape not in ((), (1,)):
        raise DatasetError(take.arrays.path, "dt", "it must be one number, in seconds.")
    return float(take.arrays.single("dt"))


def _action(take: Take) -> Space:
    shape = take.arrays.arrays["action"].shape
    return Space((shape[1] if len(shape) > 1 else 1,))


def _spaces(take: Take) -> dict[str, Space]:
    return {name: sensor.space for name, (_, sensor) in take.sensors.items()}


def _require_like(take: Take, first: Take) -> None:
    """Raise a DatasetError where an episode has other sensors than the first."""
    mine, its = _spaces(take), _spaces(first)
    for name in sorted(set(mine) | set(its)):
        if mine.get(name) != its.get(name):
            here, there = (
                f"{s.dtype} {s.shape}" if s else "missing" for s in (mine.get(name), its.get(name))
            )
            problem = f"it is {here} here and {there} in {first.arrays.path.name}."
            raise DatasetError(take.arrays.path, name, problem)
    if _action(take).shape != _action(first).shape:
        problem = f"it has {_action(take).size} entries; the first file has {_action(first).size}."
        raise DatasetError(take.arrays.path, "action", problem)
