"""Policies of graded quality from one agent, to ask whether a model ranks them.

One good agent, spoiled a little and a lot, gives as many policies as a ranking needs: a share of
its actions replaced by random ones, its actions made too small or too large, or late.

Legend: `G` grades, `N` rows of each, `B = G N` rows, `A` action, `d` decisions of delay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from reverie.core.model import Agent, Obs
from reverie.core.spec import Space


@dataclass(frozen=True)
class Grade:
    """How an agent is spoiled; as it is by default."""

    share: float = 0.0
    """Probability that an action is replaced by a uniform random one."""
    hold: int = 1
    """Decisions for which this is decided at once, and the random action kept."""
    scale: float = 1.0
    """Factor of the agent's own actions, before they are clipped to the bounds."""
    delay: int = 0
    """Decisions that the agent's own actions come late; the first of an episode stands in."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"Grade share is {self.share}, a probability; give 0 to 1.")
        if self.hold < 1 or self.delay < 0:
            raise ValueError(
                f"Grade hold is {self.hold} and delay {self.delay} decisions; give at least 1 and "
                "at least 0."
            )
        if not 0 <= self.scale < math.inf:
            raise ValueError(f"Grade scale is {self.scale}; give 0 or more.")

    @property
    def name(self) -> str:
        """For tables: "random 25%", "scale 0.5", "delay 2"; "as it is" where nothing is spoiled."""
        parts = [f"random {100 * self.share:.3g}%"] if self.share else []
        parts += [f"held {self.hold}"] if self.share and self.hold > 1 else []
        parts += [f"scale {self.scale:g}"] if self.scale != 1 else []
        parts += [f"delay {self.delay}"] if self.delay else []
        return ", ".join(parts) or "as it is"


def grades(
    count: int = 21,
    *,
    hold: int = 1,
    scales: Sequence[float] = (0.25, 0.5),
    delays: Sequence[int] = (1, 3),
) -> tuple[Grade, ...]:
    """`count` shares of random actions from 0 to 1, evenly; then one copy for each scale and delay.

    Raises:
        ValueError: fewer than 2 shares.
    """
    if count < 2:
        raise ValueError(f"grades was asked for {count} shares; ask for at least 2.")
    even = [Grade(share=i / (count - 1), hold=hold) for i in range(count)]
    biased = [*(Grade(scale=s) for s in scales), *(Grade(delay=d) for d in delays)]
    return (*even, *biased)


class Memory(NamedTuple):
    """What a graded agent carries from row to row."""

    inner: Any
    """The memory of the agent."""
    row: Tensor
    """Which of its grade's N rows, `[B]`."""
    made: Tensor
    """Actions chosen so far, `[B]`; goes on over the ends of episodes."""
    past: Tensor
    """The agent's own last actions, oldest first, `[B, d, A]`."""


class Graded:
    """An `Agent` that spoils another's actions.

        a_t = u_t                          with probability `share`, u_t uniform within the bounds
        a_t = clip(scale * b_{t - delay})  else, b_t what the agent chose

    The random numbers are the agent's own, with a generator or without: those of decision k of row
    r are a function of (seed, r, k // hold), as those of `RandomAgent`. Grades with one seed share
    them, so that a larger share replaces what a smaller one replaces, and more: differences between
    grades are not luck. An agent that remembers its action remembers what it chose, not what was
    done, in the model and really.

    With several grades, a batch holds the rows of the first grade, then those of the next (as
    `imagined_returns(..., copies=G)` lays them out): the agent is asked once for all.
    """

    def __init__(
        self, agent: Agent, action: Space, grade: Grade | Sequence[Grade], seed: int = 0
    ) -> None:
        """A spoiled copy, or several.

        Raises:
            ValueError: no grade; random actions without finite bounds; scaled discrete actions.
        """
        self.agent, self.action, self.seed = agent, action, seed
        self.grades = (grade,) if isinstance(grade, Grade) else tuple(grade)
        if not self.grades:
            raise ValueError("Graded was given no grades; give at least one.")
        self._low, self._high = (
            torch.from_numpy(np.broadcast_to(np.asarray(b, np.float32), (action.size,)).copy())
            for b in (action.low, action.high)
        )
        bounded = bool((self._low.isfinite() & self._high.isfinite()).all())
        if any(g.share for g in self.grades) and not (action.discrete or bounded):
            raise ValueError(
                f"Random actions need finite bounds; the action space has {action.low} to "
                f"{action.high}. Scale the actions, usually to -1..1."
            )
        if action.discrete and any(g.scale != 1 for g in self.grades):
            raise ValueError("A discrete action cannot be scaled; use grades with scale=1.")
        self._latest = max(g.delay for g in self.grades)

    def begin(self, batch: int, obs: Obs | None = None) -> Memory:
        """The agent's memory, and a count of nothing.

        Raises:
            ValueError: the rows do not divide evenly among the grades.
        """
        if batch % len(self.grades):
            raise ValueError(
                f"{batch} rows cannot be shared out evenly among {len(self.grades)} grades; give a "
                "multiple."
            )
        row = torch.arange(batch) % max(batch // len(self.grades), 1)
        past = torch.zeros(batch, self._latest, *self.action.shape)
        return Memory(self.agent.begin(batch, obs), row, torch.zeros_like(row), past)

    def act(
        self, memory: Memory, obs: Obs, first: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Memory]:
        """The spoiled action `[B, A]` and the next memory; a generator samples the agent's own."""
        chosen, inner = self.agent.act(memory.inner, obs, first, generator)
        past = memory.past.to(chosen)
        past = torch.where(first.bool().to(chosen.device)[:, None, None], chosen[:, None], past)
        known = torch.cat([past, chosen[:, None]], 1)
        action = torch.cat(
            [
                self._spoiled(g, known[rows], memory.row[rows], memory.made[rows])
                for g, rows in self._shares(len(chosen))
            ]
        )
        return action, Memory(inner, memory.row, memory.made + 1, known[:, 1:])

    def _shares(self, batch: int) -> list[tuple[Grade, slice]]:
        size = batch // len(self.grades)
        return [(g, slice(i * size, (i + 1) * size)) for i, g in enumerate(self.grades)]

    def _spoiled(self, grade: Grade, known: Tensor, row: Tensor, made: Tensor) -> Tensor:
        """Actions `[N, A]` of one grade from the agent's own `[N, d + 1, A]`, newest last."""
        own = known[:, -1 - grade.delay]
        if grade.scale != 1:
            own = (grade.scale * own).clamp(self._low.to(own), self._high.to(own))
        if not grade.share:
            return own
        keys = zip(row.tolist(), (made // grade.hold).tolist(), strict=True)
        draws = np.stack([_draw(self.seed, *key, self.action.size) for key in keys])
        uniform = torch.from_numpy(draws).to(own)
        replaced = uniform[:, :1] < grade.share
        return torch.where(replaced, self._random(uniform[:, 1:]), own)

    def _random(self, uniform: Tensor) -> Tensor:
        if self.action.discrete:
            return torch.nn.functional.one_hot(uniform.argmax(1), self.action.size).to(uniform)
        low, high = self._low.to(uniform), self._high.to(uniform)
        return low + uniform * (high - low)


@lru_cache(maxsize=4096)
def _draw(seed: int, row: int, block: int, size: int) -> np.ndarray:
    """`[1 + A]` in 0..1: whether to replace, and by what; kept, because grades share it."""
    return np.random.default_rng((seed, row, block)).random(1 + size, dtype=np.float32)
