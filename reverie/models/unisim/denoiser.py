"""What is averaged and predicts frames: conditions, noise levels and one of two networks.

Legend: `B` batch, `T` frames, `K` frames before each, `C h w` image, `W` conditioning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reverie.core import tree
from reverie.core.spec import Space
from reverie.models.unisim.config import UniSimConfig
from reverie.models.unisim.patches import Patches
from reverie.models.unisim.unet import UNet
from reverie.nn.conditions import Conditions, ConditionsConfig, LevelEmbedding, Part
from reverie.nn.spacetime import Cache


class Denoiser(nn.Module):
    """x^ of noisy frames, from the frames before them and what is done."""

    def __init__(
        self,
        shape: tuple[int, ...],
        parts: tuple[Part, ...],
        vectors: Mapping[str, Space],
        context: Mapping[str, Space],
        config: UniSimConfig,
    ) -> None:
        super().__init__()
        sizes = ConditionsConfig(config.width, config.width)
        self.conditions = Conditions(parts, vectors, context, sizes)
        self.level = LevelEmbedding(config.width)
        self.context_level = LevelEmbedding(config.width)
        given = shape, config.frames, config.width
        self.unet = UNet(*given, config.unet) if config.backbone == "unet" else None
        self.patches = Patches(*given, config.transformer) if self.unet is None else None

    def forward(
        self,
        z: Tensor,
        before: Tensor,
        condition: Tensor,
        level: Tensor,
        step: Tensor,
        clean: Tensor,
        cache: Any = (),
        first: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """x^ `[B, T, C, h, w]`, and what `keep` puts into a cache: `()` with a U-Net.

        Args:
            z: noisy frames `[B, T, C, h, w]`.
            before: the frames before each, `[B, T, K, C, h, w]`.
            condition: of `conditions`, `[B, T, W]`.
            level: tau `[B, T]`.
            step: d `[B, T]`, 0 for plain flow matching.
            clean: signal level of the frames before, `[B, T]`.
            cache: of the frames before the first, `()` where there are none.
            first: bool `[B, T]`, frames that see nothing before them but `before`.
        """
        c = condition + self.level(level, step) + self.context_level(clean)
        if self.patches is not None:
            found: tuple[Tensor, Any] = self.patches(z, before, c, cache or None, first)
            return found
        assert self.unet is not None
        x = self.unet(z.flatten(0, 1), before.flatten(0, 1), c.flatten(0, 1))
        return x.unflatten(0, z.shape[:2]), ()

    def empty(self, batch: int) -> Any:
        """The cache before any frame."""
        return () if self.patches is None else self.patches.net.empty_cache(batch)

    def keep(self, cache: Any, entries: Any, begun: Tensor) -> Any:
        """The cache with one more frame, forgotten where a row has only `begun`, bool `[B]`."""
        if self.patches is None:
            return ()
        kept = self.patches.net.append(cache, entries)
        return tree.where(begun, tree.map(torch.zeros_like, kept), kept)


def stretches(cache: Cache, entries: Cache, begun: Tensor) -> Cache:
    """The cache at each of T rows, every leaf `[B, T, ...]`: what one `keep` after another gives.

    `entries` are of all T frames at once, `begun` bool `[B, T]` as in `keep`.
    """
    rows = begun.shape[1]

    at = torch.arange(rows, device=begun.device).expand_as(begun)
    last = torch.where(begun, at, -1).cummax(1).values
    age = torch.where(last >= 0, at - last, cache.age[:, None] + at + 1)

    def cut(old: Tensor, new: Tensor) -> Tensor:
        whole, size = torch.cat([old, new.to(old.dtype)], 2), old.shape[2]
        per = new.shape[2] // rows
        found = [whole[:, :, (t + 1) * per :][:, :, :size] for t in range(rows)]
        known = torch.arange(size // per, 0, -1, device=age.device) <= age[..., None]
        known = known.repeat_interleave(per, -1)[:, :, None, :, None]
        return torch.stack(found, 1) * known

    keys, values = (
        tuple(cut(*pair) for pair in zip(old, new, strict=True))
        for old, new in ((cache.keys, entries.keys), (cache.values, entries.values))
    )
    return Cache(keys, values, age)
