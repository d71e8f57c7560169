"""Which ball does each pixel see? Spheres drawn exactly, without triangles.

Along a row of pixels the ray to the front of a sphere has

    1 / z = a + b X + s sqrt(h^2 - X^2),   |X| <= h

with X the distance from the middle of the chord [pixels]; a, b, s and h belong to ball and row. So
a ball becomes spans of columns, as a triangle does, in the same buffer (`raster`). A ball that
covers the centre of no pixel is not seen.

Legend: `N` balls, `R` rows of balls, `n` fragments or pixels, `P` pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reverie.physics import raster
from reverie.physics.raster import Buffer, Integers, Lens, Reals


def put_balls(nearest: Buffer, lens: Lens, centres: Reals, radii: Reals, first: int = 0) -> None:
    """Draw balls with the numbers first .. first + N - 1.

    Args:
        nearest: the buffer `[P]`, changed in place.
        lens: of the picture.
        centres: camera coordinates `[3, N]` [m]; balls nearer than `near` are not drawn.
        radii: `[N]` [m].
        first: number of the first.
    """
    numbers = np.arange(radii.size)
    if not lens.parallel:
        numbers = np.flatnonzero(centres[2] - radii >= lens.near)
        centres, radii = centres.take(numbers, 1), radii.take(numbers)
    (x, y, z), (u, v) = centres, lens.centre
    top, bottom = raster.inside(*_outline(lens, y, z, radii, v), lens.height)
    left, right = raster.inside(*_outline(lens, x, z, radii, u), lens.width)
    kept = np.flatnonzero((radii > 0) & (left <= right) & (top <= bottom))
    centres, radii, numbers = centres.take(kept, 1), radii.take(kept), numbers.take(kept) + first
    top, bottom = top.take(kept), bottom.take(kept)
    for part in raster.batches(bottom - top + 1):
        owner, rank = raster.spread((bottom - top + 1)[part])
        owner += part.start
        row = top.take(owner) + rank
        chords = (_parallel_chords if lens.parallel else _chords)(
            lens, centres.take(owner, 1), radii.take(owner), row
        )
        _fill_balls(nearest, lens, chords, owner, row, numbers)


def _outline(lens: Lens, side: Reals, z: Reals, radii: Reals, centre: float) -> tuple[Reals, Reals]:
    """The least and greatest pixel coordinate that balls reach in one direction."""
    if lens.parallel:
        middle, reach = lens.focal * side, lens.focal * radii
    else:
        scale = lens.focal / (z * z - radii * radii)
        middle = scale * side * z
        reach = scale * radii * np.sqrt(side * side + z * z - radii * radii)
    middle = middle + (centre - 0.5)
    return middle - reach, middle + reach


class _Chords(NamedTuple):
    """Rows of balls `[R]`, as in the equation above."""

    middle: Reals
    """Column of X = 0."""
    square: Reals
    """h^2; negative where the row misses the ball."""
    level: Reals
    """a."""
    tilt: Reals
    """b."""
    bulge: Reals
    """s."""


def _chords(lens: Lens, centres: Reals, radii: Reals, row: Integers) -> _Chords:
    """Of a perspective picture.

    With y' = y / z of the row, q = c_y y' + c_z, k = c . c - r^2 and m = k - c_x^2, the ray along
    (x', y', 1) meets the sphere where

        1 / z = (c_x x' + q + sqrt(m) sqrt(h^2 - (x' - c_x q / m)^2)) / k
        h^2 = k (r^2 (1 + y'^2) - (c_y - c_z y')^2) / m^2
    """
    (x, y, z), (u, v), focal = centres, lens.centre, lens.focal
    slope = (row - (v - 0.5)) / focal
    rest = y * y + z * z - radii * radii
    power = x * x + rest
    along, gap = y * slope + z, y - z * slope
    middle = x * along / rest
    square = power * (radii * radii * (1 + slope * slope) - gap * gap) / (rest * rest)
    return _Chords(
        middle * focal + (u - 0.5),
        square * (focal * focal),
        (x * middle + along) / power,
        x / (power * focal),
        np.sqrt(rest) / (power * focal),
    )


def _parallel_chords(lens: Lens, centres: Reals, radii: Reals, row: Integers) -> _Chords:
    """z = c_z - sqrt(h^2 - X^2) / f."""
    (x, y, z), (u, v), focal = centres, lens.centre, lens.focal
    away = row - (focal * y + (v - 0.5))
    square = (focal * radii) ** 2 - away * away
    none = np.zeros_like(z)
    return _Chords(focal * x + (u - 0.5), square, z, none, none - 1 / focal)


def _fill_balls(
    nearest: Buffer,
    lens: Lens,
    chords: _Chords,
    owner: Integers,
    row: Integers,
    numbers: Integers,
) -> None:
    half = np.sqrt(np.maximum(chords.square, 0.0))
    start, stop = raster.inside(chords.middle - half, chords.middle + half, lens.width)
    count = np.where(chords.square >= 0, np.maximum(stop - start + 1, 0), 0)
    # Single precision is enough for who is nearer, because X starts at the middle.
    begin = (start - chords.middle).astype(np.float32)
    first, name = row * lens.width + start, numbers.take(owner)
    square, level, tilt, bulge = (field.astype(np.float32) for field in chords[1:])
    for part in raster.batches(count):
        of, rank = raster.spread(count[part])
        of += part.start
        across = begin.take(of) + rank.astype(np.float32)
        depth = np.sqrt(np.maximum(square.take(of) - across * across, np.float32(0)))
        depth *= bulge.take(of)
        depth += level.take(of)
        if not lens.parallel:
            depth += across * tilt.take(of)
            depth = np.float32(1) / depth
        raster.keep(nearest, first.take(of) + rank, depth, name.take(of))


def at_balls(
    lens: Lens, centres: Reals, radii: Reals, pixel: Integers, owner: Integers
) -> tuple[Reals, Reals]:
    """Depth `[n]` and outward unit normal `[3, n]` where rays meet the balls that they see.

    Args:
        lens: of the picture; its rays start in one point.
        centres: camera coordinates `[3, N]` [m].
        radii: `[N]` [m].
        pixel: which pixels `[n]`.
        owner: the ball that each of them sees `[n]`.
    """
    columns, rows = lens.slopes()
    row, column = np.divmod(pixel, lens.width)
    ray = np.stack([columns.take(column), rows.take(row), np.ones(pixel.size)])
    centre, radius = centres.take(owner, 1), radii.take(owner)
    length = (ray * ray).sum(0)
    middle = (ray * centre).sum(0) / length
    gap = ray * middle - centre  # from the centre to the nearest point of the ray
    inside = np.maximum(radius * radius - (gap * gap).sum(0), 0.0)
    depth = middle - np.sqrt(inside / length)
    return depth, (ray * depth - centre) / radius
