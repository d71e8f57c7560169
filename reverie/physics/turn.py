"""Rotations as unit quaternions wxyz, `[..., 4]`."""

from __future__ import annotations

import torch
from torch import Tensor


def product(one: Tensor, two: Tensor) -> Tensor:
    """Hamilton's product: first `two`, then `one`."""
    w, u = one[..., :1], one[..., 1:]
    s, v = two[..., :1], two[..., 1:]
    scalar = w * s - (u * v).sum(-1, keepdim=True)
    vector = w * v + s * u + torch.linalg.cross(*torch.broadcast_tensors(u, v))
    return torch.cat([scalar, vector], -1)


def rotate(turn: Tensor, v: Tensor) -> Tensor:
    """v `[..., 3]` turned: (2 w^2 - 1) v + 2 w (u x v) + 2 (u . v) u."""
    w, u = turn[..., :1], turn[..., 1:]
    once = torch.linalg.cross(*torch.broadcast_tensors(u, v))
    return (2 * w * w - 1) * v + 2 * (w * once + (u * v).sum(-1, keepdim=True) * u)


def rotate_back(turn: Tensor, v: Tensor) -> Tensor:
    """v turned by the inverse."""
    return rotate(turn * turn.new_tensor([1.0, -1.0, -1.0, -1.0]), v)


def turned(turn: Tensor, angular: Tensor, dt: float) -> Tensor:
    """The rotation after dt of turning with `angular` `[..., 3]` [rad/s, world], to first order."""
    spin = product(torch.cat([torch.zeros_like(angular[..., :1]), angular], -1), turn)
    after = turn + 0.5 * dt * spin
    return after / after.norm(dim=-1, keepdim=True)
