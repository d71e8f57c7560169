"""What is read off the frames: a vector of features, and from it reward, end, sensors, doubt.

Legend: `N` moments, `K` frames of each, `C h w` image, `D` features, `E` members, `W` conditioning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reverie.core.spec import Space
from reverie.models.unisim.config import HeadsConfig
from reverie.models.unisim.scale import Size
from reverie.models.unisim.unet import channels_last
from reverie.nn.layers import MLP, precise

LOOKED_AT = 2
"""Frames that features read: what is there, and how it moves."""


class Read(NamedTuple):
    """What the heads say of moments `[N]`."""

    reward: Tensor | None
    """`[N]`."""
    ends: Tensor | None
    """`[N]`, the logit of the probability that the episode ends there."""
    sensors: Mapping[str, Tensor]
    """`[N, ...]`, in the sensors' own units divided by `scale`, see `Heads`."""


class Features(nn.Module):
    """`[N, K, C, h, w]` to `[N, D]`: three convolutions of the last two frames, and a layer."""

    def __init__(self, shape: tuple[int, ...], frames: int, size: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.frames = min(frames, LOOKED_AT)
        self.pad = (-width % 16, -height % 16)
        self.convolutions = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(self.frames * channels * 16, 64, 3, padding=1),
            nn.GroupNorm(8, 64),
            nn.SiLU(),
            nn.Conv2d(64, 96, 3, stride=2, padding=1),
            nn.GroupNorm(8, 96),
            nn.SiLU(),
            nn.Conv2d(96, 128, 3, stride=2, padding=1),
            nn.GroupNorm(8, 128),
            nn.SiLU(),
        )
        area = (height + self.pad[1]) // 16 * ((width + self.pad[0]) // 16)
        self.output = nn.Linear(128 * area, size)
        channels_last(self)

    def forward(self, frames: Tensor) -> Tensor:
        """Features of the last frames, at least float32."""
        x = frames[:, -self.frames :].flatten(1, 2)
        if any(self.pad):
            x = F.pad(x, (0, self.pad[0], 0, self.pad[1]), mode="replicate")
        x = self.convolutions(x.contiguous(memory_format=torch.channels_last))
        return precise(F.silu(self.output(x.flatten(1))))


class Heads(nn.Module):
    """Reward, end and sensors from features, the condition that led there and what was sensed
    before; of a sensor the change is predicted."""

    def __init__(self, sensors: Mapping[str, Space], width: int, config: HeadsConfig) -> None:
        """`sensors` are the vectors that are predicted; `width` is that of the condition."""
        super().__init__()
        sensed = sum(space.size for space in sensors.values())
        inputs, units = config.features + width + sensed, config.hidden

        def head(outputs: int) -> nn.Module:
            return MLP(inputs, outputs, units, 1, scale=0.0)

        self.reward = head(1) if config.reward else None
        self.size = Size()
        self.ends = head(1) if config.continues else None
        self.sensors = nn.ModuleDict({name: head(space.size) for name, space in sensors.items()})
        self.shapes = {name: space.shape for name, space in sensors.items()}

    def forward(self, features: Tensor, condition: Tensor, sensed: Mapping[str, Tensor]) -> Read:
        """`[N, D]` at the moment, c `[N, W]` of the way there, the sensors `[N, ...]` before."""
        before = {name: sensed[name].to(features.dtype) for name in self.shapes}
        known = (value.flatten(1) for value in before.values())
        x = torch.cat([features, condition.to(features.dtype), *known], -1)
        return Read(
            None if self.reward is None else self.reward(x).squeeze(-1) * self.size(x),
            None if self.ends is None else self.ends(x).squeeze(-1),
            {n: before[n] + h(x).unflatten(-1, self.shapes[n]) for n, h in self.sensors.items()},
        )


class Ensemble(nn.Module):
    """E small networks that each predict how the picture changes, seen coarsely.

        u = sqrt(mean over pixels of the variance over members)          [share of the grey range]

    Members begin apart and learn from different halves of the rows, so they agree where there was
    data and not elsewhere (Lakshminarayanan et al. 2017; in world models, Sekar et al. 2020).
    """

    def __init__(self, channels: int, width: int, config: HeadsConfig) -> None:
        super().__init__()
        self.coarse = config.coarse
        size = channels * config.coarse**2
        self.members = nn.ModuleList(
            MLP(config.features + width, size, config.hidden, 1) for _ in range(config.members)
        )

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """Predicted changes `[E, N, C * coarse^2]`, of frames in -1..1."""
        x = torch.cat([features, condition.to(features.dtype)], -1)
        return torch.stack([member(x) for member in self.members])

    def uncertainty(self, features: Tensor, condition: Tensor) -> Tensor:
        """u `[N]` of what follows, in 0..1 of the range of a pixel."""
        spread = self(features, condition).var(0, correction=0).mean(-1)
        return (spread + 1e-12).sqrt() / 2

    def target(self, before: Tensor, after: Tensor) -> Tensor:
        """How the picture changed `[N, C * coarse^2]`, from frames `[N, C, h, w]`."""
        return F.adaptive_avg_pool2d(after - before, self.coarse).flatten(1)
