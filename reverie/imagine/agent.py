"""Acting with a policy on a model: filter what is sensed, then act on the features."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from reverie.core import rollout, tree
from reverie.core.model import Obs, Policy


class Memory(NamedTuple):
    """What the agent carries from row to row."""

    state: Any
    """The model's state `[B, ...]`."""
    action: Tensor
    """The action chosen last, `[B, A]`."""
    age: Tensor
    """Rows read since the episode began, `[B]`; the seed of the model's noise where actions are
    modes."""


class PolicyAgent:
    """An `Agent`: s_t = observe(s_{t-1}, a_{t-1}, o_t), a_t from the policy at s_t.

    With a generator, the model's latent and the action are samples. Without one, the action is the
    mode and the latent's noise is a fixed function of the number of rows read since the episode
    began, so that the same rows give the same actions, alone or in a batch.
    """

    def __init__(self, model: Any, policy: Policy) -> None:
        """`model` is a featured world model whose chunk is one action.

        Raises:
            ValueError: the model consumes several actions at once.
        """
        if model.spec.chunk != 1:
            raise ValueError(
                f"A policy acts at every step, but this model's chunk is {model.spec.chunk}; "
                "use a planner with it."
            )
        self.model, self.policy = model, policy

    def begin(self, batch: int, obs: Obs | None = None) -> Memory:
        """The model's initial state, in the context that rows `obs` bring, and a zero action."""
        state = self.model.initial(batch, rollout.context_of(self.model.spec, obs or {}))
        like = tree.leaves(state)[0]
        action = like.new_zeros(batch, *self.model.spec.action.shape)
        return Memory(state, action, torch.zeros(batch, dtype=torch.int64))

    @torch.no_grad()
    def act(
        self, memory: Memory, obs: Obs, first: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Memory]:
        """The action `[B, A]` and the next memory."""
        batch, state = first.shape[0], memory.state
        context = rollout.context_of(self.model.spec, obs)
        if context is not None and bool(first.any()):
            state = tree.where(first, self.model.initial(batch, context), state)
        age = torch.where(first.to(memory.age.device), 0, memory.age)
        noise = self.model.noise(batch, generator) if generator else self._fixed_noise(age)
        state = self.model.observe(state, memory.action.unsqueeze(1), obs, first, noise)
        features = self.model.features(state)
        if generator is None:
            action = self.policy.mode(features)
        else:
            action = self.policy.act(features, self.policy.noise(batch, generator))
        return action, Memory(state, action, age + 1)

    def _fixed_noise(self, age: Tensor) -> Any:
        """The model's noise `[B, ...]`, each row drawn from its age."""
        sources = [torch.Generator().manual_seed(seed) for seed in age.tolist()]
        return tree.concat([self.model.noise(1, source) for source in sources])
