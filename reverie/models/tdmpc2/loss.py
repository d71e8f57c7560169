"""How wrong model and values were, and what the policy is worth: the losses of recorded rows.

Legend: `B` batch, `T` rows, `H` = T - 1 steps between them (less the rows that only fill stacks of
pictures), `A` action, `K` Q functions, `L` latent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from reverie.models.tdmpc2.config import TDMPC2Config


class TrainingNoise(NamedTuple):
    """All randomness of one `loss`."""

    target_action: Tensor
    """Normal `[H, B, A]`, of the policy's samples at what was seen."""
    policy_action: Tensor
    """Normal `[H + 1, B, A]`, of its samples at what was predicted."""
    target_pair: Tensor
    """`[2]`, the Q functions whose minimum is the target."""
    policy_pair: Tensor
    """`[2]`, the Q functions whose mean the policy raises."""
    kept: Tensor | None = None
    """`[K, H B, width]`, 0 where dropout drops; rows in the order of time."""
    policy_kept: Tensor | None = None
    """`[2, (H + 1) B, width]`, the same for the policy's loss."""
    shift: Mapping[str, Tensor] | None = None
    """By camera `[B, T, 2]`, rows and columns in 0..2 pad."""


def dropout_noise(shape: tuple[int, ...], share: float, generator: Generator | None) -> Tensor:
    """float32 of `shape`: 0 with a chance of `share` (to 1 in 65,536), else 1.

    Sixteen random bits each, four of them from one draw: a tenth of the time of `bernoulli_`.
    """
    device = generator.device if generator else None
    count = math.prod(shape)
    drawn = torch.empty(-(-count // 4), dtype=torch.int64, device=device)
    bits = drawn.random_(-(2**63), None, generator=generator).view(torch.int16)[:count]
    kept = torch.empty(count, device=device)
    return torch.ge(bits, round(share * 65536) - 32768, out=kept).reshape(shape)


class RowWeights(NamedTuple):
    """What each row counts, `[B, T]`; the mean over `[B, T]` is the published mean."""

    arrived: Tensor
    """Losses of what arrived k = 1, 2, .. steps after the start: rho^(k - 1), mean over H."""
    terminated: Tensor
    """The same without rho."""
    stood: Tensor
    """The policy's, k = 0, 1, .. steps after the start: rho^k, mean over H + 1."""


def row_weights(first: Tensor, start: int, rho: float, dtype: torch.dtype) -> RowWeights:
    """Weights for rows whose rollout begins at row `start`; `first` `[B, T]`.

    Rows before the start, and everything from the first row of another episode on, weigh nothing.
    """
    rows = first.shape[1]
    steps = torch.arange(rows, device=first.device, dtype=dtype) - start
    other = first & (steps > 0)
    same = (other.cumsum(1) == 0) & (steps >= 0)
    after = (same & (steps > 0)).to(dtype) * (rows / (rows - start - 1))
    stood = same.to(dtype) * rho ** steps.clamp_min(0) * (rows / (rows - start))
    return RowWeights(after * rho ** (steps - 1).clamp_min(0), after, stood)


def td_target(reward: Tensor, terminated: Tensor, discount: Tensor, values: Tensor) -> Tensor:
    """r + discount (1 - terminated) min_i Q_i `[...]`, of the slow Q functions `[2, ...]`."""
    return reward + discount * (~terminated) * values.amin(0)


def moved_range(running: Tensor, values: Tensor, rate: float) -> Tensor:
    """The running range, after it has moved towards max(1, 95th - 5th percentile of `values`)."""
    marks = torch.tensor([0.05, 0.95], dtype=values.dtype, device=values.device)
    low, high = torch.quantile(values.detach().flatten(), marks)
    return torch.lerp(running, (high - low).clamp_min(1.0).to(running.dtype), rate)


def consistency(predicted: Tensor, seen: Tensor) -> Tensor:
    """Mean over the latent of (z - sg(z_seen))^2, `[..., L] -> [...]`."""
    return (predicted - seen.detach()).square().mean(-1)


def termination_loss(logits: Tensor, terminated: Tensor) -> Tensor:
    """Binary cross-entropy of "the episode ended here", `[...]`."""
    return F.binary_cross_entropy_with_logits(logits, terminated.to(logits.dtype), reduction="none")


def scales(config: TDMPC2Config) -> dict[str, float]:
    """The weight of each loss; the names are those that a batch's losses have."""
    loss = config.loss
    ends = {"termination": loss.termination} if config.episodic else {}
    return {
        "consistency": loss.consistency,
        "reward": loss.reward,
        "value": loss.value,
        **ends,
        "policy": 1.0,
    }
