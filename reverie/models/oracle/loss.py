"""How far recorded rows are from what the simulator says. There is nothing to fit: on rows of its
own environment every error is exactly zero, and elsewhere it measures how far reality, or another
simulator, is from this one."""

from __future__ import annotations

import torch
from torch import Tensor

from reverie.core import tree
from reverie.core.model import Batch
from reverie.models.oracle.model import Oracle, OracleState


def errors(oracle: Oracle, batch: Batch) -> dict[str, Tensor]:
    """One decision ahead from each recorded state, each error `[B, T]` and absolute.

    Row t is held to the step from row t - 1 under its action: "physics", the largest difference of
    any entry of the state (its units are mixed); "reward"; "continues", 1 where the one ends and
    the other does not. Zero in the first column and where `first`: nothing there is predicted.
    """
    before, after = batch.obs["physics"][:, :-1], batch.obs["physics"][:, 1:]
    lead = tuple(after.shape[:2])
    state = OracleState(before.flatten(0, 1))
    guess = oracle.step(state, batch.action[:, 1:].flatten(0, 1).unsqueeze(1), ())
    assert guess.reward is not None and guess.continues is not None
    wrong = {
        "physics": (guess.state.physics.unflatten(0, lead) - after).abs().amax(-1),
        "reward": (guess.reward.unflatten(0, lead) - batch.reward[:, 1:]).abs(),
        "continues": (
            guess.continues.unflatten(0, lead) - (~batch.terminated[:, 1:]).float()
        ).abs(),
    }

    def whole(error: Tensor) -> Tensor:
        seen = torch.where(batch.first[:, 1:], torch.zeros_like(error), error)
        return torch.cat([torch.zeros_like(seen[:, :1]), seen], 1)

    named: dict[str, Tensor] = tree.map(whole, wrong)
    return named
