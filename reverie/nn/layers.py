"""Linear layers as DreamerV3 uses them: truncated-normal initialisation, RMS norm and SiLU."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reverie.nn.products import Affine, blocks

EPS = 1e-4


def fill_truncated_normal(weight: Tensor, fan_in: int, scale: float = 1.0) -> None:
    """Fill with N(0, 1 / fan_in) cut at two deviations, times `scale`.

    1.1368 restores the variance that the cut takes away. `scale=0` gives zeros.
    """
    deviation = 1.1368 * math.sqrt(1 / fan_in)
    with torch.no_grad():
        nn.init.trunc_normal_(weight, 0.0, 1.0, -2.0, 2.0).mul_(deviation * scale)


def linear(inputs: int, outputs: int, scale: float = 1.0) -> Affine:
    """`x W^T + b`, `[..., inputs] -> [..., outputs]`; b starts at zero."""
    layer = Affine(inputs, outputs)
    fill_truncated_normal(layer.weight, inputs, scale)
    return layer


def tanh(x: Tensor) -> Tensor:
    """2 s(2 x) - 1 with s the sigmoid: equal to tanh, and half its time on a CPU."""
    return torch.sigmoid(2 * x) * 2 - 1


def tanh_(x: Tensor) -> Tensor:
    """`tanh`, written over x."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)


class NormSilu(torch.autograd.Function):
    """silu(g x / rms(x)), with rms(x) = sqrt(mean_i x_i^2 + eps), over the last axis.

    Written by hand because the parts one by one keep six intermediate tensors for the backward
    pass; this keeps the input and one number per row.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, gain: Tensor) -> Tensor:
        """Keep the input and one number per row."""
        inverse = inverse_rms(x)
        ctx.save_for_backward(x, gain, inverse)
        return F.silu((x * inverse).mul_(gain), inplace=True)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Through SiLU, gain and norm."""
        x, gain, inverse = ctx.saved_tensors  # type: ignore[attr-defined]
        unit = x * inverse
        grad = silu_backward(grad, unit * gain)
        grad_gain = (grad * unit).flatten(0, -2).sum(0)
        return unit_backward(grad.mul_(gain), unit, inverse), grad_gain


def inverse_rms(x: Tensor) -> Tensor:
    """1 / sqrt(mean_i x_i^2 + eps), `[..., 1]`."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.addcmul(norm.new_full((), EPS), norm, norm, value=1 / x.shape[-1]).rsqrt_()


def silu_backward(grad: Tensor, x: Tensor) -> Tensor:
    """The gradient of silu at `x`: grad * s (1 + x (1 - s)) with s = sigmoid(x)."""
    return torch.ops.aten.silu_backward(grad, x)


def unit_backward(grad: Tensor, unit: Tensor, inverse: Tensor) -> Tensor:
    """The gradient of u = x / rms(x): (grad - u mean(grad u)) / rms(x)."""
    slope = torch.linalg.vecdot(grad, unit).unsqueeze(-1).div_(grad.shape[-1])
    return torch.addcmul(grad, unit, slope, value=-1).mul_(inverse)


def precise(x: Tensor) -> Tensor:
    """At least float32: what a network says stays exact where its layers run in half precision."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def norm_silu(x: Tensor, gain: Tensor) -> Tensor:
    """silu(g x / rms(x)) over the last axis, `[..., D] -> [..., D]`; gain `[D]`."""
    if x.dtype != gain.dtype:  # autocast: the norm is computed in the gain's precision
        return norm_silu(x.to(gain.dtype), gain).to(x.dtype)
    if not torch.is_grad_enabled():
        return F.silu((x * inverse_rms(x)).mul_(gain), inplace=True)
    return NormSilu.apply(x, gain)


class Dense(nn.Module):
    """silu(norm(x W^T + b)), `[..., inputs] -> [..., outputs]`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = linear(inputs, outputs)
        self.gain = nn.Parameter(torch.ones(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """`[..., inputs] -> [..., outputs]`."""
        x = self.linear(x)
        if torch.is_grad_enabled() or x.dtype != self.gain.dtype:
            return norm_silu(x, self.gain)
        return F.silu(x.mul_(inverse_rms(x)).mul_(self.gain), inplace=True)  # nobody else has it


class MLP(nn.Module):
    """`layers` times Dense, then a linear output with its initial weights times `scale`.

    The output is at least float32.
    """

    def __init__(
        self, inputs: int, outputs: int, units: int, layers: int, scale: float = 1.0
    ) -> None:
        super().__init__()
        widths = [inputs, *[units] * layers]
        self.hidden = nn.Sequential(*(Dense(i, o) for i, o in pairwise(widths)))
        self.output = linear(widths[-1], outputs, scale)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., inputs] -> [..., outputs]`, at least float32."""
        return precise(self.output(self.hidden(x)))


class BlockLinear(nn.Module):
    """A linear layer whose weight is block-diagonal: block g of the input feeds block g alone.

    `[..., inputs] -> [..., outputs]` with weight `[G, inputs / G, outputs / G]`. The initial
    deviation follows the whole input width, as in the reference implementation of DreamerV3.
    """

    def __init__(self, inputs: int, outputs: int, blocks: int, fan_in: int | None = None) -> None:
        super().__init__()
        if inputs % blocks or outputs % blocks:
            raise ValueError(
                f"A block-linear layer of {blocks} blocks needs widths that {blocks} divides; "
                f"got {inputs} and {outputs}."
            )
        self.weight = nn.Parameter(torch.empty(blocks, inputs // blocks, outputs // blocks))
        self.bias = nn.Parameter(torch.zeros(outputs))
        fill_truncated_normal(self.weight, fan_in or inputs)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., inputs] -> [..., outputs]`."""
        out = blocks(x.reshape(-1, x.shape[-1]), self.weight)
        return out.reshape(*x.shape[:-1], -1) + self.bias
