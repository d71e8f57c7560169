"""Files of episodes beyond the capacity: deleted once no checkpoint needs them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from reverie.data.container import Handle
from reverie.data.part import Key


class Retired:
    """Episodes that are no longer sampled, and the checkpoints that still sample them.

    A checkpoint is known by one of its files, which is held open: however its directory is renamed,
    the system says (the count of hard links) when it has been deleted. A file that left after a
    checkpoint was written is kept until that checkpoint and all before it are deleted.

    Args:
        remove: deletes the file of a part.
    """

    def __init__(self, remove: Callable[[Key], None]) -> None:
        self._remove = remove
        self._checkpoints: list[tuple[Handle, list[Key]]] = []
        self._waiting: list[Key] = []

    def add(self, key: Key, later: bool = False) -> None:
        """A part that left. Where there is no checkpoint its file is deleted at once, or if `later`
        when the next checkpoint is deleted."""
        if self._checkpoints:
            self._checkpoints[-1][1].append(key)
        elif later:
            self._waiting.append(key)
        else:
            self._remove(key)

    def checkpoint(self, file: Path, left: Iterable[Key] = ()) -> None:
        """A file of a checkpoint that was written or loaded now, and parts it does not sample."""
        self.prune()
        keys, self._waiting = [*left, *self._waiting], []
        self._checkpoints.append((Handle(os.open(file, os.O_RDONLY)), keys))

    def prune(self) -> None:
        """Delete what no checkpoint needs any more."""
        while self._checkpoints:
            handle, keys = self._checkpoints[0]
            if os.fstat(handle.descriptor).st_nlink > 0:
                return
            for key in keys:
                self._remove(key)
            self._checkpoints.pop(0)
