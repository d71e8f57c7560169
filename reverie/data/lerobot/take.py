"""One episode while it is recorded: its vectors in memory, its pictures on the disk as they come.

Shapes: `n` frames, `C h w` image.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from reverie.data.container import Array
from reverie.data.lerobot.encode import Film, FilmConfig, Png
from reverie.data.lerobot.frames import Robot, outcomes, taken
from reverie.data.lerobot.statistics import Stats, Tally, summary


class Spool:
    """Pieces of bytes in a file, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ends = [0]
        self._file: BinaryIO = path.open("w+b")

    def add(self, piece: bytes) -> None:
        """The next piece."""
        self._file.write(piece)
        self.ends.append(self.ends[-1] + len(piece))

    def seal(self) -> None:
        """Nothing more comes; only the file stays, no open handle."""
        self._file.close()

    def read(self, start: int, stop: int) -> list[bytes]:
        """Pieces start..stop."""
        with self.path.open("rb") as file:
            file.seek(self.ends[start])
            data = file.read(self.ends[stop] - self.ends[start])
        cuts = [end - self.ends[start] for end in self.ends[start : stop + 1]]
        if len(data) != cuts[-1]:
            raise OSError(f"{self.path} was cut; is something else writing there?")
        return [data[a:b] for a, b in itertools.pairwise(cuts)]


@dataclass(frozen=True)
class Finished:
    """An episode that ended, ready to be written."""

    length: int
    """Frames, one per row."""
    task: str
    columns: Mapping[str, Array]
    """Feature -> `[n, ...]`; bookkeeping and pictures are not among them."""
    stats: Mapping[str, Stats]
    films: Mapping[str, Path]
    """Camera -> MP4 of this episode."""
    pictures: Mapping[str, Spool]
    """Camera -> PNG files of this episode."""
    strange: Mapping[str, int]
    """Sensor -> numbers in it that are NaN or infinite."""
    folder: Path
    """Where its films and pictures lie."""

    @property
    def table_bytes(self) -> int:
        """Bytes of its rows in a table."""
        pictures = sum(spool.ends[-1] for spool in self.pictures.values())
        return sum(value.nbytes for value in self.columns.values()) + pictures + 40 * self.length

    def forget(self) -> None:
        """Its files are not needed any more."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Take:
    """The episode that a stream is recording.

    Args:
        robot: what is recorded.
        folder: for its films and pictures; made with the first picture.
        task: in words; may be changed until it ends.
    """

    def __init__(self, robot: Robot, folder: Path, config: FilmConfig, task: str) -> None:
        self.robot, self.folder, self.config, self.task = robot, folder, config, task
        self.terminated = False
        """Of the final row; set when the episode ends."""
        self.failed = False
        """A picture could not be written: its rows go nowhere."""
        self._rows: dict[str, list[Array]] = {"action": [], "reward": []}
        self._films: dict[str, Film] = {}
        self._spools: dict[str, Spool] = {}
        self._cameras = robot.cameras
        self._vectors = [n for n, key in robot.keys.items() if key not in self._cameras]
        self._tallies = {key: Tally() for key in self._cameras}
        self._png = Png() if self._cameras and not robot.video else None

    def add(self, row: Mapping[str, Array]) -> None:
        """One checked row, which nobody else holds.

        Raises:
            OSError: a picture could not be written.
        """
        for key, name in self._cameras.items():
            self._tallies[key].add(row[name])
            if self._png is None:
                self._film(key, row[name].shape).add(row[name])
            else:
                self._spool(key).add(self._png(row[name]))
        for name in self._vectors:
            self._rows.setdefault(name, []).append(row[name])
        self._rows["action"].append(row["action"])
        self._rows["reward"].append(row["reward"])

    def _film(self, key: str, shape: tuple[int, ...]) -> Film:
        if key not in self._films:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{key}.mp4"
            self._films[key] = Film(path, shape, self.robot.fps, self.config)
        return self._films[key]

    def _spool(self, key: str) -> Spool:
        if key not in self._spools:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._spools[key] = Spool(self.folder / f"{key}.png")
        return self._spools[key]

    def finish(self) -> Finished:
        """The whole episode.

        Raises:
            OSError: a film could not be finished.
        """
        for film in self._films.values():
            film.close()
        for spool in self._spools.values():
            spool.seal()
        rows = {
            name: np.stack(values).astype(self.robot.schema.dtypes[name], copy=False)
            for name, values in self._rows.items()
        }
        sensors = {n: v for n, v in rows.items() if n in self.robot.schema.obs}
        columns = {self.robot.keys[name]: value for name, value in sensors.items()}
        columns |= {"action": taken(rows["action"]), **outcomes(rows["reward"], self.terminated)}
        wrong = {
            name: int((~np.isfinite(value)).sum())
            for name, value in sensors.items()
            if value.dtype.kind == "f"
        }
        return Finished(
            length=len(rows["reward"]),
            task=self.task,
            columns=columns,
            stats={
                **{key: tally.summary() for key, tally in self._tallies.items()},
                **{key: summary(value) for key, value in columns.items()},
            },
            films={key: film.path for key, film in self._films.items()},
            pictures=dict(self._spools),
            strange={name: count for name, count in wrong.items() if count},
            folder=self.folder,
        )

    def cancel(self) -> None:
        """Give it up; its files go."""
        for film in self._films.values():
            film.cancel()
        for spool in self._spools.values():
            with suppress(OSError):  # a file that goes anyway
                spool.seal()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._rows = {"action": [], "reward": []}
