"""The directory of a run, and that only one process writes to it."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import Any

_HELD: set[Path] = set()  # a lock of the system keeps out other processes, not this one


class RunLockedError(RuntimeError):
    """Another process is running in this run directory."""


class RunDirectory:
    """`with RunDirectory("runs/a") as place:` locks it until the block or the process ends.

    runs/a/
        config.json    what was asked for (written by the recipe)
        log.jsonl      the record
        episodes/      what happened
        checkpoints/   where to resume
        lock           who runs here; left behind by a killed process, it locks nothing
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.log = self.path / "log.jsonl"
        self.episodes = self.path / "episodes"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self._lock: int | None = None

    @property
    def is_locked(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock is not None

    def __enter__(self) -> RunDirectory:
        self.path.mkdir(parents=True, exist_ok=True)
        key = self.path.resolve()
        if key in _HELD:
            raise RunLockedError(
                f"{self.path} is already in use by this process (pid {os.getpid()})."
            )
        file = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            # a record lock: workers do not inherit it, and it goes when this process does
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(file, 200, 0).decode(errors="replace").strip()
            os.close(file)
            raise RunLockedError(
                f"{self.path} is in use by another process ({owner or 'unknown'}): "
                f"{error.strerror}. Stop it, or choose another run directory."
            ) from error
        os.ftruncate(file, 0)
        os.pwrite(file, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        _HELD.add(key)
        self._lock = file
        return self

    def __exit__(self, *_: Any) -> None:
        if self._lock is not None:
            _HELD.discard(self.path.resolve())
            os.close(self._lock)
            self._lock = None
