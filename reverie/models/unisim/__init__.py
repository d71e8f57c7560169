"""UniSim: video prediction by diffusion, from robot actions, text and camera motion."""

from reverie.models.unisim.config import FlowConfig, HeadsConfig, UNetConfig, UniSimConfig
from reverie.models.unisim.loss import TrainingNoise
from reverie.models.unisim.model import UniSim, UniSimState

__all__ = [
    "FlowConfig",
    "HeadsConfig",
    "TrainingNoise",
    "UNetConfig",
    "UniSim",
    "UniSimConfig",
    "UniSimState",
]
