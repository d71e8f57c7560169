"""Which triangle does each pixel see? A z-buffer in numpy, without a graphics card.

Everything stands in camera coordinates, x right, y down, z forward [m]; a pixel (row i, column j)
looks through its centre (u, v) = (j + 1/2, i + 1/2).

Triangles are rasterised in homogeneous coordinates (Olano & Greer 1997), which needs no clipping.
With V_i = (f x + c_u w, f y + c_v w, w) and w = z, or 1 where rays are parallel, a pixel
d = (u, v, 1) lies in the triangle where all of

    E_0 = d . (V_1 x V_2),  E_1 = d . (V_2 x V_0),  E_2 = d . (V_0 x V_1)

have the sign of det = V_0 . (V_1 x V_2). Then E_i / sum_k E_k are the perspective-correct
barycentric coordinates, and 1 / z = sum_k E_k / det is linear in d. At a common edge two triangles
compute exactly opposite E, so no pixel falls between them.

A triangle becomes spans of columns, one for each row of pixels; the spans are spread out into
fragments, and each pixel keeps the least of (depth as float32, number of the triangle), packed into
one integer. What is seen therefore does not depend on the order of drawing. Balls share the buffer
(`raster_balls`).

Legend: `V` vertices, `F` triangles, `R` rows of triangles, `n` fragments or pixels, `P = H W`
pixels; the three of a leading `[3]` are x y z, or the corners of a triangle.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Buffer = NDArray[np.uint64]

_EMPTY = np.uint64(2**64 - 1)
_LOW = np.uint64(2**32 - 1)
_SHIFT = np.uint64(32)
_CHUNK = 1 << 16
"""Rows or fragments at once, so that they stay in the cache."""
_PAD = 1e-6
"""By which boxes around triangles are widened against rounding [pixels]."""


class Lens(NamedTuple):
    """How camera coordinates become pixels: u = f x / w + c_u, v = f y / w + c_v."""

    focal: float
    """f [pixels]; for parallel rays [pixels / m]."""
    centre: tuple[float, float]
    """(c_u, c_v) [pixels]; the picture covers [0, width] x [0, height]."""
    width: int
    height: int
    near: float = 0.01
    """What is nearer is not drawn [m]."""
    parallel: bool = False
    """w = 1 instead of z."""

    def finer(self, samples: int) -> Lens:
        """The same picture with so many times more rows and columns."""
        (u, v), k = self.centre, samples
        return self._replace(
            focal=self.focal * k,
            centre=(u * k, v * k),
            width=self.width * k,
            height=self.height * k,
        )

    def homogeneous(self, points: Reals) -> Reals:
        """V of points `[3, V]`, such that V_0 / V_2 and V_1 / V_2 are column and row."""
        x, y, z = points
        w = np.ones_like(z) if self.parallel else z
        u, v = self.centre
        return np.stack([self.focal * x + (u - 0.5) * w, self.focal * y + (v - 0.5) * w, w])

    def slopes(self) -> tuple[Reals, Reals]:
        """x / z of each column `[W]` and y / z of each row `[H]`."""
        u, v = self.centre
        columns = (np.arange(self.width) - (u - 0.5)) / self.focal
        return columns, (np.arange(self.height) - (v - 0.5)) / self.focal


class Spans(NamedTuple):
    """Rows of primitives, and which of the picture's rows and columns they cover."""

    owner: Integers
    """Which primitive `[R]`."""
    row: Integers
    start: Integers
    """First column."""
    length: Integers
    """How many columns; 0 for none."""


# -------------------------------------------------------------------------------------------------
# The buffer


def blank(lens: Lens) -> Buffer:
    """A buffer `[P]` that has seen nothing."""
    return np.full(lens.height * lens.width, _EMPTY)


def owners(nearest: Buffer) -> Integers:
    """The number of the primitive that each pixel sees `[P]`, -1 for none."""
    return np.where(nearest == _EMPTY, -1, (nearest & _LOW).astype(np.int64))


def depths(nearest: Buffer) -> Reals:
    """The depth of what each pixel sees, to float32 `[P]`, inf for none."""
    near = (nearest >> _SHIFT).astype(np.uint32).view(np.float32)
    return np.where(nearest == _EMPTY, np.float32(np.inf), near)


def keep(nearest: Buffer, pixel: Integers, depth: Reals, number: Integers) -> None:
    """Fragments into the buffer: nearer ones win, at equal depth the lower number."""
    code = depth.astype(np.float32).view(np.uint32).astype(np.uint64)
    code <<= _SHIFT
    code |= number.astype(np.uint64)
    np.minimum.at(nearest, pixel, code)


def batches(counts: Integers) -> Iterator[slice]:
    """Consecutive slices with about `_CHUNK` in sum each, at least one entry."""
    ends, start = np.cumsum(counts), 0
    while start < ends.size:
        before = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, before + _CHUNK, "right")), start + 1)
        yield slice(start, stop)
        start = stop


def spread(counts: Integers) -> tuple[Integers, Integers]:
    """Entry i repeated counts[i] times: its index, and the number of the repetition."""
    owner = np.repeat(np.arange(counts.size), counts)
    before = np.cumsum(counts) - counts
    return owner, np.arange(owner.size) - before.take(owner)


def inside(low: Reals, high: Reals, size: int) -> tuple[Integers, Integers]:
    """First and last of the pixels 0 .. size - 1 between two real bounds."""
    first = np.ceil(np.clip(low, 0, size)).astype(np.int64)
    return first, np.floor(np.clip(high, -1, size - 1)).astype(np.int64)


# -------------------------------------------------------------------------------------------------
# Triangles


def _edges(corners: Reals) -> tuple[Reals, Reals, Reals]:
    """Planes E `[3 coefficients, 3 corners, F]` with the sign that makes them positive inside,
    |det| and the sign of det `[F]`, of homogeneous corners `[3 coordinates, 3 corners, F]`."""
    u, v, w = corners
    planes = np.empty_like(corners)
    for i, (j, k) in enumerate(((1, 2), (2, 0), (0, 1))):
        planes[0, i] = v[j] * w[k] - w[j] * v[k]
        planes[1, i] = w[j] * u[k] - u[j] * w[k]
        planes[2, i] = u[j] * v[k] - v[j] * u[k]
    det = u[0] * planes[0, 0] + v[0] * planes[1, 0] + w[0] * planes[2, 0]
    sign = np.where(det < 0, -1.0, 1.0)
    planes *= sign
    return planes, det * sign, sign


def put_triangles(nearest: Buffer, lens: Lens, points: Reals, faces: Integers) -> None:
    """Draw triangles with the numbers 0 .. F - 1, from both sides.

    Args:
        nearest: the buffer `[P]`, changed in place.
        lens: of the picture.
        points: camera coordinates `[3, V]` [m].
        faces: indices of corners `[3, F]`.
    """
    if not faces.size:
        return
    corners = lens.homogeneous(points).take(faces, 1)
    ahead = corners[2] >= lens.near
    whole = ahead.all(0)
    w = np.where(ahead, corners[2], 1.0)
    column, row = corners[0] / w, corners[1] / w
    # What crosses the plane of the camera may cover any pixel; its edges then say which.
    left, right = inside(
        np.where(whole, column.min(0) - _PAD, 0.0),
        np.where(whole, column.max(0) + _PAD, lens.width),
        lens.width,
    )
    top, bottom = inside(
        np.where(whole, row.min(0) - _PAD, 0.0),
        np.where(whole, row.max(0) + _PAD, lens.height),
        lens.height,
    )
    kept = np.flatnonzero(ahead.any(0) & (left <= right) & (top <= bottom))
    depth = points[2].take(faces.take(kept, 1))
    shape = _Triangles.of(lens, corners.take(kept, 2), depth)
    left, right, top, bottom = (side.take(kept) for side in (left, right, top, bottom))
    for part in batches(bottom - top + 1):
        owner, rank = spread((bottom - top + 1)[part])
        owner += part.start
        spans = _between_edges(shape.planes, owner, top.take(owner) + rank, left, right)
        _fill_triangles(nearest, lens, shape, spans, kept)


class _Triangles(NamedTuple):
    """Triangles ready to be filled."""

    planes: Reals
    """E `[3, 3, F]`."""
    slope: Reals
    """1 / z, or for parallel rays z, as a plane over the pixels `[3, F]`."""
    least: Reals
    """Depth of the nearest corner `[F]`."""
    most: Reals

    @staticmethod
    def of(lens: Lens, corners: Reals, depth: Reals) -> _Triangles:
        planes, det, _ = _edges(corners)
        above = (planes * depth).sum(1) if lens.parallel else planes.sum(1)
        slope = above / np.where(det > 0, det, 1.0)
        planes[2, :, det == 0] = -np.inf  # edge-on, or no triangle at all: seen nowhere
        return _Triangles(planes, slope, depth.min(0), depth.max(0))


def _between_edges(
    planes: Reals, owner: Integers, row: Integers, left: Integers, right: Integers
) -> Spans:
    """Where in their rows `[R]` all three E of triangles are positive."""
    rise = planes[0].take(owner, 1)
    rest = planes[1].take(owner, 1) * row + planes[2].take(owner, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        root = -rest / rise
    left, right = left.take(owner), right.take(owner)
    low = np.where(rise > 0, root, -np.inf).max(0).clip(left, right + 1)
    high = np.where(rise < 0, root, np.inf).min(0).clip(left - 1, right)
    start = np.ceil(low).astype(np.int64)
    count = np.floor(high).astype(np.int64) - start + 1
    count[((rise == 0) & (rest < 0)).any(0)] = 0
    return Spans(owner, row, start, count.clip(0))


def _fill_triangles(
    nearest: Buffer, lens: Lens, shape: _Triangles, spans: Spans, numbers: Integers
) -> None:
    rise = shape.slope[0].take(spans.owner)
    level = shape.slope[1].take(spans.owner) * spans.row + shape.slope[2].take(spans.owner)
    first = spans.row * lens.width
    for part in batches(spans.length):
        of, rank = spread(spans.length[part])
        of += part.start
        column = spans.start.take(of) + rank
        depth = rise.take(of) * column + level.take(of)
        owner = spans.owner.take(of)
        if not lens.parallel:
            with np.errstate(divide="ignore"):
                depth = 1 / depth
        # Rounding at the rim of a triangle seen edge-on must not move it.
        depth = depth.clip(shape.least.take(owner), shape.most.take(owner))
        pixel, number = first.take(of) + column, numbers.take(owner)
        if not lens.parallel and (shape.least.take(owner) < lens.near).any():
            seen = np.flatnonzero(depth >= lens.near)
            pixel, depth, number = pixel.take(seen), depth.take(seen), number.take(seen)
        keep(nearest, pixel, depth, number)


def at_triangles(
    lens: Lens, points: Reals, faces: Integers, pixel: Integers, owner: Integers
) -> tuple[Reals, Reals, Reals]:
    """Where rays meet the triangles that they see.

    Args:
        lens: of the picture.
        points: camera coordinates `[3, V]` [m].
        faces: corners `[3, F]`.
        pixel: which pixels `[n]`.
        owner: the triangle that each of them sees `[n]`.

    Returns:
        depth `[n]` [m]; barycentric weights `[3, n]`, that sum to 1; and +1 where the corners run
        clockwise in the picture, -1 where they do not `[n]`.
    """
    corner = faces.take(owner, 1)
    planes, _, sign = _edges(lens.homogeneous(points).take(corner, 1))
    row, column = np.divmod(pixel, lens.width)
    weights = np.maximum(planes[0] * column + planes[1] * row + planes[2], 0.0)
    total = weights.sum(0)
    weights /= np.where(total > 0, total, 1.0)
    return (weights * points[2].take(corner)).sum(0), weights, sign
