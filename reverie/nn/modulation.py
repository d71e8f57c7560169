"""Shift, scale and gate of a residual layer by a conditioning vector (adaLN-zero).

    x' = x + g f(m(x)),    m(x) = (1 + s) n x / rms(x) + b,    n a gain of the layer, 1 at first,

with (b, s, g) linear in silu(c), and zero at first, so that x' = x (Peebles and Xie 2022, arXiv
2212.09748; the root mean square in place of mean and deviation). Most of the map is common to all
blocks and computed once; a block adds one of small rank: at D = C = 256 and 6 blocks this takes
1.0 million parameters, where a map for each block takes 3.0 million and the blocks themselves 5.6.

Legend: `B` batch, `T` frames, `S` tokens of a frame, `D` width, `C` conditioning width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from reverie.nn.attention import Weight, computed
from reverie.nn.layers import inverse_rms, precise, unit_backward

RANK = 32
"""Of what a block adds to the map that all share."""


class Part(NamedTuple):
    """How one residual layer is entered and left."""

    scale: Tensor
    """(1 + s) n, `[B, T, 1, D]`; `[D]` without conditions."""
    shift: Tensor | None
    """b, `[B, T, 1, D]`."""
    gate: Tensor | None
    """g, `[B, T, 1, D]`; None: 1."""

    def enter(self, x: Tensor) -> Tensor:
        """m(x), `[B, T, S, D]`."""
        return modulated(x, self.scale, self.shift)

    def leave(self, x: Tensor, change: Tensor) -> Tensor:
        """x + g change, in the type of x."""
        if self.gate is None:
            return (x + change).to(x.dtype)
        return torch.addcmul(x, self.gate.to(x.dtype), change.to(x.dtype))


class Modulation(nn.Module):
    """(b, s, g) of the `parts` residual layers of a block: W silu(c) + U V silu(c).

    W is the caller's, one for all blocks; U is zero at first.
    """

    def __init__(self, width: int, parts: int, condition: int | None) -> None:
        super().__init__()
        self.parts = parts
        self.norms = nn.Parameter(torch.ones(parts, width))
        if condition is not None:
            rank = min(RANK, condition)
            self.down = Weight(condition, rank)
            self.up = Weight(rank, 3 * parts * width, 0.0)

    def forward(self, active: Tensor | None, shared: Tensor | None) -> list[Part]:
        """Each layer's part.

        Args:
            active: silu(c), `[B, T, C]`; None without conditions.
            shared: W silu(c), `[B, T, at least 3 parts D]`.
        """
        if active is None or shared is None:
            return [Part(norm, None, None) for norm in self.norms]
        own = self.up(self.down(active))
        total = precise(shared[..., : own.shape[-1]] + own)[:, :, None]
        pieces = total.chunk(3 * self.parts, -1)
        triples = zip(self.norms, pieces[::3], pieces[1::3], pieces[2::3], strict=True)
        return [Part(norm * (1 + scale), shift, gate) for norm, shift, scale, gate in triples]


def modulated(x: Tensor, scale: Tensor, shift: Tensor | None = None) -> Tensor:
    """scale x / rms(x) + shift over the last axis, in the type that a linear layer would return.

    x `[..., D]`; scale and shift broadcast to it.
    """
    out: Tensor
    if torch.is_grad_enabled():
        out = Modulated.apply(x, scale, shift)
    else:
        out, _ = _forward(x, scale, shift)
    return out


class Modulated(torch.autograd.Function):
    """y = a u + b with u = x / rms(x):  du = a dy,  da = u dy,  db = dy.

    Keeps x and one number per row; the parts one by one would keep four tensors.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, x: Tensor, scale: Tensor, shift: Tensor | None
    ) -> Tensor:
        """Computed in at least float32."""
        out, inverse = _forward(x, scale, shift)
        ctx.save_for_backward(x, scale, inverse)
        ctx.shape = None if shift is None else shift.shape  # type: ignore[attr-defined]
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, grad: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Through the norm."""
        x, scale, inverse = ctx.saved_tensors  # type: ignore[attr-defined]
        grad, unit = precise(grad), precise(x) * inverse
        shape = ctx.shape  # type: ignore[attr-defined]
        to_shift = None if shape is None else grad.sum_to_size(shape)
        to_scale = (grad * unit).sum_to_size(scale.shape)
        to_x = unit_backward(grad * scale, unit, inverse)
        return to_x.to(x.dtype), to_scale.to(scale.dtype), to_shift


def _forward(x: Tensor, scale: Tensor, shift: Tensor | None) -> tuple[Tensor, Tensor]:
    wide = precise(x)
    inverse = inverse_rms(wide)
    unit = wide * inverse
    out = unit * scale if shift is None else torch.addcmul(shift, unit, scale)
    return out.to(computed(x.dtype, x.device)), inverse
