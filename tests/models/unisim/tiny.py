"""UniSim models small enough to test in a blink, and rows whose pictures are known in advance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from reverie.core.model import Batch, sample_rows
from reverie.core.spec import Space
from reverie.models.unisim import FlowConfig, HeadsConfig, UNetConfig, UniSim, UniSimConfig
from reverie.nn.conditions import Part

CAMERA = {"image": Space((3, 16, 16), "uint8", 0, 255)}
CAMERAS = {"left": Space((3, 16, 16), "uint8", 0, 255), "right": Space((1, 16, 16), "uint8")}
POSE = {"pose": Space((2,), low=-2.0, high=4.0)}
TEXT = {"text": Space((12,), "uint8")}
ACTION = Space((2,), low=-1.0, high=1.0)
STRIDE = 0.2
"""How much greyer, in -1..1, an action makes the picture of `greys`."""


def config(**changes: Any) -> UniSimConfig:
    small = UniSimConfig(
        width=16,
        unet=UNetConfig((8, 16)),
        heads=HeadsConfig(features=16, hidden=16, members=2, coarse=4),
        flow=FlowConfig(settle=0, context=0.0, drop=0.0),
    )
    return replace(small, **changes)


def model(
    obs: dict[str, Space] | None = None,
    action: Space = ACTION,
    parts: tuple[Part, ...] = (),
    **changes: Any,
) -> UniSim:
    """A model with every parameter away from its special initial value."""
    made = UniSim(obs or CAMERA, action, 0.1, config(**changes), parts)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return made


def rows(net: UniSim, batch: int = 3, length: int = 6, whole: bool = True, seed: int = 0) -> Batch:
    """Random rows; with `whole`, episodes begin in the first row and in no other."""
    made = sample_rows(net.spec, batch, length, torch.Generator().manual_seed(seed))
    if whole:
        first, none = torch.zeros_like(made.first), torch.zeros_like(made.first)
        first[:, 0] = True
        made = made._replace(first=first, last=none, terminated=none)
    return made


def greys(batch: int = 4, length: int = 6, first: Tensor | None = None) -> tuple[Batch, Tensor]:
    """Plain pictures that get greyer by `STRIDE` times the action that leads to them; where an
    episode begins they begin anew. Also their greys in -1..1, `[B, T]`."""
    if first is None:
        first = torch.zeros(batch, length, dtype=torch.bool)
        first[:, 0] = True
    action = (2 * torch.rand(batch, length, 2) - 1) * ~first[..., None]
    grey = torch.empty(batch, length)
    for t in range(length):
        begun = torch.rand(batch) * 0.4 - 0.2
        grey[:, t] = torch.where(first[:, t], begun, grey[:, t - 1] + STRIDE * action[:, t, 0])
    image = ((grey + 1) / 2)[..., None, None, None].expand(-1, -1, 3, 16, 16)
    none = torch.zeros_like(first)
    return Batch({"image": image}, action, torch.zeros(batch, length), first, none, none), grey


def told_the_action(net: UniSim) -> None:
    """Make the condition the action itself, in its first entries."""

    def condition(action: Tensor, *_: Any) -> Tensor:
        return torch.nn.functional.pad(action, (0, net.config.width - action.shape[-1]))

    net.denoiser.conditions.forward = condition  # type: ignore[method-assign]


def replaced(net: UniSim, predict: Callable[..., Tensor]) -> list[dict[str, Tensor]]:
    """Put `predict(z, before, condition, level)` in the place of the denoiser that learns; returns
    the list to which what it is given at each call is added."""
    calls: list[dict[str, Tensor]] = []

    def forward(
        z: Tensor,
        before: Tensor,
        condition: Tensor,
        level: Tensor,
        step: Tensor,
        clean: Tensor,
        cache: Any = (),
        first: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        given = {"z": z, "before": before, "condition": condition, "level": level}
        calls.append({**given, "step": step, "clean": clean})
        return predict(z, before, condition, level), ()

    net.denoiser.forward = forward  # type: ignore[method-assign]
    return calls


def obedient(z: Tensor, before: Tensor, condition: Tensor, level: Tensor) -> Tensor:
    """What comes after pictures of `greys`, of a denoiser that is told the action."""
    return before[:, :, -1] + STRIDE * condition[..., 0, None, None, None]
