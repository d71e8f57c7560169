"""Running mean and variance of each entry of what was met, kept with the weights.

Of a batch of n rows with moments m_b and v_b, after `count` rows, and with the share that it gets,

    r = max(n / (count + n), forget)
    m <- m + r (m_b - m),    v <- v + r (v_b - v) + r (1 - r) (m_b - m)^2,

which are the moments of all rows while r = n / (count + n) (Chan, Golub and LeVeque 1979), and
follow what changes, over about 1 / forget batches, once that is the larger.

Legend: `S` entries.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Moments(nn.Module):
    """Mean and variance `[S]`; 0 and 1 before anything was met."""

    count: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, size: int, forget: float = 0.0) -> None:
        """`forget`: the share that the newest batch has at least."""
        super().__init__()
        self.forget = forget
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self._met: tuple[int, Tensor, Tensor] | None = None

    @torch.no_grad()
    def meet(self, x: Tensor) -> None:
        """Rows `[.., S]` of one batch; they count from `adopt` on, so that a loss changes nothing.
        Values that are not finite are passed over, an entry without any stays."""
        x = x.reshape(-1, x.shape[-1])
        if not len(x):
            return
        away = x.to(self.mean) - self.mean  # small numbers lose nothing where the mean is large
        fine = away.isfinite()
        many = fine.sum(0)
        away = torch.where(fine, away, 0.0)
        shift = away.sum(0) / many.clamp(min=1)
        spread = torch.where(fine, (away - shift) ** 2, 0.0).sum(0) / many.clamp(min=1)
        spread = torch.where(many > 0, spread, self.variance)
        self._met = len(x), torch.where(many > 0, shift, 0.0), spread

    @torch.no_grad()
    def adopt(self) -> None:
        """What was met since counts from now on."""
        if self._met is None:
            return
        (rows, shift, spread), self._met = self._met, None
        self.count += rows
        rate = (rows / self.count).to(self.mean).clamp(min=self.forget)
        self.variance += rate * (spread - self.variance) + rate * (1 - rate) * shift**2
        self.mean += rate * shift

    def merge(self, x: Tensor) -> None:
        """`meet` and `adopt` at once."""
        self.meet(x)
        self.adopt()
