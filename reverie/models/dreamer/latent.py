"""The stochastic latent: what a layer's outputs mean, how to sample them, how far apart two are.

Legend: `S` variables, `C` classes.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from reverie.models.dreamer.config import LatentConfig
from reverie.nn.categorical import mix_uniform, one_hot_sample, straight_through


class Latent(Protocol):
    """A family of distributions over `[.., size]`, parametrised by raw outputs `[.., outputs]`."""

    def parameters(self, raw: Tensor) -> Tensor:
        """Raw outputs to the distribution's parameters."""
        ...

    def noise(self, batch: int, like: Tensor, generator: Generator | None) -> Tensor:
        """The randomness of one sample."""
        ...

    def sample(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """A sample `[.., size]` with a gradient to the parameters."""
        ...

    def kl(self, p: Tensor, q: Tensor) -> Tensor:
        """KL(p || q) [nat], summed over the variables, `[..]`."""
        ...

    def entropy(self, p: Tensor) -> Tensor:
        """Entropy [nat], summed over the variables, `[..]`."""
        ...


class Categorical:
    """S one-hot variables of C classes; parameters are probabilities `[.., S, C]`.

    p = (1 - u) softmax(raw) + u / C (unimix, Hafner et al. 2023). Sampling inverts the distribution
    function at uniform noise `[.., S]`; gradients pass straight through the sample to p
    (Bengio et al. 2013; Hafner et al. 2021).
    """

    def __init__(self, config: LatentConfig) -> None:
        self.variables, self.classes = config.variables, config.classes
        self.unimix = config.unimix

    def parameters(self, raw: Tensor) -> Tensor:
        # raw is classes-major: a softmax along few adjacent numbers is ten times slower on a CPU
        """Probabilities `[.., S, C]`."""
        return mix_uniform(raw.unflatten(-1, (self.classes, self.variables)), self.unimix, -2).mT

    def noise(self, batch: int, like: Tensor, generator: Generator | None) -> Tensor:
        """Uniform `[B, S]`."""
        device = generator.device if generator else like.device
        noise = torch.rand(batch, self.variables, generator=generator, device=device)
        return noise.to(like.device, like.dtype)

    def sample(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """One-hots, flat `[.., S C]`."""
        return straight_through(one_hot_sample(parameters, noise), parameters).flatten(-2)

    def kl(self, p: Tensor, q: Tensor) -> Tensor:
        """sum p ln(p / q)."""
        return (p * (p.log() - q.log())).sum((-2, -1))

    def entropy(self, p: Tensor) -> Tensor:
        """-sum p ln p."""
        return -(p * p.log()).sum((-2, -1))


class Gaussian:
    """S normal variables; parameters are mean and deviation `[.., 2, S]`.

    deviation = softplus(raw) + min_std (Hafner et al. 2019); sampling is mean + deviation * noise.
    """

    def __init__(self, config: LatentConfig) -> None:
        self.variables, self.min_std = config.variables, config.min_std

    def parameters(self, raw: Tensor) -> Tensor:
        """Mean and deviation `[.., 2, S]`."""
        mean, spread = raw.unflatten(-1, (2, self.variables)).unbind(-2)
        spread = spread.contiguous()  # torch's softplus is ten times as slow on parts of rows
        return torch.stack([mean, F.softplus(spread) + self.min_std], -2)

    def noise(self, batch: int, like: Tensor, generator: Generator | None) -> Tensor:
        """Normal `[B, S]`."""
        device = generator.device if generator else like.device
        noise = torch.randn(batch, self.variables, generator=generator, device=device)
        return noise.to(like.device, like.dtype)

    def sample(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """mean + deviation * noise."""
        mean, std = parameters.unbind(-2)
        return mean + std * noise

    def kl(self, p: Tensor, q: Tensor) -> Tensor:
        """In closed form."""
        (mean_p, std_p), (mean_q, std_q) = p.unbind(-2), q.unbind(-2)
        square = (std_p / std_q).square() + ((mean_p - mean_q) / std_q).square()
        return (0.5 * (square - 1) + std_q.log() - std_p.log()).sum(-1)

    def entropy(self, p: Tensor) -> Tensor:
        """0.5 ln(2 pi e deviation^2), summed."""
        return (p.unbind(-2)[1].log() + 0.5 * (1 + math.log(2 * math.pi))).sum(-1)


def latent(config: LatentConfig) -> Latent:
    """The latent that a config names."""
    return Categorical(config) if config.kind == "categorical" else Gaussian(config)
