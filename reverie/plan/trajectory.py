"""Trajectory optimisation: one plan from one start, and what it took to find it.

    min over a_{0:H} of J(s_0, a_{0:H})

with J as in `cost`, by any optimiser: the gradient of a differentiable model, or samples. Effort is
counted in simulated steps (each candidate's H; a step with its gradient is one) and in seconds.

Legend: `K` candidates, `P` plan steps, `A` action.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Generator, Tensor

from reverie.core import tree
from reverie.plan.cost import PlanCost
from reverie.plan.search import Box, Optimiser, Start, minimise, nothing_known


@dataclass
class Effort:
    """What a search has spent, and what it had found by then, an entry for each iteration."""

    steps: list[int] = field(default_factory=list)
    """Simulated so far."""
    seconds: list[float] = field(default_factory=list)
    """Since the search began."""
    least: list[float] = field(default_factory=list)
    """J of the best plan so far."""


@dataclass(frozen=True)
class Trajectory:
    """The best plan that was found."""

    plan: Tensor
    """`[P, A]`."""
    cost: float
    """J."""
    effort: Effort


def optimise(
    cost: PlanCost,
    state: Any,
    optimiser: Optimiser,
    plan_steps: int = 0,
    *,
    generator: Generator | None = None,
    guess: Tensor | None = None,
    enough: Callable[[Effort], bool] = lambda effort: False,
) -> Trajectory:
    """Search for the plan of least cost from one state.

    Args:
        cost: J, with the model and the horizon H.
        state: `[1, ...]`.
        optimiser: how to search, and for how many iterations.
        plan_steps: P, each held for H / P steps of the model; 0: H.
        generator: of the optimiser's and the model's randomness.
        guess: a plan `[P, A]` where to begin; without one, the middle of the bounds.
        enough: asked between iterations; True ends the search.

    Raises:
        ValueError: the state is not one.
        PlanningError: no candidate has a finite cost.
    """
    if tree.batch_size(state) != 1:
        raise ValueError(f"optimise takes one start; got {tree.batch_size(state)} in a batch.")
    box = Box(cost.model.spec.action, tree.leaves(state)[0].device)
    start = nothing_known(optimiser, 1, plan_steps or cost.horizon, box)
    if guess is not None:
        begin = box.units(guess.expand_as(start.guess))
        start = Start(begin, begin.unsqueeze(1).expand_as(start.elites))
    noise = cost.noise(lambda make: make(1, generator))
    effort, begun = Effort(), time.perf_counter()

    def judged(plans: Tensor) -> Tensor:
        costs = cost(state, plans, noise)
        least = min([float(costs.detach().nan_to_num(nan=float("inf")).min()), *effort.least[-1:]])
        effort.steps.append(sum(effort.steps[-1:]) + plans.shape[1] * cost.horizon)
        effort.least.append(least)
        effort.seconds.append(time.perf_counter() - begun)
        return costs

    solved = minimise(
        optimiser,
        judged,
        box,
        start,
        draw=lambda make: make(1, generator),
        enough=lambda made: bool(made) and enough(effort),
    )
    return Trajectory(solved.plan[0].detach(), float(solved.cost[0]), effort)
