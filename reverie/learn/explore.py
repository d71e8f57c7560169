"""Actions that stray, so that what is recorded holds more than one way to act."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from reverie.core.model import Agent, Obs
from reverie.core.spec import Space


class Explorer:
    """An agent whose actions are changed: Gaussian noise, and uniform actions now and then.

        a' = clip(a + sigma (high - low) / 2 * n),  or with probability p uniform in low..high

    Action k of row b is a function of (seed, b, k), whatever the generator: recorded episodes can
    be made again. A uniform choice holds for `hold` decisions, since white noise averages out and
    leads nowhere.

    Args:
        agent: who acts otherwise; None for uniform actions alone.
        action: the space; bounded, or a discrete choice, which noise leaves alone.
        noise: sigma, in half ranges of the action.
        random: p, of each stretch of `hold` decisions.
        hold: decisions.
        seed: of the strays.
    """

    def __init__(
        self,
        agent: Agent | None,
        action: Space,
        *,
        noise: float = 0.0,
        random: float = 0.0,
        hold: int = 1,
        seed: int = 0,
    ) -> None:
        if not 0 <= random <= 1 or noise < 0 or hold < 1:
            raise ValueError(
                f"Exploration with noise {noise}, random {random} and hold {hold} is impossible; "
                "give noise >= 0, a share of random actions in 0..1 and hold >= 1 decisions."
            )
        self.agent, self.action, self.seed = agent, action, seed
        self.noise, self.random, self.hold = noise, 1.0 if agent is None else random, hold
        low, high = (
            np.broadcast_to(np.asarray(bound, np.float32), action.shape)
            for bound in (action.low, action.high)
        )
        if not action.discrete and not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ValueError(
                f"Exploration needs finite bounds; the action space has {action.low} to "
                f"{action.high}."
            )
        self._low, self._high = low, high

    def begin(self, batch: int, obs: Obs | None = None) -> tuple[Any, Tensor]:
        """The agent's memory, and `[B, 2]`: the row, and how many actions were chosen in it."""
        count = torch.stack([torch.arange(batch), torch.zeros(batch, dtype=torch.int64)], 1)
        inner = () if self.agent is None else self.agent.begin(batch, obs)
        return inner, count

    def act(
        self, memory: Any, obs: Obs, first: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Any]:
        """The agent's action, changed, `[B, A]`."""
        inner, count = memory
        if self.agent is None:
            action = torch.zeros(len(count), *self.action.shape)
        else:
            action, inner = self.agent.act(inner, obs, first, generator)
        own = action.detach().float().cpu().numpy()
        strayed = [self._stray(own[b], *row) for b, row in enumerate(count.tolist())]
        count = torch.stack([count[:, 0], count[:, 1] + 1], 1)
        return torch.from_numpy(np.stack(strayed)).to(action.device), (inner, count)

    def _stray(self, action: np.ndarray, row: int, age: int) -> np.ndarray:
        block = np.random.default_rng((self.seed, row, age // self.hold, 0))
        away = block.random() < self.random
        if self.action.discrete:
            choice = np.eye(self.action.size, dtype=np.float32)[block.integers(self.action.size)]
            return choice if away else action
        if away:
            uniform = block.random(self.action.shape, dtype=np.float32)
            return np.asarray(self._low + uniform * (self._high - self._low), np.float32)
        if not self.noise:
            return action
        normal = np.random.default_rng((self.seed, row, age, 1)).normal(size=self.action.shape)
        strayed = action + self.noise * (self._high - self._low) / 2 * normal
        return np.asarray(np.clip(strayed, self._low, self._high), np.float32)
