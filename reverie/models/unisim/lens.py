"""In what the denoiser sees frames: as pixels, or as the latents of a tokenizer.

Legend: `...` any leading axes, `B` batch, `T` frames, `C h w` image, `c` channels of a latent, `f`
its spatial factor.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from reverie.models.unisim.tokenizer import Tokenizer, TokenizerConfig

LIMIT = 4.0
"""Latents are kept within so many standard deviations."""


class Lens(nn.Module):
    """Frames in -1..1 to what the denoiser lives on, and back. Without a tokenizer they stay."""

    def __init__(self, shape: tuple[int, ...], config: TokenizerConfig | None = None) -> None:
        """For pictures of `shape` `(C, h, w)`.

        Raises:
            ValueError: the tokenizer's latents are not of one frame each, or its factor does not
                divide the picture.
        """
        super().__init__()
        self.tokenizer: Tokenizer | None = None
        self.shape, self.limit = shape, 1.0
        if config is not None:
            if config.time_factor != 1 or config.context != 1:
                raise ValueError(
                    f"The tokenizer has time_factor {config.time_factor} and context "
                    f"{config.context}; a state is known frame by frame, so both must be 1."
                )
            self.tokenizer = Tokenizer(cast(tuple[int, int, int], shape), config)
            self.shape, self.limit = self.tokenizer.latent_shape, LIMIT

    @torch.no_grad()
    def enter(self, frames: Tensor) -> Tensor:
        """`[..., C, h, w]` to `[..., c, h / f, w / f]`, of mean 0 and deviation 1; no gradient
        reaches the tokenizer."""
        if self.tokenizer is None:
            return frames
        flat = frames.reshape(-1, 1, *frames.shape[-3:])
        latents = self.tokenizer.normalise(self.tokenizer.encode((flat + 1) / 2))
        return latents.reshape(*frames.shape[:-3], *self.shape).clamp(-LIMIT, LIMIT)

    def leave(self, latents: Tensor) -> Tensor:
        """The inverse of `enter`, as well as the tokenizer can."""
        if self.tokenizer is None:
            return latents
        flat = self.tokenizer.denormalise(latents.reshape(-1, 1, *self.shape))
        frames = self.tokenizer.decode(flat) * 2 - 1
        return frames.reshape(*latents.shape[:-3], *self.tokenizer.shape)

    def losses(self, frames: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """The tokenizer's losses `[B]` on frames `[B, C, h, w]`; noise as `Tokenizer.noise`."""
        assert self.tokenizer is not None
        found, latents = self.tokenizer.loss((frames[:, None] + 1) / 2, noise[:, None])
        self.tokenizer.statistics.meet(latents.movedim(-3, -1))
        return {f"tokenizer/{name}": loss[:, 0] for name, loss in found.items()}

    def after_update(self) -> None:
        """The statistics of latents follow those of the last `losses`."""
        if self.tokenizer is not None:
            self.tokenizer.statistics.adopt()

    @property
    def scales(self) -> dict[str, float]:
        """The weight of each of `losses`."""
        if self.tokenizer is None:
            return {}
        return {f"tokenizer/{name}": scale for name, scale in self.tokenizer.scales.items()}
