"""Policies on a model's features: bounded normal for continuous actions, categorical for discrete.

Legend: `B` batch, `A` action, `F` features.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor, nn

from reverie.core.spec import Space
from reverie.nn.categorical import mix_uniform, one_hot_sample, straight_through
from reverie.nn.layers import MLP

MIN_STD, MAX_STD = 0.1, 1.0
UNIMIX = 0.01


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
    [-1, 1], and environments clip it. Discrete: softmax mixed with 1 % of the uniform.
    """

    def __init__(self, features: int, action: Space, units: int, layers: int) -> None:
        super().__init__()
        self.discrete, self.size = action.discrete, action.size
        outputs = self.size * (1 if self.discrete else 2)
        self.net = MLP(features, outputs, units, layers, scale=0.01)

    def forward(self, features: Tensor) -> Normal | Choice:
        """The distribution of actions at features `[.., F]`."""
        raw = self.net(features)
        if self.discrete:
            return Choice(mix_uniform(raw, UNIMIX))
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
