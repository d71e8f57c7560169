"""Planning across libraries: on the models of others, and with the planners of others.

Legend: `B` problems, `K` candidates, `H` plan steps, `A` action, `X` entries of a flat state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

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
    start: Start | None = None,
    generator: Generator | None = None,
) -> Solved:
    """A plan for a model with `get_cost`, by any optimiser.

    Args:
        model: the model, such as one of stable-worldmodel's.
        info: what it needs to know, each tensor or array `[B, ...]`; what else is in it is passed
            on as it is.
        action: bounds of one action of the plan.
        optimiser: how to search.
        horizon: H, steps of the plan.
        start: the last plan, moved on (`search.shift(solved.start, steps)`).
        generator: of the search.

    Raises:
        ValueError: nothing in `info` says how many problems there are.
    """
    values = {name: torch.as_tensor(v) for name, v in info.items() if hasattr(v, "shape")}
    batch = {len(v) for v in values.values() if v.ndim}
    if len(batch) != 1:
        raise ValueError(
            f"The entries of info need one number of rows; found {sorted(batch)} in "
            f"{sorted(values) or 'no tensor at all'}."
        )
    rows = batch.pop()
    device = next(iter(values.values())).device

    def cost(plans: Tensor) -> Tensor:
        many = plans.shape[1]
        spread = {n: v.unsqueeze(1).expand(-1, many, *v.shape[1:]) for n, v in values.items()}
        return model.get_cost({**info, **spread}, plans.contiguous())

    box = Box(action, device)
    begin = start or nothing_known(optimiser, rows, horizon, box)
    with torch.no_grad():
        return minimise(optimiser, cost, box, begin, draw=lambda make: make(rows, generator))


@dataclass(frozen=True)
class Flat:
    """A world model whose state is one vector, as the MPPI of pytorch_mppi needs it.

        flat = Flat(model, state, steps=15)
        MPPI(flat.dynamics, flat.running_cost, flat.size, noise_sigma, horizon=15,
             step_dependent_dynamics=True)
        controller.command(flat.pack(state))

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
        noise = tree.select(self.__dict__["_noise"], step % self.steps)
        noise = tree.map(lambda x: x.expand(len(vector), *x.shape[1:]), noise)
        future = rollout.imagine(
            self.model,
            self.unpack(vector),
            action.reshape(1, len(vector), 1, -1),
            tree.map(lambda x: x.unsqueeze(0), noise),
        )
        rows = torch.zeros(len(vector), dtype=torch.int64, device=vector.device)
        cost = self.objective(self.model, future, rows)[0]
        return self.pack(tree.select(future.states, 0), cost)

    def running_cost(self, vector: Tensor, action: Tensor, step: int = 0) -> Tensor:
        """`[K]`: the cost of the step that led to the state."""
        return vector[:, -1]
