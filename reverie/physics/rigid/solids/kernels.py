# mypy: ignore-errors
"""Where boxes and meshes touch each other, as Warp kernels; see `polyhedra.py` for the equations.

Which face, and which side of it, is found by functions without a gradient; what they found is
then computed with one. Loaded once for each precision by `reverie.physics.kernels.load`, and only
for models that have such pairs.
Legend: `B` worlds, `S` pairs, `C` points that may touch.
"""

import warp as wp

from reverie.physics.kernels import beside, chosen
from reverie.physics.rigid import polyhedra

_types = chosen()
REAL, VEC3, VEC4 = _types.scalar, _types.vec3, _types.vec4
MAT33, QUAT = _types.mat33, _types.quat
_algebra = beside("reverie.physics.rigid.algebra.kernels")
row, three, VEC2 = _algebra.row, _algebra.three, _algebra.VEC2
_ground = beside("reverie.physics.rigid.ground.kernels")
geom_place, geom_turn = _ground.geom_place, _ground.geom_turn
_MARGIN, _ALONG = wp.constant(REAL(polyhedra.MARGIN)), wp.constant(REAL(polyhedra.ALONG))
_SPARE = wp.constant(REAL(4.0))  # margins; points of polyhedra that are farther apart do not touch
ints = wp.array(dtype=int)
ints2 = wp.array2d(dtype=int)
reals = wp.array(dtype=REAL)
reals2 = wp.array2d(dtype=REAL)
vecs2 = wp.array2d(dtype=VEC2)
vecs3 = wp.array2d(dtype=VEC3)
quats = wp.array2d(dtype=QUAT)


@wp.func
def face(faces: reals2, f: int, size: VEC3):
    """Unit normal and offset of a face of a shape with a size, in its own frame."""
    n = wp.cw_div(three(faces, f, 0), size)
    length = wp.length(n)
    return VEC4(n[0] / length, n[1] / length, n[2] / length, faces[f, 3] / length)


@wp.func
def height(q: VEC4, x: VEC3):
    """Of a point over a face."""
    return q[0] * x[0] + q[1] * x[1] + q[2] * x[2] - q[3]


@wp.func
def cosine(q: VEC4, along: VEC3):
    return q[0] * along[0] + q[1] * along[1] + q[2] * along[2]


@wp.func
def parting(
    faces: reals2,
    vertices: reals2,
    bounds: ints2,
    shape: int,
    other: int,
    size: VEC3,
    size_other: VEC3,
    turned: MAT33,
    away: VEC3,
):
    """Of the faces of a shape that over which another is highest, and how high.

    turned and away: the other's frame in that of the shape.
    """
    best = REAL(-1.0e9)
    found = int(bounds[shape, 2])
    for f in range(bounds[shape, 2], bounds[shape, 3]):
        q = face(faces, f, size)
        n = wp.cw_mul(wp.transpose(turned) * VEC3(q[0], q[1], q[2]), size_other)
        low = REAL(1.0e9)
        for v in range(bounds[other, 0], bounds[other, 1]):
            low = wp.min(low, wp.dot(n, three(vertices, v, 0)))
        low = low + height(q, away)
        if low > best:
            best = low
            found = f
    return VEC2(best, REAL(found))


@wp.func_grad(parting)
def adj_parting(
    faces: reals2,
    vertices: reals2,
    bounds: ints2,
    shape: int,
    other: int,
    size: VEC3,
    size_other: VEC3,
    turned: MAT33,
    away: VEC3,
    slope: VEC2,
):
    """Which face it is has no gradient."""


@wp.func
def steepest(faces: reals2, bounds: ints2, shape: int, size: VEC3, along: VEC3):
    """The cosine above which a face of a shape looks along a direction."""
    best = REAL(-1.0)
    for f in range(bounds[shape, 2], bounds[shape, 3]):
        best = wp.max(best, cosine(face(faces, f, size), along))
    return _ALONG * best


@wp.func_grad(steepest)
def adj_steepest(faces: reals2, bounds: ints2, shape: int, size: VEC3, along: VEC3, slope: REAL):
    """Which faces look has no gradient."""


@wp.kernel
def part(
    solids: ints2,
    slack: reals,
    bounds: ints2,
    extents: reals2,
    vertices: reals2,
    faces: reals2,
    on: ints,
    forms: reals2,
    place: vecs3,
    turn: quats,
    sizes: vecs3,
    along: vecs3,
    apart: vecs3,
):
    """The normal of each pair, into its first; how far apart they are along it, and the `steepest`
    of the first and of the second."""
    e, s = wp.tid()
    one = solids[s, 0]
    two = solids[s, 1]
    a = solids[s, 2]
    b = solids[s, 3]
    p = row(e, sizes.shape[0])
    size = sizes[p, one]
    size_two = sizes[p, two]
    away = geom_place(e, on[one], forms, one, place, turn)
    away = away - geom_place(e, on[two], forms, two, place, turn)
    reach = wp.length(wp.cw_mul(three(extents, a, 0), size)) + slack[s]
    reach = (reach + wp.length(wp.cw_mul(three(extents, b, 0), size_two))) * REAL(1.1)
    apart[e, s] = VEC3(REAL(1.0e9), REAL(0.0), REAL(0.0))
    if wp.dot(away, away) < reach * reach:
        r = geom_turn(e, on[one], forms, one, turn)
        r_two = geom_turn(e, on[two], forms, two, turn)
        to = wp.transpose(r_two) * r
        local = wp.transpose(r_two) * away
        back = -(wp.transpose(r) * away)
        by_two = parting(faces, vertices, bounds, b, a, size_two, size, to, local)
        by_one = parting(faces, vertices, bounds, a, b, size, size_two, wp.transpose(to), back)
        n = VEC3()
        if by_two[0] >= by_one[0]:
            q = face(faces, int(by_two[1]), size_two)
            n = r_two * VEC3(q[0], q[1], q[2])
        else:
            q = face(faces, int(by_one[1]), size)
            n = -(r * VEC3(q[0], q[1], q[2]))
        along[e, s] = n
        apart[e, s] = VEC3(
            wp.max(by_two[0], by_one[0]),
            steepest(faces, bounds, a, size, -(wp.transpose(r) * n)),
            steepest(faces, bounds, b, size_two, wp.transpose(r_two) * n),
        )


@wp.func
def crossed(
    faces: reals2,
    first: int,
    last: int,
    size: VEC3,
    along: VEC3,
    limit: REAL,
    a: VEC3,
    b: VEC3,
):
    """The sides through which the way from a to b enters last and leaves first; `last` for none."""
    enters = REAL(0.0)
    leaves = REAL(1.0)
    by = int(last)
    out = int(last)
    for f in range(first, last):
        q = face(faces, f, size)
        if cosine(q, along) <= limit:
            before = height(q, a)
            step = height(q, b) - before
            at = -before / step
            if step <= REAL(-1.0e-9) and at > enters:
                enters = at
                by = f
            if step >= REAL(1.0e-9) and at < leaves:
                leaves = at
                out = f
    return wp.vec2i(by, out)


@wp.func_grad(crossed)
def adj_crossed(
    faces: reals2,
    first: int,
    last: int,
    size: VEC3,
    along: VEC3,
    limit: REAL,
    a: VEC3,
    b: VEC3,
    slope: wp.vec2i,
):
    """Which sides they are has no gradient."""


@wp.func
def cut(faces: reals2, f: int, last: int, size: VEC3, a: VEC3, b: VEC3, otherwise: REAL):
    """Where the way from a to b crosses a face, 0..1."""
    share = REAL(otherwise)
    if f < last:
        q = face(faces, f, size)
        before = height(q, a)
        share = wp.clamp(-before / (height(q, b) - before), REAL(0.0), REAL(1.0))
    return share


@wp.func
def bounding(faces: reals2, first: int, last: int, size: VEC3, along: VEC3, limit: REAL, x: VEC3):
    """Of the faces that look along that below which x is least deep, and of the others that beyond
    which it is farthest; `last` where it is within all."""
    least = REAL(1.0e9)
    most = REAL(0.0)
    below = int(first)
    side = int(last)
    for f in range(first, last):
        q = face(faces, f, size)
        looks = cosine(q, along)
        over = height(q, x)
        if looks > limit:
            if -over / looks < least:
                least = -over / looks
                below = f
        elif over > most:
            most = over
            side = f
    return wp.vec2i(below, side)


@wp.func_grad(bounding)
def adj_bounding(
    faces: reals2,
    first: int,
    last: int,
    size: VEC3,
    along: VEC3,
    limit: REAL,
    x: VEC3,
    slope: wp.vec2i,
):
    """Which faces they are has no gradient."""


@wp.func
def touching(
    faces: reals2,
    first: int,
    last: int,
    size: VEC3,
    along: VEC3,
    limit: REAL,
    fade: REAL,
    a: VEC3,
    b: VEC3,
    edge: int,
):
    """Where a vertex a, or the edge from a to b, touches a shape, all in the frame of the shape:
    the point, and (depth, weight)."""
    x = a
    weight = REAL(1.0)
    if edge >= 0:
        f = crossed(faces, first, last, size, along, limit, a, b)
        enters = cut(faces, f[0], last, size, a, b, REAL(0.0))
        leaves = cut(faces, f[1], last, size, a, b, REAL(1.0))
        x = a + (REAL(0.5) * (enters + leaves)) * (b - a)
        weight = (leaves - enters) * wp.length(b - a) / fade
        weight = wp.clamp(weight, REAL(0.0), REAL(1.0))
    at = bounding(faces, first, last, size, along, limit, x)
    q = face(faces, at[0], size)
    depth = -height(q, x) / cosine(q, along)
    if at[1] < last:
        away = height(face(faces, at[1], size), x)
        weight = weight * wp.clamp(REAL(1.0) - away / fade, REAL(0.0), REAL(1.0))
    return x, VEC2(depth, weight)


@wp.kernel
def touch(
    probes: ints2,
    points: ints2,
    corners: reals2,
    bounds: ints2,
    extents: reals2,
    vertices: reals2,
    faces: reals2,
    on: ints,
    forms: reals2,
    place: vecs3,
    turn: quats,
    sizes: vecs3,
    along: vecs3,
    apart: vecs3,
    arm: vecs3,
    normal: vecs3,
    depth: vecs2,
):
    """Where vertices and edges touch, as the `touch` of the ground has it."""
    e, k = wp.tid()
    c = probes[k, 0]
    g = points[c, 4]
    s = points[c, 5]
    p = row(e, sizes.shape[0])
    size = sizes[p, s]
    shape = probes[k, 4]
    fade = _MARGIN * wp.length(wp.cw_mul(three(extents, shape, 3), size))
    one = probes[k, 2]
    if apart[e, probes[k, 1]][0] < corners[c, 3] + _SPARE * fade:
        r = geom_turn(e, on[s], forms, s, turn)
        base = geom_place(e, on[s], forms, s, place, turn)
        back = wp.transpose(r)
        body = back * geom_turn(e, on[g], forms, g, turn)
        middle = back * (geom_place(e, on[g], forms, g, place, turn) - base)
        n = REAL(2 * one - 1) * along[e, probes[k, 1]]
        v = wp.max(probes[k, 6], 0)
        a = middle + body * wp.cw_mul(three(vertices, probes[k, 5], 0), sizes[p, g])
        b = middle + body * wp.cw_mul(three(vertices, v, 0), sizes[p, g])
        first = bounds[shape, 2]
        last = bounds[shape, 3]
        limit = apart[e, probes[k, 1]][1 + one]  # of the other
        x, found = touching(faces, first, last, size, back * n, limit, fade, a, b, probes[k, 6])
        at = base + r * x + (REAL(0.5) * found[0]) * n
        arm[e, c] = at - place[e, points[c, 12]]
        normal[e, c] = REAL(points[c, 8]) * n
        depth[e, c] = VEC2(found[0] + corners[c, 3], found[1])
