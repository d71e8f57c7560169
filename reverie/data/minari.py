"""Minari datasets: `NAME/data/metadata.json`, and beside it the episodes in HDF5, Arrow or Parquet.

    episode_3/  observations [T + 1], actions [T], rewards [T], terminations [T], truncations [T]

T actions. Observations and actions are arrays, or groups of them for Dict and Tuple spaces; a lone
observation is called "state" or, if a picture, "image", and what is nested "outer_inner". Text is
no sensor: that of the first row is the episode's task. Pictures that Minari compressed (JPEG) are
decoded. An episode is terminated by its final step; terminations before it are not told.
Older HDF5 files (before Minari 0.5) keep their metadata inside the file, which is read, too.
Source: Minari's documentation, "Dataset standards" (Farama Foundation).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reverie.core.spec import Space
from reverie.data.arrays import cast, flags, led_here, span
from reverie.data.container import Array
from reverie.data.datasets import About, ActionInfo, DatasetError, Episode
from reverie.data.gymspaces import Leaf, join_action, parse_space
from reverie.data.hdf5 import Hdf5
from reverie.data.inside import inside
from reverie.data.minari_storage import MAIN, Hdf5Episodes, Keys, Storage, TableEpisodes
from reverie.data.sidecar import read_sidecar

FORMATS = ("hdf5", "arrow", "parquet")
METADATA = "metadata.json"

_SAID = ("dataset_id", "minari_version", "algorithm_name", "author", "code_permalink", "env_spec")


def recognises(place: Path | str) -> bool:
    """Whether a Minari dataset is there: its directory, or the `data` inside it."""
    return _folder(Path(place)) is not None


def open(place: Path | str, dt: float | None = None) -> Minari:
    """The dataset in a directory, to read only.

    Args:
        place: the directory, or the `data` inside it.
        dt: world time per decision [s]; None: as `reverie.json` says, or else the dataset.

    Raises:
        DatasetError: it is damaged, or in an unknown format, or nothing says dt.
        ImportError: h5py or pyarrow is not installed.
    """
    return Minari(place, dt)


class Minari:
    """A Minari dataset; see `open`."""

    def __init__(self, place: Path | str, dt: float | None = None) -> None:
        folder = _folder(Path(place))
        if folder is None:
            raise DatasetError(
                place, "", "no Minari dataset is there: data/metadata.json is missing."
            )
        self.where = str(place)
        said = _metadata(inside(folder / METADATA, Path(place)))
        kind = said.get("data_format", "hdf5")
        if kind not in FORMATS:
            problem = f"it is {kind!r}; {', '.join(FORMATS)} are read."
            raise DatasetError(folder / METADATA, "data_format", problem)
        self._storage: Storage
        if kind == "hdf5":
            file = Hdf5(inside(folder / MAIN, Path(place)))
            self._storage = Hdf5Episodes(file)
            said = said or _attributes(file)
        else:
            self._storage = TableEpisodes(folder, kind)
        where = folder / METADATA if (folder / METADATA).is_file() else folder / MAIN
        self._sensors = _leaves(said, "observation_space", where)
        self._actions = _leaves(said, "action_space", where)
        try:
            action, names = join_action(self._actions)
        except ValueError as error:
            raise DatasetError(where, "action_space", str(error)) from error
        spec = _spec(said, where)
        side = read_sidecar(folder if (folder / "reverie.json").is_file() else Path(place))
        spaces = {leaf.name: leaf.space for leaf in self._sensors if leaf.space is not None}
        self.obs: Mapping[str, Space] = side.sensors(spaces)
        self.action, info = side.actions(action, ActionInfo(names=names))
        source = side.env or str(spec.get("id") or said.get("dataset_id", ""))
        extra = {name: said[name] for name in _SAID[:-1] if name in said}
        seconds = side.seconds(dt, _dt(said, spec))
        self.about = About(f"minari {kind}", seconds, source, info, extra)
        self._task = side.task
        self._names = self._storage.names()
        self._rows: dict[str, int] = {}
        self._episodes: list[Episode] | None = None

    def episodes(self) -> Sequence[Episode]:
        """All episodes, by number."""
        if self._episodes is None:
            self._episodes = [
                Episode(name, self._count(name), self._words(name)) for name in self._names
            ]
        return self._episodes

    def _count(self, name: str) -> int:
        """Rows of an episode, one more than its rewards."""
        if name not in self._rows:
            if name not in self._names:
                raise KeyError(f"{self.where} has no episode {name!r}; see episodes().")
            self._rows[name] = 1 + self._storage.count(name, ("rewards",))
        return self._rows[name]

    def _words(self, name: str) -> str:
        """What the Text spaces of the first row say."""
        leaves = [("observations", *leaf.path) for leaf in self._sensors if leaf.space is None]
        found = [text for keys in leaves for text in self._storage.texts(name, keys, 0, 1)]
        return "; ".join(text for text in found if text) or self._task

    def read(
        self, name: str, start: int = 0, stop: int | None = None, only: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Rows of an episode; see `Dataset.read`."""
        rows = self._count(name)
        stop = span(name, rows, start, stop)
        found: dict[str, Array] = {}
        for leaf in self._sensors:
            if leaf.space is not None and (only is None or leaf.name in only):
                found[leaf.name] = self._leaf(name, "observations", leaf, rows, start, stop)

        def actions(low: int, high: int) -> Array:
            parts = [self._leaf(name, "actions", a, rows - 1, low, high) for a in self._actions]
            return np.concatenate([part.reshape(high - low, -1) for part in parts], axis=1)

        def rewards(low: int, high: int) -> Array:
            return cast(self._values(name, ("rewards",), (), rows - 1, low, high), "float32")

        found["action"] = led_here(actions, start, stop, self.action.shape, "float32")
        found["reward"] = led_here(rewards, start, stop, (), "float32")
        ended = self._values(name, ("terminations",), (), rows - 1, max(rows - 2, 0), rows - 1)
        return found | flags(start, stop, rows, bool(ended.any()))

    def _leaf(self, name: str, group: str, leaf: Leaf, rows: int, low: int, high: int) -> Array:
        """Entries of a sensor or of a part of the action, as its space has them."""
        keys = (group, *leaf.path)
        picture = leaf.space is not None and leaf.space.is_image
        values = self._values(name, keys, leaf.shape, rows, low, high, picture)
        if picture and values.dtype != np.uint8:
            problem = f"a picture is {values.dtype}; the space has uint8."
            raise self._storage.wrong(name, keys, problem)
        try:
            return leaf.dress(values)
        except ValueError as error:
            raise self._storage.wrong(name, keys, str(error)) from error

    def _values(
        self,
        name: str,
        keys: Keys,
        shape: tuple[int, ...],
        rows: int,
        low: int,
        high: int,
        picture: bool = False,
    ) -> Array:
        """Entries of an array that has as many as the rewards ask for."""
        count = self._storage.count(name, keys)
        if count != rows:
            problem = f"it has {count} entries; the rewards of its episode ask for {rows}."
            raise self._storage.wrong(name, keys, problem)
        return self._storage.values(name, keys, shape, picture, low, high)

    def close(self) -> None:
        """Close the files."""
        self._storage.close()


def _folder(place: Path) -> Path | None:
    for folder in (place / "data", place):
        try:
            known = (folder / MAIN).is_file() or "data_format" in _metadata(folder / METADATA)
        except DatasetError:  # The metadata of something else.
            known = False
        if known:
            return folder
    return None


def _metadata(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        value = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(file, "", f"it is no JSON ({error}).") from error
    if not isinstance(value, dict):
        raise DatasetError(file, "", "expected an object.")
    return value


def _attributes(file: Hdf5) -> dict[str, Any]:
    """The metadata inside a file, as before Minari 0.5."""
    names = ("observation_space", "action_space", *_SAID)
    return {n: value for n in names if (value := file.attribute("", n)) is not None}


def _leaves(said: Mapping[str, Any], which: str, where: Path) -> list[Leaf]:
    if which not in said:
        problem = (
            "it is missing, and an environment is not made because a file names it. Write the "
            "dataset again with a newer Minari, which keeps the space."
        )
        raise DatasetError(where, which, problem)
    try:
        return parse_space(said[which])
    except ValueError as error:
        raise DatasetError(where, which, str(error)) from error


def _spec(said: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """What is said of the environment, which is not made."""
    text = said.get("env_spec")
    try:
        spec = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError) as error:
        raise DatasetError(where, "env_spec", f"it is no JSON ({error}).") from error
    return spec if isinstance(spec, dict) else {}


def _dt(said: Mapping[str, Any], spec: Mapping[str, Any]) -> float | None:
    """World time per decision [s] where it stands as `dt` or `render_fps`."""
    for owner in (said, spec, spec.get("metadata")):
        if not isinstance(owner, dict):
            continue
        for name, invert in (("dt", False), ("render_fps", True)):
            value = owner.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                return 1 / value if invert else float(value)
    return None
