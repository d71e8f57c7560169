# mypy: ignore-errors
"""Spatial algebra for the kernels of articulated bodies; see `spatial.py` for the definitions.

Loaded once for each precision by `reverie.physics.kernels.load`.
"""

import warp as wp

from reverie.physics.kernels import chosen

_types = chosen()
REAL, VEC3, MAT33 = _types.scalar, _types.vec3, _types.mat33
QUAT, VEC6, MAT66 = _types.quat, _types.vec6, _types.mat66
VEC2 = wp.types.vector(2, REAL)
reals2 = wp.array2d(dtype=REAL)


@wp.func
def row(e: int, rows: int):
    """Parameters have one row for all worlds, or one for each."""
    return wp.min(e, rows - 1)


@wp.func
def join(a: VEC3, b: VEC3):
    return VEC6(a[0], a[1], a[2], b[0], b[1], b[2])


@wp.func
def top(m: VEC6):
    return VEC3(m[0], m[1], m[2])


@wp.func
def bottom(m: VEC6):
    return VEC3(m[3], m[4], m[5])


@wp.func
def three(x: reals2, i: int, j: int):
    return VEC3(x[i, j], x[i, j + 1], x[i, j + 2])


@wp.func
def four(x: reals2, i: int, j: int):
    """A quaternion wxyz, as Warp has it."""
    return QUAT(x[i, j + 1], x[i, j + 2], x[i, j + 3], x[i, j])


@wp.func
def blocks(central: MAT33, c: VEC3, m: REAL):
    """The spatial inertia of a mass m at c with `central` about c."""
    k = wp.skew(c)
    a = central + m * (k * wp.transpose(k))
    x = m * c[0]
    y = m * c[1]
    z = m * c[2]
    o = REAL(0.0)
    return MAT66(
        a[0, 0], a[0, 1], a[0, 2], o, -z, y,
        a[1, 0], a[1, 1], a[1, 2], z, o, -x,
        a[2, 0], a[2, 1], a[2, 2], -y, x, o,
        o, z, -y, m, o, o,
        -z, o, x, o, m, o,
        y, -x, o, o, o, m,
    )  # fmt: skip


@wp.func
def about(axis: VEC3, angle: REAL):
    s = wp.sin(angle * REAL(0.5))
    return QUAT(s * axis[0], s * axis[1], s * axis[2], wp.cos(angle * REAL(0.5)))


@wp.func
def exponential(w: VEC3):
    square = wp.dot(w, w)
    real = REAL(1.0) - square / REAL(8.0) + square * square / REAL(384.0)
    factor = REAL(0.5) - square / REAL(48.0) + square * square / REAL(3840.0)
    real = real - square * square * square / REAL(46080.0)
    factor = factor - square * square * square / REAL(645120.0)
    if square > REAL(1.0e-3):
        angle = wp.sqrt(square)
        real = wp.cos(angle * REAL(0.5))
        factor = wp.sin(angle * REAL(0.5)) / angle
    return QUAT(factor * w[0], factor * w[1], factor * w[2], real)


@wp.func
def cross_motion(m: VEC6, n: VEC6):
    w = top(m)
    return join(wp.cross(w, top(n)), wp.cross(w, bottom(n)) + wp.cross(bottom(m), top(n)))
