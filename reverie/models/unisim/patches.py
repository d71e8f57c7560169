"""The other denoiser: a block-causal space-time transformer that reads frames as patches.

Legend: `B` batch, `T` frames, `K` frames before each, `C h w` image, `S` patches, `D` width, `W`
conditioning.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reverie.models.unisim.config import TransformerConfig
from reverie.models.unisim.unet import fill_places
from reverie.nn.layers import precise
from reverie.nn.spacetime import Cache, SpaceTime


class Patches(nn.Module):
    """x^_t = o_{t-1} + f(z_t, o_{t-K:t}; c_t; tokens of the frames before t).

    A token is a patch of the noisy frame with the same patch of the frames before it, so what
    stands still need not travel through attention; what is further back does.
    """

    def __init__(
        self, shape: tuple[int, ...], frames: int, width: int, config: TransformerConfig
    ) -> None:
        """For pictures of `shape` `(C, h, w)` and conditioning of `width` W."""
        super().__init__()
        self.patch = config.patch
        self.pad = (-shape[2] % config.patch, -shape[1] % config.patch)
        grid = (shape[1] + self.pad[1]) // config.patch, (shape[2] + self.pad[0]) // config.patch
        area, size = config.patch**2, config.net.width
        self.input = nn.Linear(shape[0] * (frames + 1) * area, size)
        self.places = nn.Parameter(torch.empty(1, size, *grid))
        fill_places(self.places)
        self.net = SpaceTime(config.net, grid, condition=width)
        self.norm = nn.LayerNorm(size)
        self.output = nn.Linear(size, shape[0] * area)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(
        self,
        noisy: Tensor,
        before: Tensor,
        condition: Tensor,
        cache: Cache | None = None,
        first: Tensor | None = None,
    ) -> tuple[Tensor, Cache]:
        """The clean frames `[B, T, C, h, w]`, at least float32, and what a cache keeps of them.

        Args:
            noisy: z `[B, T, C, h, w]`.
            before: the frames before each `[B, T, K, C, h, w]`, the oldest first.
            condition: c `[B, T, W]`.
            cache: of the frames before the first; it is read and not changed.
            first: bool `[B, T]`, frames that see nothing before them.
        """
        x = torch.cat([before.flatten(2, 3), noisy], 2).flatten(0, 1)
        if any(self.pad):
            x = F.pad(x, (0, self.pad[0], 0, self.pad[1]), mode="replicate")
        x = F.pixel_unshuffle(x, self.patch)
        rows = x.flatten(2).transpose(1, 2).unflatten(0, noisy.shape[:2])
        tokens = self.input(rows) + self.places.flatten(2).transpose(1, 2)
        y, kept = self.net(tokens, condition, cache, first)
        y = precise(self.output(self.norm(y))).flatten(0, 1).transpose(1, 2)
        change = F.pixel_shuffle(y.unflatten(2, x.shape[-2:]), self.patch)
        change = change[..., : noisy.shape[-2], : noisy.shape[-1]].unflatten(0, noisy.shape[:2])
        return before[:, :, -1] + change, kept
