# mypy: ignore-errors
"""The gradient of the velocities after a step, as Warp kernels that solve once more.

With the Jacobians J of bodies, a = J x + c their accelerations and x the rates of the axes, a pass
of `inward` and `outward` solves

    R = t - D x - J^T (A a + P) = 0,       v' = v + dt x

A: inertias and dt G of contacts; P: forces; t, D: torques and diagonals of the axes. For a loss L
with gradients g to x and h to a, the adjoint solves the same symmetric system, y for x, w for a:

    (D + J^T A J) y = g + J^T h,           w = J y
    dL = h . da|x + y . dR = y . (dt - dD x - dJ^T f) - w . (dA a + dP) + (h - A w) . (dJ x + dc)

with f = A a + P, so that what `inward` has factored is used again and no factor has a gradient of
its own: a third of the work. (The implicit function theorem; the tree of Featherstone 2008, ch. 7.)

Loaded once for each precision by `reverie.physics.kernels.load`.
Legend: `B` worlds, `L` links, `V` axes, `C` points.
"""

import warp as wp

from reverie.physics.kernels import beside, chosen
from reverie.physics.rigid import tables

_types = chosen()
REAL, VEC3, VEC6, MAT66 = _types.scalar, _types.vec3, _types.vec6, _types.mat66
_algebra = beside("reverie.physics.rigid.algebra.kernels")
VEC2 = _algebra.VEC2
bottom, join, row, top = _algebra.bottom, _algebra.join, _algebra.row, _algebra.top
_BODIES, _CHILDREN = (wp.constant(k) for k in (tables.BODIES, tables.CHILDREN))
ints = wp.array(dtype=int)
ints2 = wp.array2d(dtype=int)
vecs = wp.array(dtype=VEC3)
reals2 = wp.array2d(dtype=REAL)
vecs2 = wp.array2d(dtype=VEC2)
vecs3 = wp.array2d(dtype=VEC3)
vecs6 = wp.array2d(dtype=VEC6)
mats = wp.array2d(dtype=MAT66)


@wp.kernel(enable_backward=False)
def gather(
    axes: ints2,
    lists: ints,
    subspace: vecs6,
    reach: vecs6,
    pivot: vecs2,
    dt: REAL,
    of_acceleration: vecs6,
    of_fast: reals2,
    onward: vecs6,
    rests: vecs2,
    of_v: reals2,
):
    """What y solves for, the last axis first: `onward` is as `passed`, `rests` as `pivot`."""
    e = wp.tid()
    n = axes.shape[0]
    for j in range(n):
        d = n - 1 - j
        g = of_fast[e, d]
        of_v[e, d] = of_v[e, d] + g
        p = -of_acceleration[e, d]
        for i in range(axes[d, _CHILDREN], axes[d, _CHILDREN + 1]):
            p = p + onward[e, lists[i]]
        rest = dt * g - wp.dot(subspace[e, d], p)
        rests[e, d] = VEC2(REAL(0.0), rest)
        onward[e, d] = p + reach[e, d] * (rest / pivot[e, d][0])


@wp.kernel(enable_backward=False)
def spread(
    axes: ints2,
    subspace: vecs6,
    drift: vecs6,
    gravity: vecs,
    left: mats,
    reach: vecs6,
    passed: vecs6,
    pivot: vecs2,
    acceleration: vecs6,
    onward: vecs6,
    rests: vecs2,
    bodily: vecs6,
    of_subspace: vecs6,
    of_drift: vecs6,
    of_drives: vecs2,
    of_gravity: vecs,
):
    """y and w (`bodily`), the first axis first, and what they are for the axes themselves."""
    e = wp.tid()
    total = VEC3()
    for d in range(axes.shape[0]):
        parent = axes[d, 0]
        joint = axes[d, 3]
        a = join(VEC3(), -gravity[row(e, gravity.shape[0])])
        w = VEC6()
        if parent >= 0:
            a = acceleration[e, parent]
            w = bodily[e, parent]
        force = left[e, d] * a + passed[e, d]
        push = left[e, d] * w + onward[e, d]  # -(h - A w) of all that this axis carries
        if joint >= 0:
            a = a + drift[e, joint]
            of_drift[e, joint] = of_drift[e, joint] - push
        if parent < 0:
            total = total + bottom(push)
        x = (pivot[e, d][1] - wp.dot(reach[e, d], a)) / pivot[e, d][0]
        y = (rests[e, d][1] - wp.dot(reach[e, d], w)) / pivot[e, d][0]
        bodily[e, d] = w + subspace[e, d] * y
        of_drives[e, d] = of_drives[e, d] + VEC2(y, -y * x)
        of_subspace[e, d] = of_subspace[e, d] - y * force - x * push
    if of_gravity.shape[0] > 0:
        wp.atomic_add(of_gravity, row(e, of_gravity.shape[0]), total)


@wp.kernel(enable_backward=False)
def weigh(
    axes: ints2, lists: ints, acceleration: vecs6, bodily: vecs6, of_inertia: mats, of_bias: vecs6
):
    """Of the inertias and forces of the bodies on each axis."""
    e, d = wp.tid()
    for i in range(axes[d, _BODIES], axes[d, _BODIES + 1]):
        b = lists[i]
        of_inertia[e, b] = of_inertia[e, b] - wp.outer(bodily[e, d], acceleration[e, d])
        of_bias[e, b] = of_bias[e, b] - bodily[e, d]


@wp.kernel(enable_backward=False)
def press(
    points: ints2,
    motion: vecs6,
    gravity: vecs,
    arm: vecs3,
    normal: vecs3,
    gain: vecs3,
    acceleration: vecs6,
    bodily: vecs6,
    dt: REAL,
    of_motion: vecs6,
    of_arm: vecs3,
    of_normal: vecs3,
    of_gain: vecs3,
    of_gravity: vecs,
):
    """Of -w . X^T (G X v - n k d) at each point, on a body that ends the step with v."""
    e, c = wp.tid()
    g = gain[e, c]
    if g[1] <= REAL(0.0):  # it presses nothing
        return
    link = points[c, 2]
    fall = join(VEC3(), gravity[row(e, gravity.shape[0])])
    v = motion[e, link] + dt * (acceleration[e, points[c, 1]] + fall)
    w = bodily[e, points[c, 1]]
    r = arm[e, c]
    n = normal[e, c]
    u = bottom(v) + wp.cross(top(v), r)
    y = bottom(w) + wp.cross(top(w), r)
    un = wp.dot(u, n)
    yn = wp.dot(y, n)
    more = g[1] - g[0]
    along = g[2] - more * un
    of_u = -(g[0] * y + (more * yn) * n)
    of_y = along * n - g[0] * u
    of_gain[e, c] = of_gain[e, c] + VEC3(un * yn - wp.dot(u, y), -un * yn, yn)
    of_normal[e, c] = of_normal[e, c] + along * y - (more * yn) * u
    of_arm[e, c] = of_arm[e, c] + wp.cross(of_u, top(v)) + wp.cross(of_y, top(w))
    wp.atomic_add(of_motion, e, link, join(wp.cross(r, of_u), of_u))
    if of_gravity.shape[0] > 0:
        wp.atomic_add(of_gravity, row(e, of_gravity.shape[0]), dt * of_u)
