# mypy: ignore-errors
"""What particles and nodes give each other, as functions of Warp with adjoints by hand.

    scatter: (m u, m)_i += w_i (p + A o_i, m),      o_i = dx (i - f)
    gather:  u = sum_i w_i u_i,  A = sum_i w_i u_i (i - f)^T

w are quadratic B-splines, f in 0.5 .. 1.5 is where a particle is from the first of its 27 nodes,
in units of dx. Each is the other's adjoint but for f, so both adjoints are one loop over the nodes:
what Warp derives carries each product of the innermost loop, in twice the time. Offsets are counted
from the middle node, where the first and the third differ in sign alone. Products with `one` make
values of references, which no second turn of an unrolled loop could assign.
"""

import warp as wp

from reverie.physics.kernels import chosen

_types = chosen()
REAL, VEC3, VEC4, MAT33 = _types.scalar, _types.vec3, _types.vec4, _types.mat33


@wp.func
def bspline(f: REAL):
    """Weights of three nodes."""
    return VEC3(
        REAL(0.5) * (REAL(1.5) - f) * (REAL(1.5) - f),
        REAL(0.75) - (f - REAL(1.0)) * (f - REAL(1.0)),
        REAL(0.5) * (f - REAL(0.5)) * (f - REAL(0.5)),
    )


@wp.func
def steepness(f: REAL):
    """How the weights change with f."""
    return VEC3(f - REAL(1.5), REAL(-2.0) * (f - REAL(1.0)), f - REAL(0.5))


@wp.func
def corner(x: VEC3):
    """The first of the three nodes a particle reaches along each axis; x in units of dx."""
    half = REAL(0.5)
    return wp.vec3i(
        int(wp.floor(x[0] - half)), int(wp.floor(x[1] - half)), int(wp.floor(x[2] - half))
    )


@wp.func
def first_cell(low: wp.vec3i, origin: wp.vec3i, size: wp.vec3i):
    """Where the first node is in a box that begins at `origin`."""
    o = low - origin
    return (o[0] * size[1] + o[1]) * size[2] + o[2]


@wp.func
def column(a: MAT33, k: int, below: REAL):
    """`(a_k, below)`."""
    return VEC4(a[0, k], a[1, k], a[2, k], below)


@wp.func
def middle(f: VEC3):
    return f - VEC3(REAL(1.0), REAL(1.0), REAL(1.0))


@wp.func
def upper(a: VEC4):
    return VEC3(a[0], a[1], a[2])


@wp.func
def scatter(
    grid: wp.array2d(dtype=VEC4),
    e: int,
    first: int,
    size: wp.vec3i,
    f: VEC3,
    momentum: VEC3,
    edge: MAT33,
    mass: REAL,
):
    """Add a particle to the nodes of world e; `edge` is A dx."""
    wx, wy, wz = bspline(f[0]), bspline(f[1]), bspline(f[2])
    p = momentum - edge * middle(f)
    centre = VEC4(p[0], p[1], p[2], mass)
    zero = REAL(0.0)
    ax, ay, az = column(edge, 0, zero), column(edge, 1, zero), column(edge, 2, zero)
    for i in range(3):
        for j in range(3):
            w = wx[i] * wy[j]
            u = centre + REAL(float(i - 1)) * ax + REAL(float(j - 1)) * ay
            cell = first + (i * size[1] + j) * size[2]
            wp.atomic_add(grid, e, cell, (w * wz[0]) * (u - az))
            wp.atomic_add(grid, e, cell + 1, (w * wz[1]) * u)
            wp.atomic_add(grid, e, cell + 2, (w * wz[2]) * (u + az))
    return 0


@wp.func_replay(scatter)
def again_scatter(
    grid: wp.array2d(dtype=VEC4),
    e: int,
    first: int,
    size: wp.vec3i,
    f: VEC3,
    momentum: VEC3,
    edge: MAT33,
    mass: REAL,
):
    """The grid is there on the way back."""
    return 0


@wp.func_grad(scatter)
def adj_scatter(
    grid: wp.array2d(dtype=VEC4),
    e: int,
    first: int,
    size: wp.vec3i,
    f: VEC3,
    momentum: VEC3,
    edge: MAT33,
    mass: REAL,
    slope: int,
):
    wx, wy, wz = bspline(f[0]), bspline(f[1]), bspline(f[2])
    sx, sy, sz = steepness(f[0]), steepness(f[1]), steepness(f[2])
    p = momentum - edge * middle(f)
    centre = VEC4(p[0], p[1], p[2], mass)
    zero, one = REAL(0.0), REAL(1.0)
    ax, ay, az = column(edge, 0, zero), column(edge, 1, zero), column(edge, 2, zero)
    total, of_x, of_y, of_z = VEC4(), VEC4(), VEC4(), VEC4()
    fx, fy, fz = REAL(0.0), REAL(0.0), REAL(0.0)
    for i in range(3):
        for j in range(3):
            oi, oj, w = REAL(float(i - 1)), REAL(float(j - 1)), wx[i] * wy[j]
            u = centre + oi * ax + oj * ay
            cell = first + (i * size[1] + j) * size[2]
            h0 = one * wp.adjoint[grid][e, cell]
            h1 = one * wp.adjoint[grid][e, cell + 1]
            h2 = one * wp.adjoint[grid][e, cell + 2]
            t0, t1, t2 = wp.dot(h0, u - az), wp.dot(h1, u), wp.dot(h2, u + az)
            g0, g2 = wz[0] * h0, wz[2] * h2
            row = w * (g0 + wz[1] * h1 + g2)
            t = wz[0] * t0 + wz[1] * t1 + wz[2] * t2
            total += row
            of_x += oi * row
            of_y += oj * row
            of_z += w * (g2 - g0)
            fx += sx[i] * wy[j] * t
            fy += wx[i] * sy[j] * t
            fz += w * (sz[0] * t0 + sz[1] * t1 + sz[2] * t2)
    own, m = upper(total), middle(f)
    wp.adjoint[momentum] += own
    wp.adjoint[mass] += total[3]
    wp.adjoint[edge] += wp.matrix_from_cols(upper(of_x), upper(of_y), upper(of_z)) - wp.outer(
        own, m
    )
    wp.adjoint[f] += VEC3(fx, fy, fz) - wp.transpose(edge) * own


@wp.func
def gather(velocity: wp.array2d(dtype=VEC3), e: int, first: int, size: wp.vec3i, f: VEC3):
    """u, and A."""
    wx, wy, wz = bspline(f[0]), bspline(f[1]), bspline(f[2])
    total, ax, ay, az = VEC3(), VEC3(), VEC3(), VEC3()
    for i in range(3):
        for j in range(3):
            w = wx[i] * wy[j]
            cell = first + (i * size[1] + j) * size[2]
            u0, u2 = wz[0] * velocity[e, cell], wz[2] * velocity[e, cell + 2]
            row = w * (u0 + wz[1] * velocity[e, cell + 1] + u2)
            total += row
            ax += REAL(float(i - 1)) * row
            ay += REAL(float(j - 1)) * row
            az += w * (u2 - u0)
    return total, wp.matrix_from_cols(ax, ay, az) - wp.outer(total, middle(f))


@wp.func_grad(gather)
def adj_gather(
    velocity: wp.array2d(dtype=VEC3),
    e: int,
    first: int,
    size: wp.vec3i,
    f: VEC3,
    speed: VEC3,
    rate: MAT33,
):
    """`speed` and `rate` are the slopes of u and A."""
    wx, wy, wz = bspline(f[0]), bspline(f[1]), bspline(f[2])
    sx, sy, sz = steepness(f[0]), steepness(f[1]), steepness(f[2])
    centre = speed - rate * middle(f)
    ax = VEC3(rate[0, 0], rate[1, 0], rate[2, 0])
    ay = VEC3(rate[0, 1], rate[1, 1], rate[2, 1])
    az = VEC3(rate[0, 2], rate[1, 2], rate[2, 2])
    total, one = VEC3(), REAL(1.0)
    fx, fy, fz = REAL(0.0), REAL(0.0), REAL(0.0)
    for i in range(3):
        for j in range(3):
            w = wx[i] * wy[j]
            u = centre + REAL(float(i - 1)) * ax + REAL(float(j - 1)) * ay
            cell = first + (i * size[1] + j) * size[2]
            v0 = one * velocity[e, cell]
            v1 = one * velocity[e, cell + 1]
            v2 = one * velocity[e, cell + 2]
            t0, t1, t2 = wp.dot(v0, u - az), wp.dot(v1, u), wp.dot(v2, u + az)
            wp.adjoint[velocity][e, cell] += (w * wz[0]) * (u - az)
            wp.adjoint[velocity][e, cell + 1] += (w * wz[1]) * u
            wp.adjoint[velocity][e, cell + 2] += (w * wz[2]) * (u + az)
            t = wz[0] * t0 + wz[1] * t1 + wz[2] * t2
            total += w * (wz[0] * v0 + wz[1] * v1 + wz[2] * v2)
            fx += sx[i] * wy[j] * t
            fy += wx[i] * sy[j] * t
            fz += w * (sz[0] * t0 + sz[1] * t1 + sz[2] * t2)
    wp.adjoint[f] += VEC3(fx, fy, fz) - wp.transpose(rate) * total
