# mypy: ignore-errors
"""Lists of neighbours as Warp kernels, from the cells of `neighbours.py`; nothing has a gradient.

Loaded once for each precision by `reverie.physics.kernels.load`.
Legend: a row is the number of a particle in `[B N]`.
"""

import warp as wp

from reverie.physics.kernels import chosen

_types = chosen()
REAL, VEC3 = _types.scalar, _types.vec3


@wp.kernel
def count_near(
    place: wp.array(dtype=VEC3),
    start: wp.array(dtype=int),
    own: wp.array(dtype=VEC3),
    cell: wp.array(dtype=int),
    stride_x: int,
    stride_y: int,
    square: REAL,
    many: wp.array(dtype=int),
):
    row = wp.tid()
    x = own[row]
    found = int(0)
    for a in range(-1, 2):
        for b in range(-1, 2):
            middle = cell[row] + a * stride_x + b * stride_y
            for at in range(start[middle - 1], start[middle + 2]):
                d = x - place[at]
                if wp.dot(d, d) < square:
                    found += 1
    many[row] = found - 1  # itself


@wp.kernel
def list_near(
    place: wp.array(dtype=VEC3),
    particle: wp.array(dtype=int),
    turns: wp.array(dtype=wp.vec3i),
    start: wp.array(dtype=int),
    own: wp.array(dtype=VEC3),
    laps: wp.array(dtype=wp.vec3i),
    cell: wp.array(dtype=int),
    stride_x: int,
    stride_y: int,
    square: REAL,
    particles: int,
    periodic: int,
    first: wp.array(dtype=int),
    other: wp.array(dtype=int),
    apart: wp.array(dtype=wp.vec3i),
):
    """Rows of the list, ascending, so that sums do not depend on when it was made."""
    row = wp.tid()
    x = own[row]
    begin = first[row]
    last = begin
    for a in range(-1, 2):
        for b in range(-1, 2):
            middle = cell[row] + a * stride_x + b * stride_y
            for at in range(start[middle - 1], start[middle + 2]):
                d = x - place[at]
                if wp.dot(d, d) < square:
                    j = particle[at]
                    t = wp.vec3i(0, 0, 0)
                    if periodic == 1:
                        t = turns[at] + laps[row]
                    itself = row % particles == j and t[0] == 0 and t[1] == 0 and t[2] == 0
                    if not itself:
                        k = last
                        while k > begin and other[k - 1] > j:
                            other[k] = other[k - 1]
                            if periodic == 1:
                                apart[k] = apart[k - 1]
                            k -= 1
                        other[k] = j
                        if periodic == 1:
                            apart[k] = t
                        last += 1
