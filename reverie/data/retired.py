"""Files of episodes beyond the capacity: deleted once no checkpoint needs them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

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
        self._checkpoints: list[tuple[IO[Any], list[Key]]] = []

    def add(self, key: Key) -> None:
        """A part that left. Deleted at once where there is no checkpoint."""
        if self._checkpoints:
            self._checkpoints[-1][1].append(key)
        else:
            self._remove(key)

    def checkpoint(self, file: Path, left: Iterable[Key] = ()) -> None:
        """A file of a checkpoint that was written or loaded now, and parts it does not sample."""
        self.prune()
        self._checkpoints.append((file.open("rb"), list(left)))

    def prune(self) -> None:
        """Delete what no checkpoint needs any more."""
        while self._checkpoints and os.fstat(self._checkpoints[0][0].fileno()).st_nlink == 0:
            file, keys = self._checkpoints.pop(0)
            file.close()
            for key in keys:
                self._remove(key)
