"""Sizes and parts of a TD-MPC2 world model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple


@dataclass(frozen=True)
class NetConfig:
    """Widths; `sized` gives the published presets."""

    encoder: int = 256
    """Width of the layers that read vectors."""
    encoder_layers: int = 2
    """Layers that read vectors, the one that ends in the latent included; at least two."""
    width: int = 512
    """Width of dynamics, heads, policy and Q functions."""
    latent: int = 512
    """L, numbers in the latent z."""
    group: int = 8
    """Entries of z that share one softmax."""
    heads: int = 5
    """K, Q functions of the ensemble."""
    dropout: float = 0.01
    """Share of the first layer of each Q function that is zero while learning."""
    channels: int = 32
    """Of every convolution."""
    frames: int = 3
    """Pictures of a camera that are read together, the newest and those before it."""
    task: int = 96
    """E, numbers of a task embedding; in use only with several tasks."""

    def __post_init__(self) -> None:
        if self.latent % self.group:
            raise ValueError(
                f"NetConfig latent is {self.latent}; it must be a multiple of group={self.group}."
            )
        if self.encoder_layers < 2 or self.heads < 2 or self.frames < 1:
            raise ValueError(
                f"NetConfig has encoder_layers={self.encoder_layers}, heads={self.heads}, "
                f"frames={self.frames}; give at least 2, 2 and 1."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"NetConfig dropout is {self.dropout}; give at least 0, less than 1.")


@dataclass(frozen=True)
class PolicyConfig:
    """The policy prior: a normal squashed by tanh."""

    low: float = -10.0
    """Smallest logarithm of its deviation."""
    high: float = 2.0
    """Largest logarithm of its deviation."""
    entropy: float = 1e-4
    """Weight of its entropy, against Q values divided by their range."""
    range_rate: float = 0.01
    """Share of the new range of Q values that flows into the running one."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses."""

    consistency: float = 20.0
    """Weight of the squared error of predicted latents."""
    reward: float = 0.1
    """Weight of the reward's cross-entropy."""
    value: float = 0.1
    """Weight of the Q functions' cross-entropy."""
    termination: float = 1.0
    """Weight of the termination head, where there is one."""
    rho: float = 0.5
    """What arrives k steps after the first row weighs rho^(k - 1)."""
    target_rate: float = 0.01
    """Share of the Q functions that flows into their slow copies after each update."""


@dataclass(frozen=True)
class TDMPC2Config:
    """One TD-MPC2 world model."""

    net: NetConfig = field(default_factory=NetConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    episodic: bool = False
    """Whether episodes can terminate; only then is there a head for it."""
    discount: float = 0.99
    """Per decision, see `discount`; with several tasks each has its own."""
    bins: int = 101
    """Bins of rewards and Q values, evenly spaced in symlog space."""
    limit: float = 10.0
    """The outermost bins, in symlog space: +-symexp(10) = +-22025."""
    shift: int = 3
    """Pixels by which pictures are shifted at most while learning."""


@dataclass(frozen=True)
class Task:
    """One of several tasks that share a model."""

    name: str
    actions: int
    """Entries of the action that it uses, the first ones."""
    discount: float = 0.99
    """Per decision, see `discount`."""


class OptimiserGroup(NamedTuple):
    """How the parameters of one prefix are meant to be fitted, with Adam."""

    lr: float
    """Learning rate."""
    eps: float
    """Added to the root mean square of the gradient."""
    clip: float
    """Largest norm of the gradient, taken together over all groups of the same `clipped`."""
    clipped: str
    """With which groups the gradient's norm is taken."""


# (encoder, encoder layers, width, latent, heads), from the published presets of TD-MPC2.
SIZES: dict[str, tuple[int, int, int, int, int]] = {
    "1m": (256, 2, 384, 128, 2),
    "5m": (256, 2, 512, 512, 5),
    "19m": (1024, 3, 1024, 768, 5),
    "48m": (1792, 4, 1792, 768, 5),
    "317m": (4096, 5, 4096, 1376, 8),
}


def sized(size: str, base: TDMPC2Config | None = None) -> TDMPC2Config:
    """`base` (default: the published settings) with the widths of a published size.

    Raises:
        ValueError: the size is none of the presets.
    """
    if size not in SIZES:
        raise ValueError(f"No TD-MPC2 size is called {size!r}; there are: {', '.join(SIZES)}.")
    encoder, layers, width, latent, heads = SIZES[size]
    base = base or TDMPC2Config()
    net = replace(
        base.net, encoder=encoder, encoder_layers=layers, width=width, latent=latent, heads=heads
    )
    return replace(base, net=net)


def discount(decisions: int, low: float = 0.95, high: float = 0.995, share: float = 5.0) -> float:
    """(T / 5 - 1) / (T / 5), at least 0.95 and at most 0.995, for episodes of T decisions.

    Looks about a fifth of an episode ahead: T = 500 gives 0.99.

    Raises:
        ValueError: an episode has less than one decision.
    """
    if decisions < 1:
        raise ValueError(f"An episode has at least 1 decision; discount got {decisions}.")
    length = decisions / share
    return min(max((length - 1) / length, low), high)
