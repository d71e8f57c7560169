# mypy: ignore-errors
"""The substep of articulated bodies as Warp kernels; see `reference.py` for the equations.

Loaded once for each precision by `reverie.physics.kernels.load`. A link is a joint, or a body
without one, so that every frame is written once; what a loop carries is only added up, in functions
of its own. Legend: `B` worlds, `L` links, `N` bodies, `V` velocities.
"""

import warp as wp

from reverie.physics.kernels import beside, chosen
from reverie.physics.rigid import tables

_types = chosen()
REAL, VEC3, MAT33 = _types.scalar, _types.vec3, _types.mat33
QUAT, VEC6, MAT66 = _types.quat, _types.vec6, _types.mat66
_algebra = beside("reverie.physics.rigid.algebra.kernels")
VEC2 = _algebra.VEC2
about, blocks, bottom, cross_motion = (
    *(_algebra.about, _algebra.blocks, _algebra.bottom),
    _algebra.cross_motion,
)
exponential, four, join, row, three, top = (
    *(_algebra.exponential, _algebra.four, _algebra.join),
    *(_algebra.row, _algebra.three, _algebra.top),
)
_FREE, _HINGE, _BALL, _SLIDE, _FIXED = (
    wp.constant(tables.LINKS.index(k)) for k in ("free", "hinge", "ball", "slide", "fixed")
)
_BODIES, _CHILDREN, _CONTACTS, _ACTUATORS = (
    wp.constant(k) for k in (tables.BODIES, tables.CHILDREN, tables.CONTACTS, tables.ACTUATORS)
)
ints = wp.array(dtype=int)
ints2 = wp.array2d(dtype=int)
reals2 = wp.array2d(dtype=REAL)
reals3 = wp.array3d(dtype=REAL)
vecs2 = wp.array2d(dtype=VEC2)
vecs3 = wp.array2d(dtype=VEC3)
vecs6 = wp.array2d(dtype=VEC6)
quats = wp.array2d(dtype=QUAT)
mats = wp.array2d(dtype=MAT66)


@wp.kernel
def move(q: reals2, links: ints2, forms: reals2, place: vecs3, turn: quats):
    """Frames of the links."""
    e = wp.tid()
    for i in range(links.shape[0]):
        parent = links[i, 0]
        kind = links[i, 1]
        a = links[i, 2]
        p = three(forms, i, 0)
        r = four(forms, i, 3)
        anchor = three(forms, i, 7)
        axis = three(forms, i, 10)
        if parent >= 0:
            p = place[e, parent] + wp.quat_rotate(turn[e, parent], p)
            r = turn[e, parent] * r
        if kind == _FREE:
            p = three(q, e, a)
            r = wp.normalize(four(q, e, a + 3))
        elif kind == _SLIDE:
            p = p + (q[e, a] - forms[i, 13]) * wp.quat_rotate(r, axis)
        elif kind == _HINGE:
            p = p + wp.quat_rotate(r, anchor)
            r = r * about(axis, q[e, a] - forms[i, 13])
            p = p - wp.quat_rotate(r, anchor)
        elif kind == _BALL:
            p = p + wp.quat_rotate(r, anchor)
            r = r * wp.normalize(four(q, e, a))
            p = p - wp.quat_rotate(r, anchor)
        place[e, i] = p
        turn[e, i] = r


@wp.kernel
def carry(
    v: reals2,
    links: ints2,
    forms: reals2,
    place: vecs3,
    turn: quats,
    motion: vecs6,
    subspace: vecs6,
    drift: vecs6,
):
    """Axes and velocities, about the place of each tree's first body."""
    e = wp.tid()
    for i in range(links.shape[0]):
        parent = links[i, 0]
        kind = links[i, 1]
        a = links[i, 3]
        m = VEC6()
        if parent >= 0:
            m = motion[e, parent]
        moving = VEC6()
        carried = VEC6()
        if kind == _FREE:
            o = VEC3()
            r = wp.quat_to_matrix(turn[e, i])
            for k in range(3):
                subspace[e, a + k] = join(o, VEC3(REAL(k == 0), REAL(k == 1), REAL(k == 2)))
                subspace[e, a + 3 + k] = join(VEC3(r[0, k], r[1, k], r[2, k]), o)
            carried = join(r * three(v, e, a + 3), o)
            moving = carried + join(o, three(v, e, a))
            m = moving  # the first three axes stay those of the world
        else:
            arm = place[e, i] + wp.quat_rotate(turn[e, i], three(forms, i, 7))
            arm = arm - place[e, links[i, 4]]
            if kind == _BALL:
                r = wp.quat_to_matrix(turn[e, i])
                for k in range(3):
                    axis = VEC3(r[0, k], r[1, k], r[2, k])
                    subspace[e, a + k] = join(axis, wp.cross(arm, axis))
                w = r * three(v, e, a)
                moving = join(w, wp.cross(arm, w))
            elif kind != _FIXED:
                axis = wp.quat_rotate(turn[e, i], three(forms, i, 10))
                s = join(VEC3(), axis)
                if kind == _HINGE:
                    s = join(axis, wp.cross(arm, axis))
                subspace[e, a] = s
                moving = s * v[e, a]
            carried = moving
            moving = moving + m
        motion[e, i] = moving
        drift[e, i] = cross_motion(m, carried)


@wp.kernel
def weigh(
    bodies: ints2,
    place: vecs3,
    turn: quats,
    motion: vecs6,
    mass: reals2,
    centre: vecs3,
    moments: vecs6,
    external: vecs6,
    inertia: mats,
    bias: vecs6,
):
    """Inertia of each body, and what its motion and forces from outside ask for."""
    e, b = wp.tid()
    i = bodies[b, 0]
    r = wp.quat_to_matrix(turn[e, i])
    arm = place[e, i] - place[e, bodies[b, 1]]
    c = arm + r * centre[row(e, centre.shape[0]), b]
    s = moments[row(e, moments.shape[0]), b]
    local = MAT33(s[0], s[3], s[4], s[3], s[1], s[5], s[4], s[5], s[2])
    whole = blocks(r * local * wp.transpose(r), c, mass[row(e, mass.shape[0]), b])
    m = motion[e, i]
    h = whole * m
    f = external[row(e, external.shape[0]), b]
    push = join(bottom(f) + wp.cross(arm, top(f)), top(f))
    spin = wp.cross(top(m), top(h)) + wp.cross(bottom(m), bottom(h))
    inertia[e, b] = whole
    bias[e, b] = join(spin, wp.cross(top(m), bottom(h))) - push


@wp.func
def limit(sign: REAL, q: REAL, v: REAL, guess: REAL, k: REAL, c: REAL, law: VEC3, bound: REAL):
    """Torque and diagonal of a limit above (sign 1) or below (-1); law: dt, slip, transition."""
    dt = law[0]
    deep = sign * (q + dt * guess - bound)
    damping = c * wp.clamp(deep / law[2], REAL(0.0), REAL(1.0))
    out = VEC2()
    if deep > REAL(0.0) and k * deep + damping * sign * guess > REAL(0.0):
        torque = -k * (q + dt * v - bound) - damping * v
        out = VEC2(torque, dt * dt * k + dt * damping)
    return out


@wp.func
def actuate(
    e: int,
    d: int,
    at: VEC3,
    axes: ints2,
    lists: ints,
    gears: reals2,
    servos: reals3,
    u: reals2,
    dt: REAL,
):
    """Torque and diagonal of all actuators on an axis; at is (q, v, guess)."""
    total = VEC2()
    for i in range(axes[d, _ACTUATORS], axes[d, _ACTUATORS + 1]):
        a = lists[2 * i]
        g = gears[a, lists[2 * i + 1]]
        p = row(e, servos.shape[0])
        q = g * at[0]
        wanted = servos[p, a, 0] * wp.clamp(u[e, a], servos[p, a, 4], servos[p, a, 5])
        wanted = wanted + servos[p, a, 1]
        kp = servos[p, a, 2]
        kv = servos[p, a, 3]
        guess = wanted + kp * (q + dt * g * at[2]) + kv * g * at[2]
        low = servos[p, a, 6]
        high = servos[p, a, 7]
        force = wp.min(wp.max(guess, low), high)
        stiff = REAL(0.0)
        if guess > low and guess < high:
            force = wanted + kp * (q + dt * g * at[1]) + kv * g * at[1]
            stiff = wp.max(-dt * kv - dt * dt * kp, REAL(0.0))
        total += VEC2(g * force, g * g * stiff)
    return total


@wp.kernel
def drive(
    q: reals2,
    v: reals2,
    guess: reals2,
    u: reals2,
    axes: ints2,
    lists: ints,
    gears: reals2,
    joints: reals3,
    servos: reals3,
    law: VEC3,
    drives: vecs2,
):
    """Torque and diagonal of each axis; joints: see `program`."""
    e, d = wp.tid()
    p = row(e, joints.shape[0])
    dt = law[0]
    vd = v[e, d]
    fast = guess[e, d]
    a = axes[d, 2]
    slip = wp.sqrt(wp.max(fast * fast, law[1] * law[1]))
    damping = joints[p, d, 0] + joints[p, d, 2] / slip
    out = VEC2(-damping * vd, joints[p, d, 1] + dt * damping)
    qd = REAL(0.0)
    if a >= 0:
        qd = q[e, a]
        k = joints[p, d, 3]
        out = out + VEC2(k * (joints[p, d, 4] - qd - dt * vd), dt * dt * k)
        c = joints[p, d, 8]
        k = joints[p, d, 7]
        soon = qd + dt * fast
        if soon > joints[p, d, 6]:  # else the adjoint would go through it for nothing
            out = out + limit(REAL(1.0), qd, vd, fast, k, c, law, joints[p, d, 6])
        if soon < joints[p, d, 5]:
            out = out + limit(REAL(-1.0), qd, vd, fast, k, c, law, joints[p, d, 5])
    at = VEC3(qd, vd, fast)
    drives[e, d] = out + actuate(e, d, at, axes, lists, gears, servos, u, dt)


@wp.func
def inertias(e: int, x: mats, lists: ints, first: int, last: int):
    total = MAT66()
    for i in range(first, last):
        total += x[e, lists[i]]
    return total


@wp.func
def forces(e: int, x: vecs6, lists: ints, first: int, last: int):
    total = VEC6()
    for i in range(first, last):
        total += x[e, lists[i]]
    return total


@wp.func
def held(e: int, arm: vecs3, normal: vecs3, gain: vecs3, lists: ints, first: int, last: int):
    """X^T G X of the points on a body."""
    total = MAT66()
    for i in range(first, last):
        c = lists[i]
        g = gain[e, c]
        if g[1] > REAL(0.0):  # else it presses nothing
            r = arm[e, c]
            n = normal[e, c]
            h = join(wp.cross(r, n), n)
            total += blocks(MAT33(), r, g[0]) + (g[1] - g[0]) * wp.outer(h, h)
    return total


@wp.func
def pushed(
    e: int, arm: vecs3, normal: vecs3, gain: vecs3, m: VEC6, lists: ints, first: int, last: int
):
    """X^T (n k d - G X m) of the points on a body that moves with m."""
    total = VEC6()
    for i in range(first, last):
        c = lists[i]
        g = gain[e, c]
        if g[1] > REAL(0.0):
            r = arm[e, c]
            n = normal[e, c]
            u = bottom(m) + wp.cross(top(m), r)
            f = (g[2] - (g[1] - g[0]) * wp.dot(n, u)) * n - g[0] * u
            total += join(wp.cross(r, f), f)
    return total


@wp.kernel
def inward(
    axes: ints2,
    lists: ints,
    subspace: vecs6,
    drift: vecs6,
    motion: vecs6,
    inertia: mats,
    bias: vecs6,
    gravity: wp.array(dtype=VEC3),
    arm: vecs3,
    normal: vecs3,
    gain: vecs3,
    drives: vecs2,
    dt: REAL,
    left: mats,
    reach: vecs6,
    passed: vecs6,
    pivot: vecs2,
):
    """Articulated inertia and force of each axis, the last first."""
    e = wp.tid()
    fall = join(VEC3(), gravity[row(e, gravity.shape[0])]) * dt
    n = axes.shape[0]
    for j in range(n):
        d = n - 1 - j
        first = axes[d, _CONTACTS]
        last = axes[d, _CONTACTS + 1]
        own = inertias(e, inertia, lists, axes[d, _BODIES], axes[d, _BODIES + 1])
        own = own + inertias(e, left, lists, axes[d, _CHILDREN], axes[d, _CHILDREN + 1])
        p = forces(e, bias, lists, axes[d, _BODIES], axes[d, _BODIES + 1])
        p = p + forces(e, passed, lists, axes[d, _CHILDREN], axes[d, _CHILDREN + 1])
        if last > first:
            own = own + dt * held(e, arm, normal, gain, lists, first, last)
            coasting = motion[e, axes[d, 1]] + fall
            p = p - pushed(e, arm, normal, gain, coasting, lists, first, last)
        s = subspace[e, d]
        u = own * s
        div = wp.dot(s, u) + drives[e, d][1]
        rest = drives[e, d][0] - wp.dot(s, p)
        after = own - wp.outer(u, u / div)
        left[e, d] = after
        reach[e, d] = u
        pivot[e, d] = VEC2(div, rest)
        p = p + u * (rest / div)
        if axes[d, 3] >= 0:
            p = p + after * drift[e, axes[d, 3]]
        passed[e, d] = p


@wp.kernel
def outward(
    axes: ints2,
    v: reals2,
    gravity: wp.array(dtype=VEC3),
    subspace: vecs6,
    drift: vecs6,
    reach: vecs6,
    pivot: vecs2,
    dt: REAL,
    acceleration: vecs6,
    fast: reals2,
):
    """Accelerations, the first axis first, and velocities after the step."""
    e = wp.tid()
    for d in range(axes.shape[0]):
        parent = axes[d, 0]
        a = join(VEC3(), -gravity[row(e, gravity.shape[0])])
        if parent >= 0:
            a = acceleration[e, parent]
        if axes[d, 3] >= 0:
            a = a + drift[e, axes[d, 3]]
        rate = (pivot[e, d][1] - wp.dot(reach[e, d], a)) / pivot[e, d][0]
        acceleration[e, d] = a + subspace[e, d] * rate
        fast[e, d] = v[e, d] + dt * rate


@wp.kernel
def advance(q: reals2, fast: reals2, links: ints2, dt: REAL, after: reals2):
    """q after the step."""
    e, j = wp.tid()
    kind = links[j, 1]
    a = links[j, 2]
    d = links[j, 3]
    if kind == _HINGE or kind == _SLIDE:
        after[e, a] = q[e, a] + dt * fast[e, d]
    elif kind != _FIXED:
        if kind == _FREE:
            for i in range(3):
                after[e, a + i] = q[e, a + i] + dt * fast[e, d + i]
            a = a + 3
            d = d + 3
        r = wp.normalize(four(q, e, a) * exponential(dt * three(fast, e, d)))
        after[e, a] = r[3]
        for i in range(3):
            after[e, a + 1 + i] = r[i]
