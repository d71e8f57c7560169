"""Fitting a world's factors to recorded rows: system identification.

    L_t = mean over entries of (o_t - step(o_{t-1}, a_t))^2 / var,   var of o_t - o_{t-1}

with the "state" observation as o, so that 1 is what saying "nothing changes" would cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from reverie.core import tree
from reverie.core.model import Batch, WorldModelLoss

if TYPE_CHECKING:
    from reverie.models.physics.model import Physics, PhysicsState

SMALL = 1e-12


def one_step(model: Physics, batch: Batch, state: PhysicsState, noise: Any) -> WorldModelLoss:
    """`{"state": [B, T]}`, zero where `first` and in the first column, and the observed states."""
    rows, steps = batch.first.shape
    states = []
    for t in range(steps):
        now = {name: x[:, t] for name, x in batch.obs.items()}
        state = model.observe(state, batch.action[:, t, None], now, batch.first[:, t], ())
        states.append(state)
    sensed = batch.obs["state"].to(model.like)
    change = (sensed[:, 1:] - sensed[:, :-1]).square().mean((0, 1)) + SMALL
    kept = (change > 1e3 * SMALL).to(sensed)  # what never moves says nothing
    losses = [torch.zeros(rows).to(sensed)]
    for t in range(1, steps):
        guess = model.pack(model.step(states[t - 1], batch.action[:, t, None], ()).state.world)
        wrong = (guess - sensed[:, t]).square() / change * kept
        error = wrong.sum(-1) / kept.sum().clamp_min(1)
        losses.append(error * ~batch.first[:, t])
    return WorldModelLoss({"state": torch.stack(losses, 1)}, tree.stack(states, 1))
