# mypy: ignore-errors
"""Signed distances and turns of tools, for the kernels of every material that meets them."""

import warp as wp

from reverie.physics.kernels import chosen

_types = chosen()
REAL, VEC3, VEC4 = _types.scalar, _types.vec3, _types.vec4
QUAT, VEC6 = _types.quat, _types.vec6

PLANE = wp.constant(0)
SPHERE = wp.constant(1)
CAPSULE = wp.constant(2)
BOX = wp.constant(3)
CYLINDER = wp.constant(4)


@wp.func
def inside_box(y: VEC3, h: VEC3):
    """Signed distance of y to a box of half widths h, and its gradient."""
    q = VEC3(wp.abs(y[0]), wp.abs(y[1]), wp.abs(y[2])) - h
    side = VEC3(wp.sign(y[0]), wp.sign(y[1]), wp.sign(y[2]))
    out = VEC3(wp.max(q[0], REAL(0.0)), wp.max(q[1], REAL(0.0)), wp.max(q[2], REAL(0.0)))
    far = wp.dot(out, out)
    phi = REAL(0.0)
    n = VEC3()
    if far > REAL(0.0):
        phi = wp.sqrt(far)
        n = wp.cw_mul(side, out) / phi
    elif q[0] >= q[1] and q[0] >= q[2]:
        phi = q[0]
        n = VEC3(side[0], REAL(0.0), REAL(0.0))
    elif q[1] >= q[2]:
        phi = q[1]
        n = VEC3(REAL(0.0), side[1], REAL(0.0))
    else:
        phi = q[2]
        n = VEC3(REAL(0.0), REAL(0.0), side[2])
    return VEC4(n[0], n[1], n[2], phi)


@wp.func
def distance(kind: int, y: VEC3, size: VEC3):
    """Outward normal and signed distance of y, in a shape's own frame.

    Plane: z = 0. Sphere: radius. Capsule, cylinder: radius, half length along z. Box: half widths.
    """
    result = VEC4(REAL(0.0), REAL(0.0), REAL(1.0), y[2])
    if kind == SPHERE or kind == CAPSULE:
        c = y
        if kind == CAPSULE:
            c = VEC3(y[0], y[1], y[2] - wp.clamp(y[2], -size[1], size[1]))
        r = wp.length(c) + REAL(1.0e-12)
        n = c / r
        result = VEC4(n[0], n[1], n[2], r - size[0])
    elif kind == BOX:
        result = inside_box(y, size)
    elif kind == CYLINDER:
        r = wp.sqrt(y[0] * y[0] + y[1] * y[1]) + REAL(1.0e-12)
        flat = inside_box(VEC3(r, REAL(0.0), y[2]), VEC3(size[0], REAL(1.0e9), size[1]))
        result = VEC4(flat[0] * y[0] / r, flat[0] * y[1] / r, flat[2], flat[3])
    return result


@wp.func
def turned(r: QUAT, w: VEC3, dt: REAL):
    """The rotation after turning with w for dt, to first order."""
    spin = QUAT(w[0], w[1], w[2], REAL(0.0)) * r
    return wp.normalize(r + (REAL(0.5) * dt) * spin)


def move(
    place: wp.array2d(dtype=VEC3),
    turn: wp.array2d(dtype=QUAT),
    linear: wp.array2d(dtype=VEC3),
    angular: wp.array2d(dtype=VEC3),
    total: wp.array2d(dtype=VEC6),
    impulse: wp.array2d(dtype=VEC6),
    dt: REAL,
    place_next: wp.array2d(dtype=VEC3),
    turn_next: wp.array2d(dtype=QUAT),
    total_next: wp.array2d(dtype=VEC6),
):
    """Tools go on, and what they got is added up; a solver makes a kernel of its own of it."""
    e, k = wp.tid()
    place_next[e, k] = place[e, k] + dt * linear[e, k]
    turn_next[e, k] = turned(turn[e, k], angular[e, k], dt)
    total_next[e, k] = total[e, k] + impulse[e, k]
