"""A film at an address, read by ranges of bytes: what a window needs comes in one request.

A film of hundreds of megabytes is not read whole, and no more of it than is wanted: its own index
says where the pictures of a window lie, so that they are asked for at once,

    from the key frame at or before the first picture, to the end of the last,

while a reader that does not know fetches blocks, several small ones or one that is mostly useless.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from reverie.data.container import Array

AHEAD = 128 << 10
"""Bytes that are fetched at least, where nothing better is known."""
MOST = 4 << 20
"""Bytes that are fetched at most at once."""

_PARTS = 2
_REORDERED = 4


class RangeFile(io.RawIOBase):
    """A file that can be read anywhere, of which the parts fetched last are kept.

    Args:
        source: the file, open; a read of it is one request, and nothing of it is buffered. It is
            closed with this one.

    Raises:
        OSError, ValueError: it can only be read from its beginning on.
    """

    def __init__(self, source: BinaryIO) -> None:
        super().__init__()
        self._source = source
        self._size = source.seek(0, io.SEEK_END)
        self._at = 0
        self._wish = (0, 0)
        self._parts: list[tuple[int, bytes]] = []

    def wish(self, start: int, stop: int) -> None:
        """Say that bytes start..stop will be read in their order; nothing is fetched yet."""
        self._wish = (start, stop)

    def readinto(self, buffer: Any) -> int:
        """The next bytes, from what is kept or by a request; fewer than fit where a part ends."""
        view = memoryview(buffer).cast("B")
        count = min(len(view), self._size - self._at)
        if count <= 0:
            return 0
        start, part = self._part(count)
        content = part[self._at - start : self._at - start + count]
        view[: len(content)] = content
        self._at += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of every file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"Byte {base + offset} lies before the file.")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Close the source, too, and forget what was kept."""
        if not self.closed:
            self._source.close()
            self._parts.clear()
        super().close()

    def _part(self, count: int) -> tuple[int, bytes]:
        """Where a part begins that has the next byte, and its content."""
        for start, part in self._parts:
            if start <= self._at < start + len(part):
                return start, part
        low, high = self._wish
        stop = high if low <= self._at < high else 0
        stop = min(max(stop, self._at + max(count, AHEAD)), self._at + max(count, MOST), self._size)
        self._source.seek(self._at)
        part = self._source.read(stop - self._at)
        if not part:
            raise OSError(f"the file ends at byte {self._at}; it was said to have {self._size}.")
        self._parts = [*self._parts[-_PARTS + 1 :], (self._at, part)]
        return self._parts[-1]


@dataclass(frozen=True)
class FilmIndex:
    """Where a film's pictures lie in its file, in the order of decoding; `N` pictures."""

    times: Array
    """When each one is decoded [ticks]: `[N]`, rising."""
    keys: Array
    """Which of them are key frames: int64 `[K]`."""
    starts: Array
    """First byte of each: `[N]`."""
    stops: Array
    """One past its last: `[N]`."""

    @classmethod
    def of(cls, entries: Sequence[Any]) -> FilmIndex:
        """From `stream.index_entries` of PyAV."""
        table = np.array(
            [(e.timestamp, e.is_keyframe, e.pos, e.pos + e.size) for e in entries], np.int64
        ).reshape(-1, 4)
        return cls(table[:, 0], np.flatnonzero(table[:, 1]), table[:, 2], table[:, 3])

    def extent(self, first: float, last: float) -> tuple[int, int]:
        """Bytes from the key frame at or before a time to the end of the picture of another.

        Where pictures are reordered they are decoded up to a few before they are shown: the next
        few are taken in.

        Args:
            first: time of the first picture [ticks].
            last: of the last [ticks].
        """
        if not len(self.times):
            return 0, 0
        before = self.keys[self.times[self.keys] <= first]
        low = int(before[-1]) if len(before) else 0
        high = int(np.searchsorted(self.times, last, "right")) + _REORDERED
        return int(self.starts[low:high].min()), int(self.stops[low:high].max())
