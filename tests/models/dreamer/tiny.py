"""Dreamer models small enough to test in a blink, and rows for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reverie.core.model import Batch, sample_rows
from reverie.core.spec import Space
from reverie.models.dreamer import (
    CellConfig,
    Dreamer,
    DreamerConfig,
    LatentConfig,
    LossConfig,
    RSSMState,
)

JOINTS = {"joints": Space((5,))}
CAMERA = {"camera": Space((3, 16, 16), "uint8", 0, 255)}
ACTION = Space((2,), low=-1.0, high=1.0)
BUTTONS = Space((3,), discrete=True)


def config(
    latent: str = "categorical", cell: str = "block_gru", kl: str = "two_sided", **parts: Any
) -> DreamerConfig:
    """Four variables of five classes (or four normals), 16 wide."""
    return DreamerConfig(
        latent=LatentConfig(kind=latent, variables=4, classes=5),  # type: ignore[arg-type]
        cell=CellConfig(kind=cell, deter=16, hidden=8, blocks=4),  # type: ignore[arg-type]
        loss=LossConfig(kl=kl),  # type: ignore[arg-type]
        **{"units": 8, "depth": 4, "layers": 1, **parts},
    )


def model(
    obs: dict[str, Space] | None = None,
    action: Space = ACTION,
    setting: DreamerConfig | None = None,
    **options: Any,
) -> Dreamer:
    """A model with every parameter away from its special initial value (0, 1)."""
    net = Dreamer(obs or JOINTS, action, 0.1, setting or config(**options))
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net


def rows(net: Dreamer, batch: int = 3, length: int = 6, seed: int = 0) -> Batch:
    """Random rows in the model's precision; one sequence begins a second episode half-way."""
    made = sample_rows(net.spec, batch, length, torch.Generator().manual_seed(seed))
    dtype = net.bins.dtype
    obs = {k: x.to(dtype) if x.is_floating_point() else x for k, x in made.obs.items()}
    return made._replace(obs=obs, action=made.action.to(dtype), reward=made.reward.to(dtype))


def noise(net: Dreamer, batch: int, length: int, seed: int = 1) -> Tensor:
    """For every step `[T, B, S]`."""
    drawn = net.noise(batch * length, torch.Generator().manual_seed(seed))
    return drawn.unflatten(0, (length, batch))


def somewhere(net: Dreamer, batch: int, seed: int = 2) -> RSSMState:
    """A state that an episode could be in."""
    generator = torch.Generator().manual_seed(seed)
    blank = net.initial(batch)
    deter = torch.rand(blank.deter.shape, generator=generator, dtype=torch.float64) * 2 - 1
    raw = torch.randn(batch, net.config.latent.outputs, generator=generator, dtype=torch.float64)
    latent = net.rssm.latent
    chance = latent.noise(batch, raw, generator)
    stoch = latent.sample(latent.parameters(raw), chance)
    return RSSMState(deter.to(blank.deter), stoch.to(blank.stoch))


def mean_loss(net: Dreamer, batch: Batch, chance: Tensor | None = None) -> Tensor:
    """What an optimiser would minimise."""
    size, length = batch.first.shape
    chance = noise(net, size, length) if chance is None else chance
    losses = net.loss(batch, net.initial(size), chance).losses
    return torch.stack([net.scales[name] * x.mean() for name, x in losses.items()]).sum()
