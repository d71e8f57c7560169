"""The articulated-body algorithm, entry by entry of v.

    inward    U_d = I_d S_d         D_d = S_d . U_d + a_d        u_d = t_d - S_d . p_d
              I_parent += I_d - U_d U_d^T / D_d
              p_parent += p_d + (I_d - U_d U_d^T / D_d) c_d + U_d u_d / D_d
    outward   a' = a_parent + c_d   v'_d = (u_d - U_d . a') / D_d     a_d = a' + S_d v'_d

A joint with several axes is eliminated axis by axis, which is a Cholesky factorisation of its
block. a_d is what makes the joint's forces implicit (see `joints`); contacts with the world are in
I and p already (see `contact`). Featherstone 2008, section 7.3. Cost and memory grow as the number
of axes.

    W_dd = A_d W_pp A_d^T + S S^T / D      W_de = A_d W_pe = W_ed^T      A_d = 1 - S U^T / D

for axes d after e, p the parent of d, is how bodies answer a spatial force on themselves and on
each other: a_b = W_bc f_c (operational-space inertia, inverse); zero between trees.
Legend: `B` worlds, `N` bodies, `V` velocities.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from reverie.physics.rigid import spatial
from reverie.physics.rigid.kinematics import Frames, constant
from reverie.physics.rigid.model import RigidModel


class Factor(NamedTuple):
    """What forces do not change, by entry of v."""

    left: list[Tensor]
    """I_d - U_d U_d^T / D_d `[B, 6, 6]`."""
    reach: list[Tensor]
    """U_d `[B, 6]`."""
    pivot: list[Tensor]
    """D_d `[B, 1]`."""


def _on_axes(model: RigidModel, rows: Tensor) -> list[Tensor | None]:
    """Sums over the bodies `[B, N, ...]` that hang on each entry of v."""
    found: list[Tensor | None] = [None] * model.velocity_size
    for b, d in enumerate(model.last_velocity):
        if d >= 0:
            found[d] = _sum(found[d], rows[:, b])
    return found


def _sum(one: Tensor | None, two: Tensor) -> Tensor:
    return two if one is None else one + two


def factor(model: RigidModel, frame: Frames, inertia: Tensor, diagonal: Tensor) -> Factor:
    """From the inertias `[B, N, 6, 6]` and what the joints add, `diagonal` `[B, V]`."""
    size = model.velocity_size
    whole = _on_axes(model, inertia)
    left, reach, pivot = ([frame.motion] * size for _ in range(3))
    for d in reversed(range(size)):
        own, s = whole[d], frame.subspace[:, d]
        assert own is not None
        u = spatial.apply(own, s)
        div = spatial.dot(s, u) + diagonal[:, d : d + 1]
        left[d] = own - spatial.outer(u, u) / div.unsqueeze(-1)
        reach[d], pivot[d] = u, div
        parent = model.parent_velocity[d]
        if parent >= 0:
            whole[parent] = _sum(whole[parent], left[d])
    return Factor(left, reach, pivot)


def solve(
    model: RigidModel, frame: Frames, factor: Factor, bias: Tensor, torque: Tensor, base: Tensor
) -> tuple[Tensor, Tensor]:
    """The accelerations `[B, V]` of the joints and `[B, N, 6]` of the bodies.

    Args:
        model: The tree.
        frame: S and c.
        factor: Of the inertias.
        bias: p `[B, N, 6]`: v x* I v less the forces on each body.
        torque: t `[B, V]`.
        base: a `[B, 6]` of the world: less gravity.
    """
    size = model.velocity_size
    whole = _on_axes(model, bias)
    rest: list[Tensor] = [torque] * size
    for d in reversed(range(size)):
        own = whole[d]
        assert own is not None
        u = torque[:, d : d + 1] - spatial.dot(frame.subspace[:, d], own)
        rest[d] = u
        parent = model.parent_velocity[d]
        if parent >= 0:
            passed = own + spatial.apply(factor.left[d], frame.drift[:, d])
            passed = passed + factor.reach[d] * (u / factor.pivot[d])
            whole[parent] = _sum(whole[parent], passed)
    motions: list[Tensor] = []
    rates = [torque[:, :0]]
    for d in range(size):
        parent = model.parent_velocity[d]
        a = (motions[parent] if parent >= 0 else base) + frame.drift[:, d]
        rate = (rest[d] - spatial.dot(factor.reach[d], a)) / factor.pivot[d]
        motions.append(a + frame.subspace[:, d] * rate)
        rates.append(rate)
    bodies = [motions[d] if d >= 0 else base for d in model.last_velocity]
    return torch.cat(rates, 1), torch.stack(bodies, 1)


def responses(model: RigidModel, frame: Frames, factor: Factor) -> Tensor:
    """W `[B, N, N, 6, 6]`; zero for a body that does not move."""
    worlds, size = len(frame.motion), model.velocity_size
    eye = torch.eye(6, dtype=frame.motion.dtype, device=frame.motion.device)
    whole = frame.motion.new_zeros(worlds, 0, 0, 6, 6)
    for d in range(size):
        s, div = frame.subspace[:, d], factor.pivot[d].unsqueeze(-1)
        own = spatial.outer(s, s) / div
        row = frame.motion.new_zeros(worlds, d, 6, 6)
        parent = model.parent_velocity[d]
        if parent >= 0:
            pass_on = eye - spatial.outer(s, factor.reach[d]) / div
            own = own + pass_on @ whole[:, parent, parent] @ pass_on.mT
            row = pass_on.unsqueeze(1) @ whole[:, parent]
        right = torch.cat([row.mT, own.unsqueeze(1)], 1).unsqueeze(2)
        whole = torch.cat([torch.cat([whole, row.unsqueeze(1)], 1), right], 2)
    still = whole.new_zeros(worlds, size, 1, 6, 6)
    whole = torch.cat([whole, still], 2)
    whole = torch.cat([whole, whole.new_zeros(worlds, 1, size + 1, 6, 6)], 1)
    last = constant(model.last_velocity, torch.long, frame.motion.device)  # -1: the row of zeros
    return whole[:, last][:, :, last]
