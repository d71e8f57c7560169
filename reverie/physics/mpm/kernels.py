# mypy: ignore-errors
"""The substep of the material point method as Warp kernels; see `reference.py` for the equations.

Loaded once for each precision by `reverie.physics.kernels.load`. Loops whose bounds are known stay
loops: what they carry is only added up, since a carried value that is overwritten has no adjoint.
Legend: `B` worlds, `N` particles, `K` colliders, cells of the active box flattened.
"""

import warp as wp

from reverie.physics.kernels import beside, chosen
from reverie.physics.mpm import material

_types = chosen()
REAL, VEC3, VEC4, MAT33, QUAT, VEC6 = (
    *(_types.scalar, _types.vec3, _types.vec4, _types.mat33),
    *(_types.quat, _types.vec6),
)

_touch = beside("reverie.physics.touch.kernels")
distance = _touch.distance
_transfer = beside("reverie.physics.mpm.transfer.kernels")
corner, first_cell = _transfer.corner, _transfer.first_cell
scatter, gather = _transfer.scatter, _transfer.gather

NEO_HOOKEAN = wp.constant(0)
COROTATED = wp.constant(1)
VON_MISES = wp.constant(2)
SAND = wp.constant(3)
LIQUID = wp.constant(4)
SNOW = wp.constant(5)
STRETCHED, HARDENING = wp.constant(material.STRETCHED), wp.constant(material.HARDENING)
PACKED = wp.constant(material.PACKED)


@wp.func
def unit():
    return wp.identity(n=3, dtype=REAL)


@wp.func
def half_log(b: MAT33):
    """1/2 log b of a symmetric positive b, by its series in (b - 1)(b + 1)^-1."""
    z = (b - unit()) * wp.inverse(b + unit())
    zz = z * z
    z3 = z * zz
    z5 = z3 * zz
    return z + z3 / REAL(3.0) + z5 / REAL(5.0) + z5 * zz / REAL(7.0)


@wp.func
def exp_twice(e: MAT33):
    """exp(2 e) = exp(e)^2, by a Taylor polynomial of order 6."""
    i = unit()
    s = i + e / REAL(6.0)
    s = i + e * s / REAL(5.0)
    s = i + e * s / REAL(4.0)
    s = i + e * s / REAL(3.0)
    s = i + e * s / REAL(2.0)
    s = i + e * s
    return s * s


@wp.func
def root(b: MAT33):
    """The square root of a symmetric positive b, by six steps of Denman and Beavers."""
    y0 = REAL(0.5) * (b + unit())
    z0 = REAL(0.5) * (unit() + wp.inverse(b))
    y1 = REAL(0.5) * (y0 + wp.inverse(z0))
    z1 = REAL(0.5) * (z0 + wp.inverse(y0))
    y2 = REAL(0.5) * (y1 + wp.inverse(z1))
    z2 = REAL(0.5) * (z1 + wp.inverse(y1))
    y3 = REAL(0.5) * (y2 + wp.inverse(z2))
    z3 = REAL(0.5) * (z2 + wp.inverse(y2))
    y4 = REAL(0.5) * (y3 + wp.inverse(z3))
    z4 = REAL(0.5) * (z3 + wp.inverse(y3))
    return REAL(0.5) * (y4 + wp.inverse(z4))


@wp.func
def norm(a: MAT33):
    return wp.sqrt(wp.ddot(a, a) + REAL(1.0e-24))


@wp.func
def neo_hookean(trial: MAT33, mu: REAL, lam: REAL):
    return mu * (trial - unit()) + (lam * REAL(0.5) * wp.log(wp.determinant(trial))) * unit()


@wp.func
def corotated(trial: MAT33, mu: REAL, lam: REAL):
    ratio = wp.sqrt(wp.determinant(trial))
    return REAL(2.0) * mu * (trial - root(trial)) + (lam * (ratio - REAL(1.0)) * ratio) * unit()


@wp.func
def clamped(b: MAT33, low: REAL, high: REAL):
    """b with its eigenvalues held in low .. high (see `Clamped` of the reference)."""
    q, d = wp.eig3(REAL(0.5) * (b + wp.transpose(b)))
    held = VEC3(wp.clamp(d[0], low, high), wp.clamp(d[1], low, high), wp.clamp(d[2], low, high))
    return q * wp.diag(held) * wp.transpose(q)


@wp.func_grad(clamped)
def adj_clamped(b: MAT33, low: REAL, high: REAL, slope: MAT33):
    q, d = wp.eig3(REAL(0.5) * (b + wp.transpose(b)))
    s = wp.transpose(q) * slope * q
    for i in range(3):
        if d[i] < low:
            wp.adjoint[low] += s[i, i]
        if d[i] > high:
            wp.adjoint[high] += s[i, i]
        for j in range(3):
            one, two = wp.clamp(d[i], low, high), wp.clamp(d[j], low, high)
            share = REAL(0.0)
            if wp.abs(d[i] - d[j]) > REAL(1.0e-7):
                share = (one - two) / (d[i] - d[j])
            elif d[i] == one and d[j] == two:
                share = REAL(1.0)
            s[i, j] = share * s[i, j]
    s = q * s * wp.transpose(q)
    wp.adjoint[b] += REAL(0.5) * (s + wp.transpose(s))


@wp.func
def snow(trial: MAT33, past: REAL, mu: REAL, lam: REAL, limit: REAL):
    """b after the flow, log J_P, and tau."""
    low, high = REAL(1.0) - limit, REAL(1.0) + REAL(STRETCHED) * limit
    after = clamped(trial, low * low, high * high)
    memory = past + REAL(0.5) * wp.log(wp.determinant(trial) / wp.determinant(after))
    hard = wp.exp(REAL(HARDENING) * wp.min(REAL(1.0) - wp.exp(memory), REAL(PACKED)))
    return after, memory, corotated(after, hard * mu, hard * lam)


@wp.func
def liquid(rate: MAT33, ratio: REAL, bulk: REAL, viscosity: REAL):
    pressure = bulk / REAL(7.0) * (wp.pow(ratio, REAL(-7.0)) - REAL(1.0))
    spread = REAL(2.0) / REAL(3.0) * wp.trace(rate)
    shear = rate + wp.transpose(rate) - spread * unit()
    return (viscosity * ratio) * shear - (ratio * pressure) * unit()


@wp.func
def von_mises(trial: MAT33, mu: REAL, lam: REAL, limit: REAL):
    """b after the flow, and tau."""
    after = trial
    strain = half_log(trial)
    t = wp.trace(strain)
    sphere = (t / REAL(3.0)) * unit()
    deviator = strain - sphere
    length = norm(deviator)
    most = limit * REAL(0.816496580927726) / (REAL(2.0) * mu)
    if length > most:
        deviator = (most / length) * deviator
        after = exp_twice(deviator + sphere)
    tau = REAL(2.0) * mu * deviator + (REAL(3.0) * lam + REAL(2.0) * mu) * sphere
    return after, tau


@wp.func
def sand(trial: MAT33, past: REAL, mu: REAL, lam: REAL, limit: REAL):
    """b after the flow, the open volume, and tau."""
    after = unit()
    tau = MAT33()
    strain = half_log(trial) + (past / REAL(3.0)) * unit()
    t = wp.trace(strain)
    memory = t
    if t < REAL(0.0):
        memory = REAL(0.0)
        deviator = strain - (t / REAL(3.0)) * unit()
        length = norm(deviator)
        excess = length + limit * (REAL(3.0) * lam + REAL(2.0) * mu) / (REAL(2.0) * mu) * t
        if excess > REAL(0.0):
            deviator = (REAL(1.0) - excess / length) * deviator
        kept = deviator + (t / REAL(3.0)) * unit()
        after = exp_twice(kept)
        tau = REAL(2.0) * mu * kept + (lam * t) * unit()
    return after, memory, tau


@wp.func
def respond(
    material: int,
    trial: MAT33,
    past: REAL,
    rate: MAT33,
    mu: REAL,
    lam: REAL,
    limit: REAL,
    viscosity: REAL,
    dt: REAL,
):
    """b, memory and tau by the law of the particle."""
    after = trial
    memory = past
    tau = MAT33()
    if material == NEO_HOOKEAN:
        tau = neo_hookean(trial, mu, lam)
    elif material == COROTATED:
        tau = corotated(trial, mu, lam)
    elif material == LIQUID:
        memory = past * (REAL(1.0) + dt * wp.trace(rate))
        after = unit()
        tau = liquid(rate, memory, lam, viscosity)
    elif material == VON_MISES:
        after, tau = von_mises(trial, mu, lam, limit)
    elif material == SNOW:
        after, memory, tau = snow(trial, past, mu, lam, limit)
    else:
        after, memory, tau = sand(trial, past, mu, lam, limit)
    return after, memory, tau


@wp.kernel
def p2g(
    kind: wp.array(dtype=int),
    x: wp.array2d(dtype=VEC3),
    v: wp.array2d(dtype=VEC3),
    c: wp.array2d(dtype=MAT33),
    b: wp.array2d(dtype=MAT33),
    q: wp.array2d(dtype=REAL),
    mass: wp.array2d(dtype=REAL),
    volume: wp.array2d(dtype=REAL),
    mu: wp.array2d(dtype=REAL),
    lam: wp.array2d(dtype=REAL),
    limit: wp.array2d(dtype=REAL),
    viscosity: wp.array2d(dtype=REAL),
    dt: REAL,
    dx: REAL,
    origin: wp.array(dtype=wp.vec3i),
    size: wp.vec3i,
    b_next: wp.array2d(dtype=MAT33),
    q_next: wp.array2d(dtype=REAL),
    grid: wp.array2d(dtype=VEC4),
):
    e, p = wp.tid()
    cp = c[e, p]
    g = unit() + dt * cp
    trial = g * b[e, p] * wp.transpose(g)
    trial = REAL(0.5) * (trial + wp.transpose(trial))  # rounding would add up to a torque
    after, memory, tau = respond(
        kind[p], trial, q[e, p], cp, mu[e, p], lam[e, p], limit[e, p], viscosity[e, p], dt
    )
    b_next[e, p] = after
    q_next[e, p] = memory

    mp = mass[e, p]
    a = (-dt * volume[e, p] * REAL(4.0) / (dx * dx)) * tau + mp * cp
    xp = x[e, p] / dx
    low = corner(xp)
    f = xp - VEC3(REAL(low[0]), REAL(low[1]), REAL(low[2]))
    first = first_cell(low, origin[e], size)
    scatter(grid, e, first, size, f, mp * v[e, p], dx * a, mp)


@wp.kernel
def accelerate(
    grid: wp.array2d(dtype=VEC4),
    gravity: wp.array(dtype=VEC3),
    dt: REAL,
    velocity: wp.array2d(dtype=VEC3),
):
    e, cell = wp.tid()
    u = grid[e, cell]
    m = u[3]
    if m > REAL(0.0):
        # By scalars: the adjoint of a vector over m has 1 / m^2, which float32 cannot hold at the
        # nodes that a particle on the border of a cell barely reaches.
        velocity[e, cell] = VEC3(u[0] / m, u[1] / m, u[2] / m) + dt * gravity[e]


@wp.kernel
def collide(
    shape: wp.array(dtype=int),
    k: int,
    grid: wp.array2d(dtype=VEC4),
    velocity: wp.array2d(dtype=VEC3),
    place: wp.array2d(dtype=VEC3),
    turn: wp.array2d(dtype=QUAT),
    linear: wp.array2d(dtype=VEC3),
    angular: wp.array2d(dtype=VEC3),
    extent: wp.array2d(dtype=VEC3),
    friction: wp.array2d(dtype=REAL),
    dx: REAL,
    softness: REAL,
    origin: wp.array(dtype=wp.vec3i),
    size: wp.vec3i,
    after: wp.array2d(dtype=VEC3),
    impulse: wp.array2d(dtype=VEC6),
):
    e, cell = wp.tid()
    m = grid[e, cell][3]
    if m > REAL(0.0):
        o = origin[e]
        i = cell / (size[1] * size[2])
        j = cell / size[2] - i * size[1]
        h = cell - (i * size[1] + j) * size[2]
        node = VEC3(REAL(o[0] + i), REAL(o[1] + j), REAL(o[2] + h)) * dx
        arm = node - place[e, k]
        r = turn[e, k]
        near = distance(shape[k], wp.quat_rotate_inv(r, arm), extent[e, k])
        u = velocity[e, cell]
        w = u
        if near[3] < softness:
            n = wp.quat_rotate(r, VEC3(near[0], near[1], near[2]))
            body = linear[e, k] + wp.cross(angular[e, k], arm)
            rel = u - body
            vn = wp.dot(rel, n)
            if vn < REAL(0.0):
                slide = rel - vn * n
                speed = wp.sqrt(wp.dot(slide, slide) + REAL(1.0e-20))
                left = wp.max(REAL(0.0), REAL(1.0) + friction[e, k] * vn / speed)
                s = REAL(1.0)
                if near[3] > REAL(0.0):
                    z = REAL(1.0) - near[3] / softness
                    s = z * z * (REAL(3.0) - REAL(2.0) * z)
                w = u + s * (body + left * slide - u)
                push = m * (u - w)
                t = wp.cross(arm, push)
                wp.atomic_add(impulse, e, k, VEC6(push[0], push[1], push[2], t[0], t[1], t[2]))
        after[e, cell] = w


move = wp.kernel(_touch.move, module=__name__)  # compiled with the others here


@wp.kernel
def g2p(
    x: wp.array2d(dtype=VEC3),
    velocity: wp.array2d(dtype=VEC3),
    dt: REAL,
    dx: REAL,
    origin: wp.array(dtype=wp.vec3i),
    size: wp.vec3i,
    x_next: wp.array2d(dtype=VEC3),
    v_next: wp.array2d(dtype=VEC3),
    c_next: wp.array2d(dtype=MAT33),
):
    e, p = wp.tid()
    xp = x[e, p] / dx
    low = corner(xp)
    f = xp - VEC3(REAL(low[0]), REAL(low[1]), REAL(low[2]))
    u, a = gather(velocity, e, first_cell(low, origin[e], size), size, f)
    v_next[e, p] = u
    x_next[e, p] = x[e, p] + dt * u
    c_next[e, p] = (REAL(4.0) / dx) * a
