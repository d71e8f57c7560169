"""Policies on a model's features: bounded or squashed normal for continuous actions, categorical
for discrete.

Legend: `B` batch, `A` action, `F` features.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from reverie.core.spec import Space
from reverie.nn.categorical import mix_uniform, one_hot_sample, straight_through
from reverie.nn.layers import MLP

MIN_STD, MAX_STD = 0.1, 1.0
UNIMIX = 0.01
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
_QUADRATURE = _NODES, _WEIGHTS / math.sqrt(2 * math.pi)


class Distribution(Protocol):
    """What a policy would do in each row."""

    def sample(self, noise: Tensor) -> Tensor:
        """An action `[.., A]`, differentiable in the policy's parameters."""
        ...

    def log_prob(self, action: Tensor) -> Tensor:
        """Its log-density `[..]`."""
        ...

    def entropy(self) -> Tensor:
        """`[..]` [nat]."""
        ...

    def mode(self) -> Tensor:
        """The most probable action."""
        ...


class Normal(NamedTuple):
    """Independent normals, `[.., A]`."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std * noise."""
        return self.mean + self.std * noise

    def log_prob(self, action: Tensor) -> Tensor:
        """Sum of the log-densities of the entries."""
        z = (action - self.mean) / self.std
        return (-0.5 * z.square() - self.std.log()).sum(-1) - 0.5 * z.shape[-1] * math.log(
            2 * math.pi
        )

    def entropy(self) -> Tensor:
        """Sum over the entries, 0.5 ln(2 pi e std^2) each."""
        return self.std.log().sum(-1) + 0.5 * self.std.shape[-1] * (1 + math.log(2 * math.pi))

    def mode(self) -> Tensor:
        """The mean."""
        return self.mean


class Squashed(NamedTuple):
    """low + (high - low) (tanh(u) + 1) / 2 of independent normals u, `[.., A]`."""

    mean: Tensor
    """Of u."""
    std: Tensor
    """Of u."""
    low: Tensor
    """Smallest action, `[A]`."""
    high: Tensor
    """Largest action, `[A]`."""

    def sample(self, noise: Tensor) -> Tensor:
        """The action of u = mean + std * noise: never beyond the bounds, nowhere without slope."""
        return self._stretch(self.mean + self.std * noise)

    def log_prob(self, action: Tensor) -> Tensor:
        """sum ln N(u) - ln |da / du|; an action on the bounds counts as one just inside."""
        unit = (2 * action - self.low - self.high) / (self.high - self.low)
        limit = 1 - 4 * torch.finfo(unit.dtype).eps
        u = torch.atanh(unit.clamp(-limit, limit))
        return Normal(self.mean, self.std).log_prob(u) - self._log_slope(u).sum(-1)

    def entropy(self) -> Tensor:
        """H[u] + E ln |da / du|, the mean over u by Gauss-Hermite quadrature."""
        nodes, weights = (self.mean.new_tensor(x) for x in _QUADRATURE)
        u = self.mean.unsqueeze(-1) + self.std.unsqueeze(-1) * nodes
        spread = (self._log_slope(u.movedim(-1, 0)).movedim(0, -1) @ weights).sum(-1)
        return Normal(self.mean, self.std.expand_as(self.mean)).entropy() + spread

    def mode(self) -> Tensor:
        """The action of the mean of u, which is the median action."""
        return self._stretch(self.mean)

    def _stretch(self, u: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * ((torch.tanh(u) + 1) / 2)

    def _log_slope(self, u: Tensor) -> Tensor:
        """ln |da / du| = ln((high - low) / 2) + ln(1 - tanh(u)^2), without cancellation."""
        return ((self.high - self.low) / 2).log() + 2 * (math.log(2) - u - F.softplus(-2 * u))


class Choice(NamedTuple):
    """One of A, as a one-hot; probabilities `[.., A]`."""

    probs: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """A one-hot, with the gradient of the probabilities."""
        probs = self.probs.unsqueeze(-2)
        return straight_through(one_hot_sample(probs, noise), probs).squeeze(-2)

    def log_prob(self, action: Tensor) -> Tensor:
        """ln p of the chosen class."""
        return (self.probs.log() * action.detach()).sum(-1)

    def entropy(self) -> Tensor:
        """-sum p ln p."""
        return -(self.probs * self.probs.log()).sum(-1)

    def mode(self) -> Tensor:
        """A one-hot of the likeliest class."""
        best = self.probs.argmax(-1, keepdim=True)
        return torch.zeros_like(self.probs).scatter(-1, best, 1.0)


class PolicyNet(nn.Module):
    """A `Policy`: an MLP from features to a distribution over actions.

    Continuous: mean tanh(m), deviation 0.9 s(x + 2) + 0.1 with s the sigmoid; a sample may leave
    [-1, 1], and environments clip it. With `log_std`: a normal squashed into the bounds of the
    action, whose log-deviation is a weight for each entry, starts there, and has no floor.
    Discrete: softmax mixed with 1 % of the uniform.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        features: int,
        action: Space,
        units: int,
        layers: int,
        log_std: float | None = None,
    ) -> None:
        """Networks that read `features` numbers and act in `action`.

        Raises:
            ValueError: actions are to be squashed into bounds that are not finite.
        """
        super().__init__()
        self.discrete, self.size = action.discrete, action.size
        self.squashed = log_std is not None and not self.discrete
        outputs = self.size * (1 if self.discrete or self.squashed else 2)
        self.net = MLP(features, outputs, units, layers, scale=0.01)
        if log_std is not None and self.squashed:
            low, high = (torch.tensor(x).expand(self.size) for x in (action.low, action.high))
            if not bool((high - low).isfinite().all()) or bool((low >= high).any()):
                raise ValueError(
                    f"Squashed actions need finite bounds, low < high; the action space has low "
                    f"{action.low} and high {action.high}. Give them in spec.action."
                )
            self.register_buffer("low", low.clone(), persistent=False)
            self.register_buffer("high", high.clone(), persistent=False)
            self.log_std = nn.Parameter(torch.full((self.size,), float(log_std)))

    def forward(self, features: Tensor) -> Normal | Squashed | Choice:
        """The distribution of actions at features `[.., F]`."""
        raw = self.net(features)
        if self.discrete:
            return Choice(mix_uniform(raw, UNIMIX))
        if self.squashed:
            return Squashed(raw, self.log_std.exp(), self.low, self.high)
        mean, spread = raw.chunk(2, -1)
        std = (MAX_STD - MIN_STD) * torch.sigmoid(spread + 2.0) + MIN_STD
        return Normal(torch.tanh(mean), std)

    def noise(self, batch: int, generator: Generator | None = None) -> Tensor:
        """Normal `[B, A]` for continuous actions, uniform `[B, 1]` for discrete ones."""
        like = self.net.output.bias
        device = generator.device if generator else like.device
        draw, width = (torch.rand, 1) if self.discrete else (torch.randn, self.size)
        return draw(batch, width, generator=generator, device=device).to(like.device, like.dtype)

    def act(self, features: Tensor, noise: Tensor) -> Tensor:
        """A sampled action `[B, A]`."""
        return self(features).sample(noise)

    def mode(self, features: Tensor) -> Tensor:
        """The most probable action `[B, A]`."""
        return self(features).mode()
