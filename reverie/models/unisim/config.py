"""Sizes and parts of a UniSim world model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from reverie.models.unisim.tokenizer import TokenizerConfig
from reverie.nn.spacetime import SpaceTimeConfig


@dataclass(frozen=True)
class UNetConfig:
    """The convolutional denoiser."""

    channels: tuple[int, ...] = (48, 96, 160)
    """Of each level; from one to the next, height and width are halved. Multiples of 8."""
    blocks: int = 1
    """Residual blocks of a level, on the way down and on the way up."""
    patch: int = 2
    """Pixels on a side that are one position of the first level."""
    attention: int = 1
    """Self-attention layers at the lowest level."""

    def __post_init__(self) -> None:
        if not self.channels or any(c < 8 or c % 8 for c in self.channels):
            raise ValueError(
                f"UNetConfig channels are {self.channels}; give one multiple of 8 or more."
            )
        if self.blocks < 1 or self.patch < 1 or self.attention < 0:
            raise ValueError(
                f"UNetConfig blocks is {self.blocks}, patch {self.patch} and attention "
                f"{self.attention}; give at least 1, 1 and 0."
            )


@dataclass(frozen=True)
class TransformerConfig:
    """The denoiser that attends: a block-causal space-time transformer."""

    patch: int = 8
    """Pixels on a side of what becomes one token."""
    net: SpaceTimeConfig = field(default_factory=SpaceTimeConfig)
    """Its blocks; it keeps keys and values of window - 1 frames."""

    def __post_init__(self) -> None:
        if self.patch < 1 or self.net.window is None:
            raise ValueError(
                f"TransformerConfig patch is {self.patch} and net.window {self.net.window}; give "
                "at least 1, and a number of frames: a state has one size."
            )


@dataclass(frozen=True)
class FlowConfig:
    """How the denoiser is trained and sampled."""

    steps: int = 1
    """Denoising steps of a frame when the model is used; it is trained for powers of two."""
    guidance: float = 1.0
    """w of x = x_0 + w (x_c - x_0), x_0 predicted without conditions; 1 leaves x_0 out."""
    drop: float = 0.05
    """Probability in training that a condition is dropped: what guidance needs."""
    silent: float = 0.0
    """Share of training sequences in which no action is told: what is left, words above all, has
    to explain what is done, and is learnt from those sequences."""
    start: float = 0.5
    """Share of training frames that are all noise; the others have a uniform noise level."""
    context: float = 0.1
    """Largest noise level of the frames that are looked back to, in half of the training frames."""
    shortcut: float = 0.125
    """Share of training frames for shortcuts: to do in one step what two of half the size do."""
    finest: int = 32
    """Steps in which the shortest shortcut divides the way, a power of two."""
    unroll: float = 0.5
    """Share of updates in which the U-Net looks back to frames that it predicted itself. The
    transformer looks back to noisy frames instead."""
    settle: int = 3000
    """Updates before shortcuts and its own predictions are learnt from: they must be worth it."""

    def __post_init__(self) -> None:
        names = ("drop", "silent", "start", "context", "shortcut", "unroll")
        shares = {name: getattr(self, name) for name in names}
        if not all(0 <= share <= 1 for share in shares.values()):
            raise ValueError(f"FlowConfig has {shares}; these are shares, 0 to 1.")
        if self.steps < 1 or self.settle < 0 or self.finest < 2 or self.finest & (self.finest - 1):
            raise ValueError(
                f"FlowConfig steps is {self.steps} and finest {self.finest}; give at least 1, and "
                "a power of two."
            )


@dataclass(frozen=True)
class HeadsConfig:
    """What is read off the frames: reward, end, sensors, and how unsure the model is."""

    features: int = 256
    """D, numbers that describe the last frames; policies read them."""
    hidden: int = 256
    """Units of each head."""
    members: int = 4
    """Of the ensemble whose disagreement is the uncertainty; 0: there is none."""
    coarse: int = 8
    """Height and width of the pictures that the ensemble predicts."""
    reward: bool = True
    """Whether reward is predicted."""
    continues: bool = True
    """Whether the end of an episode is predicted."""

    def __post_init__(self) -> None:
        if self.features < 1 or self.hidden < 1 or self.members == 1 or self.members < 0:
            raise ValueError(
                f"HeadsConfig features is {self.features}, hidden {self.hidden} and members "
                f"{self.members}; give at least 1 and 1, and 0 or at least 2 members."
            )


@dataclass(frozen=True)
class UniSimConfig:
    """One UniSim world model."""

    frames: int = 3
    """K, frames that are looked back to."""
    width: int = 256
    """C, numbers that describe action, sensors, text and noise level to the denoiser."""
    space: Literal["pixels", "latents"] = "pixels"
    """In what frames are predicted: as they are, or as latents of a tokenizer that is learnt
    along."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    backbone: Literal["unet", "transformer"] = "unet"
    """Which denoiser."""
    unet: UNetConfig = field(default_factory=UNetConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    average: float = 0.999
    """Decay per update of the averaged weights, with which the model predicts."""

    def __post_init__(self) -> None:
        if self.frames < 1 or self.width < 8 or not 0 <= self.average < 1:
            raise ValueError(
                f"UniSimConfig frames is {self.frames}, width {self.width} and average "
                f"{self.average}; give at least 1, at least 8, and 0 <= average < 1."
            )
