"""How vectors and rewards are scaled: by their bounds, and where they have none by what was met.

    x~ = (x - m) / d

entry by entry. With bounds, m is their middle and d half of their range. Without, m and d are the
mean and the standard deviation of the batches that the model learnt from (`reverie.nn.moments`).
Rewards are divided by max(1, sqrt(m^2 + v)): those of a robot that falls for -100 would else decide
how far each update goes, and 0 stays 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reverie.core.spec import Space
from reverie.nn.moments import Moments

FORGET = 1e-3
"""Share that the newest batch has at least: a robot that learns while it acts meets new values."""

STILL = 1e-6
"""An entry that varies by a smaller share of its mean stands still; its deviation is noise."""


class Scale(nn.Module):
    """Between the units of one sensor's vectors and about -1..1."""

    middle: Tensor
    reach: Tensor
    bounded: Tensor

    def __init__(self, space: Space) -> None:
        super().__init__()
        low, high = (
            torch.tensor(bound, dtype=torch.float64).expand(space.size)
            for bound in (space.low, space.high)
        )
        bounded = (high - low).isfinite()
        low, high = torch.where(bounded, low, -1.0), torch.where(bounded, high, 1.0)
        half = (high - low) / 2
        real = torch.get_default_dtype()
        self.register_buffer("bounded", bounded, persistent=False)
        self.register_buffer("middle", ((low + high) / 2).to(real), persistent=False)
        self.register_buffer("reach", torch.where(half == 0, 1.0, half).to(real), persistent=False)
        self.moments = None if bounded.all() else Moments(space.size, FORGET)

    def enter(self, value: Tensor, like: Tensor) -> Tensor:
        """Scaled, in the dtype of `like`."""
        middle, half = self._now()
        return (value.to(like.dtype) - middle.to(like.dtype)) / half.to(like.dtype)

    def leave(self, value: Tensor) -> Tensor:
        """The inverse of `enter`."""
        middle, half = self._now()
        return value * half.to(value.dtype) + middle.to(value.dtype)

    def _now(self) -> tuple[Tensor, Tensor]:
        if self.moments is None:
            return self.middle, self.reach
        mean, deviation = self.moments.mean, self.moments.variance.sqrt()
        deviation = torch.where(deviation <= STILL * mean.abs(), 1.0, deviation)
        return (
            torch.where(self.bounded, self.middle, mean),
            torch.where(self.bounded, self.reach, deviation),
        )


class Size(nn.Module):
    """Of rewards: how large they are, 1 where they are small."""

    def __init__(self) -> None:
        super().__init__()
        self.moments = Moments(1, FORGET)

    def forward(self, like: Tensor) -> Tensor:
        """A scalar in the dtype of `like`."""
        size = (self.moments.mean.square() + self.moments.variance).sqrt().squeeze()
        return size.clamp(min=1).to(like.dtype)
