"""Softmax over a short last axis."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class ShortSoftmax(torch.autograd.Function):
    """p_i = exp(x_i - max x) / sum_j exp(x_j - max x);  dx = p (dp - sum_j dp_j p_j)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Keep the probabilities."""
        p = _softmax(x)
        ctx.save_for_backward(p)
        return p

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """From the probabilities."""
        (p,) = ctx.saved_tensors
        weighed = grad * p
        return weighed.addcmul_(p, weighed.sum(-1, keepdim=True), value=-1)


def short_softmax(x: Tensor) -> Tensor:
    """Softmax over the last axis `[..., n]`, for small n.

    torch's own goes through a short axis number by number: five times as slow for n = 8 on a CPU
    (`bench/products.py`).
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return x.softmax(-1)
    if torch.is_grad_enabled() and x.requires_grad:
        out: Tensor = ShortSoftmax.apply(x)
        return out
    return _softmax(x)


def _softmax(x: Tensor) -> Tensor:
    e = (x - x.amax(-1, keepdim=True)).exp_()
    return e.div_(e.sum(-1, keepdim=True))
