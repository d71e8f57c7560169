"""The denoiser: a U-Net that reads a noisy frame with the frames before it.

Legend: `N` frames, `K` frames before each, `C h w` image, `D` conditioning, `c` channels.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reverie.models.unisim.config import UNetConfig
from reverie.nn.layers import precise

GROUPS = 8
OCTAVES = 5


class UNet(nn.Module):
    """x^ = o_{t-1} + f(z, o_{t-K:t}; c): the clean frame, told as a change of the last one.

    Ronneberger et al. 2015 with the residual blocks of Dhariwal and Nichol 2021 and the frames
    before as channels of the input, as in DIAMOND (Alonso et al. 2024). Two things are otherwise.
    Pictures come in as patches, since convolutions at full resolution cost most and see least.
    And each level begins with learnt maps of position, which are Fourier features at first: times
    features of an action that is a position they are a spot at that place, so that "there" need
    not be learnt from nothing.
    """

    def __init__(self, shape: tuple[int, ...], frames: int, width: int, config: UNetConfig) -> None:
        """For pictures of `shape` `(C, h, w)` and conditioning of `width` D."""
        super().__init__()
        channels, height, least = config.channels, shape[1], shape[2]
        self.patch, self.unit = config.patch, config.patch * 2 ** (len(channels) - 1)
        self.pad = (-least % self.unit, -height % self.unit)
        size = [
            (n + p) // config.patch for n, p in zip((height, least), self.pad[::-1], strict=True)
        ]
        area = config.patch**2
        self.input = nn.Conv2d(shape[0] * (frames + 1) * area, channels[0], 3, padding=1)
        self.places = nn.ParameterList(
            nn.Parameter(torch.empty(1, c, size[0] >> i, size[1] >> i))
            for i, c in enumerate(channels)
        )
        for maps in self.places:
            fill_places(maps)
        count = config.blocks
        self.down = nn.ModuleList(
            nn.ModuleList(Residual(c, c, width) for _ in range(count)) for c in channels
        )
        self.smaller = nn.ModuleList(nn.Conv2d(i, o, 2, stride=2) for i, o in pairwise(channels))
        self.attention = nn.ModuleList(Attention(channels[-1]) for _ in range(config.attention))
        self.middle = Residual(channels[-1], channels[-1], width)
        up = channels[::-1]
        self.larger = nn.ModuleList(nn.Conv2d(i, o, 1) for i, o in pairwise(up))
        self.up = nn.ModuleList(
            nn.ModuleList(Residual(c if j else 2 * c, c, width) for j in range(count)) for c in up
        )
        self.norm = nn.GroupNorm(GROUPS, channels[0])
        self.output = nn.Conv2d(channels[0], shape[0] * area, 3, padding=1)
        nn.init.zeros_(self.output.weight)
        assert self.output.bias is not None
        nn.init.zeros_(self.output.bias)
        channels_last(self)

    def forward(self, noisy: Tensor, before: Tensor, condition: Tensor) -> Tensor:
        """The clean frame `[N, C, h, w]`, at least float32.

        Args:
            noisy: z `[N, C, h, w]`.
            before: the frames before it `[N, K, C, h, w]`, the oldest first.
            condition: c `[N, D]`.
        """
        x = torch.cat([before.flatten(1, 2), noisy], 1)
        if any(self.pad):
            x = F.pad(x, (0, self.pad[0], 0, self.pad[1]), mode="replicate")
        x = F.pixel_unshuffle(x, self.patch).to(memory_format=torch.channels_last)
        c = F.silu(condition)
        x, levels = self.input(x), list[Tensor]()
        for i, blocks in enumerate(self.down):
            x = self.smaller[i - 1](x) if i else x
            x = x + self.places[i].to(x.dtype)
            for block in _list(blocks):
                x = block(x, c)
            levels.append(x)
        for layer in self.attention:
            x = layer(x)
        x = self.middle(x, c)
        for i, blocks in enumerate(self.up):
            x = F.interpolate(self.larger[i - 1](x), scale_factor=2.0) if i else x
            x = torch.cat([x, levels.pop()], 1)
            for block in _list(blocks):
                x = block(x, c)
        x = precise(self.output(F.silu(self.norm(x))))
        change = F.pixel_shuffle(x, self.patch)[..., : noisy.shape[-2], : noisy.shape[-1]]
        return before[:, -1] + change


class Residual(nn.Module):
    """x + W2 silu((1 + s) n(W1 silu(n(x))) + b), s and b linear in the condition, n group norm.

    The second convolution and s, b are zero at first: the block is its skip connection.
    """

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(GROUPS, inputs)
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.modulation = nn.Linear(width, 2 * outputs)
        self.second_norm = nn.GroupNorm(GROUPS, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        for layer in (self.modulation, self.second):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """`[N, inputs, h, w]` and silu(c) `[N, D]` to `[N, outputs, h, w]`."""
        h = self.second_norm(self.first(F.silu(self.first_norm(x))))
        scale, shift = self.modulation(condition)[..., None, None].chunk(2, 1)
        h = torch.addcmul(shift, h, 1 + scale)
        y: Tensor = self.skip(x) + self.second(F.silu(h))
        return y


class Attention(nn.Module):
    """x + W softmax(q k^T / sqrt(d)) v over all positions, in heads of 32 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // 32)
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.project = nn.Linear(channels, 3 * channels)
        self.output = nn.Linear(channels, channels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, c, h, w]` to the same."""
        tokens = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)
        parts = self.project(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*parts.unbind(0)).transpose(1, 2).flatten(2)
        return x + self.output(mixed).unflatten(1, x.shape[-2:]).permute(0, 3, 1, 2)


def channels_last(module: nn.Module) -> None:
    """Lay kernels out as convolutions on a CPU are fastest with."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _list(module: nn.Module) -> nn.ModuleList:
    assert isinstance(module, nn.ModuleList)
    return module


@torch.no_grad()
def fill_places(maps: Tensor) -> None:
    """Fill maps of position `[1, c, h, w]`: random mixtures of row and column and their sines and
    cosines, of half a wave to 8 waves across the picture."""
    count, height, width = maps.shape[1:]
    lines = []
    for axis, size in enumerate((height, width)):
        x = (torch.arange(size) + 0.5) / size * 2 - 1
        waves = [math.pi * 2.0 ** (i - 1) * x for i in range(OCTAVES)]
        for wave in [x, *(f(w) for w in waves for f in (torch.sin, torch.cos))]:
            line = wave[:, None] if axis == 0 else wave[None]
            lines.append(line.expand(height, width))
    mixture = torch.randn(count, len(lines)) / math.sqrt(len(lines))
    maps.copy_(torch.einsum("cm,mhw->chw", mixture, torch.stack(lines))[None])
