"""The policy prior of TD-MPC2: a normal squashed by tanh, read from the model's features.

Legend: `B` batch, `A` action, `F` features.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from reverie.models.tdmpc2.config import PolicyConfig
from reverie.models.tdmpc2.layers import MLP


class Squashed(NamedTuple):
    """tanh of independent normals, `[.., A]`; entries that a task does not use are zero."""

    mean: Tensor
    log_std: Tensor
    mask: Tensor | None = None
    """`[.., A]`, 1 where the task uses the entry."""

    def sample(self, noise: Tensor) -> Tensor:
        """tanh(mean + exp(log_std) noise)."""
        noise = noise if self.mask is None else noise * self.mask
        return torch.tanh(torch.addcmul(self.mean, noise, self.log_std.exp()))

    def mode(self) -> Tensor:
        """tanh(mean)."""
        return torch.tanh(self.mean)

    def scaled_entropy(self, noise: Tensor) -> Tensor:
        """-A ln N(noise; log_std) `[..]`: the one-sample entropy before tanh, times the entries.

        ln N = sum_i -noise_i^2 / 2 - log_std_i - ln(2 pi) / 2. Published as -l (A l' / l) with l
        the log-density after tanh and l' the one before: l cancels.
        """
        noise = noise if self.mask is None else noise * self.mask
        size = noise.shape[-1] if self.mask is None else self.mask.sum(-1)
        log_prob = -(0.5 * noise.square() + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)
        return -size * log_prob


class Policy(nn.Module):
    """The interface's `Policy`: an MLP from features to a squashed normal."""

    def __init__(
        self, read: int, actions: int, width: int, masked: bool, config: PolicyConfig
    ) -> None:
        """Reads the first `read` features; with `masked`, the `actions` after them are the mask."""
        super().__init__()
        self.read, self.actions, self.masked, self.config = read, actions, masked, config
        self.net = MLP(read, 2 * actions, width)

    def forward(self, features: Tensor) -> Squashed:
        """The distribution at features `[.., F]`.

        log_std = low + (high - low) (tanh(x) + 1) / 2.
        """
        mean, x = self.net(features[..., : self.read]).chunk(2, -1)
        low, high = self.config.low, self.config.high
        log_std = low + 0.5 * (high - low) * (torch.tanh(x) + 1)
        if not self.masked:
            return Squashed(mean, log_std)
        mask = features[..., self.read : self.read + self.actions]
        return Squashed(mean * mask, log_std * mask, mask)

    def noise(self, batch: int, generator: Generator | None = None) -> Tensor:
        """Normal, `[B, A]`."""
        like = self.net.layers[-1].bias
        assert isinstance(like, Tensor)
        device = generator.device if generator else like.device
        drawn = torch.randn(batch, self.actions, generator=generator, device=device)
        return drawn.to(like.device, like.dtype)

    def act(self, features: Tensor, noise: Tensor) -> Tensor:
        """A sampled action `[B, A]`."""
        return self(features).sample(noise)

    def mode(self, features: Tensor) -> Tensor:
        """tanh of the mean, `[B, A]`."""
        return self(features).mode()
