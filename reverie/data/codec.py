"""Lossless compression of large sensors, a few rows at a time.

LZ4 in its high-compression mode; why: docs/decisions/0002-replay-on-disk.md.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from reverie.data.container import Array, Bytes

LEVEL = 4
"""LZ4-HC level; it changes the time to write and the size, not the time to read."""
BLOCK_BYTES = 96 << 10
"""Uncompressed bytes of one block, about; more only for a single larger row."""


@functools.cache
def _lz4() -> Any:
    try:
        import lz4.block  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError(
            'The episode store needs lz4 to compress images: pip install "lz4>=4.3".'
        ) from error
    return lz4.block


def require() -> None:
    """Raise ImportError where the codec is not installed, before anything is recorded."""
    _lz4()


def rows_per_block(row_bytes: int) -> int:
    """How many rows of a sensor are compressed together."""
    return max(1, min(64, BLOCK_BYTES // row_bytes))


def encode(rows: Array) -> bytes:
    """One block of rows, compressed."""
    packed: bytes = _lz4().compress(
        rows.tobytes(), mode="high_compression", compression=LEVEL, store_size=False
    )
    return packed


def decode(data: Bytes, count: int, dtype: np.dtype[Any], shape: Sequence[int]) -> Array:
    """`count` rows from one block, read-only. Raises ValueError where the data are damaged."""
    size = count * math.prod(shape) * dtype.itemsize
    try:
        raw = _lz4().decompress(data, uncompressed_size=size)
    except _lz4().LZ4BlockError as error:
        raise ValueError(f"block does not decompress ({error})") from error
    if len(raw) != size:
        raise ValueError(f"block holds {len(raw)} bytes, expected {size}")
    return np.frombuffer(raw, dtype).reshape(count, *shape)


def checksum(data: Bytes) -> int:
    """CRC-32 of a compressed block."""
    return zlib.crc32(data)
