"""Where bodies are and how they move, from q and v.

    x_b, R_b = those of the parent, then the frame of the body, then its joints in turn
    v_b = v_parent + sum_d S_d v_d          spatial, about the place O of the tree's first body
    c_d = v x S_d v_d                       what S_d changes by while it is carried along

Featherstone 2008, chapter 4. S and v are along the axes of the world, so nothing is transformed
between bodies; O moves with the tree, so float32 is as good far from the origin of the world.
Legend: `B` worlds, `N` bodies, `V` velocities, `G` geoms.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from reverie.core import tree
from reverie.physics import turn as turning
from reverie.physics.rigid import spatial
from reverie.physics.rigid.model import Joint, RigidModel, RigidParams, RigidState


class Frames(NamedTuple):
    """All bodies, along the axes of the world."""

    place: Tensor
    """`[B, N, 3]`, of the frame of each body."""
    turn: Tensor
    """`[B, N, 4]`."""
    rotation: Tensor
    """`[B, N, 3, 3]`."""
    origin: Tensor
    """`[B, N, 3]`, O of each body."""
    subspace: Tensor
    """S `[B, V, 6]`."""
    drift: Tensor
    """c `[B, V, 6]`, for a joint at the first of its entries."""
    motion: Tensor
    """v `[B, N, 6]` about O: (angular, linear)."""


class Kinematics(NamedTuple):
    """What a picture, or another material, wants to know of the bodies."""

    bodies: Tensor
    """`[B, N, 7]`: place of the frame and quaternion wxyz."""
    velocities: Tensor
    """`[B, N, 6]`: linear of the frame's origin, angular; both along the axes of the world."""
    geoms: Tensor
    """`[B, G, 7]`."""
    geom_velocities: Tensor
    """`[B, G, 6]`."""
    kinetic: Tensor
    """`[B]` [J], with the armature of the joints."""
    potential: Tensor
    """`[B]` [J], of gravity and of the springs in joints; 0 at the origin of the world."""
    momentum: Tensor
    """`[B, 6]`: linear [kg m/s], angular about the origin of the world [kg m^2/s]."""


def expanded(params: RigidParams, batch: int) -> RigidParams:
    """Every leaf `[B, ...]`."""
    out: RigidParams = tree.map(lambda x: x.expand(batch, *x.shape[1:]), params)
    return out


@functools.lru_cache(maxsize=256)
def constant(values: tuple[object, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of numbers that stand in a model."""
    return torch.tensor(values, dtype=dtype, device=device)


def _like(values: tuple[object, ...], like: Tensor) -> Tensor:
    return constant(values, like.dtype, like.device)


class _Moved(NamedTuple):
    """A joint at its position: the frame after it, and S before O is taken off."""

    place: Tensor
    turn: Tensor
    axes: Tensor
    """`[B, k, 3]`."""
    anchor: Tensor
    """`[B, 3]`."""


def _move(joint: Joint, place: Tensor, turn: Tensor, position: Tensor) -> _Moved:
    """The frame of a body after one of its joints."""
    start = joint.position
    if joint.kind == "free":
        place = position[:, start : start + 3]
        turn = spatial.unit(position[:, start + 3 : start + 7])
        return _Moved(place, turn, spatial.matrix(turn).mT, place)
    anchor = place + turning.rotate(turn, _like(joint.anchor, place))
    if joint.kind == "ball":
        turn = turning.product(turn, spatial.unit(position[:, start : start + 4]))
        axes = spatial.matrix(turn).mT
    else:
        axis = turning.rotate(turn, _like(joint.axis, place))
        axes, by = axis.unsqueeze(1), position[:, start] - joint.reference
        if joint.kind == "slide":
            return _Moved(place + axis * by.unsqueeze(-1), turn, axes, anchor)
        turn = turning.product(turn, spatial.about(_like(joint.axis, place), by))
    back = turning.rotate(turn, _like(joint.anchor, place))
    return _Moved(anchor - back, turn, axes, anchor)


def _subspace(joint: Joint, moved: _Moved, origin: Tensor) -> Tensor:
    """S `[B, k, 6]` of a joint, about O."""
    none = torch.zeros_like(moved.axes)
    if joint.kind == "slide":
        return torch.cat([none, moved.axes], -1)
    arm = (moved.anchor - origin).unsqueeze(1)
    turns = torch.cat([moved.axes, spatial.cross(arm, moved.axes)], -1)
    if joint.kind != "free":
        return turns
    eye = torch.eye(3, dtype=none.dtype, device=none.device).expand_as(none)
    return torch.cat([torch.cat([none, eye], -1), turns], 1)


def frames(model: RigidModel, state: RigidState) -> Frames:
    """Places, joint axes and velocities of all bodies."""
    q, v = state.position, state.velocity
    batch = len(q)
    places: list[Tensor] = []
    turns: list[Tensor] = []
    origins: list[Tensor] = []
    motions: list[Tensor] = []
    axes: list[Tensor] = []
    drifts: list[Tensor] = []
    for b, body in enumerate(model.bodies):
        place = _like(body.place, q).expand(batch, 3)
        turn = _like(body.turn, q).expand(batch, 4)
        motion = q.new_zeros(batch, 6)
        if body.parent >= 0:
            place = places[body.parent] + turning.rotate(turns[body.parent], place)
            turn = turning.product(turns[body.parent], turn)
            motion = motions[body.parent]
        moves = []
        for j in model.joints_of[b]:
            moves.append(_move(model.joints[j], place, turn, q))
            place, turn = moves[-1].place, moves[-1].turn
        origin = place if model.root[b] == b else origins[model.root[b]]
        for j, moved in zip(model.joints_of[b], moves, strict=True):
            s = _subspace(model.joints[j], moved, origin)
            motion, drift = _carry(model.joints[j], s, v, motion)
            axes.append(s)
            drifts.append(drift)
        places.append(place)
        turns.append(turn)
        origins.append(origin)
        motions.append(motion)
    turn = torch.stack(turns, 1)
    empty = q.new_zeros(batch, 0, 6)
    return Frames(
        *(torch.stack(places, 1), turn, spatial.matrix(turn), torch.stack(origins, 1)),
        *(torch.cat([empty, *axes], 1), torch.cat([empty, *drifts], 1), torch.stack(motions, 1)),
    )


def _carry(joint: Joint, s: Tensor, v: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
    """The motion `[B, 6]` behind a joint and the drift `[B, k, 6]` of its S."""
    rates = v[:, joint.velocity : joint.velocity + s.shape[1]].unsqueeze(-1)
    moving = s * rates
    after = motion + moving.sum(1)
    carried = moving.sum(1)
    if joint.kind == "free":  # the first three axes stay those of the world
        carried = moving[:, 3:].sum(1)
        motion = after
    drift = torch.zeros_like(s)
    drift = torch.cat([spatial.cross_motion(motion, carried).unsqueeze(1), drift[:, 1:]], 1)
    return after, drift


def inertias(frame: Frames, params: RigidParams) -> Tensor:
    """Spatial inertias `[B, N, 6, 6]` about O."""
    r = frame.rotation
    centre = frame.place - frame.origin + spatial.apply(r, params.bodies.centre)
    central = r @ spatial.symmetric(params.bodies.inertia) @ r.mT
    return spatial.inertia(params.bodies.mass, centre, central)


def geom_frames(model: RigidModel, frame: Frames) -> tuple[Tensor, Tensor]:
    """Places `[B, G, 3]` and quaternions `[B, G, 4]` of the geoms."""
    place = _like(tuple(g.place for g in model.geoms), frame.place)
    turn = _like(tuple(g.turn for g in model.geoms), frame.place)
    place, turn = (x.expand(len(frame.place), *x.shape) for x in (place, turn))
    on = torch.tensor([g.body for g in model.geoms], device=place.device)
    fixed = (on < 0)[:, None]
    carrier, base = frame.turn[:, on.clamp(min=0)], frame.place[:, on.clamp(min=0)]
    moved = base + turning.rotate(carrier, place)
    turned = turning.product(carrier, turn)
    return torch.where(fixed, place, moved), torch.where(fixed, turn, turned)


def _with_world(x: Tensor, model: RigidModel) -> Tensor:
    """Rows of geoms from rows of bodies; zero for geoms of the world."""
    rows = torch.tensor([g.body for g in model.geoms], device=x.device, dtype=torch.long)
    padded = torch.cat([x, torch.zeros_like(x[:, :1])], 1)
    return padded[:, rows]


def kinematics(model: RigidModel, state: RigidState, params: RigidParams) -> Kinematics:
    """Places, velocities, energies and momentum `[B, ...]`, with gradient."""
    params = expanded(params, len(state.position))
    frame = frames(model, state)
    angular = frame.motion[..., :3]
    linear = spatial.moved(frame.motion, frame.place - frame.origin)[..., 3:]
    velocities = torch.cat([linear, angular], -1)
    if model.geoms:
        place, turn = geom_frames(model, frame)
    else:
        place, turn = frame.place[:, :0], frame.turn[:, :0]
    on = _with_world(torch.cat([frame.place, linear, angular], -1), model)
    spin = on[..., 6:]
    speed = on[..., 3:6] + spatial.cross(spin, place - on[..., :3])
    carried = spatial.apply(inertias(frame, params), frame.motion)
    armature = params.joints.armature * state.velocity.square()
    kinetic = 0.5 * ((frame.motion * carried).sum((1, 2)) + armature.sum(1))
    centre = frame.place + spatial.apply(frame.rotation, params.bodies.centre)
    weight = -(params.bodies.mass.unsqueeze(-1) * centre * params.gravity.unsqueeze(1)).sum((1, 2))
    about = carried[..., :3] + spatial.cross(frame.origin, carried[..., 3:])
    return Kinematics(
        torch.cat([frame.place, frame.turn], -1),
        velocities,
        torch.cat([place, turn], -1),
        torch.cat([speed, spin], -1),
        kinetic,
        weight + _springs(model, params, state),
        torch.cat([carried[..., 3:], about], -1).sum(1),
    )


def _springs(model: RigidModel, params: RigidParams, state: RigidState) -> Tensor:
    """The energy `[B]` of the springs in hinges and slides."""
    total = state.position.new_zeros(len(state.position))
    for joint in model.joints:
        if joint.kind in ("hinge", "slide"):
            d = joint.velocity
            bent = state.position[:, joint.position] - params.joints.rest[:, d]
            total = total + 0.5 * params.joints.stiffness[:, d] * bent.square()
    return total


def integrated(model: RigidModel, position: Tensor, velocity: Tensor, dt: float) -> Tensor:
    """q (+) dt v `[B, Q]`: quaternions turn by the exponential map."""
    parts = [position[:, :0]]
    for joint in model.joints:
        q, v = position[:, joint.position :], velocity[:, joint.velocity :]
        if joint.kind == "free":
            parts += [q[:, :3] + dt * v[:, :3], spatial.advanced(q[:, 3:7], v[:, 3:6], dt)]
        elif joint.kind == "ball":
            parts.append(spatial.advanced(q[:, :4], v[:, :3], dt))
        else:
            parts.append(q[:, :1] + dt * v[:, :1])
    return torch.cat(parts, 1)
