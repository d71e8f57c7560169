"""Recording to a LeRobot dataset, v3.0: for a robot that runs, for collecting, for converting.

    with LeRobotWriter("data/arm", obs, action, dt=0.05, robot="so101") as writer:
        writer.append(0, row)          # as for `EpisodeStore`; the row with `last` ends the episode
        writer.finish_episode(0, task="put the cube into the cup")

`append` queues the row and returns: encoding and writing run in a thread (`background.py`). An
episode is in the dataset from one instant to the next, when it is wholly on the disk; a process
that is killed loses the episode in progress, and those whose writing it had not finished
(`journal.py` tells how). `flush` waits for them.
"""

from __future__ import annotations

import os
import shutil
import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from reverie.core.spec import Space
from reverie.data.container import Handle
from reverie.data.datasets import ActionInfo
from reverie.data.lerobot import layout
from reverie.data.lerobot.background import Worker
from reverie.data.lerobot.encode import FilmConfig, require_av
from reverie.data.lerobot.frames import Robot, require_arrow, robot_of
from reverie.data.lerobot.journal import Journal
from reverie.data.lerobot.listing import SCRATCH, SizeConfig
from reverie.data.lerobot.take import Take
from reverie.data.store import StorageError


class LeRobotWriter:
    """A LeRobot dataset to append episodes to.

    Args:
        directory: of the dataset; made where it is not there. One of Reverie's, recorded with equal
            spaces, is appended to.
        obs: space of each sensor. Pictures (uint8 `(1 or 3, h, w)`) become cameras.
        action: space of the action.
        dt: world time per decision [s]. LeRobot's `fps` is 1 / dt rounded to a whole number.
        about: what the numbers of the action mean; kept from the first opening.
        robot: its name; kept from the first opening.
        task: in words, of episodes that are not given another.
        video: film the cameras; False keeps each picture exactly, as a PNG in the table.
        codec: "libsvtav1" (AV1) or "h264", which is taken, too, where AV1 is not built in or
            refuses the size.
        crf: constant rate factor, smaller is better and larger; None is 30 for AV1, 23 for H.264.
        sizes: how large files grow.
        backlog_bytes: of rows that may wait to be encoded.

    `append` takes the rows that `EpisodeStore.append` takes: rows of several streams may come
    interleaved, each stream is an episode of its own. NaN and infinity are refused in an action and
    a reward, and allowed in a sensor: `nonfinite` counts them.

    Raises:
        ImportError: pyarrow or PyAV is missing.
        ValueError: names or spaces do not fit a LeRobot dataset, or those of the one that is there.
        RuntimeError: another writer has the directory open.
        DatasetError: what is there is damaged.
    """

    def __init__(
        self,
        directory: Path | str,
        obs: Mapping[str, Space],
        action: Space,
        *,
        dt: float,
        about: ActionInfo | None = None,
        robot: str = "",
        task: str = "",
        video: bool = True,
        codec: str = "libsvtav1",
        crf: int | None = None,
        sizes: SizeConfig | None = None,
        backlog_bytes: int = 256 << 20,
    ) -> None:
        require_arrow()
        self.directory = Path(directory)
        self.task = task
        self.seconds_waited = 0.0
        """In `append`, because more rows waited to be encoded than may."""
        self.robot: Robot = robot_of(obs, action, dt, about or ActionInfo(), robot, video)
        self.film = FilmConfig(codec, crf)
        if self.robot.cameras:
            require_av()
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = _acquire(self.directory)
        try:
            self._journal = _opened(self.directory, self.robot, sizes or SizeConfig())
        except BaseException:
            self._lock.close()
            raise
        self._takes: dict[int, Take] = {}
        self._made = 0
        self._worker = Worker(self._journal, backlog_bytes)
        self._end = weakref.finalize(self, _end, self._worker, self._lock, self.directory)

    # -- recording --------------------------------------------------------------------------------

    def append(self, stream: int, row: Mapping[str, Any], *, task: str | None = None) -> None:
        """One row of one stream; a row with `last` ends its episode, and `first` begins one (an
        episode that is running then ends with the row before).

        `task` renames what the episode in progress is for.

        Raises:
            ValueError: the row does not fit, or the writer is closed; it is not taken.
            StorageError: an episode could not be written, and it says which; the row *is* taken.
        """
        self._require_open()
        checked = self.robot.schema.check_row(row)
        if checked["first"]:
            self.finish_episode(stream)
            folder = self.directory / SCRATCH / f"{self._made:06d}"
            self._takes[stream] = Take(self.robot, folder, self.film, self.task)
            self._made += 1
        take = self._takes.get(stream)
        if take is None:
            raise ValueError(
                f"Stream {stream} expects the first row of an episode, with first=True: the row "
                "before was the last of its episode, or there was none."
            )
        if task is not None:
            take.task = task
        own = {name: np.array(value) for name, value in checked.items()}
        self.seconds_waited += self._worker.add(take, own)
        if checked["last"]:
            take.terminated = bool(checked["terminated"])
            self.finish_episode(stream)
        self._worker.raise_problem()

    def finish_episode(self, stream: int = 0, *, task: str | None = None) -> None:
        """End the episode that a stream is recording, if any, where it is: by time, not by success
        or failure. It is written in the background."""
        take = self._takes.pop(stream, None)
        if take is not None:
            if task is not None:
                take.task = task
            self.seconds_waited += self._worker.finish(take)

    def abandon(self, stream: int = 0) -> None:
        """Forget the episode that a stream is recording, if any: a person will record it anew."""
        take = self._takes.pop(stream, None)
        if take is not None:
            self._worker.drop(take)

    # -- what is on the disk ----------------------------------------------------------------------

    @property
    def episodes(self) -> int:
        """Episodes that are on the disk, for good."""
        return self._journal.state.episodes

    @property
    def nonfinite(self) -> Mapping[str, int]:
        """Numbers that were NaN or infinite in the episodes written since the opening, by sensor;
        statistics leave them out."""
        return dict(self._worker.strange)

    def flush(self) -> None:
        """Wait until every episode that has ended is on the disk.

        Raises:
            StorageError: one could not be written; the finished ones are kept, and tried again.
        """
        self._require_open()
        self._worker.flush()

    def finish(self) -> None:
        """End the episodes that are being recorded where they are, and write them."""
        for stream in list(self._takes):
            self.finish_episode(stream)
        self.flush()

    def close(self) -> None:
        """Write what has ended and let others write here. Episodes in progress are dropped.

        Raises:
            StorageError: an episode that ended could not be written; close again after making room.
        """
        if not self._end.alive:
            return
        for stream in list(self._takes):
            self.abandon(stream)
        self._worker.flush()
        self._end()

    def _require_open(self) -> None:
        if not self._end.alive:
            raise ValueError(f"The writer of {self.directory} is closed; make another.")

    def __enter__(self) -> LeRobotWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except StorageError as problem:
            if error is None:
                raise
            error.add_note(f"Closing the writer failed, too: {problem}")


def _opened(directory: Path, robot: Robot, sizes: SizeConfig) -> Journal:
    """The journal of a dataset that is there, or of a new one."""
    journal = Journal(directory, robot, sizes)
    if (directory / layout.INFO_PATH).exists():
        journal.resume()
        return journal
    there = [name for name in ("data", "videos", "store.json") if (directory / name).exists()]
    if there:
        raise ValueError(
            f"{directory} has {', '.join(there)} but no {layout.INFO_PATH}; give a folder that is "
            "empty, or that of a dataset."
        )
    journal.begin()
    return journal


def _end(worker: Worker, lock: Handle, directory: Path) -> None:
    """What closing, forgetting the writer and the end of the program have in common."""
    worker.stop()
    shutil.rmtree(directory / SCRATCH, ignore_errors=True)
    lock.close()
    if worker.problem is not None:
        warnings.warn(f"A LeRobotWriter was not closed: {worker.problem}", stacklevel=2)


def _acquire(directory: Path) -> Handle:
    """The one writer's hold on a folder; the system frees it when the process ends."""
    import fcntl

    handle = Handle(os.open(directory, os.O_RDONLY))
    try:
        fcntl.flock(handle.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise RuntimeError(
            f"{directory} is being written by another writer. Close it first; reading is possible "
            "meanwhile."
        ) from error
    return handle
