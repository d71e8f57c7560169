"""Layer norm and Mish in one pass, with a gradient written by hand; for one layer or an ensemble.

Sources: Ba et al. 2016, "Layer Normalization"; Misra 2019, "Mish: A Self Regularized Non-Monotonic
Activation Function". Legend: `K` members of an ensemble, `N` rows, `D` width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-5


class NormMish(torch.autograd.Function):
    """mish(u) = u tanh(softplus(u)) of u = gain norm(x) + shift, `[K, N, D]` with gain `[K, D]`.

    With p = s(u) the sigmoid and r = 2 p - p^2, which lies in 0..1:

        t = tanh(softplus(u)) = r / (2 - r)        mish = u t        mish' = t + p (u - t mish)

    One exponential instead of the three of softplus and tanh, no overflow, and precise where u is
    very negative. mish' is made on the way forward and kept, in the place of u.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
        """Keep the input, its mean and deviation, and the slope of Mish."""
        slope = torch.empty_like(x)
        y, moments = _members(x, gain, shift, eps, slope)
        ctx.save_for_backward(x, gain, shift, slope, *moments)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Through Mish, gain, shift and norm, member by member."""
        x, gain, shift, slope, *moments = ctx.saved_tensors
        needs, shape = list(ctx.needs_input_grad[:3]), x.shape[-1:]
        to_x = torch.empty_like(x) if needs[0] else None
        to_gain, to_shift = (
            torch.zeros_like(g) if n else None
            for g, n in zip((gain, shift), needs[1:], strict=True)
        )
        for i, (k, rows) in enumerate(_blocks(x)):
            before = grad[k, rows] * slope[k, rows]
            mean, inverse = moments[2 * i : 2 * i + 2]
            part = torch.ops.aten.native_layer_norm_backward(
                before, x[k, rows], shape, mean, inverse, gain[k], shift[k], needs
            )
            if to_x is not None:
                to_x[k, rows] = part[0]
            if to_gain is not None:
                to_gain[k] += part[1]
            if to_shift is not None:
                to_shift[k] += part[2]
        return to_x, to_gain, to_shift, None


def _blocks(x: Tensor) -> list[tuple[int, slice]]:
    """Member and rows of parts of at most a megabyte of float32 (2^18 numbers).

    Part by part, because what is made on the way then stays in the cache, and comes from memory
    that is at hand: fresh pages cost more than the arithmetic.
    """
    members, rows, width = x.shape
    step = max(1, -(-rows // max(1, -(-rows * width // 2**18))))
    return [(k, slice(r, r + step)) for k in range(members) for r in range(0, rows, step)]


def _members(
    x: Tensor, gain: Tensor, shift: Tensor, eps: float, slope: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """mish(u) and the moments of each block; its slope is written into `slope` if one is given."""
    y, moments = torch.empty_like(x), []
    two = torch.full((), 2.0, dtype=x.dtype)
    for k, rows in _blocks(x):
        u, mean, inverse = torch.native_layer_norm(x[k, rows], x.shape[-1:], gain[k], shift[k], eps)
        p = torch.sigmoid(u)
        out, t = y[k, rows], p if slope is None else slope[k, rows]
        torch.mul(p, torch.sub(two, p, out=out), out=t)  # r
        t.div_(torch.sub(two, t, out=out))
        torch.mul(u, t, out=out)
        moments += [mean, inverse]
        if slope is not None:
            t.addcmul_(p, u.addcmul_(t, out, value=-1))
    return y, moments


def norm_mish(x: Tensor, gain: Tensor, shift: Tensor, eps: float = EPS) -> Tensor:
    """mish(gain norm(x) + shift) over the last axis, norm(x) = (x - mean) / sqrt(var + eps).

    `[..., D] -> [..., D]` with `gain` and `shift` `[D]`; or `[K, N, D]` with `[K, D]`, one each for
    every member of an ensemble.
    """
    if x.dtype != gain.dtype:  # autocast: the norm is computed in the gain's precision
        return norm_mish(x.to(gain.dtype), gain, shift, eps).to(x.dtype)
    if torch.compiler.is_compiling():  # fused there
        member = (slice(None), None) if gain.ndim == 2 else ()
        unit = F.layer_norm(x, x.shape[-1:], eps=eps)
        return F.mish(torch.addcmul(shift[member], unit, gain[member]))
    shape = x.shape
    if gain.ndim == 1:
        x, gain, shift = x.reshape(1, -1, shape[-1]), gain[None], shift[None]
    x = x.contiguous()
    learns = x.requires_grad or gain.requires_grad or shift.requires_grad
    if torch.is_grad_enabled() and learns:
        return NormMish.apply(x, gain, shift, eps).reshape(shape)
    return _members(x, gain, shift, eps, None)[0].reshape(shape)
