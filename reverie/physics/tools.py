"""Rigid shapes that push matter and cloth, and are pushed back.

Legend: `B` worlds, `K` tools, `M` points.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

TINY = 1e-12


class Shape(IntEnum):
    """The shape of a tool, in its own frame; what `Tools.extent` means."""

    PLANE = 0
    """z <= 0 is solid."""
    SPHERE = 1
    """(radius, -, -)."""
    CAPSULE = 2
    """(radius, half length along z without the caps, -)."""
    BOX = 3
    """Half widths."""
    CYLINDER = 4
    """(radius, half length along z, -)."""


class Tools(NamedTuple):
    """Rigid bodies that push particles: where they are, and how they move during the call."""

    place: Tensor
    """`[B, K, 3]` [m]."""
    turn: Tensor
    """Unit quaternion wxyz `[B, K, 4]`, from the tool's frame to the world."""
    linear: Tensor
    """Velocity of `place` `[B, K, 3]` [m/s]."""
    angular: Tensor
    """`[B, K, 3]` [rad/s], in the world."""
    extent: Tensor
    """`[B, K, 3]` [m], by shape."""
    friction: Tensor
    """Coulomb's coefficient `[B, K]`."""


def require_finite(tools: Tools) -> None:
    """Raise FloatingPointError where an entry is NaN or infinite; the message names it."""
    for name, value in tools._asdict().items():
        if not bool(torch.isfinite(value).all()):
            raise FloatingPointError(f"Tools {name} holds NaN or infinity: check the controls.")


def distance(shape: Shape, y: Tensor, extent: Tensor) -> tuple[Tensor, Tensor]:
    """Outward normal `[B, M, 3]` and signed distance `[B, M, 1]` of y, in the tool's frame."""
    if shape == Shape.PLANE:
        return torch.tensor([0.0, 0.0, 1.0]).to(y).expand_as(y), y[..., 2:]
    if shape == Shape.BOX:
        return _box(y, extent)
    if shape == Shape.CYLINDER:
        r = y[..., :2].square().sum(-1).sqrt() + TINY
        tall = torch.stack(
            [extent[..., 0], torch.full_like(extent[..., 0], 1e9), extent[..., 1]], -1
        )
        flat, phi = _box(torch.stack([r, torch.zeros_like(r), y[..., 2]], -1), tall)
        return torch.cat([flat[..., :1] * y[..., :2] / r[..., None], flat[..., 2:]], -1), phi
    centre = y
    if shape == Shape.CAPSULE:
        along = y[..., 2:].clamp(-extent[..., 1:2], extent[..., 1:2])
        centre = torch.cat([y[..., :2], y[..., 2:] - along], -1)
    r = centre.norm(dim=-1, keepdim=True) + TINY
    return centre / r, r - extent[..., :1]


def _box(y: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    q, side = y.abs() - half, y.sign()
    out = q.clamp_min(0)
    far = out.square().sum(-1, keepdim=True)
    outside = far > 0
    length = torch.where(outside, far, 1.0).sqrt()
    nearest = q.argmax(-1, keepdim=True)
    face = side * torch.zeros_like(q).scatter(-1, nearest, 1.0)
    normal = torch.where(outside, side * out / length, face)
    return normal, torch.where(outside, length, q.gather(-1, nearest))
