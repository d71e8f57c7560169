# mypy: ignore-errors
"""The substep of cloth and ropes as Warp kernels; see `reference.py` for the equations.

Loaded once for each precision by `reverie.physics.kernels.load`. Arrays and launches have one axis,
worlds one after the other, since finding an index along two takes a third of a small kernel's time.
What a loop carries is never read after the loop but to be added: the way back does not know it.
Legend: `B` worlds, `V` vertices, `F` triangles, `S` segments, `K` tools, `N` pairs of layers.
"""

import warp as wp

from reverie.physics.cloth.reference import LIFT, LIFT_SPEED, RESIST, STIFF
from reverie.physics.kernels import beside, chosen

_types = chosen()
REAL, VEC3, VEC4, QUAT, VEC6 = (
    *(_types.scalar, _types.vec3, _types.vec4),
    *(_types.quat, _types.vec6),
)
_touch = beside("reverie.physics.touch.kernels")
distance, turned = _touch.distance, _touch.turned

LIFTED = wp.constant(REAL(LIFT))
FASTEST = wp.constant(REAL(LIFT_SPEED))
STIFFNESS = wp.constant(REAL(STIFF))
RESISTANCE = wp.constant(REAL(RESIST))


@wp.kernel
def panels(
    x: wp.array(dtype=VEC3),
    v: wp.array(dtype=VEC3),
    faces: wp.array(dtype=wp.vec3i),
    frame: wp.array(dtype=VEC4),
    panel: wp.array(dtype=VEC4),
    size: int,
    vertices: int,
    force: wp.array(dtype=VEC3),
):
    t = wp.tid()
    e = t / size
    i = faces[t - e * size]
    r = frame[t - e * size]
    i0 = e * vertices + i[0]
    i1 = e * vertices + i[1]
    i2 = e * vertices + i[2]
    x0 = x[i0]
    v0 = v[i0]
    e1 = x[i1] - x0
    e2 = x[i2] - x0
    w1 = v[i1] - v0
    w2 = v[i2] - v0
    fu = r[0] * e1 + r[2] * e2
    fv = r[1] * e1 + r[3] * e2
    gu = r[0] * w1 + r[2] * w2
    gv = r[1] * w1 + r[3] * w2
    law = panel[t]
    slow = law[3]
    uu = REAL(0.5) * (wp.dot(fu, fu) - REAL(1.0)) + slow * wp.dot(fu, gu)
    vv = REAL(0.5) * (wp.dot(fv, fv) - REAL(1.0)) + slow * wp.dot(fv, gv)
    uv = law[2] * (wp.dot(fu, fv) + slow * (wp.dot(fu, gv) + wp.dot(gu, fv)))
    pu = (law[0] * uu + law[1] * vv) * fu + uv * fv
    pv = uv * fu + (law[0] * vv + law[1] * uu) * fv
    one = r[0] * pu + r[1] * pv
    two = r[2] * pu + r[3] * pv
    wp.atomic_add(force, i0, one + two)
    wp.atomic_sub(force, i1, one)
    wp.atomic_sub(force, i2, two)


@wp.kernel
def cords(
    x: wp.array(dtype=VEC3),
    v: wp.array(dtype=VEC3),
    segments: wp.array(dtype=wp.vec2i),
    length: wp.array(dtype=REAL),
    cord: wp.array(dtype=REAL),
    slow: wp.array(dtype=REAL),
    size: int,
    vertices: int,
    force: wp.array(dtype=VEC3),
):
    t = wp.tid()
    e = t / size
    i = segments[t - e * size]
    i0 = e * vertices + i[0]
    i1 = e * vertices + i[1]
    along = x[i1] - x[i0]
    far = wp.sqrt(wp.dot(along, along)) + REAL(1.0e-12)
    n = along / far
    rate = wp.dot(v[i1] - v[i0], n)
    pull = (cord[t] * (far - length[t - e * size] + slow[t] * rate)) * n
    wp.atomic_add(force, i0, pull)
    wp.atomic_sub(force, i1, pull)


@wp.kernel
def ahead(
    x: wp.array(dtype=VEC3),
    v: wp.array(dtype=VEC3),
    body: wp.array(dtype=int),
    slow: wp.array(dtype=REAL),
    vertices: int,
    bodies: int,
    z: wp.array(dtype=VEC3),
):
    t = wp.tid()
    e = t / vertices
    z[t] = x[t] + slow[e * bodies + body[t - e * vertices]] * v[t]


@wp.kernel
def bends(
    z: wp.array(dtype=VEC3),
    start: wp.array(dtype=int),
    column: wp.array(dtype=int),
    value: wp.array(dtype=REAL),
    body: wp.array(dtype=int),
    bend: wp.array(dtype=REAL),
    vertices: int,
    bodies: int,
    force: wp.array(dtype=VEC3),
):
    t = wp.tid()
    e = t / vertices
    first = e * vertices
    i = t - first
    zi = z[t]
    rigid = bend[e * bodies + body[i]]
    total = VEC3()
    for s in range(start[i], start[i + 1]):
        total += (rigid * value[s]) * (z[first + column[s]] - zi)
    wp.atomic_sub(force, t, total)


@wp.kernel
def kick(
    v: wp.array(dtype=VEC3),
    force: wp.array(dtype=VEC3),
    mass: wp.array(dtype=REAL),
    drag: wp.array(dtype=REAL),
    gravity: wp.array(dtype=VEC3),
    dt: REAL,
    vertices: int,
    u: wp.array(dtype=VEC3),
):
    t = wp.tid()
    e = t / vertices
    vi = v[t]
    u[t] = vi + dt * (force[t] / mass[t] + gravity[e] - drag[e] * vi)


@wp.func
def nearest(p: VEC3, a: VEC3, b: VEC3, c: VEC3):
    """The weights of the corners in the point of a triangle that is nearest to p."""
    ab = b - a
    ac = c - a
    d1 = wp.dot(ab, p - a)
    d2 = wp.dot(ac, p - a)
    d3 = wp.dot(ab, p - b)
    d4 = wp.dot(ac, p - b)
    d5 = wp.dot(ab, p - c)
    d6 = wp.dot(ac, p - c)
    va = d3 * d6 - d5 * d4
    vb = d5 * d2 - d1 * d6
    vc = d1 * d4 - d3 * d2
    zero = REAL(0.0)
    one = REAL(1.0)
    w = VEC3(one, zero, zero)
    if d1 <= zero and d2 <= zero:
        w = VEC3(one, zero, zero)
    elif d3 >= zero and d4 <= d3:
        w = VEC3(zero, one, zero)
    elif vc <= zero and d1 >= zero and d3 <= zero:
        w = VEC3(-d3 / (d1 - d3), d1 / (d1 - d3), zero)
    elif d6 >= zero and d5 <= d6:
        w = VEC3(zero, zero, one)
    elif vb <= zero and d2 >= zero and d6 <= zero:
        w = VEC3(-d6 / (d2 - d6), zero, d2 / (d2 - d6))
    elif va <= zero and d4 >= d3 and d5 >= d6:
        w = VEC3(zero, (d5 - d6) / (d4 - d3 + d5 - d6), (d4 - d3) / (d4 - d3 + d5 - d6))
    else:
        w = VEC3(va, vb, vc) / (va + vb + vc)
    return w


@wp.kernel
def repel(
    x: wp.array(dtype=VEC3),
    u: wp.array(dtype=VEC3),
    mass: wp.array(dtype=REAL),
    thickness: wp.array(dtype=REAL),
    friction: wp.array(dtype=REAL),
    pairs: wp.array(dtype=wp.vec3i),
    surface: wp.array(dtype=wp.vec3i),
    dt: REAL,
    vertices: int,
    push: wp.array(dtype=VEC3),
):
    q = pairs[wp.tid()]
    e = q[0]
    k = surface[q[2]]
    i = e * vertices + q[1]
    a = e * vertices + k[0]
    b = e * vertices + k[1]
    c = e * vertices + k[2]
    w = nearest(x[i], x[a], x[b], x[c])
    apart = x[i] - w[0] * x[a] - w[1] * x[b] - w[2] * x[c]
    far = wp.sqrt(wp.dot(apart, apart) + REAL(1.0e-24))
    gap = far - thickness[e]
    if gap < REAL(0.0):
        n = apart / far
        rel = u[i] - w[0] * u[a] - w[1] * u[b] - w[2] * u[c]
        lightness = REAL(1.0) / mass[i] + w[0] * w[0] / mass[a]
        lightness = lightness + w[1] * w[1] / mass[b] + w[2] * w[2] / mass[c]
        into = wp.dot(rel, n)
        across = wp.max(REAL(0.0), -STIFFNESS * gap / dt - RESISTANCE * into) / lightness
        slide = rel - into * n
        speed = wp.sqrt(wp.dot(slide, slide) + REAL(1.0e-20))
        along = wp.min(friction[e] * across, RESISTANCE * speed / lightness)
        p = across * n - (along / speed) * slide
        wp.atomic_add(push, i, p)
        wp.atomic_sub(push, a, w[0] * p)
        wp.atomic_sub(push, b, w[1] * p)
        wp.atomic_sub(push, c, w[2] * p)


@wp.kernel
def apply(
    u: wp.array(dtype=VEC3),
    push: wp.array(dtype=VEC3),
    mass: wp.array(dtype=REAL),
    after: wp.array(dtype=VEC3),
):
    t = wp.tid()
    after[t] = u[t] + push[t] / mass[t]


@wp.kernel
def meet(
    shape: int,
    k: int,
    x: wp.array(dtype=VEC3),
    u: wp.array(dtype=VEC3),
    mass: wp.array(dtype=REAL),
    thickness: wp.array(dtype=REAL),
    place: wp.array(dtype=VEC3),
    turn: wp.array(dtype=QUAT),
    linear: wp.array(dtype=VEC3),
    angular: wp.array(dtype=VEC3),
    extent: wp.array(dtype=VEC3),
    friction: wp.array(dtype=REAL),
    dt: REAL,
    vertices: int,
    tools: int,
    after: wp.array(dtype=VEC3),
    shift: wp.array(dtype=VEC3),
    impulse: wp.array(dtype=VEC6),
):
    i = wp.tid()
    e = i / vertices
    s = e * tools + k
    arm = x[i] - place[s]
    r = turn[s]
    near = distance(shape, wp.quat_rotate_inv(r, arm), extent[s])
    gap = near[3] - REAL(0.5) * thickness[e]
    n = wp.quat_rotate(r, VEC3(near[0], near[1], near[2]))
    body = linear[s] + wp.cross(angular[s], arm)
    rel = u[i] - body
    into = wp.dot(rel, n)
    least = -wp.max(REAL(0.0), gap) / dt  # of equal ones Warp's adjoint takes the second
    change = least - into
    met = u[i]
    if change > REAL(0.0):
        slide = rel - into * n
        speed = wp.sqrt(wp.dot(slide, slide) + REAL(1.0e-20))
        left = wp.max(REAL(0.0), REAL(1.0) - friction[s] * change / speed)
        met = body + least * n + left * slide
        p = mass[i] * (u[i] - met)
        t = wp.cross(arm, p)
        wp.atomic_add(impulse, s, VEC6(p[0], p[1], p[2], t[0], t[1], t[2]))
        if gap < REAL(0.0):
            wp.atomic_add(shift, i, wp.min(-LIFTED * gap, FASTEST * dt) * n)
    after[i] = met


@wp.kernel
def carry(
    held: wp.array(dtype=int),
    holder: wp.array(dtype=int),
    x: wp.array(dtype=VEC3),
    u: wp.array(dtype=VEC3),
    mass: wp.array(dtype=REAL),
    weight: wp.array(dtype=REAL),
    place: wp.array(dtype=VEC3),
    turn: wp.array(dtype=QUAT),
    linear: wp.array(dtype=VEC3),
    angular: wp.array(dtype=VEC3),
    dt: REAL,
    goal: wp.array(dtype=VEC3),
    impulse: wp.array(dtype=VEC6),
):
    i = held[wp.tid()]
    s = holder[wp.tid()]
    arm = x[i] - place[s]
    r = turn[s]
    now = turned(r, angular[s], dt)
    carried = wp.quat_rotate(now, wp.quat_rotate_inv(r, arm))
    to = linear[s] + (carried - arm) / dt
    p = (mass[i] * weight[i]) * (u[i] - to)
    t = wp.cross(arm, p)
    wp.atomic_add(impulse, s, VEC6(p[0], p[1], p[2], t[0], t[1], t[2]))
    goal[i] = to


@wp.kernel
def settle(
    x: wp.array(dtype=VEC3),
    u: wp.array(dtype=VEC3),
    shift: wp.array(dtype=VEC3),
    goal: wp.array(dtype=VEC3),
    weight: wp.array(dtype=REAL),
    dt: REAL,
    x_next: wp.array(dtype=VEC3),
    v_next: wp.array(dtype=VEC3),
):
    i = wp.tid()
    w = weight[i]
    moving = u[i] + w * (goal[i] - u[i])
    v_next[i] = moving
    x_next[i] = x[i] + dt * moving + (REAL(1.0) - w) * shift[i]


@wp.kernel
def move(
    place: wp.array(dtype=VEC3),
    turn: wp.array(dtype=QUAT),
    linear: wp.array(dtype=VEC3),
    angular: wp.array(dtype=VEC3),
    total: wp.array(dtype=VEC6),
    impulse: wp.array(dtype=VEC6),
    dt: REAL,
    place_next: wp.array(dtype=VEC3),
    turn_next: wp.array(dtype=QUAT),
    total_next: wp.array(dtype=VEC6),
):
    s = wp.tid()
    place_next[s] = place[s] + dt * linear[s]
    turn_next[s] = turned(turn[s], angular[s], dt)
    total_next[s] = total[s] + impulse[s]
