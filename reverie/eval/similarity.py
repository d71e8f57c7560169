"""Structural similarity of pictures (Wang et al. 2004): do they look alike, not only agree on
average?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03


def ssim(one: Tensor, other: Tensor) -> Tensor:
    r"""Mean structural similarity of pictures `[..., C, h, w]` in 0..1, in -1..1, `[...]`.

    `(2 m_x m_y + c_1)(2 s_xy + c_2) / ((m_x^2 + m_y^2 + c_1)(s_x^2 + s_y^2 + c_2))` with means m,
    variances s^2 and covariance s_xy under a Gaussian window of 11 pixels and deviation 1.5,
    `c_1 = 0.01^2`, `c_2 = 0.03^2`, averaged over the places where the window fits, and over the
    channels (eq. 13 and section III.C of Wang et al. 2004). Smaller pictures get a window as large
    as they are, of an odd width.

    Raises:
        ValueError: the shapes differ.
    """
    if one.shape != other.shape or one.ndim < 3:
        raise ValueError(
            f"Pictures {tuple(one.shape)} and {tuple(other.shape)} cannot be compared; both must "
            "be [..., C, h, w] of one shape."
        )
    lead, (height, width) = one.shape[:-3], one.shape[-2:]
    x, y = (p.reshape(-1, 1, height, width).float() for p in (one, other))
    both = torch.cat([x, y, x * x, y * y, x * y])
    for axis, size in ((2, height), (3, width)):
        line = _line(size, both)
        both = functional.conv2d(both, line.reshape([-1 if k == axis else 1 for k in range(4)]))
    mx, my, xx, yy, xy = both.chunk(5)
    c1, c2 = _K1**2, _K2**2
    top = (2 * mx * my + c1) * (2 * (xy - mx * my) + c2)
    bottom = (mx * mx + my * my + c1) * (xx - mx * mx + yy - my * my + c2)
    return (top / bottom).mean((1, 2, 3)).reshape(*lead, -1).mean(-1)


def _line(size: int, like: Tensor) -> Tensor:
    """One axis of the window, which sums to 1."""
    length = min(_WINDOW, size - (size + 1) % 2)
    at = torch.arange(length, device=like.device, dtype=like.dtype) - (length - 1) / 2
    line = torch.exp(-(at**2) / (2 * _SIGMA**2))
    return line / line.sum()
