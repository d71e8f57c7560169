"""Noise with a shape in time: smooth plans explore further than white noise of the same size.

Legend: `H` plan steps.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Generator, Tensor


@lru_cache(maxsize=64)
def colour_matrix(horizon: int, exponent: float) -> Tensor:
    """The `[H, H]` matrix C for which x = C z, z white, has the power spectrum f^-exponent.

    C is the circulant square root F^-1 diag(f^(-exponent / 2)) F of a sequence twice as long as
    the plan, cut to the plan, so that its end is not tied to its beginning; the lowest frequency
    stands for the mean, and rows are scaled to unit variance. Timmer and Koenig 1995; the noise
    of iCEM, Pinneri et al. 2020. White noise, exponent 0, gives the identity.
    """
    if exponent == 0 or horizon == 1:
        return torch.eye(horizon)
    length = 2 * horizon
    frequency = torch.fft.rfftfreq(length, dtype=torch.float64).clamp_min(1 / length)
    kernel = torch.fft.irfft(frequency ** (-exponent / 2) + 0j, length)
    index = torch.arange(length)
    circulant = kernel[(index[:, None] - index[None, :]) % length][:horizon]
    covariance = circulant @ circulant.T
    covariance = covariance / covariance[0, 0]
    root: Tensor = torch.linalg.cholesky(
        covariance + 1e-9 * torch.eye(horizon, dtype=torch.float64)
    )
    return (root / root.norm(dim=1, keepdim=True)).float()


@lru_cache(maxsize=64)
def spline_matrix(horizon: int, knots: int) -> Tensor:
    """The `[H, knots]` matrix of a Catmull-Rom spline through evenly spaced knots (linear for two,
    constant for one); rows are scaled so that white knots give unit variance at every step."""
    if knots == 1:
        return torch.ones(horizon, 1)
    at = torch.linspace(0, knots - 1, horizon, dtype=torch.float64)
    left = at.floor().clamp(max=knots - 2).long()
    t = (at - left)[:, None]
    weights = (
        torch.cat([-(t**3) + 2 * t**2 - t, 3 * t**3 - 5 * t**2 + 2], 1) / 2,
        torch.cat([-3 * t**3 + 4 * t**2 + t, t**3 - t**2], 1) / 2,
    )
    matrix = torch.zeros(horizon, knots, dtype=torch.float64)
    for offset, weight in enumerate(torch.cat(weights, 1).unbind(1), -1):
        matrix.scatter_add_(1, (left + offset).clamp(0, knots - 1)[:, None], weight[:, None])
    return (matrix / matrix.norm(dim=1, keepdim=True)).float()


def shaped_noise(
    shape: tuple[int, int, int, int],
    generator: Generator | None,
    device: torch.device,
    *,
    exponent: float = 0.0,
    knots: int = 0,
) -> Tensor:
    """Normal noise `[B, K, H, A]` of unit variance, coloured or splined along H.

    Raises:
        ValueError: both an exponent and knots are given.
    """
    if exponent and knots:
        raise ValueError(
            f"Noise is coloured (exponent {exponent}) or splined ({knots} knots), not both."
        )
    batch, count, horizon, size = shape
    at = generator.device if generator else device
    if not exponent and not knots:
        return torch.randn(shape, generator=generator, device=at).to(device)
    width = knots or horizon
    matrix = spline_matrix(horizon, knots) if knots else colour_matrix(horizon, exponent)
    white = torch.randn(batch, count, size, width, generator=generator, device=at).to(device)
    return (white @ matrix.T.to(device)).transpose(2, 3)


def smoothness(plan: Tensor) -> Tensor:
    """Mean absolute change between steps of plans `[..., H, A]`, `[...]`."""
    return plan.diff(dim=-2).abs().mean((-1, -2)) if plan.shape[-2] > 1 else plan.sum((-1, -2)) * 0
