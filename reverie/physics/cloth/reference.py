"""The substep of cloth and ropes in torch: what the kernels are held to.

    f = f_stretch(x, v) + f_bend(x, v)
    u = v + dt (f / m + g - c v)
    u met by other layers, then by each tool in turn
    v+ = u + w (v_holder - u),   x+ = x + dt v+ + (1 - w) s

s lifts what is inside a tool out of it and gives it no speed. Membranes are triangles of St. Venant
and Kirchhoff's law in plane stress: of the edges' images F and the strain E = (F^T F - 1) / 2,

    W / A = Y / (2 (1 - nu^2)) (Euu^2 + Evv^2 + 2 nu Euu Evv) + 2 G Euv^2

with E + t dE/dt in the stress in the place of E (Kelvin and Voigt), which no rigid motion feels.
A tool stops a vertex where the gap closes within the substep, and Coulomb's law bounds what it does
along its surface, so that a vertex at rest sticks exactly; see `meet`.

Legend: `B` worlds, `V` vertices, `F` triangles, `S` segments, `K` tools, `N` pairs of layers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from reverie.physics.cloth.material import ClothParams, ClothState, Hold, web
from reverie.physics.cloth.mesh import ClothMesh
from reverie.physics.tools import Shape, Tools, distance
from reverie.physics.turn import rotate, rotate_back, turned

LIFT = 0.2
"""The share of a penetration that a substep takes away,"""
LIFT_SPEED = 1.0
"""no faster than this [m/s]."""
STIFF = 1 / 16
"""k dt^2 / m of the repulsion of layers: a dozen contacts of one vertex stay stable."""
RESIST = 1 / 8
"""c dt / m of the repulsion of layers, across and along."""
TINY = 1e-12


class Moved(NamedTuple):
    """What a contact changes."""

    velocity: Tensor
    """`[B, V, 3]`."""
    shift: Tensor
    """Displacements besides it `[B, V, 3]` [m]."""
    impulse: Tensor
    """On the tool `[B, 6]` [N s], (linear, angular about its place)."""


def substep(
    state: ClothState,
    params: ClothParams,
    tools: Tools,
    hold: Hold,
    pairs: Tensor,
    mesh: ClothMesh,
    shapes: tuple[Shape, ...],
    *,
    dt: float,
) -> tuple[ClothState, Tools, Tensor]:
    """The next state, the tools where they are then, and the impulse `[B, K, 6]` on each [N s].

    `pairs` are layers that may touch, int `[N, 3]`: a world, a vertex, a row of `mesh.surface`.
    """
    u = kick(state, params, mesh, dt)
    if len(pairs):
        u = repel(state.position, u, params, pairs, mesh.surface, dt)
    shift = torch.zeros_like(u)
    pushes = [u.new_zeros(len(u), 6)] * len(shapes)
    for k, shape in enumerate(shapes):
        u, lift, pushes[k] = meet(state.position, u, params, tools, k, shape, dt)
        shift = shift + lift
    moved = tools._replace(
        place=tools.place + dt * tools.linear, turn=turned(tools.turn, tools.angular, dt)
    )
    goal = torch.zeros_like(u)
    for k in range(len(shapes)):
        goal = torch.where((hold.tool == k)[..., None], carried(state, tools, moved, k, dt), goal)
    velocity = u + hold.weight[..., None] * (goal - u)
    position = state.position + dt * velocity + (1 - hold.weight[..., None]) * shift
    for k in range(len(shapes)):
        push = params.mass[..., None] * (u - velocity) * (hold.tool == k)[..., None]
        pushes[k] = pushes[k] + _total(push, state.position - tools.place[:, k : k + 1])
    none = u.new_zeros(len(u), 0, 6)
    return ClothState(position, velocity), moved, torch.stack(pushes, 1) if pushes else none


def kick(state: ClothState, params: ClothParams, mesh: ClothMesh, dt: float) -> Tensor:
    """u: velocities `[B, V, 3]` after all forces but contact."""
    force = stretch_force(state, params, mesh) + bend_force(state, params, mesh)
    speeding = force / params.mass[..., None] + params.gravity[:, None]
    return state.velocity + dt * (speeding - params.drag[:, None, None] * state.velocity)


def stretch_force(state: ClothState, params: ClothParams, mesh: ClothMesh) -> Tensor:
    """Of triangles and segments `[B, V, 3]` [N]."""
    panel, cord, slow = web(params, mesh)
    x, v = state
    force = torch.zeros_like(x)
    if len(mesh.faces):
        out = _panels(x[:, mesh.faces], v[:, mesh.faces], panel, mesh.frame)
        force = force.index_add(1, mesh.faces.reshape(-1), out.flatten(1, 2))
    if len(mesh.segments):
        one, two = mesh.segments.unbind(-1)
        along = x[:, two] - x[:, one]
        length = along.square().sum(-1, keepdim=True).sqrt() + TINY
        along = along / length
        rate = ((v[:, two] - v[:, one]) * along).sum(-1)
        pull = cord * (length[..., 0] - mesh.length + slow * rate)
        pull = pull[..., None] * along
        force = force.index_add(1, one, pull).index_add(1, two, -pull)
    return force


def _panels(x: Tensor, v: Tensor, panel: Tensor, frame: Tensor) -> Tensor:
    """The forces on the corners `[B, F, 3, 3]` of triangles."""
    a, b, c, d = (frame[:, k, None] for k in range(4))
    plane, cross, shear, slow = panel.unbind(-1)
    e, w = x[:, :, 1:] - x[:, :, :1], v[:, :, 1:] - v[:, :, :1]
    fu, fv = a * e[:, :, 0] + c * e[:, :, 1], b * e[:, :, 0] + d * e[:, :, 1]
    gu, gv = a * w[:, :, 0] + c * w[:, :, 1], b * w[:, :, 0] + d * w[:, :, 1]
    uu = 0.5 * ((fu * fu).sum(-1) - 1) + slow * (fu * gu).sum(-1)
    vv = 0.5 * ((fv * fv).sum(-1) - 1) + slow * (fv * gv).sum(-1)
    uv = (fu * fv).sum(-1) + slow * ((fu * gv).sum(-1) + (gu * fv).sum(-1))
    su, sv = (plane * uu + cross * vv)[..., None], (plane * vv + cross * uu)[..., None]
    suv = (shear * uv)[..., None]
    pu, pv = su * fu + suv * fv, suv * fu + sv * fv
    one, two = -(a * pu + b * pv), -(c * pu + d * pv)
    return torch.stack([-one - two, one, two], 2)


def bend_force(state: ClothState, params: ClothParams, mesh: ClothMesh) -> Tensor:
    """-D sum_j K_ij (x_j - x_i + t (v_j - v_i)), `[B, V, 3]` [N]."""
    row, column, value = mesh.bends
    rigid, slow = params.bend[:, mesh.body, None], params.bend_damping[:, mesh.body, None]
    sums = []
    for z in state:
        zero = torch.zeros_like(z)
        sums.append(zero.index_add(1, row, value[:, None] * (z[:, column] - z[:, row])))
    return -rigid * (sums[0] + slow * sums[1])


def meet(
    x: Tensor, u: Tensor, params: ClothParams, tools: Tools, k: int, shape: Shape, dt: float
) -> Moved:
    """Velocities after tool k.

    With n the outward normal and gap the distance less half the thickness, the velocity relative to
    the tool obeys u . n >= -max(gap, 0) / dt; the change d of u . n bounds friction: the velocity
    along the surface loses at most mu d.
    """
    arm = x - tools.place[:, k : k + 1]
    turn = tools.turn[:, k : k + 1]
    normal, phi = distance(shape, rotate_back(turn, arm), tools.extent[:, k : k + 1])
    normal = rotate(turn, normal)
    gap = phi - 0.5 * params.thickness[:, None, None]
    spin = tools.angular[:, k : k + 1].expand_as(arm)
    body = tools.linear[:, k : k + 1] + torch.linalg.cross(spin, arm)
    relative = u - body
    into = (relative * normal).sum(-1, keepdim=True)
    least = -gap.clamp_min(0) / dt
    change = least - into
    slide = relative - into * normal
    speed = (slide.square().sum(-1, keepdim=True) + 1e-20).sqrt()
    left = (1 - tools.friction[:, k, None, None] * change / speed).clamp_min(0)
    touches = change > 0
    met = torch.where(touches, body + least * normal + left * slide, u)
    lift = (-LIFT * gap).clamp(0, LIFT_SPEED * dt)
    shift = torch.where(touches, lift * normal, 0.0)
    return Moved(met, shift, _total(params.mass[..., None] * (u - met), arm))


def _total(push: Tensor, arm: Tensor) -> Tensor:
    """The sum of impulses `[B, V, 3]` at arms from the place of a tool, `[B, 6]`."""
    return torch.cat([push, torch.linalg.cross(arm, push)], -1).sum(1)


def carried(state: ClothState, before: Tools, after: Tools, k: int, dt: float) -> Tensor:
    """The velocities `[B, V, 3]` that keep vertices where they are in the frame of tool k."""
    arm = state.position - before.place[:, k : k + 1]
    held = rotate(after.turn[:, k : k + 1], rotate_back(before.turn[:, k : k + 1], arm))
    return before.linear[:, k : k + 1] + (held - arm) / dt


def repel(
    x: Tensor, u: Tensor, params: ClothParams, pairs: Tensor, surface: Tensor, dt: float
) -> Tensor:
    """Velocities `[B, V, 3]` after vertices push, and are pushed by, triangles of other layers.

    The impulse across is m max(0, STIFF gap / dt - RESIST u_n), linear in how much nearer than the
    thickness they are, along it is at most mu times that; m is the mass of both sides.
    """
    world, vertex = pairs[:, 0].long(), pairs[:, 1].long()
    corner = surface[pairs[:, 2].long()]
    a, b, c = (x[world, corner[:, e]] for e in range(3))
    share = nearest(x[world, vertex], a, b, c)
    node = torch.cat([vertex[:, None], corner], 1)
    weight = torch.cat([torch.ones_like(share[:, :1]), -share], 1)
    apart = (weight[..., None] * x[world[:, None], node]).sum(1)
    relative = (weight[..., None] * u[world[:, None], node]).sum(1)
    far = (apart.square().sum(-1) + TINY**2).sqrt()
    gap = far - params.thickness[world]
    normal = apart / far[:, None]
    mass = 1 / (weight**2 / params.mass[world[:, None], node]).sum(1)
    into = (relative * normal).sum(-1)
    across = mass * (-STIFF * gap / dt - RESIST * into).clamp_min(0)
    across = torch.where(gap < 0, across, 0.0)
    slide = relative - into[:, None] * normal
    speed = (slide.square().sum(-1) + 1e-20).sqrt()
    along = torch.minimum(params.friction[world] * across, RESIST * mass * speed)
    push = across[:, None] * normal - (along / speed)[:, None] * slide
    changed = weight[..., None] * push[:, None] / params.mass[world[:, None], node][..., None]
    flat = (world[:, None] * x.shape[1] + node).reshape(-1)
    return u.flatten(0, 1).index_add(0, flat, changed.flatten(0, 1)).view_as(u)


def nearest(p: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The weights `[N, 3]` of the corners in the point of triangles that is nearest to p.

    By regions of corners, edges and the inside (Ericson 2005, 5.1.5); c may equal b.
    """
    ab, ac = b - a, c - a
    d1, d2 = _dots(ab, ac, p - a)
    d3, d4 = _dots(ab, ac, p - b)
    d5, d6 = _dots(ab, ac, p - c)
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    zero, one = torch.zeros_like(d1), torch.ones_like(d1)
    regions = [
        ((d1 <= 0) & (d2 <= 0), one, zero),
        ((d3 >= 0) & (d4 <= d3), zero, one),
        ((vc <= 0) & (d1 >= 0) & (d3 <= 0), 1 - _part(d1, -d3), _part(d1, -d3)),
        ((d6 >= 0) & (d5 <= d6), zero, zero),
        ((vb <= 0) & (d2 >= 0) & (d6 <= 0), 1 - _part(d2, -d6), zero),
        ((va <= 0) & (d4 >= d3) & (d5 >= d6), zero, 1 - _part(d4 - d3, d5 - d6)),
    ]
    wa, wb = _part(va, vb + vc), _part(vb, va + vc)
    for inside, to_a, to_b in reversed(regions):
        wa, wb = torch.where(inside, to_a, wa), torch.where(inside, to_b, wb)
    return torch.stack([wa, wb, 1 - wa - wb], -1)


def _dots(one: Tensor, two: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return (one * v).sum(-1), (two * v).sum(-1)


def _part(x: Tensor, rest: Tensor) -> Tensor:
    """x / (x + rest), 0 where that is 0 / 0."""
    whole = x + rest
    return torch.where(whole == 0, 0.0, x / torch.where(whole == 0, 1.0, whole))
