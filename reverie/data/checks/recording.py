"""An episode as the checks see it: small entries whole, pictures as a few numbers for each row.

Legend: `T` rows.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from reverie.core.spec import Space
from reverie.data.checks.finding import Finding
from reverie.data.container import Array, as_bytes
from reverie.data.datasets import Dataset, DatasetError, Episode
from reverie.data.schema import PRESENT

SMALL = 256
"""Sensors of at most so many entries are looked at entry by entry."""

_SLAB_BYTES = 16 << 20


class Frames(NamedTuple):
    """A picture, or another large sensor, row by row."""

    digest: Array
    """`[T]` uint32, equal for equal content."""
    low: Array
    """`[T]` smallest finite value."""
    high: Array
    """`[T]` largest."""
    mean: Array
    """`[T]`."""
    strange: Array
    """`[T]` how many values are NaN or infinite."""


class Recording(NamedTuple):
    """One episode."""

    episode: Episode
    rows: Mapping[str, Array]
    """Small sensors, action, reward, flags, `"<name>.present"`: each `[T, ...]`."""
    frames: Mapping[str, Frames]
    """Large sensors."""

    def present(self, name: str) -> Array:
        """`[T]`, in which rows a sensor was there."""
        count = len(self.rows["reward"])
        there: Array = self.rows.get(name + PRESENT, np.ones(count, bool))
        return there


class Check(Protocol):
    """Looks at one episode after the other."""

    def see(self, recording: Recording) -> Iterator[Finding]:
        """What is wrong with an episode."""
        ...

    def finish(self) -> Iterator[Finding]:
        """What is wrong with all of them together."""
        ...


def is_small(space: Space) -> bool:
    """Whether a sensor is looked at entry by entry."""
    return not space.is_image and space.size <= SMALL


def load(dataset: Dataset, episode: Episode) -> Recording:
    """An episode, read in slabs so that no more than 16 MiB of pictures are in memory."""
    spaces = [*dataset.obs.values(), dataset.action]
    row_bytes = sum(space.size * np.dtype(space.dtype).itemsize for space in spaces)
    slab = max(16, _SLAB_BYTES // max(row_bytes, 1))
    large = {name for name, space in dataset.obs.items() if not is_small(space)}
    rows: dict[str, list[Array]] = {}
    frames: dict[str, list[Frames]] = {name: [] for name in large}
    for start in range(0, max(episode.rows, 1), slab):
        read = dataset.read(episode.name, start, min(start + slab, episode.rows))
        for name, values in read.items():
            _require(dataset, name, values, min(start + slab, episode.rows) - start)
            if name in large:
                frames[name].append(_frames(values))
            else:
                rows.setdefault(name, []).append(values)
    return Recording(
        episode,
        {name: np.concatenate(parts) for name, parts in rows.items()},
        {name: _joined(parts) for name, parts in frames.items()},
    )


def _require(dataset: Dataset, name: str, values: Array, rows: int) -> None:
    """Raise where an entry has not the shape that the dataset declares."""
    space = dataset.action if name == "action" else dataset.obs.get(name, Space(()))
    if values.shape != (rows, *space.shape):
        raise DatasetError(
            dataset.where,
            name,
            f"rows of shape {values.shape} were read where {(rows, *space.shape)} is declared.",
        )


def _frames(values: Array) -> Frames:
    """Numbers of each row of `[T, ...]`."""
    flat = values.reshape(len(values), -1)
    digest = np.array([zlib.crc32(as_bytes(np.ascontiguousarray(row))) for row in flat], np.uint32)
    if values.dtype.kind != "f":
        none = np.zeros(len(flat), np.int64)
        return Frames(digest, flat.min(1), flat.max(1), flat.mean(1), none)
    fine = np.isfinite(flat)
    low, high = np.where(fine, flat, math.inf).min(1), np.where(fine, flat, -math.inf).max(1)
    mean = np.where(fine, flat, 0).sum(1) / np.maximum(fine.sum(1), 1)
    return Frames(digest, low, high, mean, (~fine).sum(1))


def _joined(parts: Sequence[Frames]) -> Frames:
    return Frames(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def runs(mask: Array) -> list[tuple[int, int]]:
    """Where a mask `[T]` is True: (start, stop) of each stretch."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
