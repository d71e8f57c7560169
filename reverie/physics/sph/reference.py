"""The substep of smoothed particles in torch: what the kernels are held to.

Weakly compressible, with Wendland's C2 kernel W of support H = 2 h, d = x_i - x_j, F = W'(r) / r:

    p_i      = Tait's equation
    A_i      = sum_j m_j / (rho_i rho_j) F [-(p_i + p_j) d + 2 eta (v_i - v_j)
               + alpha h c_0 rho_0 (v_i - v_j).d / (r^2 + h^2 / 100) d]
    v_i'     = v_i + dt (A_i / s_i + g + walls)
    drho_i   = rho_i / s_i sum_j m_j / rho_j F (v_i' - v_j').d + walls
               - 2 delta h c_0 sum_j m_j / rho_j F (rho_j - rho_i + rho_0 / c_0^2 g.d)
    x_i'     = x_i + dt v_i'

Viscosity is Morris' (1997), the diffusion of density Molteni's (2009) with the hydrostatic part
left out (Fourtakas et al. 2019). Walls are semi-analytic (Kulasegaram et al. 2004; Ferrand et al.
2013): from the kernel of a particle at distance phi, tool k cuts away the share gamma, and its
surface has the weight b, the integral of W over it: both in closed form for a plane (`cut`), of
which boxes and balls are made, and which capsules and cylinders are taken for. With s = 1 - gamma
and n the normal,

    s_i      = prod_k s_k
    pressure   (2 p_i - phi rho_i g.n) b / (rho_i s_k) n, never a pull; dp/dn = rho g.n
    viscosity  -2 eta b / (rho_i phi s_k) (v_i' - u_k) min(1, 2 friction), implicit
    density    -rho_i b / s_k (v_i' - u_k).n

With these the operators are exact for linear fields up to flat walls, pairs of walls at right
angles included, and viscosity for quadratic ones. What walls give a particle, and what the division
by s adds to A, the tools lose.

Legend: `B` worlds, `N` particles, `K` tools, `P` pairs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from reverie.physics.sph.material import SPHParams, SPHState, pressure
from reverie.physics.sph.neighbours import Pairs, Period, pairs
from reverie.physics.tools import Shape, Tools, distance
from reverie.physics.turn import rotate, rotate_back, turned

LEAST_SHARE = 0.25
"""Of a kernel that walls leave, at least this much is counted."""
TINY = 1e-9
"""[1/m]: a box that cuts less of a kernel has no normal."""
CLOSEST = 0.1
"""In h: nearer to a wall than this, its drag grows no more."""


class Law(NamedTuple):
    """Numbers of the method."""

    h: float
    """Half the support of the kernel [m]."""
    dt: float
    alpha: float
    """Artificial viscosity."""
    delta: float
    """Diffusion of density."""
    period: Period


class Wall(NamedTuple):
    """One tool as particles see it; `[B, N, 1]`, vectors `[B, N, 3]`."""

    normal: Tensor
    phi: Tensor
    speed: Tensor
    arm: Tensor
    left: Tensor
    """s_k."""
    surface: Tensor
    """b [1/m]."""
    grip: Tensor


def slope(r: Tensor, h: float) -> Tensor:
    """F = W'(r) / r of Wendland's C2 kernel [1/m^5]."""
    support = 2 * h
    return -210 / (math.pi * support**5) * (1 - r / support).clamp_min(0) ** 3


def cut(phi: Tensor, h: float) -> tuple[Tensor, Tensor]:
    """The share gamma of the kernel behind a plane at a distance phi, and b [1/m].

    b(phi) is the integral of W over the plane, gamma(phi) that of b from phi on, T = 1 - phi / H:

        b = 21 / H T^5 (1 - 3/2 T + 4/7 T^2),   gamma = T^6 (7/2 - 9/2 T + 3/2 T^2)
    """
    support = 2 * h
    t = (1 - phi.abs() / support).clamp_min(0)
    surface = 21 / support * t**5 * (1 - 1.5 * t + 4 / 7 * t * t)
    gone = t**6 * (3.5 - 4.5 * t + 1.5 * t * t)
    return torch.where(phi < 0, 1 - gone, gone), surface


def cut_by_box(y: Tensor, half: Tensor, h: float) -> tuple[Tensor, Tensor]:
    """gamma `[..., 1]` of a box of half widths `[..., 3]`, and b n `[..., 3]`, at y in its frame.

    A box is three slabs at right angles, and their shares are multiplied.
    """
    (near, edge), (far, back) = cut(y.abs() - half, h), cut(y.abs() + half, h)
    slab, face = near - far, edge - back
    x, y_, z = slab.unbind(-1)
    others = torch.stack([y_ * z, x * z, x * y_], -1)
    return slab.prod(-1, keepdim=True), y.sign() * face * others


def cut_by_ball(phi: Tensor, radius: Tensor, h: float) -> tuple[Tensor, Tensor]:
    """gamma and b of a ball, to first order in how much its surface is curved."""
    gone, surface = cut(phi, h)
    mean = phi + 0.2083 * (2 * h - phi.abs()).clamp_min(0)  # where what it hides begins
    near, beyond = ((x / radius).clamp_min(-0.5) for x in (phi, mean))
    return gone / (1 + beyond), surface / (1 + near)


def substep(
    state: SPHState, params: SPHParams, tools: Tools, shapes: tuple[Shape, ...], law: Law
) -> tuple[SPHState, Tools, Tensor]:
    """The next state, the tools where they are then, and the impulse `[B, K, 6]` on each [N s].

    An impulse is (linear, angular about the tool's place).
    """
    near = pairs(state.position.detach(), 2 * law.h, law.period)
    walls = [meet(state.position, tools, k, shape, law) for k, shape in enumerate(shapes)]
    speed, impulse = push(state, params, near, walls, law)
    density = compress(state, speed, params, near, walls, law)
    moved = tools._replace(
        place=tools.place + law.dt * tools.linear, turn=turned(tools.turn, tools.angular, law.dt)
    )
    return SPHState(state.position + law.dt * speed, speed, density), moved, impulse


def meet(position: Tensor, tools: Tools, k: int, shape: Shape, law: Law) -> Wall:
    """Tool k as particles `[B, N, 3]` see it."""
    arm = position - tools.place[:, k : k + 1]
    turn = tools.turn[:, k : k + 1]
    local = rotate_back(turn, arm)
    normal, phi = distance(shape, local, tools.extent[:, k : k + 1])
    spin = tools.angular[:, k : k + 1].expand_as(arm)
    speed = tools.linear[:, k : k + 1] + torch.linalg.cross(spin, arm)
    extent = tools.extent[:, k : k + 1]
    if shape == Shape.BOX:
        gone, vector = cut_by_box(local, extent, law.h)
        size = (vector.square().sum(-1, keepdim=True) + TINY**2).sqrt()
        normal, surface = vector / size, size - TINY
    elif shape == Shape.SPHERE:
        gone, surface = cut_by_ball(phi, extent[..., :1], law.h)
    else:
        gone, surface = cut(phi, law.h)
    left = (1 - gone).clamp_min(LEAST_SHARE)
    grip = (2 * tools.friction[:, k, None, None]).clamp_max(1)
    return Wall(rotate(turn, normal), phi, speed, arm, left, surface, grip)


def between(x: Tensor, near: Pairs, law: Law) -> tuple[Tensor, Tensor, Tensor]:
    """d `[P, 3]` and r `[P, 1]` [m], and F `[P, 1]`."""
    flat = x.flatten(0, 1)
    shift = near.turns.to(x) * x.new_tensor(law.period)
    d = flat[near.one] - flat[near.two] - shift
    r = (d.square().sum(-1, keepdim=True) + 1e-12 * law.h**2).sqrt()
    return d, r, slope(r, law.h)


def total(x: Tensor, near: Pairs, like: Tensor) -> Tensor:
    """Sums `[B, N, n]` over the pairs `[P, n]` of each particle of `like` `[B, N, ...]`."""
    out = x.new_zeros(like.shape[0] * like.shape[1], x.shape[-1])
    return out.index_add(0, near.one, x).unflatten(0, like.shape[:2])


def push(
    state: SPHState, params: SPHParams, near: Pairs, walls: list[Wall], law: Law
) -> tuple[Tensor, Tensor]:
    """Velocities `[B, N, 3]` after forces, and impulses on tools `[B, K, 6]`."""
    x, v, rho = state.position, state.velocity, state.density.unsqueeze(-1)
    p = pressure(state.density, params).unsqueeze(-1)
    mass = params.mass.unsqueeze(-1)
    eta, sound, rest = (
        s[:, None, None].expand_as(rho) for s in (params.viscosity, params.sound, params.density)
    )
    d, r, f = between(x, near, law)
    one, two = near.one, near.two
    flat = [y.flatten(0, 1) for y in (v, rho, p, mass)]
    relative = flat[0][one] - flat[0][two]
    weight = flat[3][two] / (flat[1][one] * flat[1][two]) * f
    closing = (relative * d).sum(-1, keepdim=True) / (r * r + 0.01 * law.h**2)
    stiff = (law.alpha * law.h * sound * rest).flatten(0, 1)[one] * closing
    pair = (stiff - flat[2][one] - flat[2][two]) * d + 2 * eta.flatten(0, 1)[one] * relative
    inner = total(weight * pair, near, x)
    gravity = params.gravity.unsqueeze(1)
    scale = product([1 / w.left for w in walls], rho)
    kick = inner * scale + gravity
    hold, held = torch.zeros_like(rho), torch.zeros_like(v)
    presses, drags = [], []
    for w in walls:
        pressed = 2 * p - w.phi * rho * (gravity * w.normal).sum(-1, keepdim=True)
        presses.append(pressed.clamp_min(0) * w.surface / (rho * w.left) * w.normal)
        far = w.phi.clamp_min(CLOSEST * law.h)
        drags.append(2 * eta * w.surface / (rho * far * w.left) * w.grip)
        kick, hold, held = kick + presses[-1], hold + drags[-1], held + drags[-1] * w.speed
    after = (v + law.dt * (kick + held)) / (1 + law.dt * hold)
    shares = [1 / w.left - 1 for w in walls]
    whole = sum(shares, torch.zeros_like(rho)) + 1e-12
    lost = []
    for w, press, drag, share in zip(walls, presses, drags, shares, strict=True):
        got = press + drag * (w.speed - after) + share / whole * (scale - 1) * inner
        force = -law.dt * mass * got
        lost.append(torch.cat([force, torch.linalg.cross(w.arm, force)], -1).sum(1))
    return after, torch.stack(lost, 1) if lost else x.new_zeros(len(x), 0, 6)


def product(factors: list[Tensor], like: Tensor) -> Tensor:
    """Their product, 1 where there are none."""
    out = torch.ones_like(like)
    for x in factors:
        out = out * x
    return out


def compress(
    state: SPHState, speed: Tensor, params: SPHParams, near: Pairs, walls: list[Wall], law: Law
) -> Tensor:
    """Densities `[B, N]` after a step in which particles have the velocities `speed`."""
    rho = state.density.unsqueeze(-1)
    d, _, f = between(state.position, near, law)
    one, two = near.one, near.two
    flat, u = rho.flatten(0, 1), speed.flatten(0, 1)
    volume = (params.mass.unsqueeze(-1) / rho).flatten(0, 1)[two]
    closing = ((u[one] - u[two]) * d).sum(-1, keepdim=True)
    rate = rho * total(volume * f * closing, near, rho)
    rate = rate * product([1 / w.left for w in walls], rho)
    for w in walls:
        into = ((speed - w.speed) * w.normal).sum(-1, keepdim=True)
        rate = rate - rho * w.surface / w.left * into
    rest, sound = params.density[:, None, None], params.sound[:, None, None]
    pull = (rest / sound**2 * params.gravity.unsqueeze(1)).expand_as(speed).flatten(0, 1)
    uneven = flat[two] - flat[one] + (pull[one] * d).sum(-1, keepdim=True)
    spread = total(volume * f * uneven, near, rho)
    return (rho + law.dt * (rate - 2 * law.delta * law.h * sound * spread)).squeeze(-1)
