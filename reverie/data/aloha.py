"""A folder of HDF5 files, one episode each, as ALOHA and ACT write them.

    episode_3.hdf5:  action [T, A]   observations/qpos [T, N]   observations/images/<camera> [T]

T frames: frame t is what was sensed at t and the action that was told then. Nothing is kept of what
came of the last action, so that there are T rows, the last with the action before the last. Sensors
are called by their keys, cameras without the "images" before them. Pictures that were compressed
(`compress` in the file's attributes) are refused: whether they are RGB or BGR is not told.
Source: the files of Zhao et al. 2023, "Learning Fine-Grained Bimanual Manipulation".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

from reverie.core.spec import Space
from reverie.data.arrays import natural, span
from reverie.data.container import Array
from reverie.data.datasets import About, DatasetError, Episode
from reverie.data.hdf5 import Hdf5
from reverie.data.inside import inside
from reverie.data.robomimic import SUFFIXES, Steps, find_steps
from reverie.data.sidecar import read_sidecar

_OPEN = 16
"""Most files held open."""


def recognises(place: Path | str) -> bool:
    """Whether a folder of such files is there."""
    files = _files(Path(place))
    if not files:
        return False
    file = Hdf5(files[0])
    try:
        return file.has("action") and file.has("observations")
    finally:
        file.close()


def open(place: Path | str, dt: float | None = None) -> Aloha:
    """The dataset in a folder, to read only.

    Args:
        place: the folder.
        dt: world time per decision [s]; None: as `reverie.json` in the folder says.

    Raises:
        DatasetError: it is damaged, or nothing says dt.
        ImportError: h5py is not installed.
    """
    return Aloha(Path(place), dt)


class Aloha:
    """A folder of episodes; see `open`."""

    def __init__(self, place: Path, dt: float | None = None) -> None:
        self.where = str(place)
        self._paths = {file.stem: file for file in _files(place)}
        if not self._paths:
            raise DatasetError(place, "", f"it has no files ending in {' or '.join(SUFFIXES)}.")
        self._opened: OrderedDict[str, Steps] = OrderedDict()
        self._first = next(iter(self._paths))
        first = self._find(self._first)
        side = read_sidecar(place)
        self.obs: Mapping[str, Space] = side.sensors(first.spaces)
        self.action, info = side.actions(first.action)
        self.about = About("aloha hdf5", side.seconds(dt, None), side.env, info)
        self._task = side.task
        self._shape = first
        self._episodes: list[Episode] | None = None

    def _find(self, name: str) -> Steps:
        """The arrays of an episode, its file among those held open."""
        if name not in self._paths:
            raise KeyError(f"{self.where} has no episode {name!r}; see episodes().")
        if name not in self._opened:
            file = Hdf5(inside(self._paths[name], Path(self.where)))
            if file.attribute("", "compress"):
                problem = "its pictures are compressed, in colours of unknown order: not read."
                raise DatasetError(file.path, "@compress", problem)
            steps = find_steps(file, "", "observations", "action")
            plain = {n.removeprefix("images_"): sensor for n, sensor in steps.sensors.items()}
            if len(plain) < len(steps.sensors):
                problem = "a camera is called like another sensor."
                raise DatasetError(file.path, "observations/images", problem)
            self._opened[name] = Steps(file, "", steps.steps, steps.action, "action", plain)
            if name != self._first:
                self._opened[name].require_like(self._shape)
            while len(self._opened) > _OPEN:
                self._opened.popitem(last=False)[1].file.close()
        self._opened.move_to_end(name)
        return self._opened[name]

    def episodes(self) -> Sequence[Episode]:
        """All episodes, by number."""
        if self._episodes is None:
            self._episodes = [Episode(n, self._find(n).rows, self._task) for n in self._paths]
        return self._episodes

    def read(
        self, name: str, start: int = 0, stop: int | None = None, only: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Rows of an episode; see `Dataset.read`."""
        steps = self._find(name)
        return steps.read(start, span(name, steps.rows, start, stop), only)

    def close(self) -> None:
        """Close the files."""
        for steps in self._opened.values():
            steps.file.close()
        self._opened.clear()


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    found = [file for file in place.iterdir() if file.suffix in SUFFIXES and file.is_file()]
    return sorted(found, key=lambda file: natural(file.stem))
