"""Which recorded rows can be sampled, in which order: streams of parts."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from reverie.data.part import Part


class Run(NamedTuple):
    """Consecutive rows of one part."""

    uid: int
    part: Part
    start: int
    stop: int
    begins: bool
    """Whether the first row of the part is the first known one after a gap in its stream."""
    ends: bool
    """Whether the final row of the part is the last known one before a gap in its stream."""


class Stretch(NamedTuple):
    """Fresh rows that wait to be sampled once: where they begin and how many they are."""

    stream: int
    uid: int
    row: int
    rows: int


class Stream:
    """The parts of one stream in the order of time. Rows are counted by position along it."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.uids: list[int] = []
        """Ascending."""
        self.running = False
        """Whether the next row appended follows on the final part."""
        self._offsets: list[int] = []

    @property
    def rows(self) -> int:
        """Rows that can be sampled."""
        if not self.parts:
            return 0
        return self._offsets[-1] + self.parts[-1].rows - self._offsets[0]

    def add(self, uid: int, part: Part) -> None:
        """A part after all others."""
        end = self._offsets[-1] + self.parts[-1].rows if self.parts else 0
        self.parts.append(part)
        self.uids.append(uid)
        self._offsets.append(end)

    def drop(self, uid: int) -> Part | None:
        """Take a part out; None if it is not there."""
        index = self.index_of(uid)
        if index is None:
            return None
        part = self.parts.pop(index)
        self.uids.pop(index)
        self._offsets.pop(index)
        if index > 0:
            for after in range(index, len(self.parts)):
                self._offsets[after] -= part.rows
        return part

    def replace(self, uid: int, part: Part) -> None:
        """Another record of the final part, with at least its rows."""
        if self.uids[-1] != uid:
            raise ValueError("only the final part of a stream can be replaced")
        self.parts[-1] = part

    def index_of(self, uid: int) -> int | None:
        """Where a part stands, or None if it is not there any more."""
        index = bisect_left(self.uids, uid)
        return index if index < len(self.uids) and self.uids[index] == uid else None

    def locate(self, position: int) -> tuple[int, int]:
        """(index of the part, row in it) of the row at a position 0..rows."""
        absolute = self._offsets[0] + position
        index = bisect_right(self._offsets, absolute) - 1
        return index, absolute - self._offsets[index]

    def runs(self, index: int, row: int, count: int) -> Iterator[Run]:
        """`count` rows from a row of the part at an index on, or as many as there are."""
        while count > 0 and index < len(self.parts):
            part = self.parts[index]
            stop = min(part.rows, row + count)
            if row < stop:
                begins, ends = not self._follows(index), self._ends(index)
                yield Run(self.uids[index], part, row, stop, begins, ends)
            count -= stop - row
            index, row = index + 1, 0

    def holds(self, index: int, row: int, count: int) -> bool:
        """Whether that many rows follow, the row of the part at an index included."""
        return self._offsets[index] + row + count <= self._offsets[0] + self.rows

    def before(self, index: int, row: int) -> tuple[int, int] | None:
        """(uid, row) of the row before, inside the same episode; None where it is not known."""
        if row > 0:
            return self.uids[index], row - 1
        if self.parts[index].key.part > 0 and self._follows(index) and index > 0:
            return self.uids[index - 1], self.parts[index - 1].rows - 1
        return None

    def _follows(self, index: int) -> bool:
        """Whether the part at an index continues what stands before it, or begins an episode."""
        part = self.parts[index].key
        if part.part == 0 or index == 0:
            return True
        before = self.parts[index - 1]
        return before.key == part._replace(part=part.part - 1) and not before.ended

    def _ends(self, index: int) -> bool:
        """Whether the final row of a part ends an episode whose true end is missing."""
        part = self.parts[index]
        if part.ended:
            return False
        if index + 1 == len(self.parts):
            return not self.running
        after = self.parts[index + 1].key
        return after != part.key._replace(part=part.key.part + 1)
