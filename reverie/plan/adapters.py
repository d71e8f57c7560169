"""Planning across libraries: on the models of others, and with the planners of others.

Legend: `B` problems, `K` candidates, `H` plan steps, `A` action, `X` entries of a flat state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from reverie.core import rollout, tree
from reverie.core.spec import Space
from reverie.plan.objective import Objective, Reward
from reverie.plan.search import Box, Optimiser, Solved, Start, minimise, nothing_known


class Costed(Protocol):
    """A model that says only what plans cost, as those of stable-worldmodel do."""

    def get_cost(self, info_dict: dict[str, Any], action_candidates: Tensor) -> Tensor:
        """Costs `[B, K]` of candidates `[B, K, H, A]`, with an entry for each in `info_dict`."""
        ...


def plan_costs(
    model: Costed,
    info: Mapping[str, Any],
    action: Space,
    optimiser: Optimiser,
    horizon: int,
    *,
    together: int = 1,
    start: Start | None = None,
    generator: Generator | None = None,
    device: torch.device | str | None = None,
) -> Solved:
    """A plan for a model with `get_cost`, by any optimiser.

    Args:
        model: the model, such as one of stable-worldmodel's.
        info: what it needs to know, each tensor or array `[B, ...]`, text too; what else is in it
            is passed on as it is. The model gets a dictionary of its own each time, with floating
            numbers as float32, which its plans are.
        action: bounds of one action of the plan.
        optimiser: how to search.
        horizon: H, steps of the plan.
        together: how many problems the model is asked about at once. Several models of
            stable-worldmodel can answer for one only.
        start: the last plan, moved on (`search.shift(solved.start, steps)`).
        generator: of the search.
        device: where the model is; where the first tensor of `info` is if not given.

    Raises:
        ValueError: nothing in `info` says how many problems there are.
    """
    values = {n: v for n, v in info.items() if getattr(v, "shape", ())}
    batch = {len(v) for v in values.values()}
    if len(batch) != 1:
        raise ValueError(
            f"The entries of info need one number of rows; found {sorted(batch)} in "
            f"{sorted(values) or 'no tensor at all'}."
        )
    rows = batch.pop()
    if device is None:
        tensors = (v.device for v in values.values() if isinstance(v, Tensor))
        device = next(tensors, torch.device("cpu"))
    known = {n: _held(v, device) for n, v in values.items()}

    def cost(plans: Tensor) -> Tensor:
        costs = []
        for first in range(0, rows, together):
            some = slice(first, first + together)
            spread = {n: _spread(v[some], plans.shape[1]) for n, v in known.items()}
            costs.append(model.get_cost({**info, **spread}, plans[some].contiguous()))
        return torch.cat(costs)

    box = Box(action, device)
    begin = start or nothing_known(optimiser, rows, horizon, box)
    with torch.no_grad():
        return minimise(optimiser, cost, box, begin, draw=lambda make: make(rows, generator))


def _held(value: Any, device: torch.device | str) -> Any:
    """An entry of `info` where the model is; text stays an array."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "OSU":
        return value
    tensor = torch.as_tensor(value)
    return tensor.to(device, torch.float32 if tensor.is_floating_point() else None)


def _spread(value: Any, many: int) -> Any:
    """`[B, K, ...]` of `[B, ...]`."""
    if isinstance(value, Tensor):
        return value.unsqueeze(1).expand(-1, many, *value.shape[1:])
    return np.repeat(value[:, None], many, 1)


@dataclass(frozen=True)
class Flat:
    """A world model whose state is one vector, as the planners of others need it.

        flat = Flat(model, state, steps=15)

        controller = pytorch_mppi.MPPI(flat.dynamics, flat.running_cost, flat.size, noise_sigma,
                                       horizon=15, step_dependent_dynamics=True)
        controller.command(flat.pack(state)[0])

        solver = stable_worldmodel.solver.CEMSolver(flat, batch_size=B)
        solver.solve({"state": flat.pack(state)})

    The last entry of the vector is the cost of the step that led there.
    """

    model: Any
    like: Any
    """A state `[1, ...]` of the model, whose structure others have."""
    steps: int
    """H; the model's noise is drawn once for so many steps, the same for all candidates."""
    objective: Objective = Reward()  # noqa: RUF009 (frozen, without fields that change)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model.spec.chunk != 1:
            raise ValueError(
                f"Flat steps one action at a time; this model consumes {self.model.spec.chunk}."
            )
        self.model.spec.require(*sorted(self.objective.needs))
        noise = rollout.draw(self.model, self.steps, 1, Generator().manual_seed(self.seed))
        object.__setattr__(self, "_noise", noise)

    @property
    def size(self) -> int:
        """X."""
        return sum(leaf[0].numel() for leaf in tree.leaves(self.like)) + 1

    def pack(self, state: Any, cost: Tensor | None = None) -> Tensor:
        """`[B, X]`."""
        leaves = [leaf.flatten(1).float() for leaf in tree.leaves(state)]
        rows = leaves[0].shape[0]
        last = leaves[0].new_zeros(rows) if cost is None else cost
        return torch.cat([*leaves, last.unsqueeze(1)], 1)

    def unpack(self, vector: Tensor) -> Any:
        """The state of a vector `[B, X]`."""
        sizes = [leaf[0].numel() for leaf in tree.leaves(self.like)]
        parts = iter(vector[:, :-1].split(sizes, 1))

        def restore(leaf: Tensor) -> Tensor:
            part = next(parts).reshape(-1, *leaf.shape[1:])
            return part if leaf.is_floating_point() else part.round().to(leaf.dtype)

        return tree.map(lambda leaf: restore(leaf).to(leaf.dtype), self.like)

    @torch.no_grad()
    def dynamics(self, vector: Tensor, action: Tensor, step: int = 0) -> Tensor:
        """`[K, X]` after actions `[K, A]`; `step` counts within a plan."""
        plans = action.reshape(1, len(vector), 1, -1)
        future = self._future(vector, plans, step % self.steps)
        rows = torch.zeros(len(vector), dtype=torch.int64, device=vector.device)
        cost = self.objective(self.model, future, rows)[0]
        return self.pack(tree.select(future.states, 0), cost)

    def running_cost(self, vector: Tensor, action: Tensor, step: int = 0) -> Tensor:
        """`[K]`: the cost of the step that led to the state."""
        return vector[:, -1]

    def get_cost(self, info_dict: dict[str, Any], action_candidates: Tensor) -> Tensor:
        """Costs `[B, K]` of plans `[B, K, H, A]` from states `[B, K, X]` under "state".

        An objective that tells problems apart needs all of them at once (`batch_size=B`).

        Raises:
            ValueError: the plans are longer than `steps`.
        """
        batch, many, horizon = action_candidates.shape[:3]
        if horizon > self.steps:
            raise ValueError(f"Plans have {horizon} steps, more than Flat(steps={self.steps}).")
        plans = action_candidates.flatten(0, 1).transpose(0, 1).unsqueeze(2)
        future = self._future(info_dict["state"].flatten(0, 1), plans, 0)
        rows = torch.arange(batch, device=plans.device).repeat_interleave(many)
        return self.objective(self.model, future, rows).sum(0).reshape(batch, many)

    def _future(self, vector: Tensor, plans: Tensor, step: int) -> rollout.Rollout:
        """The future of plans `[H, K, 1, A]`, with the noise from `step` on."""
        noise = tree.map(
            lambda x: x[step : step + len(plans)].expand(-1, len(vector), *x.shape[2:]),
            self.__dict__["_noise"],
        )
        return rollout.imagine(self.model, self.unpack(vector), plans, noise)
