"""Learning a policy inside a world model that is finished: the actor-critic alone moves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator

from reverie.core import rollout, tree
from reverie.core.model import Batch
from reverie.imagine.actor_critic import ActorCriticConfig, constants
from reverie.imagine.agent import PolicyAgent
from reverie.imagine.learner import PolicyLearner, actor_critic_in
from reverie.learn.learner import Update


class FrozenLearner(PolicyLearner):
    """A `Learner` of an actor-critic that imagines in any featured world model, which stays as it
    is: it filters recorded rows, and imagination begins in its states. The model is no part of
    `state_dict`."""

    def __init__(self, model: Any, config: ActorCriticConfig) -> None:
        """`model` predicts rewards and has features; errors as of `actor_critic_in`, and where it
        consumes several actions at once."""
        super().__init__()
        self.actor_critic = actor_critic_in(model, config)
        self._hidden = (model,)  # in a tuple, where torch does not look for weights
        PolicyAgent(model, self.actor_critic.policy)  # refuses what it cannot act on

    @property
    def model(self) -> Any:
        """The world model."""
        return self._hidden[0]

    def update(self, batch: Batch, state: Any, generator: Generator) -> Update:
        """Losses of the actor-critic, imagined from the model's states of `batch`; each sequence is
        filtered from the model's initial state, in the context that its first row brings."""
        model, (rows, steps) = self.model, batch.first.shape
        begun = {name: value[:, 0] for name, value in batch.obs.items()}
        with constants(model):
            with torch.no_grad():
                blank = model.initial(rows, rollout.context_of(model.spec, begun))
                noise = rollout.draw(model, steps, rows, generator)
                given = batch.action[:, :, None], batch.obs, batch.first, noise
                states = rollout.filter(model, blank, *given)
            losses, metrics = self.actor_critic.losses(model, tree.detach(states), batch, generator)
        return Update(losses, self.actor_critic.scales, metrics=metrics)

    def latent(self, memory: Any) -> tuple[()]:
        """Nothing is stored."""
        return ()
