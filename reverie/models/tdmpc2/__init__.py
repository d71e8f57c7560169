"""TD-MPC2: a latent world model without decoder, with the policy and values that plan in it."""

from reverie.models.tdmpc2.config import (
    SIZES,
    LossConfig,
    NetConfig,
    OptimiserGroup,
    PolicyConfig,
    Task,
    TDMPC2Config,
    discount,
    sized,
)
from reverie.models.tdmpc2.critic import TerminalValue
from reverie.models.tdmpc2.loss import TrainingNoise
from reverie.models.tdmpc2.model import TDMPC2, TDMPC2State

__all__ = [
    "SIZES",
    "TDMPC2",
    "LossConfig",
    "NetConfig",
    "OptimiserGroup",
    "PolicyConfig",
    "TDMPC2Config",
    "TDMPC2State",
    "Task",
    "TerminalValue",
    "TrainingNoise",
    "discount",
    "sized",
]
