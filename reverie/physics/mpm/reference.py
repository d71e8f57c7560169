"""The substep of the material point method in torch: what the kernels are held to.

MLS-MPM (Hu et al. 2018) with quadratic B-splines and affine transfers (Jiang et al. 2015):

    b*  = (1 + dt C) b (1 + dt C)^T,   b, tau by the law of the particle (see `Kind`)
    m_i = sum_p w_ip m_p
    m_i u_i = sum_p w_ip [m_p v_p + (m_p C_p - dt 4 V_p / dx^2 tau_p) (x_i - x_p)] + dt m_i g
    u_i met by each tool in turn
    v_p = sum_i w_ip u_i,  C_p = 4 / dx^2 sum_i w_ip u_i (x_i - x_p)^T,  x_p += dt v_p

Isotropic laws need b alone, so no singular values are taken: log and exp of b are series, its root
is Newton's; for the bounds of snow the eigenvalues are. All have gradients where strains coincide.

Legend: `B` worlds, `N` particles, `K` tools, `M` nodes of the active box.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from reverie.physics.mpm.material import (
    HARDENING,
    PACKED,
    STRETCHED,
    Kind,
    MPMParams,
    MPMState,
)
from reverie.physics.tools import Shape, Tools, distance
from reverie.physics.turn import rotate, rotate_back, turned

TINY = 1e-7
"""Eigenvalues closer than this are one."""


class Box(NamedTuple):
    """The nodes around all particles of each world."""

    origin: Tensor
    """Index of the first node, int32 `[B, 3]`."""
    size: tuple[int, int, int]
    """Nodes along each axis, enough for every world."""

    @property
    def nodes(self) -> int:
        """M."""
        return self.size[0] * self.size[1] * self.size[2]


def active_box(position: Tensor, dx: float, most: int) -> Box:
    """The nodes that particles `[B, N, 3]` reach.

    Raises:
        FloatingPointError: A position is not finite, or particles spread over more than `most`
            nodes a world.
    """
    low, high = torch.aminmax(position, dim=1)
    bounds = torch.stack([low, high]).div(dx).sub(0.5).floor()
    if not bool(torch.isfinite(bounds).all()):
        raise FloatingPointError(
            "A particle's position is not finite: a control or a parameter was NaN, or the "
            "simulation blew up; take a smaller dt (see `stable_dt`)."
        )
    origin = bounds[0].to(torch.int32)
    spread = (bounds[1] - bounds[0]).amax(0).to(torch.int64) + 3
    size = spread.tolist()
    if size[0] * size[1] * size[2] > most:
        raise FloatingPointError(
            f"Particles spread over {size} nodes of {dx} m, more than {most}: some flew off. "
            f"Take a smaller dt (see `stable_dt`), or walls."
        )
    return Box(origin, (size[0], size[1], size[2]))


def substep(
    state: MPMState,
    params: MPMParams,
    tools: Tools,
    kind: Tensor,
    shapes: tuple[Shape, ...],
    *,
    dt: float,
    dx: float,
    softness: float,
    most: int,
) -> tuple[MPMState, Tools, Tensor]:
    """The next state, the tools where they are then, and the impulse `[B, K, 6]` on each [N s].

    An impulse is (linear, angular about the tool's place). `kind` is int `[N]`.
    """
    box = active_box(state.position.detach(), dx, most)
    strain, memory, tau = deform(state, params, kind, dt)
    cell, weight, offset = stencil(state.position, box, dx)
    moment = params.mass[..., None, None] * state.affine
    moment = moment - (4 * dt / dx**2) * params.volume[..., None, None] * tau
    momentum = params.mass[..., None] * state.velocity
    carried = momentum.unsqueeze(2) + offset @ moment.mT
    carried = torch.cat([carried, params.mass[..., None, None].expand(*carried.shape[:3], 1)], -1)
    carried = (weight.unsqueeze(-1) * carried).flatten(1, 2)
    grid = carried.new_zeros(*carried.shape[:1], box.nodes, 4)
    grid = grid.scatter_add(1, cell.flatten(1, 2).unsqueeze(-1).expand_as(carried), carried)
    mass = grid[..., 3:]
    velocity = grid[..., :3] / torch.where(mass > 0, mass, 1.0)
    velocity = torch.where(mass > 0, velocity + dt * params.gravity.unsqueeze(1), 0.0)
    node = nodes(box, dx, velocity)
    impulses = []
    for k, shape in enumerate(shapes):
        before = velocity
        velocity = meet(velocity, node, tools, k, shape, softness)
        push = mass * (before - velocity)
        arm = node - tools.place[:, k : k + 1]
        turned_by = torch.linalg.cross(arm, push)
        impulses.append(torch.cat([push, turned_by], -1).sum(1))
    found = velocity.gather(1, cell.flatten(1, 2).unsqueeze(-1).expand(-1, -1, 3))
    found = weight.unsqueeze(-1) * found.unflatten(1, cell.shape[1:])
    speed = found.sum(2)
    affine = (4 / dx**2) * (found.mT @ offset)
    after = MPMState(state.position + dt * speed, speed, affine, strain, memory)
    moved = tools._replace(
        place=tools.place + dt * tools.linear, turn=turned(tools.turn, tools.angular, dt)
    )
    none = tools.place.new_zeros(len(tools.place), 0, 6)
    return after, moved, torch.stack(impulses, 1) if impulses else none


def deform(
    state: MPMState, params: MPMParams, kind: Tensor, dt: float
) -> tuple[Tensor, Tensor, Tensor]:
    """b and memory after the step, and tau `[B, N, 3, 3]`."""
    eye = torch.eye(3, dtype=state.strain.dtype, device=state.strain.device)
    grow = eye + dt * state.affine
    trial = grow @ state.strain @ grow.mT
    trial = 0.5 * (trial + trial.mT)  # rounding would add up to a torque
    strain, memory, tau = trial, state.memory, torch.zeros_like(trial)
    laws = {
        Kind.NEO_HOOKEAN: _neo_hookean,
        Kind.COROTATED: _corotated,
        Kind.VON_MISES: _von_mises,
        Kind.SAND: _sand,
        Kind.LIQUID: _liquid,
        Kind.SNOW: _snow,
    }
    for number, law in laws.items():
        own = kind == number
        if not bool(own.any()):
            continue
        rows = own.nonzero()[:, 0]
        part = MPMState(*(x[:, rows] for x in state))
        made = law(trial[:, rows], part, _of(params, rows), dt)
        strain = strain.index_copy(1, rows, made[0])
        memory = memory.index_copy(1, rows, made[1])
        tau = tau.index_copy(1, rows, made[2])
    return strain, memory, tau


def _of(params: MPMParams, rows: Tensor) -> MPMParams:
    parts = {name: x[:, rows] for name, x in params._asdict().items() if name != "gravity"}
    return params._replace(**parts)


Law = tuple[Tensor, Tensor, Tensor]


def _eye(x: Tensor) -> Tensor:
    return torch.eye(3, dtype=x.dtype, device=x.device)


def _wide(x: Tensor) -> Tensor:
    return x[..., None, None]


def trace(x: Tensor) -> Tensor:
    """`[..., 3, 3] -> [...]`."""
    return x.diagonal(dim1=-2, dim2=-1).sum(-1)


def _neo_hookean(trial: Tensor, state: MPMState, params: MPMParams, dt: float) -> Law:
    volume = _wide(0.5 * params.lam * torch.linalg.det(trial).log()) * _eye(trial)
    return trial, state.memory, _wide(params.mu) * (trial - _eye(trial)) + volume


def _corotated(trial: Tensor, state: MPMState, params: MPMParams, dt: float) -> Law:
    j = torch.linalg.det(trial).sqrt()
    volume = _wide(params.lam * (j - 1) * j) * _eye(trial)
    return trial, state.memory, _wide(2 * params.mu) * (trial - root(trial)) + volume


def _snow(trial: Tensor, state: MPMState, params: MPMParams, dt: float) -> Law:
    low, high = (1 - params.limit).square(), (1 + STRETCHED * params.limit).square()
    after: Tensor = Clamped.apply(trial, low, high)
    beyond = torch.linalg.det(trial).log() - torch.linalg.det(after).log()
    memory = state.memory + 0.5 * beyond
    hard = (HARDENING * (1 - memory.exp()).clamp_max(PACKED)).exp()
    harder = params._replace(mu=hard * params.mu, lam=hard * params.lam)
    return after, memory, _corotated(after, state, harder, dt)[2]


class Clamped(torch.autograd.Function):
    """b with its eigenvalues l held in low .. high, `[..., 3, 3]` and `[...]` twice.

    In its eigenvectors its derivative is P * db, P_ij = (c_i - c_j) / (l_i - l_j) of the held c,
    which is 0 or 1 where both are beyond the same bound or both inside: nothing divides by zero.
    """

    @staticmethod
    def forward(ctx: Any, b: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Eigenvalues held."""
        value, vector = torch.linalg.eigh(0.5 * (b + b.mT))
        held = value.clamp(low[..., None], high[..., None])
        ctx.save_for_backward(value, held, vector)
        return vector @ torch.diag_embed(held) @ vector.mT

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of b and of both bounds."""
        value, held, vector = ctx.saved_tensors
        slope = vector.mT @ grads[0] @ vector
        apart, held_apart = (x[..., :, None] - x[..., None, :] for x in (value, held))
        inside = (value == held).to(value)
        share = 0.5 * (inside[..., :, None] + inside[..., None, :])
        share = torch.where(
            apart.abs() > TINY, held_apart / torch.where(apart == 0, 1.0, apart), share
        )
        of_b = vector @ (share * slope) @ vector.mT
        own = slope.diagonal(dim1=-2, dim2=-1)
        of_low, of_high = ((own * beyond).sum(-1) for beyond in (value < held, value > held))
        return 0.5 * (of_b + of_b.mT), of_low, of_high


def _von_mises(trial: Tensor, state: MPMState, params: MPMParams, dt: float) -> Law:
    eye, mu = _eye(trial), params.mu
    strain = half_log(trial)
    sphere = _wide(trace(strain) / 3) * eye
    deviator = strain - sphere
    size, most = norm(deviator), (2 / 3) ** 0.5 * params.limit / (2 * mu)
    flows = _wide(size > most)
    deviator = torch.where(flows, _wide(most / size) * deviator, deviator)
    after = torch.where(flows, exp_twice(deviator + sphere), trial)
    tau = _wide(2 * mu) * deviator + _wide(3 * params.lam + 2 * mu) * sphere
    return after, state.memory, tau


def _sand(trial: Tensor, state: MPMState, params: MPMParams, dt: float) -> Law:
    eye, mu, lam = _eye(trial), params.mu, params.lam
    strain = half_log(trial) + _wide(state.memory / 3) * eye
    grown = trace(strain)
    sphere = _wide(grown / 3) * eye
    deviator = strain - sphere
    size = norm(deviator)
    excess = size + params.limit * (3 * lam + 2 * mu) / (2 * mu) * grown
    deviator = torch.where(_wide(excess > 0), _wide(1 - excess / size) * deviator, deviator)
    kept, apart = deviator + sphere, _wide(grown >= 0)
    after = torch.where(apart, eye, exp_twice(kept))
    tau = _wide(2 * mu) * kept + _wide(lam * grown) * eye
    memory = torch.where(grown >= 0, grown, 0.0)
    return after, memory, torch.where(apart, 0.0, tau)


def _liquid(trial: Tensor, state: MPMState, params: MPMParams, dt: float) -> Law:
    eye, rate = _eye(trial), state.affine
    spread = trace(rate)
    j = state.memory * (1 + dt * spread)
    pressure = params.lam / 7 * (j**-7 - 1)
    shear = rate + rate.mT - _wide(2 / 3 * spread) * eye
    tau = _wide(params.viscosity * j) * shear - _wide(j * pressure) * eye
    return eye.expand_as(trial), j, tau


def norm(x: Tensor) -> Tensor:
    """Frobenius, `[..., 3, 3] -> [...]`; its gradient is finite at 0."""
    return (x.square().sum((-2, -1)) + 1e-24).sqrt()


def half_log(b: Tensor) -> Tensor:
    """1/2 log b = atanh z, z = (b - 1)(b + 1)^-1, to order 7: 1e-6 up to a strain of 0.2."""
    eye = _eye(b)
    z = (b - eye) @ torch.linalg.inv(b + eye)
    zz = z @ z
    z3 = z @ zz
    z5 = z3 @ zz
    return z + z3 / 3 + z5 / 5 + z5 @ zz / 7


def exp_twice(e: Tensor) -> Tensor:
    """exp(2 e) = exp(e)^2, exp by a Taylor polynomial of order 6."""
    eye = _eye(e)
    s = eye + e / 6
    for order in (5.0, 4.0, 3.0, 2.0, 1.0):
        s = eye + e @ s / order
    return s @ s


def root(b: Tensor) -> Tensor:
    """The square root of a symmetric positive b, by six steps of Denman and Beavers (1976)."""
    y, z = b, _eye(b).expand_as(b)
    for _ in range(6):
        y, z = 0.5 * (y + torch.linalg.inv(z)), 0.5 * (z + torch.linalg.inv(y))
    return y


def stencil(position: Tensor, box: Box, dx: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of the 27 nodes of particles: cells and weights `[B, N, 27]`, offsets `[B, N, 27, 3]` [m]."""
    scaled = position / dx
    base = (scaled.detach() - 0.5).floor()
    f = scaled - base
    weights = torch.stack([0.5 * (1.5 - f) ** 2, 0.75 - (f - 1) ** 2, 0.5 * (f - 0.5) ** 2], -2)
    steps = torch.cartesian_prod(*[torch.arange(3, device=position.device)] * 3)
    parts = [weights[..., steps[:, axis], axis] for axis in range(3)]
    local = base.long() - box.origin.unsqueeze(1)
    index = local.unsqueeze(2) + steps
    cell = (index[..., 0] * box.size[1] + index[..., 1]) * box.size[2] + index[..., 2]
    offset = (steps.to(position.dtype) - f.unsqueeze(2)) * dx
    return cell, parts[0] * parts[1] * parts[2], offset


def nodes(box: Box, dx: float, like: Tensor) -> Tensor:
    """Positions `[B, M, 3]` [m]."""
    axes = [torch.arange(n, device=like.device) for n in box.size]
    local = torch.cartesian_prod(*axes)
    return (box.origin.unsqueeze(1) + local).to(like.dtype) * dx


def meet(
    velocity: Tensor, node: Tensor, tools: Tools, k: int, shape: Shape, softness: float
) -> Tensor:
    """Velocities `[B, M, 3]` after tool k: what enters it stops, and slides by Coulomb's law.

    Inside it applies whole; over a layer of `softness` outside it fades, so that where the tool is
    has a gradient.
    """
    arm = node - tools.place[:, k : k + 1]
    turn = tools.turn[:, k : k + 1]
    normal, phi = distance(shape, rotate_back(turn, arm), tools.extent[:, k : k + 1])
    normal = rotate(turn, normal)
    spin = tools.angular[:, k : k + 1].expand_as(arm)
    body = tools.linear[:, k : k + 1] + torch.linalg.cross(spin, arm)
    relative = velocity - body
    into = (relative * normal).sum(-1, keepdim=True)
    slide = relative - into * normal
    speed = (slide.square().sum(-1, keepdim=True) + 1e-20).sqrt()
    left = (1 + tools.friction[:, k, None, None] * into / speed).clamp_min(0)
    z = (1 - phi / softness).clamp(0, 1)
    fade = torch.where(phi > 0, z * z * (3 - 2 * z), 1.0)
    met = velocity + fade * (body + left * slide - velocity)
    return torch.where((phi < softness) & (into < 0), met, velocity)
