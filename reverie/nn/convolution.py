"""Image encoder and decoder of DreamerV3: 5x5 convolutions, pooling and nearest upsampling.

Legend: `N` images, `C` channels, `h w` size.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reverie.nn.layers import (
    BlockLinear,
    Dense,
    fill_truncated_normal,
    linear,
    norm_silu,
    precise,
)

MULTIPLIERS = (2, 3, 4, 4)


def stages(height: int, width: int) -> int:
    """How often an image is halved: 4 times, fewer to leave at least 3 pixels, more to leave 16."""
    short, long = min(height, width), max(height, width)
    fitting = [n for n in range(1, 9) if short / 2**n >= 3]
    if not fitting:
        raise ValueError(f"An image of {height} x {width} is too small; at least 6 x 6 is needed.")
    return next((n for n in fitting if n >= 4 and long / 2**n <= 16), fitting[-1])


def channels(depth: int, count: int) -> list[int]:
    """Channels after each of `count` stages: depth times 2, 3, 4, 4, then 4 again."""
    multipliers = [*MULTIPLIERS, *[4] * count][:count]
    return [depth * m for m in multipliers]


def convolution(inputs: int, outputs: int, scale: float = 1.0) -> nn.Conv2d:
    """A 5x5 convolution that keeps the size."""
    layer = nn.Conv2d(inputs, outputs, 5, padding=2)
    fill_truncated_normal(layer.weight, inputs * 25, scale)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def norm_channels(x: Tensor, gain: Tensor) -> Tensor:
    """silu(norm(x)) over the channels of `[N, C, h, w]`."""
    return norm_silu(x.permute(0, 2, 3, 1), gain).permute(0, 3, 1, 2)


class ImageEncoder(nn.Module):
    """`[N, C, h, w]` in 0..1 to `[N, size]`: convolution, 2x2 max-pool, norm, SiLU, repeated."""

    def __init__(self, shape: tuple[int, ...], depth: int) -> None:
        super().__init__()
        inputs, height, width = shape
        count = stages(height, width)
        widths = channels(depth, count)
        self.unit = 2**count
        self.convolutions = nn.ModuleList(
            convolution(i, o) for i, o in zip([inputs, *widths], widths, strict=False)
        )
        self.gains = nn.ParameterList(torch.ones(width) for width in widths)
        self.size = math.ceil(height / self.unit) * math.ceil(width / self.unit) * widths[-1]

    def forward(self, image: Tensor) -> Tensor:
        """Floats in 0..1 `[N, C, h, w]` to `[N, size]`."""
        height, width = image.shape[-2:]
        x = image - 0.5
        if height % self.unit or width % self.unit:
            x = F.pad(x, (0, -width % self.unit, 0, -height % self.unit), mode="replicate")
        x = x.to(memory_format=torch.channels_last)
        for layer, gain in zip(self.convolutions, self.gains, strict=True):
            x = norm_channels(F.max_pool2d(layer(x), 2), gain)
        return x.permute(0, 2, 3, 1).flatten(1)


class ImageDecoder(nn.Module):
    """State to `[N, C, h, w]` in 0..1.

    A block-linear map of h plus a dense map of z give the smallest picture; then nearest
    upsampling and convolution, repeated; the last output passes through a sigmoid.
    """

    def __init__(
        self, shape: tuple[int, ...], deter: int, latent: int, units: int, depth: int, blocks: int
    ) -> None:
        super().__init__()
        outputs, self.height, self.width = shape
        count = stages(self.height, self.width)
        widths = channels(depth, count)
        self.small = (math.ceil(self.height / 2**count), math.ceil(self.width / 2**count))
        self.blocks = blocks
        area = self.small[0] * self.small[1] * widths[-1]
        if widths[-1] % blocks:
            raise ValueError(
                f"The decoder's {widths[-1]} channels must be a multiple of its {blocks} blocks; "
                f"choose another depth."
            )
        self.from_deter = BlockLinear(deter, area, blocks)
        self.from_latent = nn.Sequential(Dense(latent, 2 * units), linear(2 * units, area))
        self.gain = nn.Parameter(torch.ones(widths[-1]))
        ups = list(reversed(widths))
        self.convolutions = nn.ModuleList(convolution(i, o) for i, o in pairwise(ups))
        self.gains = nn.ParameterList(torch.ones(width) for width in ups[1:])
        self.output = convolution(ups[-1], outputs)

    def forward(self, deter: Tensor, latent: Tensor) -> Tensor:
        """From h `[N, D]` and z `[N, Z]`."""
        h, w = self.small
        a = self.from_deter(deter).unflatten(-1, (self.blocks, h, w, -1))
        a = a.permute(0, 2, 3, 1, 4).flatten(3)
        b = self.from_latent(latent).unflatten(-1, (h, w, -1))
        x = norm_silu(a + b, self.gain).permute(0, 3, 1, 2)
        for layer, gain in zip(self.convolutions, self.gains, strict=True):
            x = norm_channels(layer(F.interpolate(x, scale_factor=2)), gain)
        x = self.output(F.interpolate(x, scale_factor=2))
        return torch.sigmoid(precise(x[..., : self.height, : self.width]))
