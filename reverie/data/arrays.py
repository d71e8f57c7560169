"""Recorded arrays as sensors, and recorded steps as rows: what readers of several formats share.

`n` entries of an array, `C h w` picture. A step t is what was sensed at t, the action taken then
and what came of it (reward t, terminated t); row t + 1 holds that action and what came of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from reverie.core.spec import Space
from reverie.data.container import Array

Read = Callable[[int, int], Array]
"""Entries start..stop of an array."""

ENTRIES = ("action", "reward", "first", "last", "terminated")
"""Entries of a row that are no sensors."""


class Stored(NamedTuple):
    """How the entries of one sensor are stored, and what they become."""

    space: Space
    shape: tuple[int, ...]
    """Of one entry in the file."""
    channels: int | None = None
    """Axis of a stored picture that holds its channels; -1 where it has none, None for no
    picture."""


def sensor_name(path: Sequence[str | int]) -> str:
    """A name for what stands under these keys: `("arm", "pose")` is "arm_pose".

    What is no letter, digit, "_" or "-" becomes "_"; a name that an entry of the row has ("action")
    gets "obs_" before it.
    """
    name = "_".join(re.sub(r"[^0-9A-Za-z_-]", "_", str(part)) for part in path)
    return f"obs_{name}" if name in ENTRIES or name.startswith("__") else name


def picture_axis(dtype: Any, shape: Sequence[int]) -> int | None:
    """`Stored.channels` of an array whose entries have this dtype and shape.

    Pictures are uint8: `(h, w)` with sides of at least 8 pixels, `(h, w, C)`, or `(C, h, w)` with
    C <= 4.
    """
    if np.dtype(dtype) != np.uint8 or len(shape) not in (2, 3):
        return None
    if len(shape) == 2:
        return -1 if min(shape) >= 8 else None
    return 0 if shape[0] <= 4 < shape[2] else 2


def stored(dtype: Any, shape: Sequence[int]) -> Stored:
    """The sensor that an array with entries of this dtype and shape is.

    Floats become float32, integers int64; uint8 and bool stay. Pictures become `(C, h, w)`.

    Raises:
        ValueError: an axis is empty.
    """
    shape = tuple(int(n) for n in shape)
    axis = picture_axis(dtype, shape)
    if axis is not None:
        sides = tuple(n for k, n in enumerate(shape) if k != axis)
        picture = (1 if axis < 0 else shape[axis], *sides)
        return Stored(Space(picture, "uint8", 0, 255), shape, axis)
    kind = np.dtype(dtype).kind
    name = {"f": "float32", "b": "bool"}.get(kind, "int64")
    return Stored(Space(shape, "uint8" if np.dtype(dtype) == np.uint8 else name), shape)


def dress(values: Array, sensor: Stored) -> Array:
    """Stored entries `[n, *shape]` as the sensor's `[n, *space.shape]`."""
    if sensor.channels is not None:
        if sensor.channels < 0:
            return np.ascontiguousarray(values[:, None])
        return np.ascontiguousarray(np.moveaxis(values, sensor.channels + 1, 1))
    return cast(values, sensor.space.dtype)


def cast(values: Array, dtype: str) -> Array:
    """Values in another dtype; floats beyond the range of float32 become infinite.

    Raises:
        ValueError: an integer does not fit.
    """
    if values.dtype == np.uint64 and dtype == "int64" and values.size and values.max() >= 1 << 63:
        raise ValueError(f"it holds {values.max()}, which does not fit into int64.")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(values.astype(dtype, copy=False))


def column(values: Array) -> Array:
    """One number for each entry, float32 `[n]`, from `[n]` or `[n, 1]`.

    Raises:
        ValueError: there are more.
    """
    if values.ndim != 1 and values.shape[1:] != (1,):
        raise ValueError(f"its entries have shape {values.shape[1:]}; one number is expected.")
    return cast(values.reshape(len(values)), "float32")


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key by which "demo_2" comes before "demo_10"."""
    parts = re.findall(r"\d+|\D+", name)
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts], name


# -------------------------------------------------------------------------------------------------
# Steps as rows


def span(name: str, rows: int, start: int, stop: int | None) -> int:
    """`stop`, or the end; raises IndexError where an episode does not have these rows."""
    stop = rows if stop is None else stop
    if not 0 <= start <= stop <= rows:
        raise IndexError(f"Episode {name} has rows 0..{rows}; {start}..{stop} were asked for.")
    return stop


def led_here(read: Read, start: int, stop: int, shape: Sequence[int], dtype: str) -> Array:
    """Rows start..stop of what is stored by step: row t + 1 is step t, row 0 zeros."""
    out = np.zeros((stop - start, *shape), dtype)
    low = max(start, 1)
    if low < stop:
        out[low - start :] = read(low - 1, stop - 1)
    return out


def sensed(read: Read, count: int, start: int, stop: int, final: Read | None = None) -> Array:
    """Rows start..stop of a sensor with `count` stored entries: row t is entry t.

    Rows after the final entry repeat it, or are `final(0, 1)` where that is given.
    """
    kept = min(stop, count)
    if start < kept and stop == kept:
        return read(start, kept)
    if start == stop:
        return read(0, 0)
    after = final(0, 1) if final is not None else read(count - 1, count)
    before = [read(start, kept)] if start < kept else []
    return np.concatenate([*before, *[after] * (stop - max(start, count))])


def flags(start: int, stop: int, rows: int, terminated: bool) -> dict[str, Array]:
    """`first`, `last` and `terminated` of rows start..stop of an episode."""
    at = np.arange(start, stop)
    final = at == rows - 1
    return {"first": at == 0, "last": final, "terminated": final & terminated}
