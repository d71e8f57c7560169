"""Dreamer: recurrent state-space world models with decoder, reward and continue heads."""

from reverie.models.dreamer.config import (
    SIZES,
    CellConfig,
    DreamerConfig,
    LatentConfig,
    LossConfig,
    sized,
)
from reverie.models.dreamer.model import Dreamer
from reverie.models.dreamer.rssm import RSSMState

__all__ = [
    "SIZES",
    "CellConfig",
    "Dreamer",
    "DreamerConfig",
    "LatentConfig",
    "LossConfig",
    "RSSMState",
    "sized",
]
