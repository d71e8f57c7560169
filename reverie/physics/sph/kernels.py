# mypy: ignore-errors
"""The substep of smoothed particles as Warp kernels; see `reference.py`.

Loaded once for each precision by `reverie.physics.kernels.load`. What loops carry is only added up
and written: their adjoint does not run them first, so what they made is read by the next kernel.
The product of walls' shares is the exponential of a sum. Particles gather from their neighbours;
only impulses on tools are scattered.
Legend: `B` worlds, `N` particles, `K` tools; a row is the number of a particle in `[B N]`.
"""

import warp as wp

from reverie.physics.kernels import beside, chosen

_types = chosen()
REAL, VEC3, VEC4, QUAT, VEC6 = (
    *(_types.scalar, _types.vec3, _types.vec4),
    *(_types.quat, _types.vec6),
)

_touch = beside("reverie.physics.touch.kernels")
distance = _touch.distance


@wp.func
def slope(r: REAL, h: REAL):
    """F = W'(r) / r of Wendland's C2 kernel."""
    support = REAL(2.0) * h
    t = wp.max(REAL(1.0) - r / support, REAL(0.0))
    square = support * support
    return REAL(-66.84507609859604) / (square * square * support) * t * t * t


@wp.func
def surface(phi: REAL, h: REAL):
    """b: the integral of W over a plane at the distance phi."""
    support = REAL(2.0) * h
    t = wp.max(REAL(1.0) - wp.abs(phi) / support, REAL(0.0))
    t2 = t * t
    shape = REAL(1.0) - REAL(1.5) * t + REAL(4.0) / REAL(7.0) * t2
    return REAL(21.0) / support * t2 * t2 * t * shape


@wp.func
def hidden(phi: REAL, h: REAL):
    """gamma: the share of the kernel behind that plane."""
    t = wp.max(REAL(1.0) - wp.abs(phi) / (REAL(2.0) * h), REAL(0.0))
    t2 = t * t
    gone = t2 * t2 * t2 * (REAL(3.5) - REAL(4.5) * t + REAL(1.5) * t2)
    return wp.where(phi < REAL(0.0), REAL(1.0) - gone, gone)


@wp.func
def slab(y: REAL, half: REAL, h: REAL):
    return hidden(wp.abs(y) - half, h) - hidden(wp.abs(y) + half, h)


@wp.func
def face(y: REAL, half: REAL, h: REAL):
    return wp.sign(y) * (surface(wp.abs(y) - half, h) - surface(wp.abs(y) + half, h))


@wp.func
def between(xi: VEC3, xj: VEC3, periodic: int, box: VEC3, apart: wp.array(dtype=wp.vec3i), at: int):
    """x_i - x_j, or the image of j that a pair means."""
    d = xi - xj
    if periodic == 1:
        t = apart[at]
        d = d - VEC3(REAL(t[0]) * box[0], REAL(t[1]) * box[1], REAL(t[2]) * box[2])
    return d


@wp.func
def meet(x: VEC3, kind: int, place: VEC3, turn: QUAT, size: VEC3, h: REAL):
    """Normal in the world, distance, s and b of a tool."""
    y = wp.quat_rotate_inv(turn, x - place)
    found = distance(kind, y, size)
    phi = found[3]
    n = VEC3(found[0], found[1], found[2])
    gone = hidden(phi, h)
    b = surface(phi, h)
    if kind == 3:  # a box
        sx = slab(y[0], size[0], h)
        sy = slab(y[1], size[1], h)
        sz = slab(y[2], size[2], h)
        v = VEC3(
            face(y[0], size[0], h) * sy * sz,
            face(y[1], size[1], h) * sx * sz,
            face(y[2], size[2], h) * sx * sy,
        )
        gone = sx * sy * sz
        root = wp.sqrt(wp.dot(v, v) + REAL(1.0e-18))
        n = v / root
        b = root - REAL(1.0e-9)
    elif kind == 1:  # a ball
        mean = phi + REAL(0.2083) * wp.max(REAL(2.0) * h - wp.abs(phi), REAL(0.0))
        gone = gone / (REAL(1.0) + wp.max(mean / size[0], REAL(-0.5)))
        b = b / (REAL(1.0) + wp.max(phi / size[0], REAL(-0.5)))
    m = wp.quat_rotate(turn, n)
    return VEC6(m[0], m[1], m[2], phi, wp.max(REAL(1.0) - gone, REAL(0.25)), b)


@wp.func
def drag(eta: REAL, rho: REAL, met: VEC6, h: REAL, friction: REAL):
    """Of a wall [1/s]."""
    grip = wp.min(REAL(1.0), REAL(2.0) * friction)
    far = wp.max(met[3], REAL(0.1) * h)
    return REAL(2.0) * eta * met[5] / (rho * far * met[4]) * grip


@wp.func
def press(p: REAL, rho: REAL, met: VEC6, g: VEC3):
    """The acceleration along the normal by the pressure at a wall."""
    down = met[0] * g[0] + met[1] * g[1] + met[2] * g[2]
    pressed = wp.max(REAL(2.0) * p - met[3] * rho * down, REAL(0.0))
    return pressed * met[5] / (rho * met[4])


@wp.kernel
def pressures(
    density: wp.array2d(dtype=REAL),
    rest: wp.array(dtype=REAL),
    sound: wp.array(dtype=REAL),
    background: wp.array(dtype=REAL),
    pressure: wp.array2d(dtype=REAL),
):
    e, i = wp.tid()
    q = density[e, i] / rest[e]
    q2 = q * q
    stiff = rest[e] * sound[e] * sound[e] / REAL(7.0)
    pressure[e, i] = stiff * (q2 * q2 * q2 * q - REAL(1.0)) + background[e]


@wp.kernel
def push(
    first: wp.array(dtype=int),
    other: wp.array(dtype=int),
    apart: wp.array(dtype=wp.vec3i),
    periodic: int,
    box: VEC3,
    x: wp.array2d(dtype=VEC3),
    v: wp.array2d(dtype=VEC3),
    density: wp.array2d(dtype=REAL),
    pressure: wp.array2d(dtype=REAL),
    mass: wp.array2d(dtype=REAL),
    rest: wp.array(dtype=REAL),
    sound: wp.array(dtype=REAL),
    viscosity: wp.array(dtype=REAL),
    h: REAL,
    alpha: REAL,
    inner: wp.array2d(dtype=VEC3),
):
    """A: what particles do to each other."""
    e, i = wp.tid()
    row = e * x.shape[1] + i
    xi = x[e, i]
    vi = v[e, i]
    pi = pressure[e, i]
    ri = density[e, i]
    twice = REAL(2.0) * viscosity[e]
    stiff = alpha * h * sound[e] * rest[e]
    total = VEC3()
    for at in range(first[row], first[row + 1]):
        j = other[at]
        d = between(xi, x[e, j], periodic, box, apart, at)
        rr = wp.dot(d, d) + REAL(1.0e-12) * h * h
        w = vi - v[e, j]
        weight = mass[e, j] / (ri * density[e, j]) * slope(wp.sqrt(rr), h)
        closing = wp.dot(w, d) / (rr + REAL(0.01) * h * h)
        along = weight * (stiff * closing - pi - pressure[e, j])
        total += along * d + (weight * twice) * w
    inner[e, i] = total


@wp.kernel
def walls(
    shape: wp.array(dtype=int),
    tools: int,
    x: wp.array2d(dtype=VEC3),
    density: wp.array2d(dtype=REAL),
    pressure: wp.array2d(dtype=REAL),
    viscosity: wp.array(dtype=REAL),
    gravity: wp.array(dtype=VEC3),
    place: wp.array2d(dtype=VEC3),
    turn: wp.array2d(dtype=QUAT),
    linear: wp.array2d(dtype=VEC3),
    angular: wp.array2d(dtype=VEC3),
    extent: wp.array2d(dtype=VEC3),
    friction: wp.array2d(dtype=REAL),
    h: REAL,
    sums: wp.array2d(dtype=VEC3),
    kick: wp.array2d(dtype=VEC3),
):
    """Of all tools: -log s, 1 / s - 1 and drag; and the push of pressure and drag."""
    e, i = wp.tid()
    xi = x[e, i]
    total = VEC3()
    pushed = VEC3()
    for k in range(tools):
        met = meet(xi, shape[k], place[e, k], turn[e, k], extent[e, k], h)
        n = VEC3(met[0], met[1], met[2])
        c = drag(viscosity[e], density[e, i], met, h, friction[e, k])
        body = linear[e, k] + wp.cross(angular[e, k], xi - place[e, k])
        total += VEC3(-wp.log(met[4]), REAL(1.0) / met[4] - REAL(1.0), c)
        a = press(pressure[e, i], density[e, i], met, gravity[e])
        pushed += a * n + c * body
    sums[e, i] = total
    kick[e, i] = pushed


@wp.kernel
def hold(
    v: wp.array2d(dtype=VEC3),
    inner: wp.array2d(dtype=VEC3),
    sums: wp.array2d(dtype=VEC3),
    kick: wp.array2d(dtype=VEC3),
    gravity: wp.array(dtype=VEC3),
    dt: REAL,
    speed: wp.array2d(dtype=VEC3),
):
    """The velocity after all forces."""
    e, i = wp.tid()
    all = sums[e, i]
    a = wp.exp(all[0]) * inner[e, i] + gravity[e] + kick[e, i]
    speed[e, i] = (v[e, i] + dt * a) / (REAL(1.0) + dt * all[2])


@wp.kernel
def lose(
    shape: wp.array(dtype=int),
    x: wp.array2d(dtype=VEC3),
    speed: wp.array2d(dtype=VEC3),
    density: wp.array2d(dtype=REAL),
    pressure: wp.array2d(dtype=REAL),
    inner: wp.array2d(dtype=VEC3),
    sums: wp.array2d(dtype=VEC3),
    mass: wp.array2d(dtype=REAL),
    viscosity: wp.array(dtype=REAL),
    gravity: wp.array(dtype=VEC3),
    place: wp.array2d(dtype=VEC3),
    turn: wp.array2d(dtype=QUAT),
    linear: wp.array2d(dtype=VEC3),
    angular: wp.array2d(dtype=VEC3),
    extent: wp.array2d(dtype=VEC3),
    friction: wp.array2d(dtype=REAL),
    h: REAL,
    dt: REAL,
    impulse: wp.array2d(dtype=VEC6),
):
    """What a tool gets of a particle."""
    e, i, k = wp.tid()
    xi = x[e, i]
    all = sums[e, i]
    met = meet(xi, shape[k], place[e, k], turn[e, k], extent[e, k], h)
    if met[4] < REAL(1.0) or met[5] > REAL(0.0):
        n = VEC3(met[0], met[1], met[2])
        arm = xi - place[e, k]
        share = (REAL(1.0) / met[4] - REAL(1.0)) / (all[1] + REAL(1.0e-12))
        c = drag(viscosity[e], density[e, i], met, h, friction[e, k])
        body = linear[e, k] + wp.cross(angular[e, k], arm)
        a = press(pressure[e, i], density[e, i], met, gravity[e])
        got = a * n + c * (body - speed[e, i])
        got = got + share * (wp.exp(all[0]) - REAL(1.0)) * inner[e, i]
        f = (-dt * mass[e, i]) * got
        t = wp.cross(arm, f)
        wp.atomic_add(impulse, e, k, VEC6(f[0], f[1], f[2], t[0], t[1], t[2]))


@wp.kernel
def compress(
    first: wp.array(dtype=int),
    other: wp.array(dtype=int),
    apart: wp.array(dtype=wp.vec3i),
    periodic: int,
    box: VEC3,
    x: wp.array2d(dtype=VEC3),
    speed: wp.array2d(dtype=VEC3),
    density: wp.array2d(dtype=REAL),
    mass: wp.array2d(dtype=REAL),
    rest: wp.array(dtype=REAL),
    sound: wp.array(dtype=REAL),
    gravity: wp.array(dtype=VEC3),
    shape: wp.array(dtype=int),
    tools: int,
    place: wp.array2d(dtype=VEC3),
    turn: wp.array2d(dtype=QUAT),
    linear: wp.array2d(dtype=VEC3),
    angular: wp.array2d(dtype=VEC3),
    extent: wp.array2d(dtype=VEC3),
    h: REAL,
    rates: wp.array2d(dtype=VEC3),
):
    """How fast neighbours and walls close in [1/s], and how uneven density is [kg/m^5]."""
    e, i = wp.tid()
    row = e * x.shape[1] + i
    xi = x[e, i]
    ui = speed[e, i]
    ri = density[e, i]
    pull = (rest[e] / (sound[e] * sound[e])) * gravity[e]
    one = REAL(0.0)
    two = REAL(0.0)
    for at in range(first[row], first[row + 1]):
        j = other[at]
        d = between(xi, x[e, j], periodic, box, apart, at)
        rr = wp.dot(d, d) + REAL(1.0e-12) * h * h
        weight = mass[e, j] / density[e, j] * slope(wp.sqrt(rr), h)
        one += weight * wp.dot(ui - speed[e, j], d)
        two += weight * (density[e, j] - ri + wp.dot(pull, d))
    into = REAL(0.0)
    for k in range(tools):
        met = meet(xi, shape[k], place[e, k], turn[e, k], extent[e, k], h)
        n = VEC3(met[0], met[1], met[2])
        body = linear[e, k] + wp.cross(angular[e, k], xi - place[e, k])
        into += met[5] / met[4] * wp.dot(ui - body, n)
    rates[e, i] = VEC3(one, into, two)


@wp.kernel
def settle(
    x: wp.array2d(dtype=VEC3),
    speed: wp.array2d(dtype=VEC3),
    density: wp.array2d(dtype=REAL),
    sums: wp.array2d(dtype=VEC3),
    rates: wp.array2d(dtype=VEC3),
    sound: wp.array(dtype=REAL),
    h: REAL,
    delta: REAL,
    dt: REAL,
    x_next: wp.array2d(dtype=VEC3),
    v_next: wp.array2d(dtype=VEC3),
    density_next: wp.array2d(dtype=REAL),
):
    e, i = wp.tid()
    ri = density[e, i]
    r = rates[e, i]
    all = sums[e, i]
    spread = REAL(-2.0) * delta * h * sound[e] * r[2]
    density_next[e, i] = ri + dt * (ri * (wp.exp(all[0]) * r[0] - r[1]) + spread)
    x_next[e, i] = x[e, i] + dt * speed[e, i]
    v_next[e, i] = speed[e, i]


move = wp.kernel(_touch.move, module=__name__)  # compiled with the others here
