"""Unit vectors that are turned by where they are, so that a dot product knows the distance.

Query and key of a head are divided by their root mean square (Henry et al. 2020, arXiv 2010.04245)
and turned in pairs of channels (RoPE, Su et al. 2021, arXiv 2104.09864): as complex numbers

    q'_j = g_j e^(i a_j(m)) q_j / rms(q),    k'_j = e^(i a_j(n)) k_j / rms(k),    j < d / 2,

so Re(q'* k') = sum_j g_j Re(e^(i (a_j(n) - a_j(m))) q_j* k_j) / (rms(q) rms(k)), in which a linear
angle a_j(m) = w_j m leaves the distance n - m alone. A gain on the key would multiply g: one is
enough. Angles are computed in float64, so that a film of any length loses nothing.

Legend: `d` channels of a head, `H` heads, `S` tokens of a frame, `h w` grid, `...` any axes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reverie.nn.layers import inverse_rms, precise, unit_backward

SPACE = 100.0
"""Longest wave over the grid [tokens / 2 pi], as in Heo et al. 2024, arXiv 2403.13298."""
TIME = 10_000.0
"""Longest wave over time [frames / 2 pi]."""


def angles(position: Tensor, count: int, base: float) -> Tensor:
    """m base^(-j / count) for j < count [rad], `[...] -> [..., count]`, float64."""
    index = torch.arange(count, dtype=torch.float64, device=position.device)
    return position.double()[..., None] * base ** (-index / max(count, 1))


def grid_angles(grid: tuple[int, int], rows: int, columns: int, device: torch.device) -> Tensor:
    """Angles [rad] of h w places, row by row, `[h w, rows + columns]`, float64.

    The first `rows` channels tell the row, the others the column.
    """
    height, width = (torch.arange(n, device=device) for n in grid)
    down = angles(height, rows, SPACE)[:, None].expand(-1, grid[1], -1)
    along = angles(width, columns, SPACE)[None].expand(grid[0], -1, -1)
    return torch.cat([down, along], -1).flatten(0, 1)


def phase(angle: Tensor, dtype: torch.dtype) -> Tensor:
    """e^(i angle) as (cos, sin), `[...] -> [..., 2]`."""
    return torch.stack([angle.cos(), angle.sin()], -1).to(dtype)


def turned(x: Tensor, factor: Tensor) -> Tensor:
    """f x / rms(x), pairs of neighbouring channels being complex numbers.

    Args:
        x: `[..., H, d]`.
        factor: f as pairs, `[..., H, d / 2, 2]`, which broadcasts to x; quick where it has all H.

    On one core this takes a seventh of the time of turning two real halves (float32, d = 64).
    """
    if not torch.is_grad_enabled():
        return _turned(x, factor, inverse_rms(precise(x)))
    out: Tensor = Turned.apply(x, factor)
    return out


class Turned(torch.autograd.Function):
    """y = f u with u = x / rms(x):  du = f* dy,  df = u* dy; keeps x and one number per row."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, factor: Tensor) -> Tensor:
        """Computed in at least float32, returned in the type of x."""
        inverse = inverse_rms(precise(x))
        ctx.save_for_backward(x, factor, inverse)
        return _turned(x, factor, inverse)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, grad: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Through the turn and the norm."""
        x, factor, inverse = ctx.saved_tensors  # type: ignore[attr-defined]
        unit, pairs = precise(x) * inverse, _pairs(precise(grad))
        to_factor = None
        if ctx.needs_input_grad[1]:  # type: ignore[attr-defined]
            to_factor = times(pairs, _pairs(unit), conjugate=True).sum_to_size(factor.shape)
        to_unit = times(pairs, factor, conjugate=True).flatten(-2)
        return unit_backward(to_unit, unit, inverse).to(x.dtype), to_factor


def times(x: Tensor, y: Tensor, conjugate: bool = False) -> Tensor:
    """x y, or x y* where `conjugate`, of complex numbers as pairs `[..., 2]`.

    torch's complex product is quick as it stands, and unknown to its compiler.
    """
    if not torch.compiler.is_compiling():
        right = torch.view_as_complex(y)
        product = torch.view_as_complex(x) * (right.conj() if conjugate else right)
        return torch.view_as_real(product)
    (a, b), (c, d) = x.unbind(-1), y.unbind(-1)
    if conjugate:
        d = -d
    return torch.stack([a * c - b * d, a * d + b * c], -1)


def _turned(x: Tensor, factor: Tensor, inverse: Tensor) -> Tensor:
    return times(_pairs(precise(x) * inverse), factor).flatten(-2).to(x.dtype)


def _pairs(x: Tensor) -> Tensor:
    return x.contiguous().unflatten(-1, (-1, 2))
