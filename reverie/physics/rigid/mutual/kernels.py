# mypy: ignore-errors
"""Contacts between moving bodies as Warp kernels; see `contact.between` for the equations.

In a world where none of them touches, nothing is computed. Loaded once for each precision by
`reverie.physics.kernels.load`.
Legend: `B` worlds, `V` velocities, `C` points that may touch, `E` couples of bodies.
"""

import warp as wp

from reverie.physics.kernels import beside, chosen
from reverie.physics.rigid import contact, tables
from reverie.physics.rigid.mutual.tables import AHEAD, OWN

_types = chosen()
REAL, VEC3, MAT33 = _types.scalar, _types.vec3, _types.mat33
VEC6, MAT66 = _types.vec6, _types.mat66
_algebra = beside("reverie.physics.rigid.algebra.kernels")
blocks, bottom, join = _algebra.blocks, _algebra.bottom, _algebra.join
row, top, VEC2 = _algebra.row, _algebra.top, _algebra.VEC2
_law = beside("reverie.physics.rigid.ground.kernels").pressing
_RELAXED = wp.constant(REAL(contact.RELAXED))
_OWN, _AHEAD = wp.constant(OWN), wp.constant(AHEAD)
_BODIES, _CHILDREN = wp.constant(tables.BODIES), wp.constant(tables.CHILDREN)
ints = wp.array(dtype=int)
ints2 = wp.array2d(dtype=int)
reals2 = wp.array2d(dtype=REAL)
vecs2 = wp.array2d(dtype=VEC2)
vecs3 = wp.array2d(dtype=VEC3)
vecs6 = wp.array2d(dtype=VEC6)
mats = wp.array2d(dtype=MAT66)


@wp.func
def touching(e: int, gain: vecs3):
    """How many points of a world are active."""
    found = REAL(0.0)
    for c in range(gain.shape[1]):
        if gain[e, c][1] > REAL(0.0):
            found += REAL(1.0)
    return found


@wp.func
def shift(by: VEC3):
    """T: T m is the motion m about O, about O + by."""
    i = REAL(1.0)
    o = REAL(0.0)
    return MAT66(
        i, o, o, o, o, o,
        o, i, o, o, o, o,
        o, o, i, o, o, o,
        o, by[2], -by[1], i, o, o,
        -by[2], o, by[0], o, i, o,
        by[1], -by[0], o, o, o, i,
    )  # fmt: skip


@wp.func
def inverse(a: MAT66):
    """By Gauss and Jordan, with row pivots."""
    left = MAT66(a)
    right = wp.identity(n=6, dtype=REAL)
    for i in range(6):
        best = int(i)
        for k in range(i + 1, 6):
            if wp.abs(left[k, i]) > wp.abs(left[best, i]):
                best = k
        for j in range(6):
            x = left[i, j]
            left[i, j] = left[best, j]
            left[best, j] = x
            y = right[i, j]
            right[i, j] = right[best, j]
            right[best, j] = y
        pivot = REAL(1.0) / left[i, i]
        for j in range(6):
            left[i, j] = left[i, j] * pivot
            right[i, j] = right[i, j] * pivot
        for k in range(6):
            factor = left[k, i]
            if k != i:
                for j in range(6):
                    left[k, j] = left[k, j] - factor * left[i, j]
                    right[k, j] = right[k, j] - factor * right[i, j]
    return right


@wp.func_grad(inverse)
def adj_inverse(a: MAT66, slope: MAT66):
    b = wp.transpose(inverse(a))
    wp.adjoint[a] -= b * slope * b


@wp.kernel
def press_between(
    first: int,
    mates: ints2,
    place: vecs3,
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
    """The law at a guess of the relative velocity; see `press`."""
    e, c = wp.tid()
    if depth[e, c][1] <= REAL(0.0):
        return
    r = arm[e, c]
    m = motion[e, mates[c, 2]]
    other = motion[e, mates[c, 14]]
    if first == 0:
        fall = join(VEC3(), gravity[row(e, gravity.shape[0])])
        m = m + law[0] * (acceleration[e, mates[c, 1]] + fall)
        other = other + law[0] * (acceleration[e, mates[c, 13]] + fall)
    away = r + place[e, mates[c, 12]] - place[e, mates[c, 16]]
    speed = bottom(m) + wp.cross(top(m), r) - bottom(other) - wp.cross(top(other), away)
    p = row(e, mass.shape[0])
    one = mass[p, mates[c, 3]]
    two = mass[p, mates[c, 15]]
    lighter = REAL(0.0)
    if first == 1:
        lighter = (one + two) / (one * two)
    found = contacts[row(e, contacts.shape[0]), mates[c, 0]]
    gain[e, c] = _law(found, depth[e, c], normal[e, c], speed, lighter, law)


@wp.func
def answer_of(e: int, kind: int, at: int, responses: mats, crosses: mats):
    """W by its kind; see `Kinship`."""
    found = MAT66()
    if kind == _OWN:
        found = responses[e, at]
    elif kind == _AHEAD:
        found = crosses[e, at]
    else:
        found = wp.transpose(crosses[e, at])
    return found


@wp.kernel
def answer(
    axes: ints2,
    answers: ints2,
    gain: vecs3,
    subspace: vecs6,
    reach: vecs6,
    pivot: vecs2,
    responses: mats,
    crosses: mats,
):
    """W: how what hangs on an axis answers a force on it, and on others of its tree."""
    e = wp.tid()
    if touching(e, gain) > REAL(0.0):
        for d in range(axes.shape[0]):
            s = subspace[e, d]
            over = s / pivot[e, d][0]
            own = wp.outer(s, over)
            if axes[d, 0] >= 0:
                on = wp.identity(n=6, dtype=REAL) - wp.outer(over, reach[e, d])
                own = own + on * responses[e, axes[d, 0]] * wp.transpose(on)
            responses[e, d] = own
        for k in range(answers.shape[0]):
            d = answers[k, 0]
            w = answer_of(e, answers[k, 1], answers[k, 2], responses, crosses)
            s = subspace[e, d]
            crosses[e, k] = w - wp.outer(s, (wp.transpose(w) * reach[e, d]) / pivot[e, d][0])


@wp.func
def stiffness(e: int, c: int, couples: ints2, arm: vecs3, normal: vecs3, gain: vecs3):
    """K of a couple."""
    total = MAT66()
    for i in range(couples[c, 6], couples[c, 7]):
        r = arm[e, i]
        n = normal[e, i]
        g = gain[e, i]
        if g[1] > REAL(0.0):
            h = join(wp.cross(r, n), n)
            total += blocks(MAT33(), r, g[0]) + (g[1] - g[0]) * wp.outer(h, h)
    return total


@wp.func
def pressure(e: int, c: int, couples: ints2, arm: vecs3, normal: vecs3, gain: vecs3):
    """F_0 of a couple."""
    total = VEC6()
    for i in range(couples[c, 6], couples[c, 7]):
        if gain[e, i][1] > REAL(0.0):
            f = gain[e, i][2] * normal[e, i]
            total += join(wp.cross(arm[e, i], f), f)
    return total


@wp.kernel
def bind(
    couples: ints2,
    place: vecs3,
    arm: vecs3,
    normal: vecs3,
    gain: vecs3,
    responses: mats,
    crosses: mats,
    dt: REAL,
    stiff: mats,
    push: vecs6,
    implicit: mats,
):
    """K, F_0 and (1 + dt K W)^-1 of each couple."""
    e, c = wp.tid()
    if touching(e, gain) > REAL(0.0):
        k = stiffness(e, c, couples, arm, normal, gain)
        to = shift(place[e, couples[c, 4]] - place[e, couples[c, 5]])
        w = to * responses[e, couples[c, 1]] * wp.transpose(to)
        w = w + responses[e, couples[c, 0]]
        if couples[c, 10] >= 0:
            x = answer_of(e, couples[c, 10], couples[c, 11], responses, crosses)
            w = w - x - wp.transpose(x)
        stiff[e, c] = k
        push[e, c] = pressure(e, c, couples, arm, normal, gain)
        implicit[e, c] = inverse(wp.identity(n=6, dtype=REAL) + dt * (k * w))


@wp.func
def on_body(
    e: int,
    body: int,
    round: int,
    done: int,
    shared: ints2,
    bonds: ints,
    couples: ints2,
    place: vecs3,
    force: vecs6,
):
    """The forces of couples on a body, about its own O; of the round, and `done` of the next."""
    total = VEC6()
    for i in range(shared[body, 0], shared[body, 1]):
        c = bonds[2 * i]
        f = force[e, (round + int(c < done)) * couples.shape[0] + c]
        side = REAL(1.0 - 2.0 * float(bonds[2 * i + 1]))
        by = VEC3()
        if bonds[2 * i + 1] == 1:
            by = place[e, couples[c, 4]] - place[e, couples[c, 5]]
        total += side * join(top(f) + wp.cross(by, bottom(f)), bottom(f))
    return total


@wp.func
def moved(
    e: int,
    body: int,
    round: int,
    done: int,
    shared: ints2,
    bonds: ints,
    relatives: ints2,
    kin: ints2,
    couples: ints2,
    place: vecs3,
    responses: mats,
    crosses: mats,
    force: vecs6,
):
    """How a body answers the forces of couples on it and on others of its tree."""
    total = VEC6()
    for i in range(relatives[body, 0], relatives[body, 1]):
        f = on_body(e, kin[i, 0], round, done, shared, bonds, couples, place, force)
        total += answer_of(e, kin[i, 1], kin[i, 2], responses, crosses) * f
    return total


@wp.kernel
def between(
    rounds: int,
    couples: ints2,
    shared: ints2,
    bonds: ints,
    relatives: ints2,
    kin: ints2,
    place: vecs3,
    gain: vecs3,
    motion: vecs6,
    free: vecs6,
    responses: mats,
    crosses: mats,
    stiff: mats,
    push: vecs6,
    implicit: mats,
    dt: REAL,
    first: int,
    before: vecs6,
    force: vecs6,
):
    """The forces of couples, round by round; `before`: those of the last pass."""
    e = wp.tid()
    if touching(e, gain) > REAL(0.0):
        n = couples.shape[0]
        if first == 0:
            for c in range(n):
                force[e, c] = before[e, rounds * n + c]
        for s in range(rounds):
            share = wp.where(s < rounds - 1, _RELAXED, REAL(1.0))
            for c in range(n):
                a = couples[c, 0]
                b = couples[c, 1]
                one = moved(
                    e, couples[c, 8], s, c, shared, bonds, relatives, kin, couples, place,
                    responses, crosses, force,
                )  # fmt: skip
                two = moved(
                    e, couples[c, 9], s, c, shared, bonds, relatives, kin, couples, place,
                    responses, crosses, force,
                )  # fmt: skip
                m = motion[e, couples[c, 2]] + dt * (free[e, a] + one)
                o = motion[e, couples[c, 3]] + dt * (free[e, b] + two)
                by = place[e, couples[c, 4]] - place[e, couples[c, 5]]
                m = m - join(top(o), bottom(o) + wp.cross(top(o), by))
                f = force[e, s * n + c]
                more = share * (implicit[e, c] * (push[e, c] - stiff[e, c] * m - f))
                force[e, (s + 1) * n + c] = f + more


@wp.func
def on_axis(
    e: int,
    d: int,
    round: int,
    axes: ints2,
    lists: ints,
    shared: ints2,
    bonds: ints,
    couples: ints2,
    place: vecs3,
    force: vecs6,
    passed: vecs6,
):
    """Forces that arrive at an axis from its bodies and its children."""
    total = VEC6()
    for i in range(axes[d, _BODIES], axes[d, _BODIES + 1]):
        total += on_body(e, lists[i], round, 0, shared, bonds, couples, place, force)
    for i in range(axes[d, _CHILDREN], axes[d, _CHILDREN + 1]):
        total += passed[e, lists[i]]
    return total


@wp.kernel
def deflect(
    rounds: int,
    axes: ints2,
    lists: ints,
    shared: ints2,
    bonds: ints,
    couples: ints2,
    place: vecs3,
    gain: vecs3,
    force: vecs6,
    subspace: vecs6,
    reach: vecs6,
    pivot: vecs2,
    free: vecs6,
    coast: reals2,
    dt: REAL,
    passed: vecs6,
    rest: reals2,
    change: vecs6,
    acceleration: vecs6,
    fast: reals2,
):
    """Accelerations with the forces between bodies."""
    e = wp.tid()
    n = axes.shape[0]
    if touching(e, gain) > REAL(0.0):
        for j in range(n):
            d = n - 1 - j
            f = on_axis(e, d, rounds, axes, lists, shared, bonds, couples, place, force, passed)
            u = wp.dot(subspace[e, d], f)
            rest[e, d] = u
            passed[e, d] = f - reach[e, d] * (u / pivot[e, d][0])
    for d in range(n):
        a = VEC6()
        if axes[d, 0] >= 0:
            a = change[e, axes[d, 0]]
        rate = (rest[e, d] - wp.dot(reach[e, d], a)) / pivot[e, d][0]
        a = a + subspace[e, d] * rate
        change[e, d] = a
        acceleration[e, d] = free[e, d] + a
        fast[e, d] = coast[e, d] + dt * rate
