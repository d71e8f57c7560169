"""Learning a policy inside a world model that is finished: the actor-critic alone moves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, nn

from reverie.core import rollout, tree
from reverie.core.model import Batch, Policy
from reverie.imagine.actor_critic import ActorCritic, ActorCriticConfig, Critic, constants
from reverie.imagine.agent import PolicyAgent
from reverie.learn.learner import Update


class FrozenLearner(nn.Module):
    """A `Learner` of an actor-critic that imagines in any featured world model, which stays as it
    is: it filters recorded rows, and imagination begins in its states. The model is no part of
    `state_dict`."""

    def __init__(self, model: Any, config: ActorCriticConfig) -> None:
        """`model` predicts rewards and has features.

        Raises:
            ValueError: it does not, it consumes several actions at once, or the actor is to learn
                through a model without gradient.
        """
        super().__init__()
        model.spec.require("reward")
        if not hasattr(model, "features"):
            raise ValueError("A policy reads the features of a model, and this one has none.")
        missing = {"state", "action"} - model.spec.grad
        if config.gradient == "dynamics" and missing:
            raise ValueError(
                f"gradient='dynamics' needs a model with a gradient to state and action; this one "
                f"has none to {', '.join(sorted(missing))}. Use gradient='reinforce'."
            )
        self.actor_critic = ActorCritic(model.feature_size, model.spec.action, config)
        self._hidden = (model,)  # in a tuple, where torch does not look for weights
        PolicyAgent(model, self.actor_critic.policy)  # refuses what it cannot act on

    @property
    def model(self) -> Any:
        """The world model."""
        return self._hidden[0]

    @property
    def agent(self) -> PolicyAgent:
        """The policy, with the current weights."""
        return PolicyAgent(self.model, self.actor_critic.policy)

    @property
    def policy(self) -> Policy:
        """The actor."""
        return self.actor_critic.policy

    @property
    def critic(self) -> Critic:
        """What the critic says of a state."""
        return Critic(self.actor_critic)

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

    def after_update(self) -> None:
        """The slow critic follows."""
        self.actor_critic.after_update()

    def latent(self, memory: Any) -> tuple[()]:
        """Nothing is stored."""
        return ()
