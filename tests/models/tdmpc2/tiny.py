"""TD-MPC2 models small enough to test in a blink, and rows for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from reverie.core.model import Batch, sample_rows
from reverie.core.spec import Space
from reverie.models.tdmpc2 import TDMPC2, NetConfig, Task, TDMPC2Config

JOINTS = {"joints": Space((5,))}
CAMERA = {"camera": Space((3, 39, 39), "uint8", 0, 255)}
ACTION = Space((2,), low=-1.0, high=1.0)
TASKS = (Task("both", 2, 0.9), Task("one", 1, 0.5))


def net_config(**parts: Any) -> NetConfig:
    """Sixteen wide, with groups of four."""
    small = {"encoder": 16, "width": 16, "latent": 16, "group": 4, "heads": 3}
    return NetConfig(**{**small, "channels": 4, "frames": 3, "task": 5, **parts})


def model(
    obs: dict[str, Space] | None = None,
    tasks: Sequence[Task] = (),
    net: NetConfig | None = None,
    **options: Any,
) -> TDMPC2:
    """A model with every parameter away from its special initial value (0, 1)."""
    config = TDMPC2Config(net=net or net_config(), **{"bins": 21, "limit": 5.0, **options})
    made = TDMPC2(obs or JOINTS, ACTION, 0.1, config, tasks)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return made


def rows(net: TDMPC2, batch: int = 4, length: int = 4, seed: int = 0, whole: bool = True) -> Batch:
    """Random rows in the model's precision; with `whole`, of one episode that goes on."""
    made = sample_rows(net.spec, batch, length, torch.Generator().manual_seed(seed))
    dtype = net.bins.dtype
    obs = {k: x.to(dtype) if x.is_floating_point() else x for k, x in made.obs.items()}
    made = made._replace(obs=obs, action=made.action.to(dtype), reward=made.reward.to(dtype))
    if whole:
        none = torch.zeros_like(made.first)
        made = made._replace(first=none, last=none, terminated=none)
    return made


def some_tasks(batch: int) -> dict[str, torch.Tensor]:
    """The context of rows that alternate between the tasks."""
    return {"task": torch.arange(batch) % len(TASKS)}
