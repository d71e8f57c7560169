"""Learning a model and a policy inside it from the same rows, in one update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn

from reverie.core import rollout, tree
from reverie.core.model import Batch, Policy
from reverie.imagine.actor_critic import ActorCritic, ActorCriticConfig, Critic
from reverie.imagine.agent import Memory, PolicyAgent
from reverie.learn.learner import Compilable, Update


class PolicyLearner(nn.Module):
    """A policy and a critic that learn by imagining in a world model: what all `Learner`s of them
    share."""

    model: Any
    """The world model."""
    actor_critic: ActorCritic

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

    def after_update(self) -> None:
        """The slow critic follows."""
        self.actor_critic.after_update()


def actor_critic_in(model: Any, config: ActorCriticConfig) -> ActorCritic:
    """An actor-critic that can imagine in `model`.

    Raises:
        ValueError: the model does not predict rewards or has no features, tells no uncertainty
            where it has a price, or the actor is to learn through a model without gradient.
    """
    model.spec.require("reward", *(["uncertainty"] if config.uncertainty else []))
    if not hasattr(model, "features"):
        raise ValueError("A policy reads the features of a model, and this one has none.")
    missing = {"state", "action"} - model.spec.grad
    if config.gradient == "dynamics" and missing:
        raise ValueError(
            f"gradient='dynamics' needs a model with a gradient to state and action; this one "
            f"has none to {', '.join(sorted(missing))}. Use gradient='reinforce'."
        )
    return ActorCritic(model.feature_size, model.spec.action, config)


class ImaginationLearner(PolicyLearner):
    """A `Learner`: any trainable, featured world model, and an actor-critic that imagines in it."""

    def __init__(self, model: nn.Module, config: ActorCriticConfig) -> None:
        """`model` is a world model with `loss` and `features`; errors as of `actor_critic_in`."""
        super().__init__()
        self.model = model
        self.actor_critic = actor_critic_in(model, config)

    def update(self, batch: Batch, state: Any, generator: Generator) -> Update:
        """Losses of the model on `batch`, and of the actor-critic imagined from its states.

        `state` `[B, ...]` by leaf name is the latent of the row before the first; `()` starts
        from the model's initial state, in the context that the first row brings.
        """
        rows, steps = batch.first.shape
        begun = {name: value[:, 0] for name, value in batch.obs.items()}
        blank = self.model.initial(rows, rollout.context_of(self.model.spec, begun))
        before = tree.from_named(dict(state), blank) if state else blank
        noise = rollout.draw(self.model, steps, rows, generator)
        fitted = self.model.loss(batch, before, noise)
        losses, metrics = self.actor_critic.losses(self.model, fitted.states, batch, generator)
        return Update(
            losses={**fitted.losses, **losses},
            scales={**self.model.scales, **self.actor_critic.scales},
            latents=tree.named(tree.detach(fitted.states)),
            metrics=metrics,
        )

    def compile_parts(self, compiled: Callable[[Any], Any]) -> None:
        """Compile what the model offers for it."""
        if isinstance(self.model, Compilable):
            self.model.compile_parts(compiled)

    def latent(self, memory: Memory) -> dict[str, Tensor]:
        """The model's state by leaf name, `[B, ...]`."""
        with torch.no_grad():
            return tree.named(memory.state)
