"""How a sensor's vectors are scaled: by their bounds, and where they have none by what was met.

    x~ = (x - m) / d

entry by entry. With bounds, m is their middle and d half of their range. Without, m and d are the
mean and the standard deviation of the batches that the model learnt from; of batch n with moments
m_b and v_b, and r = max(1 / n, `FORGET`),

    m <- m + r (m_b - m),    v <- v + r (v_b - v) + r (1 - r) (m_b - m)^2,    d = sqrt(v),

which are the moments of all rows while r = 1 / n (Chan, Golub and LeVeque 1979).

Legend: `N` rows, `S` entries.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reverie.core.spec import Space

FORGET = 1e-3
"""Share that the newest batch has at least: a robot that learns while it acts meets new values."""

STILL = 1e-6
"""An entry that varies by a smaller share of its mean stands still; its deviation is noise."""


class Moments(nn.Module):
    """Mean and variance `[S]` of what was met; 0 and 1 before anything was."""

    count: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self._met: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def meet(self, x: Tensor) -> None:
        """Rows `[N, S]` of one batch; they count from `adopt` on, so that a loss changes nothing.
        Values that are not finite are passed over, an entry without any stays."""
        if not len(x):
            return
        away = x.to(self.mean) - self.mean  # small numbers lose nothing where the mean is large
        fine = away.isfinite()
        many = fine.sum(0)
        away = torch.where(fine, away, 0.0)
        shift = away.sum(0) / many.clamp(min=1)
        spread = torch.where(fine, (away - shift) ** 2, 0.0).sum(0) / many.clamp(min=1)
        self._met = torch.where(many > 0, shift, 0.0), torch.where(many > 0, spread, self.variance)

    @torch.no_grad()
    def adopt(self) -> None:
        """What was met since counts from now on."""
        if self._met is None:
            return
        (shift, spread), self._met = self._met, None
        self.count += 1
        rate = max(1 / int(self.count), FORGET)
        self.variance += rate * (spread - self.variance) + rate * (1 - rate) * shift**2
        self.mean += rate * shift

    @property
    def deviation(self) -> Tensor:
        """d `[S]`; 1 of an entry that stands still."""
        deviation = self.variance.sqrt()
        return torch.where(deviation <= STILL * self.mean.abs(), 1.0, deviation)


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
        self.moments = None if bounded.all() else Moments(space.size)

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
        middle = torch.where(self.bounded, self.middle, self.moments.mean)
        return middle, torch.where(self.bounded, self.reach, self.moments.deviation)
