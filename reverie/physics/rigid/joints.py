"""Forces along joints, linearly implicit: they act as they are at the end of the step.

    t(v+) = k (rest - q - dt v+) - b v+ - r v+ / max(|v|, v_s) + limits + actuators = t - a v'
    t: the same at v instead of v+      a = dt (b + r / max(|v|, v_s) + g^2 kv) + dt^2 (k + g^2 kp)

with v+ = v + dt v'. a goes to the diagonal of the articulated inertia, so a spring, a servo or a
limit of any stiffness is stable, and damping is as in MuJoCo's Euler. What is active (limits, the
clip of an actuator, the slip of dry friction) is decided at `estimate`, a guess of v+.
Legend: `B` worlds, `V` velocities, `U` actuators.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from reverie.physics.rigid.kinematics import constant
from reverie.physics.rigid.model import (
    ActuatorParams,
    JointParams,
    Law,
    RigidModel,
    RigidParams,
    RigidState,
)


class JointForces(NamedTuple):
    """Linear in the acceleration: torque - diagonal v'."""

    torque: Tensor
    """`[B, V]` [N m] or [N]."""
    diagonal: Tensor
    """`[B, V]`, with the armature."""


def angles(model: RigidModel, position: Tensor) -> Tensor:
    """q by entry of v `[B, V]`; 0 for the entries of free and ball joints."""
    rows = [model.position_size] * model.velocity_size
    for joint in model.joints:
        if joint.kind in ("hinge", "slide"):
            rows[joint.velocity] = joint.position
    padded = torch.cat([position, torch.zeros_like(position[:, :1])], 1)
    return padded[:, constant(tuple(rows), torch.long, position.device)]


def _single(model: RigidModel, like: Tensor) -> Tensor:
    """1 `[V]` where an entry is a hinge or a slide, 0 elsewhere."""
    found = [0.0] * model.velocity_size
    for joint in model.joints:
        if joint.kind in ("hinge", "slide"):
            found[joint.velocity] = 1.0
    return constant(tuple(found), like.dtype, like.device)


def moments(model: RigidModel, like: Tensor) -> Tensor:
    """`[U, V]`, the force on v of one newton of an actuator."""
    rows = []
    for actuator in model.actuators:
        row, start = [0.0] * model.velocity_size, model.joints[actuator.joint].velocity
        row[start : start + len(actuator.gear)] = actuator.gear
        rows.append(tuple(row))
    return constant(tuple(rows), like.dtype, like.device).reshape(len(rows), model.velocity_size)


def joint_forces(
    model: RigidModel,
    state: RigidState,
    params: RigidParams,
    control: Tensor,
    dt: float,
    estimate: Tensor,
) -> JointForces:
    """What springs, dampers, dry friction, limits and actuators do.

    Args:
        model: The tree.
        state: q and v at the start of the step.
        params: Leaves `[B, ...]`.
        control: `[B, U]`.
        dt: [s].
        estimate: `[B, V]`, a guess of v+.
    """
    p, v = params.joints, state.velocity
    q, single = angles(model, state.position), _single(model, v)
    spring = p.stiffness * single
    dry = p.friction / estimate.square().clamp(min=model.law.slip**2).sqrt()
    torque = spring * (p.rest - q - dt * v) - (p.damping + dry) * v
    diagonal = p.armature + dt * (p.damping + dry) + dt**2 * spring
    for sign, bound in ((1.0, p.upper), (-1.0, p.lower)):
        push, stiff = _limit(model.law, p, (q, v, estimate), (sign, bound), dt)
        torque, diagonal = torque + single * push, diagonal + single * stiff
    if model.actuators:
        moment = moments(model, v)
        lengths = [x @ moment.T for x in (q, v, estimate)]
        force, stiff = _actuator(params.actuators, control, lengths, dt)
        torque, diagonal = torque + force @ moment, diagonal + stiff @ moment.square()
    return JointForces(torque, diagonal)


def _limit(
    law: Law,
    p: JointParams,
    at: tuple[Tensor, Tensor, Tensor],
    side: tuple[float, Tensor],
    dt: float,
) -> tuple[Tensor, Tensor]:
    """A limit above (sign 1) or below (sign -1): its torque and its share of the diagonal."""
    (q, v, estimate), (sign, bound) = at, side
    deep = sign * (q + dt * estimate - bound)
    damping = p.limit_damping * (deep / law.transition).clamp(0, 1)
    push = p.limit_stiffness * deep + damping * sign * estimate
    on = (deep > 0) & (push > 0)
    force = -sign * p.limit_stiffness * (sign * (q + dt * v - bound)) - damping * v
    stiff = dt**2 * p.limit_stiffness + dt * damping
    return torch.where(on, force, 0.0), torch.where(on, stiff, 0.0)


def _actuator(
    p: ActuatorParams, control: Tensor, lengths: list[Tensor], dt: float
) -> tuple[Tensor, Tensor]:
    """Forces `[B, U]` and their shares of the diagonal; a clipped force has none."""
    q, v, estimate = lengths
    wanted = p.gain * control.clamp(p.lowest, p.highest) + p.bias[..., 0]
    guess = wanted + p.bias[..., 1] * (q + dt * estimate) + p.bias[..., 2] * estimate
    inside = (guess > p.weakest) & (guess < p.strongest)
    force = wanted + p.bias[..., 1] * (q + dt * v) + p.bias[..., 2] * v
    stiff = (-dt * p.bias[..., 2] - dt**2 * p.bias[..., 1]).clamp(min=0)
    clipped = torch.maximum(torch.minimum(guess, p.strongest), p.weakest)
    return torch.where(inside, force, clipped), torch.where(inside, stiff, 0.0)
