"""Matrix products by the faster of the libraries that torch brings.

torch multiplies float32 matrices on x86 through MKL, which keeps to AVX2 on processors that Intel
did not make. oneDNN, which comes with torch too, uses their AVX-512: 2.2 times as fast
(`bench/products.py`). The choice depends on the machine alone, so that a run repeats bitwise.

Legend: `K` members, `N` rows, `I` inputs, `O` outputs.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WORK = 2**20
"""With fewer multiply-adds calling oneDNN costs more than it saves."""


def onednn() -> bool:
    """Whether float32 products go through oneDNN on this machine."""
    return _ONEDNN


def _choose() -> bool:
    if not torch.backends.mkldnn.is_available() or not hasattr(
        torch.ops.mkldnn, "_linear_pointwise"
    ):
        return False
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return wide and torch.backends.mkl.is_available() and _maker() != "GenuineIntel"


def _maker() -> str:
    """The processor's maker: "GenuineIntel", "AuthenticAMD", ..., or "" where none is named."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "GenuineIntel" if "Intel" in platform.processor() else ""
    return next((s.split(":")[1].strip() for s in lines if s.startswith("vendor_id")), "")


_ONEDNN = _choose()


def product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """left right + bias, `[N, I] x [I, O] -> [N, O]`, without a gradient; any strides."""
    if not _fits(left, right, left.numel() * right.shape[1]):
        return left @ right if bias is None else torch.addmm(bias, left, right)
    if torch.compiler.is_compiling():
        out: Tensor = _opaque(left, right, bias)
        return out
    return _multiply(left, right, bias)


def _multiply(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    kernel = torch.ops.mkldnn._linear_pointwise
    out: Tensor = kernel(dense(left), dense(right.t()), bias, "none", [], "")
    return out


@torch.library.custom_op("reverie::product", mutates_args=())
def _opaque(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    """For compiled code, whose own way with the operator takes constant weights alone."""
    return _multiply(left, right, bias)


@_opaque.register_fake
def _shape(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    return left.new_empty(left.shape[0], right.shape[1])


def products(left: Tensor, right: Tensor) -> Tensor:
    """left_k right_k, `[K, N, I] x [K, I, O] -> [K, N, O]`, without a gradient; any strides."""
    if not _fits(left, right, left[0].numel() * right.shape[2]) or _half(left):
        return torch.bmm(left, right)
    pairs = zip(left.unbind(0), right.unbind(0), strict=True)
    return torch.stack([product(a, b) for a, b in pairs])


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b, `[..., I] -> [..., O]` with W `[O, I]` and b `[O]`."""
    if not _fits(x, weight, x.numel() * weight.shape[0]) or _half(x):
        return F.linear(x, weight, bias)
    rows = x if x.ndim == 2 else x.flatten(0, -2)
    out: Tensor
    if torch.is_grad_enabled() and _learns(x, weight, bias):
        out = Linear.apply(rows, weight, bias)
    else:
        out = product(rows, weight.t(), bias)
    return out if x.ndim == 2 else out.unflatten(0, x.shape[:-1])


class Affine(nn.Module):
    """`linear` as a layer, `[..., I] -> [..., O]`; the weight is to be filled, the bias is zero."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """x W^T + b."""
        return linear(x, self.weight, self.bias)


def members(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x_k W_k^T + b_k for K members, `[K, N, I]` or for all the same `[N, I]` to `[K, N, O]`.

    W `[K, O, I]`, b `[K, O]`.
    """
    if not _fits(x, weight, x.shape[-2] * weight[0].numel()) or _half(x):
        return torch.baddbmm(bias.unsqueeze(1), x.expand(weight.shape[0], -1, -1), weight.mT)
    if torch.is_grad_enabled() and _learns(x, weight, bias):
        out: Tensor = Members.apply(x, weight, bias)
        return out
    return _members(x, weight, bias)


def blocks(x: Tensor, weight: Tensor) -> Tensor:
    """A product whose matrix is G blocks on its diagonal, `[N, G I] -> [N, G O]`; W `[G, I, O]`."""
    if not _fits(x, weight, x.shape[0] * weight[0].numel()) or _half(x):
        groups = x.unflatten(-1, (weight.shape[0], -1)).transpose(0, 1)
        return torch.bmm(groups, weight).transpose(0, 1).flatten(1)
    if torch.is_grad_enabled() and _learns(x, weight, None):
        out: Tensor = Blocks.apply(x, weight)
        return out
    return _blocks(x, weight)


def _fits(x: Tensor, weight: Tensor, work: int) -> bool:
    return (
        onednn()
        and work >= WORK
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and x.numel() > 0
        and x.ndim > 1
    )


def _half(x: Tensor) -> bool:
    """Whether autocast would compute this in half precision."""
    return torch.is_autocast_enabled(x.device.type)


def _learns(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    return x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)


class Linear(torch.autograd.Function):
    """y = x W^T + b:  dx = dy W,  dW = dy^T x,  db = sum_n dy_n."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Keep the input and the weight."""
        ctx.save_for_backward(x, weight)
        return product(x, weight.t(), bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Three products, those that are asked for."""
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        return (
            product(grad, weight) if to_x else None,
            product(grad.t(), x) if to_weight else None,
            grad.sum(0) if to_bias else None,
        )


class Members(torch.autograd.Function):
    """`Linear` for each member."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Keep the input and the weights."""
        ctx.save_for_backward(x, weight)
        return _members(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Member by member; an input that all share gets the sum."""
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        grads = grad.unbind(0)
        inputs = [x] * len(grads) if x.ndim == 2 else x.unbind(0)
        x_grad = w_grad = None
        if to_x:
            x_grads = [product(g, w) for g, w in zip(grads, weight, strict=True)]
            x_grad = torch.stack(x_grads) if x.ndim == 3 else sum(x_grads[1:], x_grads[0])
        if to_weight:
            pairs = zip(grads, inputs, strict=True)
            w_grad = torch.stack([product(g.t(), rows) for g, rows in pairs])
        return x_grad, w_grad, grad.sum(1) if to_bias else None


class Blocks(torch.autograd.Function):
    """y_g = x_g W_g:  dx_g = dy_g W_g^T,  dW_g = x_g^T dy_g."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """Keep the input and the weight."""
        ctx.save_for_backward(x, weight)
        return _blocks(x, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Block by block."""
        x, weight = ctx.saved_tensors
        to_x, to_weight = ctx.needs_input_grad
        pairs = zip(x.chunk(len(weight), 1), grad.chunk(len(weight), 1), strict=True)
        return (
            _blocks(grad, weight.mT) if to_x else None,
            torch.stack([product(a.t(), g) for a, g in pairs]) if to_weight else None,
        )


def _blocks(x: Tensor, weight: Tensor) -> Tensor:
    pairs = zip(x.chunk(len(weight), 1), weight, strict=True)
    return torch.cat([product(part, w) for part, w in pairs], 1)


def dense(x: Tensor) -> Tensor:
    """The same matrix without gaps: oneDNN is a thousand times slower for parts of a matrix."""
    return x if x.is_contiguous() or x.t().is_contiguous() else x.contiguous()


def _members(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    inputs = [x] * len(weight) if x.ndim == 2 else x.unbind(0)
    parts = zip(inputs, weight, bias, strict=True)
    return torch.stack([product(rows, w.t(), b) for rows, w, b in parts])
