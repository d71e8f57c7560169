"""Recording behind a robot's back: rows are queued, and one thread encodes and writes them.

FFmpeg and the disk let go of Python's lock, so the loop of the robot runs on meanwhile. The queue
is bounded: where the machine encodes slower than the robot sees, appending waits, and says how long
it did. Episodes that are finished at about the same time are written together.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reverie.data.container import Array
from reverie.data.lerobot.journal import Journal
from reverie.data.lerobot.take import Finished, Take
from reverie.data.store import StorageError

_TOGETHER = 1.0
"""Seconds that a finished episode waits at most for others while there are rows to encode."""


@dataclass(frozen=True)
class Job:
    """Something to do with one episode, and the bytes that it holds until then."""

    do: Callable[[], None]
    take: Take | None = None
    size: int = 0


class Backlog:
    """A queue of jobs, bounded by the bytes that they hold.

    Args:
        limit: bytes above which `put` waits; a single job may be larger.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.closed = False
        self._jobs: deque[Job] = deque()
        self._change = threading.Condition()

    def put(self, job: Job) -> float:
        """Add a job; returns the seconds waited for room."""
        waited = 0.0
        with self._change:
            while self.size and self.size + job.size > self.limit and not self.closed:
                begin = time.monotonic()
                self._change.wait()
                waited += time.monotonic() - begin
            self._jobs.append(job)
            self.size += job.size
            self._change.notify_all()
        return waited

    def get(self, patience: float | None) -> Job | None:
        """The next job; None when it is closed and empty, or none came for so many seconds."""
        with self._change:
            self._change.wait_for(lambda: self._jobs or self.closed, patience)
            if not self._jobs:
                return None
            job = self._jobs.popleft()
            self.size -= job.size
            self._change.notify_all()
            return job

    @property
    def drained(self) -> bool:
        """Whether it is closed and empty."""
        with self._change:
            return self.closed and not self._jobs

    def close(self) -> None:
        """Nothing more comes."""
        with self._change:
            self.closed = True
            self._change.notify_all()


class Worker:
    """The thread that encodes rows and commits episodes.

    Args:
        journal: the dataset; this thread alone changes it.
        limit: bytes of rows that may wait.
    """

    def __init__(self, journal: Journal, limit: int) -> None:
        self.journal = journal
        self.backlog = Backlog(limit)
        self.strange: dict[str, int] = {}
        """Numbers that were NaN or infinite, by sensor, in the episodes written here."""
        self._finished: list[Finished] = []
        self._since = 0.0
        self._due = False
        self.problem: Exception | None = None
        """What went wrong since `raise_problem` was last called."""
        self._thread = threading.Thread(target=self._run, name="lerobot-writer", daemon=True)
        self._thread.start()

    def raise_problem(self) -> None:
        """Raise what went wrong since this was last called, if anything did."""
        problem, self.problem = self.problem, None
        if problem is not None:
            raise problem

    # -- what can be asked for; each returns at once, with the seconds waited for room -------------

    def add(self, take: Take, row: Mapping[str, Array]) -> float:
        """A row of an episode; nobody may change it any more."""
        size = sum(value.nbytes for value in row.values())
        return self.backlog.put(Job(lambda: take.add(row), take, size))

    def finish(self, take: Take) -> float:
        """The end of an episode."""
        return self.backlog.put(Job(lambda: self._finish(take), take))

    def drop(self, take: Take) -> float:
        """An episode that is not wanted."""
        take.failed = True
        return self.backlog.put(Job(take.cancel))

    def flush(self) -> None:
        """Wait until all that was asked for is done, and episodes that ended are on the disk.

        Raises:
            StorageError: they are not.
        """
        done = threading.Event()
        self.backlog.put(Job(self._commit))
        self.backlog.put(Job(done.set))
        while not done.wait(1.0):
            if not self._thread.is_alive():
                break
        self.raise_problem()

    def stop(self) -> None:
        """Do what was asked for, and end the thread."""
        self.backlog.close()
        if self._thread is not threading.current_thread():
            self._thread.join()

    # -- in the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            idle = self.backlog.size == 0
            job = self.backlog.get(0.0 if self._due and idle else None)
            if job is not None:
                self._try(job)
            if self._due and (job is None or time.monotonic() - self._since > _TOGETHER):
                self._try(Job(self._commit))
            if job is None and self.backlog.drained:
                return

    def _try(self, job: Job) -> None:
        if job.take is not None and job.take.failed:
            return
        try:
            job.do()
        except Exception as error:  # told where the next row is appended
            problem = self._explain(error, job.take)
            if self.problem is None:
                self.problem = problem
            else:
                self.problem.add_note(f"Then: {problem}")
            if job.take is not None:
                job.take.failed = True
                job.take.cancel()

    def _explain(self, error: Exception, take: Take | None) -> Exception:
        if not isinstance(error, OSError):
            return error
        free = shutil.disk_usage(self.journal.root).free / 2**20
        what = f"{error.strerror or error}; {free:.0f} MiB are free"
        lost = (
            f"{len(self._finished)} finished episodes could not be written to {self.journal.root} "
            f"({what}). They are kept and tried again when the next one ends; make room"
            if take is None
            else f"The episode in progress could not be recorded to {self.journal.root} ({what}). "
            "It is given up, and its other rows are ignored; those before it are kept. Make room"
        )
        problem = StorageError(error.errno, lost)
        problem.__cause__ = error
        return problem

    def _finish(self, take: Take) -> None:
        self._finished.append(take.finish())
        if not self._due:
            self._since = time.monotonic()
        self._due = True

    def _commit(self) -> None:
        self._due = False
        if not self._finished:
            return
        known = self.journal.state.episodes
        try:
            self.journal.commit(self._finished)
        finally:
            if self.journal.state.episodes > known:
                for episode in self._finished:
                    episode.forget()
                    for name, count in episode.strange.items():
                        self.strange[name] = self.strange.get(name, 0) + count
                self._finished = []
