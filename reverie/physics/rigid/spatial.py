"""Spatial vectors and rotations: six numbers for the motion of a body, six for what pushes it.

    motion m = (omega, v_O)    force f = (torque about O, force)    along the axes of the world
    m x n = (w x w', w x v' + v x w')            m x* f = (w x t + v x f, w x f)
    I = [[I_c + m [c]x [c]x^T, m [c]x], [m [c]x^T, m 1]]

Featherstone 2008, chapter 2. O is a point of the world where one tree of bodies is at the moment.
Legend: `...` batch axes; rotations are unit quaternions wxyz.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reverie.physics import turn


def cross(one: Tensor, two: Tensor) -> Tensor:
    """The vector product of `[..., 3]`."""
    return torch.linalg.cross(*torch.broadcast_tensors(one, two))


def dot(one: Tensor, two: Tensor) -> Tensor:
    """The inner product over the last axis, which stays with length 1."""
    return (one * two).sum(-1, keepdim=True)


def apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """`[..., n, m]` times `[..., m]`."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def outer(one: Tensor, two: Tensor) -> Tensor:
    """`[..., n]` and `[..., m]` give `[..., n, m]`."""
    return one.unsqueeze(-1) * two.unsqueeze(-2)


def skew(v: Tensor) -> Tensor:
    """[v]x, so that [v]x u = v x u."""
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    rows = [torch.stack(row, -1) for row in ((o, -z, y), (z, o, -x), (-y, x, o))]
    return torch.stack(rows, -2)


def cross_motion(m: Tensor, n: Tensor) -> Tensor:
    """m x n: how a motion n that is carried along by m changes."""
    w, v = m[..., :3], m[..., 3:]
    return torch.cat([cross(w, n[..., :3]), cross(w, n[..., 3:]) + cross(v, n[..., :3])], -1)


def cross_force(m: Tensor, f: Tensor) -> Tensor:
    """m x* f: how a force or a momentum f that is carried along by m changes."""
    w, v = m[..., :3], m[..., 3:]
    return torch.cat([cross(w, f[..., :3]) + cross(v, f[..., 3:]), cross(w, f[..., 3:])], -1)


def symmetric(six: Tensor) -> Tensor:
    """The matrix of `(xx, yy, zz, xy, xz, yz)`."""
    xx, yy, zz, xy, xz, yz = six.unbind(-1)
    rows = [torch.stack(row, -1) for row in ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))]
    return torch.stack(rows, -2)


def inertia(mass: Tensor, centre: Tensor, central: Tensor) -> Tensor:
    """The spatial inertia `[..., 6, 6]` of mass `[...]`, its centre `[..., 3]` from O, and the
    rotational inertia `[..., 3, 3]` about that centre along the axes of the world."""
    m = mass[..., None, None]
    c = skew(centre)
    top = torch.cat([central + m * (c @ c.mT), m * c], -1)
    eye = torch.eye(3, dtype=mass.dtype, device=mass.device)
    return torch.cat([top, torch.cat([m * c.mT, m * eye], -1)], -2)


def lever(arm: Tensor) -> Tensor:
    """X `[..., 3, 6]`, so that X m is the velocity of the point `arm` `[..., 3]` from O, and X^T f
    the spatial force of a force there."""
    eye = torch.eye(3, dtype=arm.dtype, device=arm.device).expand(*arm.shape[:-1], 3, 3)
    return torch.cat([-skew(arm), eye], -1)


def moved(m: Tensor, by: Tensor) -> Tensor:
    """The motion m about O, about the point O + `by`."""
    return torch.cat([m[..., :3], m[..., 3:] + cross(m[..., :3], by)], -1)


def matrix(quaternion: Tensor) -> Tensor:
    """The rotation matrix `[..., 3, 3]` of a unit quaternion."""
    w, x, y, z = quaternion.unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def exponential(rotation: Tensor) -> Tensor:
    """The unit quaternion of a rotation vector `[..., 3]` [rad]:
    (cos(a/2), sin(a/2)/a r), a = |r|; by its series where a < 0.03."""
    square = dot(rotation, rotation)
    small = square < 1e-3
    angle = torch.where(small, 1.0, square).sqrt()
    real = torch.where(
        small, 1 - square / 8 + square**2 / 384 - square**3 / 46080, (angle / 2).cos()
    )
    series = 0.5 - square / 48 + square**2 / 3840 - square**3 / 645120
    factor = torch.where(small, series, (angle / 2).sin() / angle)
    return torch.cat([real, factor * rotation], -1)


def about(axis: Tensor, angle: Tensor) -> Tensor:
    """The quaternion of turning by `angle` `[...]` about a unit vector `axis` `[..., 3]`."""
    half = 0.5 * angle.unsqueeze(-1)
    return torch.cat([half.cos(), half.sin() * axis], -1)


def unit(quaternion: Tensor) -> Tensor:
    """A quaternion, normalised."""
    return quaternion / dot(quaternion, quaternion).sqrt()


def advanced(quaternion: Tensor, angular: Tensor, dt: float) -> Tensor:
    """q exp(dt w), normalised; `angular` w [rad/s] is along the axes of the body."""
    return unit(turn.product(quaternion, exponential(dt * angular)))
