"""What policy does well inside the model? Imagination training, for any world model."""

from reverie.imagine.actor_critic import ActorCritic, ActorCriticConfig, ReturnConfig
from reverie.imagine.agent import PolicyAgent
from reverie.imagine.descent import DescentConfig
from reverie.imagine.frozen import FrozenLearner
from reverie.imagine.learner import ImaginationLearner
from reverie.imagine.mixing import (
    Estimates,
    EstimatorVariance,
    Mixed,
    future_cost,
    gradient_estimates,
    mixed_gradient,
    mixing_weight,
)
from reverie.imagine.policy import PolicyNet
from reverie.imagine.shac import SHAC, CriticConfig, SHACConfig

__all__ = [
    "SHAC",
    "ActorCritic",
    "ActorCriticConfig",
    "CriticConfig",
    "DescentConfig",
    "Estimates",
    "EstimatorVariance",
    "FrozenLearner",
    "ImaginationLearner",
    "Mixed",
    "PolicyAgent",
    "PolicyNet",
    "ReturnConfig",
    "SHACConfig",
    "future_cost",
    "gradient_estimates",
    "mixed_gradient",
    "mixing_weight",
]
