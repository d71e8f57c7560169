"""What policy does well inside the model? Imagination training, for any world model."""

from reverie.imagine.actor_critic import ActorCritic, ActorCriticConfig, ReturnConfig
from reverie.imagine.agent import PolicyAgent
from reverie.imagine.learner import ImaginationLearner
from reverie.imagine.policy import PolicyNet

__all__ = [
    "ActorCritic",
    "ActorCriticConfig",
    "ImaginationLearner",
    "PolicyAgent",
    "PolicyNet",
    "ReturnConfig",
]
