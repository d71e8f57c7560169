# mypy: ignore-errors
"""Contacts of articulated bodies as Warp kernels; see `surfaces.py` and `contact.py`.

Loaded once for each precision by `reverie.physics.kernels.load`.
Legend: `B` worlds, `L` links, `G` geoms, `P` pairs, `C` points that may touch.
"""

import warp as wp

from reverie.physics.kernels import beside, chosen
from reverie.physics.rigid import tables

_types = chosen()
REAL, VEC3, VEC4 = _types.scalar, _types.vec3, _types.vec4
MAT33, QUAT, VEC6 = _types.mat33, _types.quat, _types.vec6
_algebra = beside("reverie.physics.rigid.algebra.kernels")
bottom, four, join = _algebra.bottom, _algebra.four, _algebra.join
row, three, top = _algebra.row, _algebra.three, _algebra.top
VEC2 = _algebra.VEC2
_PLANE, _FIELD, _SPHERE, _CAPSULE = (
    wp.constant(tables.SHAPES.index(k)) for k in ("plane", "field", "sphere", "capsule")
)
_ELLIPSOID, _CYLINDER = (wp.constant(tables.SHAPES.index(k)) for k in ("ellipsoid", "cylinder"))
ints2 = wp.array2d(dtype=int)
reals = wp.array(dtype=REAL)
reals2 = wp.array2d(dtype=REAL)
vecs2 = wp.array2d(dtype=VEC2)
vecs3 = wp.array2d(dtype=VEC3)
vecs6 = wp.array2d(dtype=VEC6)
quats = wp.array2d(dtype=QUAT)


@wp.func
def geom_place(e: int, link: int, forms: reals2, g: int, place: vecs3, turn: quats):
    p = three(forms, g, 0)
    if link >= 0:
        p = place[e, link] + wp.quat_rotate(turn[e, link], p)
    return p


@wp.func
def geom_turn(e: int, link: int, forms: reals2, g: int, turn: quats):
    r = four(forms, g, 3)
    if link >= 0:
        r = turn[e, link] * r
    return wp.quat_to_matrix(r)


@wp.func
def point_of(kind: int, r: MAT33, size: VEC3, corner: VEC3, up: VEC3):
    """A point of a shape that may touch, from its middle, and its radius."""
    at = r * wp.cw_mul(corner, size)
    radius = REAL(0.0)
    axis = VEC3(r[0, 2], r[1, 2], r[2, 2])
    if kind == _SPHERE:
        radius = size[0]
        at = VEC3()
    elif kind == _CAPSULE:
        radius = size[0]
        at = (corner[2] * size[1]) * axis  # 0 where it is found by `nearest`
    elif kind == _CYLINDER:
        side = VEC3(r[0, 0], r[1, 0], r[2, 0])
        down = wp.dot(up, axis) * axis - up + REAL(1.0e-4) * side
        down = wp.normalize(down - wp.dot(down, axis) * axis)  # rounding leaves some along the axis
        across = wp.cross(axis, down)
        at = (corner[0] * size[1]) * axis
        at = at + size[0] * (corner[1] * down + corner[2] * across)
    elif kind == _ELLIPSOID:
        down = wp.cw_mul(wp.transpose(r) * (-up), size)
        at = r * wp.cw_mul(size, wp.normalize(down))
    return VEC4(at[0], at[1], at[2], radius)


@wp.func
def project(base: VEC3, along: VEC3, size: VEC3, share: REAL):
    """One step to and fro between the axis of a capsule and a box."""
    at = base + share * along
    near = wp.min(wp.max(at, -size), size)
    found = wp.dot(near - base, along) / wp.dot(along, along)
    return wp.clamp(found, REAL(-1.0), REAL(1.0))


@wp.func
def nearest(kind: int, away: VEC3, along: VEC3, r: MAT33, size: VEC3):
    """Where on the axis of a capsule, -1..1 of `along`, it is nearest to a capsule or a box.

    `away` is its middle from that of the other, r and size are those of the other.
    """
    one = REAL(1.0)
    share = REAL(0.0)
    if kind == _CAPSULE:
        two = VEC3(r[0, 2], r[1, 2], r[2, 2]) * size[1]
        a = wp.dot(along, along)
        b = wp.dot(along, two)
        c = wp.dot(along, away)
        f = wp.dot(two, away)
        q = wp.dot(two, two)
        s = wp.clamp((b * f - c * q) / (a * q - b * b + REAL(1.0e-9) * a * q), -one, one)
        t = wp.clamp((b * s + f) / q, -one, one)
        share = wp.clamp((b * t - c) / a, -one, one)
    else:
        base = wp.transpose(r) * away
        to = wp.transpose(r) * along
        s0 = project(base, to, size, REAL(0.0))
        s1 = project(base, to, size, s0)
        s2 = project(base, to, size, s1)
        s3 = project(base, to, size, s2)
        s4 = project(base, to, size, s3)
        s5 = project(base, to, size, s4)
        s6 = project(base, to, size, s5)
        share = project(base, to, size, s6)
    return share


@wp.func
def over_field(x: VEC3, size: VEC3, heights: reals, start: int, rows: int, columns: int):
    """Normal and distance of a point to a height field."""
    cu = REAL(columns - 1)
    cv = REAL(rows - 1)
    u = (x[0] / size[0] + REAL(1.0)) * REAL(0.5) * cu
    v = (x[1] / size[1] + REAL(1.0)) * REAL(0.5) * cv
    i = wp.clamp(int(wp.floor(u)), 0, columns - 2)
    j = wp.clamp(int(wp.floor(v)), 0, rows - 2)
    u = u - REAL(i)
    v = v - REAL(j)
    k = start + j * columns + i
    h00 = heights[k] * size[2]
    h01 = heights[k + 1] * size[2]
    h10 = heights[k + columns] * size[2]
    h11 = heights[k + columns + 1] * size[2]
    one = REAL(1.0)
    height = (one - v) * ((one - u) * h00 + u * h01) + v * ((one - u) * h10 + u * h11)
    su = ((one - v) * (h01 - h00) + v * (h11 - h10)) * cu / (REAL(2.0) * size[0])
    sv = ((one - u) * (h10 - h00) + u * (h11 - h01)) * cv / (REAL(2.0) * size[1])
    n = wp.normalize(VEC3(-su, -sv, one))
    distance = (x[2] - height) * n[2]
    if wp.abs(x[0]) > size[0] or wp.abs(x[1]) > size[1]:
        distance = REAL(1.0e3)
    return VEC4(n[0], n[1], n[2], distance)


@wp.func
def from_box(x: VEC3, size: VEC3):
    """Normal and distance of a point to a box."""
    near = wp.min(wp.max(x, -size), size)
    away = x - near
    square = wp.dot(away, away)
    out = VEC4()
    if square > REAL(0.0):
        length = wp.sqrt(square)
        out = VEC4(away[0] / length, away[1] / length, away[2] / length, length)
    else:
        fx = wp.abs(x[0]) - size[0]
        fy = wp.abs(x[1]) - size[1]
        fz = wp.abs(x[2]) - size[2]
        o = REAL(0.0)
        if fx >= fy and fx >= fz:
            out = VEC4(wp.where(x[0] < o, REAL(-1.0), REAL(1.0)), o, o, fx)
        elif fy >= fz:
            out = VEC4(o, wp.where(x[1] < o, REAL(-1.0), REAL(1.0)), o, fy)
        else:
            out = VEC4(o, o, wp.where(x[2] < o, REAL(-1.0), REAL(1.0)), fz)
    return out


@wp.func
def signed(kind: int, away: VEC3, r: MAT33, size: VEC3, heights: reals, form: wp.vec3i):
    """Normal, in the world, and distance of a point `away` from the middle of a surface."""
    axis = VEC3(r[0, 2], r[1, 2], r[2, 2])
    n = axis
    distance = wp.dot(away, axis)
    if kind == _SPHERE or kind == _CAPSULE:
        a = away
        if kind == _CAPSULE:
            a = away - wp.clamp(distance, -size[1], size[1]) * axis
        length = wp.sqrt(wp.max(wp.dot(a, a), REAL(1.0e-24)))
        n = a / length
        distance = length - size[0]
    elif kind != _PLANE:
        local = wp.transpose(r) * away
        found = VEC4()
        if kind == _FIELD:
            found = over_field(local, size, heights, form[0], form[1], form[2])
        else:
            found = from_box(local, size)
        n = r * VEC3(found[0], found[1], found[2])
        distance = found[3]
    return VEC4(n[0], n[1], n[2], distance)


@wp.kernel
def touch(
    points: ints2,
    corners: reals2,
    on: wp.array(dtype=int),
    forms: reals2,
    heights: reals,
    place: vecs3,
    turn: quats,
    sizes: vecs3,
    arm: vecs3,
    normal: vecs3,
    depth: vecs2,
    gain: vecs3,
    pressing_only: int,
):
    """Where points may touch, from the O of the body that moves; corners: corner and margin.

    depth: with the weight, here 1. Points of polyhedra are left to the kernels of solids, and on
    the way back those that press nothing, whose gradient is zero.
    """
    e, c = wp.tid()
    if points[c, 6] < 0:
        return
    if pressing_only == 1 and gain[e, c][1] <= REAL(0.0):
        return
    g = points[c, 4]
    s = points[c, 5]
    p = row(e, sizes.shape[0])
    r = geom_turn(e, on[s], forms, s, turn)
    up = VEC3(r[0, 2], r[1, 2], r[2, 2])
    body = geom_turn(e, on[g], forms, g, turn)
    probe = point_of(points[c, 6], body, sizes[p, g], three(corners, c, 0), up)
    middle = geom_place(e, on[g], forms, g, place, turn)
    base = geom_place(e, on[s], forms, s, place, turn)
    at = middle + VEC3(probe[0], probe[1], probe[2])
    if points[c, 6] == _CAPSULE and corners[c, 2] == REAL(0.0):
        along = VEC3(body[0, 2], body[1, 2], body[2, 2]) * sizes[p, g][1]
        at = middle + along * nearest(points[c, 7], middle - base, along, r, sizes[p, s])
    away = at - base
    form = wp.vec3i(points[c, 9], points[c, 10], points[c, 11])
    found = signed(points[c, 7], away, r, sizes[p, s], heights, form)
    n = VEC3(found[0], found[1], found[2])
    deep = probe[3] - found[3]
    at = at - (probe[3] - REAL(0.5) * deep) * n
    arm[e, c] = at - place[e, points[c, 12]]
    normal[e, c] = REAL(points[c, 8]) * n
    depth[e, c] = VEC2(deep + corners[c, 3], REAL(1.0))


@wp.func
def pressing(p: VEC3, depth: VEC2, n: VEC3, speed: VEC3, lightness: REAL, law: VEC3):
    """(gamma, gain along n, k d) of a point, 0 where it is not active.

    p is (friction, stiffness, damping), depth with the weight of the point, law (dt, slip,
    transition), lightness 1 / mass or 0.
    """
    dt = law[0]
    u = wp.dot(speed, n)
    deep = depth[0] - dt * u
    k = depth[1] * p[1]
    damping = depth[1] * p[2] * wp.clamp(deep / law[2], REAL(0.0), REAL(1.0))
    force = k * deep - damping * u
    found = VEC3()
    if deep > REAL(0.0) and force > REAL(0.0):
        stiff = dt * k + damping
        slide = speed - u * n
        slip = wp.sqrt(wp.max(wp.dot(slide, slide), law[1] * law[1]))
        if lightness > REAL(0.0):
            force = k * depth[0] - stiff * u / (REAL(1.0) + dt * stiff * lightness)
            force = wp.max(force, REAL(0.0))
        found = VEC3(p[0] * force / slip, stiff, k * depth[0])
    return found


@wp.kernel
def press(
    first: int,
    points: ints2,
    arm: vecs3,
    normal: vecs3,
    depth: vecs2,
    motion: vecs6,
    acceleration: vecs6,
    gravity: wp.array(dtype=VEC3),
    mass: reals2,
    contacts: vecs3,
    law: VEC3,
    gain: vecs3,
):
    """The law at a guess of the velocities."""
    e, c = wp.tid()
    m = motion[e, points[c, 2]]
    lightness = REAL(0.0)
    if first == 0:
        fall = join(VEC3(), gravity[row(e, gravity.shape[0])])
        m = m + law[0] * (acceleration[e, points[c, 1]] + fall)
    else:
        lightness = REAL(1.0) / mass[row(e, mass.shape[0]), points[c, 3]]
    speed = bottom(m) + wp.cross(top(m), arm[e, c])
    if depth[e, c][0] > law[0] * wp.dot(speed, normal[e, c]):  # else 0, without an adjoint
        p = contacts[row(e, contacts.shape[0]), points[c, 0]]
        gain[e, c] = pressing(p, depth[e, c], normal[e, c], speed, lightness, law)
