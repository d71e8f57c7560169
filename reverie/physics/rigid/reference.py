"""A substep in plain torch: the definition, for every dtype and device.

    v+ = v + dt a(q, v, u; v+)        q+ = q (+) dt v+

a solves the equations of motion with springs, dampers, servos, limits and contacts taken at the end
of the step, in `Law.passes` passes (see `articulated`, `joints`, `contact`).
Legend: `B` worlds, `N` bodies, `V` velocities, `U` actuators.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from reverie.physics.rigid import articulated, contact, spatial
from reverie.physics.rigid.collide import Contacts, contacts
from reverie.physics.rigid.joints import joint_forces
from reverie.physics.rigid.kinematics import Frames, frames, inertias, integrated
from reverie.physics.rigid.model import RigidModel, RigidParams, RigidState


class _Bodies(NamedTuple):
    """What a pass begins with."""

    frame: Frames
    inertia: Tensor
    bias: Tensor
    base: Tensor
    coasting: Tensor
    ground: Contacts | None
    mutual: Contacts | None


def substep(
    model: RigidModel,
    state: RigidState,
    params: RigidParams,
    control: Tensor,
    external: Tensor | None,
    dt: float,
) -> RigidState:
    """The state after dt; params' leaves are `[B, ...]`, `external` as in `rigid_step`."""
    rates, _ = accelerations(model, state, params, control, external, dt)
    velocity = state.velocity + dt * rates
    return RigidState(integrated(model, state.position, velocity, dt), velocity)


def accelerations(
    model: RigidModel,
    state: RigidState,
    params: RigidParams,
    control: Tensor,
    external: Tensor | None,
    dt: float,
) -> tuple[Tensor, Tensor]:
    """(v+ - v) / dt `[B, V]`, and the forces of contacts on bodies `[B, N, 6]` about their O.

    With dt = 0 contacts and joints are explicit: the accelerations of this moment.
    """
    bodies = _begin(model, state, params, external, dt)
    joint_guess, body_guess, first = state.velocity, bodies.frame.motion, True
    pushes: Tensor | None = None
    for _ in range(model.law.passes):
        forces = joint_forces(model, state, params, control, dt, joint_guess)
        inertia, ground = _on_ground(model, params, bodies, body_guess, first, dt)
        factor = articulated.factor(model, bodies.frame, inertia, forces.diagonal)

        def solve(
            force: Tensor,
            factor: articulated.Factor = factor,
            torque: Tensor = forces.torque,
        ) -> tuple[Tensor, Tensor]:
            bias = bodies.bias - force
            return articulated.solve(model, bodies.frame, factor, bias, torque, bodies.base)

        rates, acceleration = solve(ground)
        mutual = torch.zeros_like(ground)
        if bodies.mutual is not None:
            free = _after(bodies, acceleration, dt)
            guesses = body_guess, free, pushes
            mutual, pushes = _between(model, params, bodies, factor, guesses, first, dt)
            rates, acceleration = solve(ground + mutual)
        joint_guess, first = state.velocity + dt * rates, False
        body_guess = _after(bodies, acceleration, dt)
    held = spatial.apply(inertia - bodies.inertia, acceleration)
    return rates, ground - held + mutual


def _begin(
    model: RigidModel,
    state: RigidState,
    params: RigidParams,
    external: Tensor | None,
    dt: float,
) -> _Bodies:
    frame = frames(model, state)
    inertia = inertias(frame, params)
    bias = spatial.cross_force(frame.motion, spatial.apply(inertia, frame.motion))
    if external is not None:
        force, torque = external[..., :3], external[..., 3:]
        arm = frame.place - frame.origin
        bias = bias - torch.cat([torque + spatial.cross(arm, force), force], -1)
    base = torch.cat([torch.zeros_like(params.gravity), -params.gravity], -1)
    coasting = frame.motion - dt * base.unsqueeze(1)
    return _Bodies(frame, inertia, bias, base, coasting, *contacts(model, frame, params))


def _after(bodies: _Bodies, acceleration: Tensor, dt: float) -> Tensor:
    """v+ `[B, N, 6]`; gravity is in the acceleration of the world."""
    return bodies.coasting + dt * acceleration


def _speeds(frame: Frames, at: Contacts, guess: Tensor, which: tuple[int, ...]) -> Tensor:
    """The velocities `[B, C, 3]` of points as points of bodies."""
    rows = torch.tensor(which, device=guess.device)
    arm = at.point - frame.origin[:, rows]
    return spatial.moved(guess[:, rows], arm)[..., 3:]


def _on_ground(
    model: RigidModel,
    params: RigidParams,
    bodies: _Bodies,
    guess: Tensor,
    first: bool,
    dt: float,
) -> tuple[Tensor, Tensor]:
    """Inertia and forces with the contacts with the world."""
    at = bodies.ground
    if at is None:
        return bodies.inertia, torch.zeros_like(bodies.bias)
    mass = params.bodies.mass[:, torch.tensor(at.body)] if first else None
    speed = _speeds(bodies.frame, at, guess, at.body)
    law = contact.linear(model.law, params.contacts, at, speed, mass, dt)
    inertia, force = contact.with_ground(law, at, bodies.frame, bodies.coasting, dt)
    return bodies.inertia + inertia, force


def _between(
    model: RigidModel,
    params: RigidParams,
    bodies: _Bodies,
    factor: articulated.Factor,
    guesses: tuple[Tensor, Tensor, Tensor | None],
    first: bool,
    dt: float,
) -> tuple[Tensor, Tensor]:
    """The forces between moving bodies, on bodies and of couples; `guesses`: of u+, v+ without
    these forces, and those of couples."""
    at = bodies.mutual
    assert at is not None
    guess, free, before = guesses
    one = _speeds(bodies.frame, at, guess, at.body)
    two = _speeds(bodies.frame, at, guess, at.other)
    mass = None
    if first:
        a, b = (params.bodies.mass[:, torch.tensor(x)] for x in (at.body, at.other))
        mass = a * b / (a + b)
    law = contact.linear(model.law, params.contacts, at, one - two, mass, dt)
    responses = articulated.responses(model, bodies.frame, factor)
    return contact.between(model.law, law, at, bodies.frame, free, responses, before, dt)
