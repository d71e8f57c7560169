"""Episodes of real environments, with the simulator's state, for oracles to predict."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reverie.core.model import Batch
from reverie.envs import EnvConfig, Row, make


class Episode(NamedTuple):
    """Rows at 0 .. T and the actions between them."""

    rows: list[Row]
    actions: Tensor  # [T, A]

    def obs(self, name: str) -> Tensor:
        """`[T + 1, ...]`."""
        return torch.from_numpy(np.stack([row.obs[name] for row in self.rows]))

    @property
    def reward(self) -> Tensor:
        """`[T]` float32, as it would be recorded."""
        return torch.tensor([row.reward for row in self.rows[1:]], dtype=torch.float32)

    @property
    def terminated(self) -> Tensor:
        """`[T]`."""
        return torch.tensor([row.terminated for row in self.rows[1:]])


def play(config: EnvConfig, steps: int = 30, seed: int = 3) -> Episode:
    """An episode under random actions, from a seed that no oracle has seen."""
    env = make(config, physics=True)
    actions = env.action.sample(steps, generator=torch.Generator().manual_seed(seed))
    rows = [env.reset(seed)]
    for action in actions:
        if rows[-1].last:
            break
        rows.append(env.step(action.numpy()))
    env.close()
    return Episode(rows, actions[: len(rows) - 1])


def batch(*episodes: Episode) -> Batch:
    """Rows `[B, T + 1]` of episodes of one length."""
    none = torch.zeros(1)
    first = torch.zeros(len(episodes), len(episodes[0].rows), dtype=torch.bool)
    first[:, 0] = True
    ended = torch.stack([torch.cat([none.bool(), e.terminated]) for e in episodes])
    return Batch(
        obs={
            name: torch.stack([e.obs(name) for e in episodes]) for name in episodes[0].rows[0].obs
        },
        action=torch.stack([torch.cat([0 * e.actions[:1], e.actions]) for e in episodes]),
        reward=torch.stack([torch.cat([none, e.reward]) for e in episodes]),
        first=first,
        last=ended,
        terminated=ended,
    )
