"""Convolutions over video in which no frame sees a later one.

A frame's convolutions over h and w are those of a picture; over time a convolution reads the frame
and those before it. It is made of 2-D convolutions over frames laid side by side as channels: a 3-D
one is several times slower on a CPU. Before the first frame of a video stands that frame again, as
often as is needed (as in the tokenizers of Cosmos, arXiv 2501.03575).

What a convolution has to remember between frames is a value: it is passed in and returned, so a
video read frame by frame gives what it gives at once.

Legend: `B` batch, `T` frames, `N` pictures, `C` channels, `h w` size, `k` frames that a convolution
sees, `s` frames that are folded into one. Tensors are quick where channels are last in memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUP = 16
"""Channels that share a mean and a deviation, where their number is a multiple of it."""


def group_norm(channels: int) -> nn.GroupNorm:
    """Mean 0 and deviation 1 in each picture over groups of 16 channels, or over all of them."""
    return nn.GroupNorm(channels // GROUP if channels % GROUP == 0 else 1, channels)


class CausalConv(nn.Module):
    """y_t = b + sum_{i < k} W_i * x_{t - k + 1 + i}, with x_t = x_0 for t < 0.

    W_i is a `size` x `size` convolution with zeros around the picture, k is `frames`. The weight is
    `[outputs, k inputs, size, size]`, oldest frame first: that of a `Conv3d` is brought here by
    `weight.transpose(1, 2).flatten(1, 2)`.
    """

    def __init__(self, inputs: int, outputs: int, frames: int = 3, size: int = 3) -> None:
        super().__init__()
        if frames < 1 or size < 1 or size % 2 == 0:
            raise ValueError(
                f"A causal convolution over {frames} frames and {size} x {size} pixels; give at "
                "least one frame and an odd number of pixels."
            )
        self.frames = frames
        self.convolution = nn.Conv2d(frames * inputs, outputs, size, padding=size // 2)

    def forward(
        self, video: Tensor, past: Tensor | None = None, first: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`[B, T, inputs, h, w]` to `[B, T, outputs, h, w]`, and the past for what follows.

        The past holds the last k - 1 frames, `[B, k - 1, inputs, h, w]`; None where the video
        begins. Rows that are true in `first`, bool `[B]`, begin here whatever their past says.
        """
        x = video.movedim(2, -1)  # [B, T, h, w, C]
        before = x[:, :1].expand(-1, self.frames - 1, -1, -1, -1)
        if past is not None:
            kept = past.movedim(2, -1).to(x.dtype)
            before = kept if first is None else torch.where(_rows(first), before, kept)
        x = torch.cat([before, x], 1)
        count = video.shape[1]
        beside = torch.cat([x[:, i : i + count] for i in range(self.frames)], -1)
        out = self.convolution(beside.flatten(0, 1).movedim(-1, 1))
        return out.unflatten(0, video.shape[:2]), x[:, count:].movedim(-1, 2)


def _rows(first: Tensor) -> Tensor:
    return first.reshape(-1, 1, 1, 1, 1)


class Residual(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))) of pictures `[N, C, h, w]`; x at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            *(group_norm(channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1)),
            *(group_norm(channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1)),
        )
        _zero(self.inner[-1])

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, h, w]` to the same."""
        return x + self.inner(x)


class CausalResidual(nn.Module):
    """x + causal(silu(norm(x))) over k frames at each pixel, then `Residual`; x at first.

    With k = 1 there is nothing before it and nothing to remember.
    """

    def __init__(self, channels: int, frames: int = 3) -> None:
        super().__init__()
        self.frames = frames
        if frames > 1:
            self.norm = group_norm(channels)
            self.causal = CausalConv(channels, channels, frames, 1)
            _zero(self.causal.convolution)
        self.still = Residual(channels)

    def forward(
        self, video: Tensor, past: Tensor | None = None, first: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`[B, T, C, h, w]` to the same, and the past for what follows, `[B, k - 1, C, h, w]`."""
        kept = video[:, :0]
        if self.frames > 1:
            x = F.silu(self.norm(video.flatten(0, 1))).unflatten(0, video.shape[:2])
            change, kept = self.causal(x, past, first)
            video = video + change
        return self.still(video.flatten(0, 1)).unflatten(0, video.shape[:2]), kept


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def fold_time(video: Tensor, count: int) -> Tensor:
    """`[B, T, C, h, w]` to `[B, T / s, s C, h, w]`: s frames side by side, the oldest first.

    Raises:
        ValueError: s = `count` does not divide T.
    """
    if video.shape[1] % count:
        raise ValueError(
            f"{video.shape[1]} frames cannot be folded by {count}; give a multiple of it."
        )
    return video.unflatten(1, (-1, count)).flatten(2, 3)


def unfold_time(video: Tensor, count: int) -> Tensor:
    """`[B, T, s C, h, w]` to `[B, s T, C, h, w]`, the inverse of `fold_time`."""
    return video.unflatten(2, (count, -1)).flatten(1, 2)
