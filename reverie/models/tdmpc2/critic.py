"""Values from bins, and the value with which a plan ends.

Legend: `B` batch, `A` action, `F` features, `K` Q functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from reverie.core.returns import symexp, symlog, twohot_mean, twohot_nll
from reverie.models.tdmpc2.layers import Ensemble
from reverie.models.tdmpc2.policy import Policy


def even_bins(count: int, limit: float) -> Tensor:
    """-limit to limit `[count]`, evenly spaced in symlog space, and exactly antisymmetric."""
    middle, width = (count - 1) / 2, 2 * limit / (count - 1)
    return ((torch.arange(count, dtype=torch.float64) - middle) * width).float()


def number(logits: Tensor, bins: Tensor) -> Tensor:
    """symexp(sum_i softmax(logits)_i b_i) `[...]`: the mean is taken in symlog space."""
    return symexp(twohot_mean(logits, bins))


def cross_entropy(logits: Tensor, target: Tensor, bins: Tensor) -> Tensor:
    """Of the two-hot of symlog(target) `[...]`, a constant, for `logits` `[..., n]`."""
    return twohot_nll(logits.log_softmax(-1), symlog(target), bins.to(logits.dtype))


class ValueNoise(NamedTuple):
    """The randomness of one call of `TerminalValue.value`."""

    action: Tensor
    """Normal `[B, A]`, of the policy's sample."""
    pair: Tensor
    """`[B, 2]`, which two Q functions are asked; the first row's pair serves the whole call."""


@dataclass(frozen=True)
class TerminalValue:
    """What follows after the last state of a plan: (Q_i + Q_j) / 2 at the policy's action."""

    policy: Policy
    q: Ensemble
    bins: Tensor
    heads: int
    """K."""

    def noise(self, batch: int, generator: Generator | None = None) -> ValueNoise:
        """Of a call with B rows."""
        pair = self.pair_noise(generator).expand(batch, 2)
        return ValueNoise(self.policy.noise(batch, generator), pair)

    def pair_noise(self, generator: Generator | None = None) -> Tensor:
        """Two different ones of the K Q functions, `[2]`, each pair as likely."""
        device = generator.device if generator else self.bins.device
        drawn = torch.randperm(self.heads, generator=generator, device=device)
        return drawn[:2].to(self.bins.device)

    def value(self, features: Tensor, noise: ValueNoise) -> Tensor:
        """`[B]` at features `[B, F]`; constant in the parameters of the Q functions."""
        action = self.policy.act(features, noise.action)
        return self.pair(features, action, noise.pair[0]).mean(0)

    def pair(
        self, features: Tensor, action: Tensor, pair: Tensor, kept: Tensor | None = None
    ) -> Tensor:
        """The two values `[2, B]` of `action` `[B, A]`; only the two are computed."""
        logits = self.q.some([features[..., : self.policy.read], action], pair, kept)
        return number(logits, self.bins)
