"""The cost of a plan in a world model.

    J = sum_{k=1}^{H} w_k (cost_k + p uncertainty_k) - w_{H+1} V(s_H)
    w_1 = 1,  w_{k+1} = g w_k continues_k

with g the discount of one model step, averaged over M draws of the model's noise, the same for all
plans (common random numbers). Plans that break a constraint rank behind all that do not, by how
much they break it.

Legend: `B` problems, `K` candidates, `M` draws, `N = B K M` futures, `H` model steps, `P` plan
steps, `n` actions of a model step, `b` control steps of a plan step, `A` action.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reverie.core import rollout, tree
from reverie.plan.objective import Objective, Reward, Terminal
from reverie.plan.search import Draw


class Draws(NamedTuple):
    """The noise of one search."""

    model: Any
    """`[H, B * M, ...]`."""
    terminal: Any
    """`[B * M, ...]`."""


@dataclass(frozen=True)
class PlanCost:
    """J of candidate plans from given states."""

    model: Any
    horizon: int
    """H, model steps."""
    objective: Objective = field(default_factory=Reward)
    discount: float = 1.0
    """g of one control step; a model step of n actions has g^n."""
    terminal: Terminal | None = None
    """V; needs a model with features."""
    constraints: Sequence[Objective] = ()
    """Each g `[H, N]`, kept where g <= 0."""
    uncertainty: float = 0.0
    """p."""
    particles: int = 1
    """M."""

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError(f"A plan has {self.horizon} model steps; it needs at least 1.")
        if not 0 < self.discount <= 1 or self.uncertainty < 0 or self.particles < 1:
            raise ValueError(
                f"PlanCost discount is {self.discount}, uncertainty {self.uncertainty} and "
                f"particles {self.particles}; give (0, 1], at least 0, and at least 1."
            )
        needs = {n for part in (self.objective, *self.constraints) for n in part.needs}
        self.model.spec.require(*sorted(needs), *(["uncertainty"] if self.uncertainty else []))
        if self.terminal is not None and not hasattr(self.model, "features"):
            raise ValueError("A terminal value reads features, and this model has none.")

    def noise(self, draw: Draw) -> Draws:
        """The randomness of one search, shared by all its candidates."""
        steps, many = self.horizon, self.particles

        def futures(rows: int, generator: Any) -> Any:
            drawn = rollout.draw(self.model, steps, rows * many, generator)
            return tree.map(lambda x: x.unflatten(1, (rows, many)).transpose(0, 1), drawn)

        noise = draw(futures)  # [B, H, M, ...]
        noise = tree.map(lambda x: x.transpose(0, 1).flatten(1, 2), noise)
        if self.terminal is None:
            return Draws(noise, ())
        critic = self.terminal
        ends = draw(lambda rows, g: tree.unflatten(critic.noise(rows * many, g), rows, many))
        return Draws(noise, tree.flatten_time(ends))

    def imagine(
        self, state: Any, plans: Tensor, noise: Draws, states: bool = False
    ) -> rollout.Rollout:
        """N = B K M futures of actions `[B, K, P, A]`; `states`: keep all, not the last alone."""
        batch, candidates = plans.shape[:2]
        many = candidates * self.particles
        if batch == 1:
            starts = tree.map(lambda x: x.expand(many, *x.shape[1:]), state)
        else:
            starts = tree.repeat(state, many)
        return rollout.imagine(
            self.model,
            starts,
            self._schedule(plans),
            tree.map(lambda x: _spread(x, batch, candidates, 1), noise.model),
            keep="all" if states else "last",
        )

    def __call__(self, state: Any, plans: Tensor, noise: Draws) -> Tensor:
        """J `[B, K]` of actions `[B, K, P, A]` from states `[B, ...]`."""
        batch, candidates = plans.shape[:2]
        many, steps = self.particles, self.horizon
        futures = self.imagine(state, plans, noise, self._reads_states())
        if batch == 1:
            rows = torch.zeros(candidates * many, dtype=torch.int64, device=plans.device)
        else:
            rows = torch.arange(batch, device=plans.device).repeat_interleave(candidates * many)
        cost, weight = self._stages(futures, rows)
        if self.terminal is not None:
            end = tree.select(futures.states, -1)
            ends = tree.map(lambda x: _spread(x, batch, candidates, 0), noise.terminal)
            value = self.terminal.value(self.model.features(end), ends)
            cost = cost - weight * value
        cost = cost.reshape(batch, candidates, many).mean(2)
        if not self.constraints:
            return cost
        broken = cost.new_zeros(())
        for constraint in self.constraints:
            g = constraint(self.model, futures, rows)
            broken = broken + g.reshape(steps, batch, candidates, many).clamp_min(0).sum((0, 3))
        return behind(cost, broken)

    def _reads_states(self) -> bool:
        return any(part.reads_states for part in (self.objective, *self.constraints))

    def _schedule(self, plans: Tensor) -> Tensor:
        """Model actions `[H, N, n, A]`: each plan step held for b control steps."""
        chunk, steps = self.model.spec.chunk, self.horizon
        held = steps * chunk // plans.shape[2]
        actions = plans.flatten(0, 1)
        if held > 1:
            actions = actions.repeat_interleave(held, 1)
        actions = actions.unflatten(1, (steps, chunk)).transpose(0, 1)
        return actions.repeat_interleave(self.particles, 1) if self.particles > 1 else actions

    def _stages(self, futures: rollout.Rollout, rows: Tensor) -> tuple[Tensor, Tensor | float]:
        """The weighted sum of the stages `[N]`, and w_{H+1}."""
        stage = self.objective(self.model, futures, rows)
        if self.uncertainty:
            assert futures.transition.uncertainty is not None
            stage = stage + self.uncertainty * futures.transition.uncertainty
        factor = self.discount**self.model.spec.chunk
        continues = futures.transition.continues
        if continues is None:
            if factor == 1:
                return stage.sum(0), 1.0
            powers = factor ** torch.arange(self.horizon, device=stage.device, dtype=stage.dtype)
            return powers @ stage, factor**self.horizon
        weights = (factor * continues).cumprod(0)
        total = stage[0] + (weights[:-1] * stage[1:]).sum(0)
        return total, weights[-1]


def _spread(x: Tensor, batch: int, candidates: int, dim: int) -> Tensor:
    """Noise of B * M rows along `dim` for B * K * M futures: all candidates share it."""
    if candidates == 1:
        return x
    x = x.unflatten(dim, (batch, -1)).unsqueeze(dim + 1)
    sizes = [-1] * x.ndim
    sizes[dim + 1] = candidates
    return x.expand(sizes).flatten(dim, dim + 2)


def behind(cost: Tensor, broken: Tensor) -> Tensor:
    """Costs `[B, K]` in which candidates with `broken` > 0 rank behind all others, by `broken`.

    Where it is broken: top + (top - low + 1) (1 + broken / (1 + broken)), with low and top the
    costs at the ends of those that keep the constraints; where none keeps them, `broken` itself
    comes before the cost.
    """
    kept = broken <= 0
    finite = kept & cost.isfinite()
    top = torch.where(finite, cost, -torch.inf).amax(1, keepdim=True)
    low = torch.where(finite, cost, torch.inf).amin(1, keepdim=True)
    some = finite.any(1, keepdim=True)
    top, low = torch.where(some, top, 0.0).detach(), torch.where(some, low, 0.0).detach()
    share = broken / (1 + broken)
    late = torch.where(some, top + (top - low + 1) * (1 + share), broken)
    return torch.where(kept | cost.isnan(), cost, late)
