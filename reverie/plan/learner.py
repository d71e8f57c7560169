"""Learning a model from recorded rows and acting by planning in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Generator, Tensor, nn

from reverie.core import rollout, tree
from reverie.core.model import Batch, Policy
from reverie.learn.learner import Compilable, Update
from reverie.learn.optim import Group
from reverie.plan.mpc import MPC, Memory
from reverie.plan.objective import Terminal


class PlanningLearner(nn.Module):
    """A `Learner`: any trainable world model, and a planner that acts in it.

    The model may bring `training_noise(rows, steps, generator)` where its losses need more
    randomness than its filter; `optimiser_groups`, settings by prefix of its weights' names; and
    `after_update()`.
    """

    model: Any

    def __init__(
        self, model: nn.Module, planner: Callable[[Any], MPC], stores: bool = True
    ) -> None:
        """`planner` makes the agent from the model; `stores` keeps the model's state with each
        recorded row, so that a sequence goes on from it (useless where a state forgets)."""
        super().__init__()
        self.model, self.stores, self.planner = model, stores, planner
        self._made: tuple[torch.device, MPC] | None = None

    @property
    def agent(self) -> MPC:
        """The planner, with the current weights; made anew where the model has moved."""
        device = next(self.model.parameters()).device
        if self._made is None or self._made[0] != device:
            self._made = device, self.planner(self.model)
        return self._made[1]

    @property
    def policy(self) -> Policy | None:
        """The model's own, where it has one."""
        return getattr(self.model, "policy", None)

    @property
    def critic(self) -> Terminal | None:
        """The model's own, where it has one."""
        return getattr(self.model, "critic", None)

    @property
    def groups(self) -> Mapping[str, Group]:
        """The model's own."""
        own = getattr(self.model, "optimiser_groups", {})
        return {f"model.{prefix}": Group(*group) for prefix, group in own.items()}

    def update(self, batch: Batch, state: Any, generator: Generator) -> Update:
        """The model's losses on `batch`, from the stored state before its first row; `()` starts
        from the initial state in the context that this row brings."""
        rows, steps = batch.first.shape
        begun = {name: value[:, 0] for name, value in batch.obs.items()}
        blank = self.model.initial(rows, rollout.context_of(self.model.spec, begun))
        before = tree.from_named(dict(state), blank) if state else blank
        draw = getattr(self.model, "training_noise", None)
        if draw is None:
            noise = rollout.draw(self.model, steps, rows, generator)
        else:
            noise = draw(rows, steps, generator)
        fitted = self.model.loss(batch, before, noise)
        latents = tree.named(tree.detach(fitted.states)) if self.stores else ()
        metrics = getattr(self.model, "metrics", {})
        return Update(fitted.losses, self.model.scales, latents, metrics)

    def compile_parts(self, compiled: Callable[[Any], Any]) -> None:
        """Compile what the model offers for it."""
        if isinstance(self.model, Compilable):
            self.model.compile_parts(compiled)

    def after_update(self) -> None:
        """Whatever of the model follows its weights."""
        follow = getattr(self.model, "after_update", None)
        if follow is not None:
            follow()

    def latent(self, memory: Memory) -> dict[str, Tensor] | tuple[()]:
        """The model's state by leaf name, `[B, ...]`; nothing where none is stored."""
        if not self.stores:
            return ()
        with torch.no_grad():
            return tree.named(memory.state)
