"""A continuous tokenizer of video: a convolutional autoencoder, causal in time.

    z_t = tanh(encoder(x_0 .. x_t)),   x_t' = decoder(z_0 .. z_t),   each z_t `[c, h / f, w / f]`

Pictures are halved by laying pixels side by side as channels before anything is computed, so no
convolution runs at full size; at the smallest size blocks also look back in time. A diffusion model
lives on z divided by its running deviation. The bottleneck is a linear map and tanh, as in Dreamer
4 (Hafner et al. 2025, arXiv 2509.24527), or a normal distribution with a small KL divergence, as in
latent diffusion (Rombach et al. 2022, arXiv 2112.10752). The losses know no pretrained network, so
there is no perceptual one (LPIPS): what is close in squared error counts as close.

With `time_factor` s > 1 a clip of 1 + k s frames has 1 + k latents, as in Cosmos (arXiv
2501.03575): the first frame is repeated s times, and its latent stands for it alone; each later one
stands for s frames, each of which depends on all of them but on none that follows.

Legend: `B` batch, `T` frames, `t` latents in time, `C h w` image, `c` channels of a latent, `f`
spatial factor, `s` time factor, `N` pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from reverie.nn.causal import CausalResidual, Residual, fold_time, group_norm, unfold_time
from reverie.nn.layers import precise, tanh
from reverie.nn.moments import Moments

FORGET = 0.01
"""Share of the newest batch in the moments of latents, at least: they move while it learns."""

Cache = tuple[Tensor, ...]
"""What encoder or decoder remembers between frames, every entry `[B, ...]`."""


@dataclass(frozen=True)
class TokenizerConfig:
    """Sizes of a tokenizer, and the weights of its losses."""

    factor: int = 4
    """f: pixels along an edge of the picture per latent, a power of two from 2."""
    time_factor: int = 1
    """s: frames per latent; with 1 every frame has its own."""
    channels: int = 4
    """c."""
    width: int = 32
    """Channels at half the picture's size; twice as many below."""
    depth: int = 1
    """Residual blocks at each size."""
    context: int = 1
    """Frames that a block at the smallest size sees, its own included; 1: each picture alone."""
    bottleneck: Literal["tanh", "normal"] = "tanh"
    jitter: float = 0.05
    """Deviation of the noise on tanh latents while learning, so that a decoder bears errors."""
    edge: float = 0.0
    """Weight of the loss of differences between neighbouring pixels."""
    kl: float = 1e-8
    """Weight of the KL divergence of normal latents, in nats over all those of a picture."""

    def __post_init__(self) -> None:
        if self.factor < 2 or self.factor & (self.factor - 1):
            raise ValueError(
                f"TokenizerConfig factor is {self.factor}; give a power of two from 2."
            )
        if self.bottleneck not in ("tanh", "normal"):
            raise ValueError(
                f"TokenizerConfig bottleneck is {self.bottleneck!r}; choose tanh or normal."
            )
        for name in ("time_factor", "channels", "width", "depth", "context"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"TokenizerConfig {name} is {getattr(self, name)}; give at least 1."
                )
        for name in ("jitter", "edge", "kl"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"TokenizerConfig {name} is {getattr(self, name)}; give at least 0."
                )


class Encoder(nn.Module):
    """Video in 0..1 `[B, s t, C, h, w]` to `[B, t, outputs, h / f, w / f]`, without a bound."""

    def __init__(self, images: int, outputs: int, config: TokenizerConfig) -> None:
        super().__init__()
        widths = _widths(config)
        still: list[nn.Module] = [
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * images, widths[0], 3, padding=1),
        ]
        for width, smaller in pairwise(widths):
            still += [Residual(width) for _ in range(config.depth)]
            still.append(nn.Conv2d(width, smaller, 2, stride=2))
        self.still = nn.Sequential(*still)
        self.time_factor = config.time_factor
        self.fold = _mix(config.time_factor * widths[-1], widths[-1])
        self.causal = _blocks(widths[-1], config)
        self.output = nn.Sequential(
            group_norm(widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], outputs, 3, padding=1)
        )

    def forward(
        self, video: Tensor, cache: Cache | None = None, first: Tensor | None = None
    ) -> tuple[Tensor, Cache]:
        """The latents, and the cache for the frames that follow."""
        x = _each(self.still, video - 0.5)
        x = _each(self.fold, fold_time(x, self.time_factor))
        x, kept = _through(self.causal, x, cache, first)
        return precise(_each(self.output, x)), kept


class Decoder(nn.Module):
    """Latents `[B, t, c, h / f, w / f]` to video `[B, s t, C, h, w]`, around 0..1."""

    def __init__(self, images: int, config: TokenizerConfig) -> None:
        super().__init__()
        widths = _widths(config)[::-1]
        self.input = nn.Conv2d(config.channels, widths[0], 3, padding=1)
        self.causal = _blocks(widths[0], config)
        self.time_factor = config.time_factor
        self.unfold = _mix(widths[0], config.time_factor * widths[0])
        still: list[nn.Module] = []
        for width, larger in pairwise(widths):
            still += [nn.Conv2d(width, 4 * larger, 1), nn.PixelShuffle(2)]
            still += [Residual(larger) for _ in range(config.depth)]
        still += [group_norm(widths[-1]), nn.SiLU()]
        still += [nn.Conv2d(widths[-1], 4 * images, 3, padding=1), nn.PixelShuffle(2)]
        self.still = nn.Sequential(*still)

    def forward(
        self, latents: Tensor, cache: Cache | None = None, first: Tensor | None = None
    ) -> tuple[Tensor, Cache]:
        """The video, and the cache for the latents that follow."""
        x, kept = _through(self.causal, _each(self.input, latents), cache, first)
        x = unfold_time(_each(self.unfold, x), self.time_factor)
        return precise(_each(self.still, x)) + 0.5, kept


class Tokenizer(nn.Module):
    """Video to latents and back; see the head of this file."""

    def __init__(self, shape: tuple[int, int, int], config: TokenizerConfig | None = None) -> None:
        """Of pictures `shape` = (C, h, w).

        Raises:
            ValueError: the factor does not divide h and w.
        """
        super().__init__()
        self.config = config = config or TokenizerConfig()
        images, height, width = shape
        if height % config.factor or width % config.factor:
            raise ValueError(
                f"Pictures of {height} x {width} cannot be divided by a factor of {config.factor}; "
                "choose another factor, or another size of picture."
            )
        self.shape = shape
        self.latent_shape = (config.channels, height // config.factor, width // config.factor)
        two = 2 if config.bottleneck == "normal" else 1
        self.encoder = Encoder(images, two * config.channels, config)
        self.decoder = Decoder(images, config)
        self.statistics = Moments(config.channels, FORGET)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, video: Tensor) -> Tensor:
        """Video in 0..1 `[B, 1 + k s, C, h, w]` to latents `[B, 1 + k, c, h / f, w / f]`.

        Raises:
            ValueError: the video is not one of 1 + k s pictures of the tokenizer's shape.
        """
        return self._bounded(self.encoder(self._groups(video, begins=True))[0])[0]

    def decode(self, latents: Tensor) -> Tensor:
        """Latents `[B, t, c, h / f, w / f]` to video in 0..1 `[B, 1 + (t - 1) s, C, h, w]`."""
        return self._reconstruct(latents).clamp(0, 1)

    def encode_next(
        self, video: Tensor, cache: Cache | None = None, first: Tensor | None = None
    ) -> tuple[Tensor, Cache]:
        """Latents of the frames that follow those in `cache`, and the cache for the next.

        Without a cache the video begins, with 1 + k s frames; with one k s frames follow. Rows that
        are true in `first`, bool `[B]`, begin anew (with s = 1 alone: other rows follow meanwhile).

        Raises:
            ValueError: there are other frames, or a row begins anew with s > 1.
        """
        self._require_plain(first)
        out, kept = self.encoder(self._groups(video, begins=cache is None), cache, first)
        return self._bounded(out)[0], _values(kept)

    def decode_next(
        self, latents: Tensor, cache: Cache | None = None, first: Tensor | None = None
    ) -> tuple[Tensor, Cache]:
        """Video of the latents that follow those in `cache`, and the cache for the next.

        The first latent of a video gives one frame, every other one s; `first` as in `encode_next`.

        Raises:
            ValueError: a row begins anew with s > 1.
        """
        self._require_plain(first)
        video, kept = self.decoder(latents, cache, first)
        skipped = self.config.time_factor - 1 if cache is None else 0
        return video[:, skipped:].clamp(0, 1), _values(kept)

    def caches(self, batch: int) -> tuple[Cache, Cache]:
        """Zeros in the shapes of the encoder's and the decoder's cache.

        They stand where nothing was seen: the rows that read them next must be true in `first`.
        """
        config, weight = self.config, self.decoder.input.weight
        shape = (batch, config.context - 1, _widths(config)[-1], *self.latent_shape[1:])
        cache = tuple(weight.new_zeros(shape) for _ in range(config.depth))
        return cache, cache

    def _scale(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel, `[c, 1, 1]` each."""
        deviation = self.statistics.variance.clamp_min(1e-8).sqrt()
        return self.statistics.mean[:, None, None], deviation[:, None, None]

    def normalise(self, latents: Tensor) -> Tensor:
        """(z - mean) / deviation of each channel, `[..., c, h, w]`: what diffusion lives on."""
        mean, deviation = self._scale()
        return (latents - mean) / deviation

    def denormalise(self, latents: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        mean, deviation = self._scale()
        return latents * deviation + mean

    @property
    def scales(self) -> dict[str, float]:
        """The weight of each loss."""
        kl = {"kl": self.config.kl} if self.config.bottleneck == "normal" else {}
        return {"pixel": 1.0, "edge": self.config.edge, **kl}

    def noise(self, batch: int, frames: int, generator: Generator | None = None) -> Tensor:
        """Normal `[B, t, c, h / f, w / f]`: all randomness of one `loss`."""
        count = 1 + (frames - 1) // self.config.time_factor
        device = generator.device if generator else None
        return torch.randn(batch, count, *self.latent_shape, generator=generator, device=device)

    def loss(self, video: Tensor, noise: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Losses `[B, T]` of video in 0..1 `[B, T, C, h, w]`, and its latents for `statistics`.

            pixel = mean (x' - x)^2      edge = mean |D x' - D x|, D to the next pixel, h and w
            kl = sum_i (mu_i^2 + sigma_i^2 - 1) / 2 - log sigma_i    of normal latents

        with x' = decoder(z + jitter noise), or decoder(mu + sigma noise). Means are over C h w.
        """
        out = self.encoder(self._groups(video, begins=True))[0]
        latents, logarithm = self._bounded(out)
        losses = {}
        deviation: Tensor | float = self.config.jitter
        if logarithm is not None:
            deviation = logarithm.exp()
            terms = (latents.square() + deviation.square() - 1) / 2 - logarithm
            kl = terms.sum((-3, -2, -1)).repeat_interleave(self.config.time_factor, 1)
            losses["kl"] = kl[:, self.config.time_factor - 1 :]
        found = self._reconstruct(latents + deviation * noise)
        losses["pixel"] = (found - video).square().mean((-3, -2, -1))
        rows, columns = (
            (found.diff(dim=axis) - video.diff(dim=axis)).abs().mean((-3, -2, -1))
            for axis in (-2, -1)
        )
        losses["edge"] = (rows + columns) / 2
        return losses, latents

    def _bounded(self, out: Tensor) -> tuple[Tensor, Tensor | None]:
        """The latent, and the logarithm of its deviation where it is normal."""
        if self.config.bottleneck == "tanh":
            return tanh(out), None
        mean, logarithm = out.chunk(2, -3)
        return mean, logarithm.clamp(-10, 5)

    def _reconstruct(self, latents: Tensor) -> Tensor:
        return self.decoder(latents)[0][:, self.config.time_factor - 1 :]

    def _groups(self, video: Tensor, begins: bool) -> Tensor:
        """The video in whole groups of s frames, the first frame repeated where it begins."""
        factor = self.config.time_factor
        count = video.shape[1] if video.ndim == 5 else 0
        if video.shape[2:] != self.shape or count < 1 or (count - begins) % factor:
            expected = f"{1 if begins else 0} + {factor} k frames"
            raise ValueError(
                f"Video is {tuple(video.shape)}; expected [B, T, {', '.join(map(str, self.shape))}]"
                f" with T of {expected}. Cut or resize it."
            )
        if begins and factor > 1:
            video = torch.cat([video[:, :1].expand(-1, factor - 1, -1, -1, -1), video], 1)
        return video

    def _require_plain(self, first: Tensor | None) -> None:
        if first is not None and self.config.time_factor > 1:
            raise ValueError(
                f"Rows cannot begin anew with a time factor of {self.config.time_factor}: their "
                "latent would stand for another number of frames. Begin the batch anew, with no "
                "cache, or take a time factor of 1."
            )


def _widths(config: TokenizerConfig) -> list[int]:
    """Channels at half the picture's size, at a quarter, ..."""
    return [config.width] + [2 * config.width] * (config.factor.bit_length() - 2)


def _mix(inputs: int, outputs: int) -> nn.Module:
    """A linear map of each pixel, where something changes."""
    return nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)


def _blocks(width: int, config: TokenizerConfig) -> nn.ModuleList:
    return nn.ModuleList(CausalResidual(width, config.context) for _ in range(config.depth))


def _each(layer: nn.Module, video: Tensor) -> Tensor:
    """A layer of pictures on every frame, channels last in memory."""
    pictures = video.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    out: Tensor = layer(pictures)
    return out.unflatten(0, video.shape[:2])


def _through(
    blocks: Iterable[nn.Module], video: Tensor, cache: Cache | None, first: Tensor | None
) -> tuple[Tensor, Cache]:
    kept = []
    for index, block in enumerate(blocks):
        video, past = block(video, None if cache is None else cache[index], first)
        kept.append(past)
    return video, tuple(kept)


def _values(cache: Cache) -> Cache:
    """Copies that keep no longer tensor alive."""
    return tuple(past.clone() for past in cache)
