import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reverie.data import codec

DTYPES = [np.dtype(name) for name in ("uint8", "float32", "int64", "bool")]


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=2, max_dims=4, max_side=6))
    )
)
def test_blocks_come_back_bit_by_bit(rows):
    read = codec.decode(codec.encode(rows), len(rows), rows.dtype, rows.shape[1:])
    assert read.shape == rows.shape and read.dtype == rows.dtype
    assert read.tobytes() == rows.tobytes()


def test_pictures_that_change_little_become_small():
    picture = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    rows = np.repeat(picture[None], 8, 0)
    assert len(codec.encode(rows)) < rows.nbytes / 4


@pytest.mark.parametrize("damage", [lambda b: b[:-3], lambda b: b"\xff" * len(b), lambda b: b""])
def test_damaged_blocks_raise(damage):
    rows = np.random.default_rng(0).integers(0, 9, (8, 300), dtype=np.uint8)
    with pytest.raises(ValueError, match="block"):
        codec.decode(damage(codec.encode(rows)), 8, rows.dtype, (300,))


def test_a_block_of_another_length_raises():
    rows = np.zeros((8, 30), np.uint8)
    with pytest.raises(ValueError, match="block"):
        codec.decode(codec.encode(rows), 9, rows.dtype, (30,))


@pytest.mark.parametrize(("size", "rows"), [(3 * 64 * 64, 8), (1024, 64), (3 * 480 * 640, 1)])
def test_blocks_hold_about_the_same_bytes(size, rows):
    assert codec.rows_per_block(size) == rows


def test_without_lz4_the_error_says_what_to_install(monkeypatch):
    codec._lz4.cache_clear()
    monkeypatch.setitem(sys.modules, "lz4.block", None)
    with pytest.raises(ImportError, match="pip install"):
        codec.require()
    codec._lz4.cache_clear()
