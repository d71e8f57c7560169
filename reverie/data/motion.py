"""Sequences drawn in proportion to how much their pictures move.

In most recordings little happens most of the time, and where nothing moves a model that repeats
the last frame has no error to learn from. For a sequence of T rows

    m = mean over rows 2..T, cameras and pixels of (o_t - o_{t-1})^2,    w = (m / m_ + FLOOR)^power,

m_ the mean of m over all sequences and o in grey levels; a row that begins an episode has moved by
nothing. The objective is then weighted by w: where the next frame follows from what is known, the
best prediction is the same. Video models are usually kept from what stands still, by a threshold
of optical flow (Blattmann et al. 2023, arXiv 2311.15127); weights leave nothing out.

Legend: `R` rows that can be sampled, `T` rows in a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reverie.data.container import Array
from reverie.data.part import Part
from reverie.data.store import EpisodeStore
from reverie.data.streams import Stream

FLOOR = 0.05
"""What a sequence without any motion weighs, in shares of the mean, before the power."""
CHUNK = 64
"""Rows that are read at once."""


class _Known(NamedTuple):
    part: Part
    rows: Array


class Motion:
    """How much the pictures of each recorded row differ from the row before.

    Args:
        store: where the rows are. Each is read once, when a draw first needs it.
        power: of the weights; positive.

    Raises:
        ValueError: no picture is recorded.
    """

    def __init__(self, store: EpisodeStore, power: float) -> None:
        entries = store.schema.entries
        self.names = [n for n, e in entries.items() if e.dtype == "uint8" and len(e.shape) == 3]
        if not self.names:
            raise ValueError(
                f"Sequences cannot be drawn by how much pictures move (motion {power}): "
                f"{store.directory} holds no pictures, but {sorted(entries)}. Give motion 0."
            )
        self.store, self.power = store, power
        self._known: dict[int, _Known] = {}
        self._drawn: tuple[tuple[int, ...], Array] = ((), np.zeros(0))

    def draw(
        self, rng: np.random.Generator, streams: Sequence[Stream], length: int, count: int
    ) -> list[int]:
        """Where so many sequences of T rows begin, counted along one stream after another."""
        ends = self._ends(streams, length)
        drawn = np.searchsorted(ends, rng.random(count) * ends[-1], side="right")
        positions: list[int] = drawn.clip(max=len(ends) - 1).tolist()
        return positions

    def _ends(self, streams: Sequence[Stream], length: int) -> Array:
        """Running sums of w `[sum over streams of R - T + 1]`."""
        now = tuple(x for s in streams for x in (s.uids[0], s.uids[-1], len(s.uids), s.rows))
        if self._drawn[0] != now:
            self._known = {u: self._known[u] for s in streams for u in s.uids if u in self._known}
            moved = np.concatenate([self._sequences(stream, length) for stream in streams])
            mean = float(moved.mean())
            weights = (moved / mean + FLOOR) ** self.power if mean > 0 else np.ones_like(moved)
            self._drawn = now, np.cumsum(weights)
        return self._drawn[1]

    def _sequences(self, stream: Stream, length: int) -> Array:
        """m `[R - T + 1]`, up to a common factor."""
        parts = zip(stream.uids, stream.parts, strict=True)
        moved = np.concatenate([self._rows(uid, part) for uid, part in parts])
        sums = np.concatenate([np.zeros(1), np.cumsum(moved)])
        found: Array = sums[length:] - sums[1 : len(sums) - length + 1]
        return found.clip(0)

    def _rows(self, uid: int, part: Part) -> Array:
        """How much each row of a part moved `[rows]`. What lies between two parts of one episode is
        not read: that row has moved as much as the next."""
        known = self._known.get(uid)
        if known is None or known.part is not part:
            known = _Known(part, np.zeros(1))
        pieces = [known.rows]
        for start in range(len(known.rows), part.rows, CHUNK):
            pieces.append(self._read(part, start - 1, min(start + CHUNK, part.rows)))
        rows: Array = np.concatenate(pieces)
        if part.key.part and part.rows > 1:
            rows[0] = rows[1]
        self._known[uid] = _Known(part, rows)
        return rows

    def _read(self, part: Part, start: int, stop: int) -> Array:
        """Mean squared change between rows start..stop of a part `[stop - start - 1]`."""
        out = self.store.schema.empty(1, stop - start)
        self.store.read_part(part, start, stop, out, 0)
        total: Array = np.zeros(stop - start - 1)
        for name in self.names:
            grey = out[name][0].reshape(stop - start, -1).astype(np.float32)
            away = grey[1:] - grey[:-1]
            total += np.einsum("rp,rp->r", away, away) / away.shape[1]
        return total / len(self.names)
