"""What the model senses, as one latent: an MLP for vectors, convolutions for stacks of pictures.

Legend: `N` rows, `F` frames, `C h w` image, `L` latent, `E` task embedding.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reverie.core.model import Obs
from reverie.core.spec import Space
from reverie.models.tdmpc2.config import NetConfig
from reverie.models.tdmpc2.layers import Dense, Latent, simnorm
from reverie.nn.layers import precise

KERNELS = ((7, 2), (5, 2), (3, 2), (3, 1))  # size and stride of each convolution


def masked(obs: Obs, name: str, value: Tensor) -> Tensor:
    """`value` `[N, ...]` of a sensor, zero in rows where it was missing, whatever stands there."""
    present = obs.get(f"{name}.present")
    if present is None:
        return value
    shape = (-1, *[1] * (value.ndim - 1))
    return torch.where(present.bool().reshape(shape), value, torch.zeros_like(value))


def as_bytes(image: Tensor) -> Tensor:
    """A picture as uint8, from bytes or from floats in 0..1."""
    if image.dtype == torch.uint8:
        return image
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def pushed(stack: Tensor, frame: Tensor, first: Tensor) -> Tensor:
    """The stack `[N, F C, h, w]`, oldest first, with `frame` `[N, C, h, w]` as its newest.

    Where `first` `[N]` all of its pictures are the new one.
    """
    channels = frame.shape[1]
    moved = torch.cat([stack[:, channels:], frame], 1)
    filled = frame.repeat(1, stack.shape[1] // channels, 1, 1)
    return torch.where(first.reshape(-1, 1, 1, 1), filled, moved)


def shifted(image: Tensor, by: Tensor, pad: int) -> Tensor:
    """`[N, C, h, w]`, each picture moved by `by` `[N, 2]` rows and columns in 0..2 pad, less pad.

    What comes in from outside is the border repeated (random-shift augmentation of Yarats et al.
    2021, by whole pixels).
    """
    height, width = image.shape[-2:]
    rows = torch.arange(height, device=image.device) + by[:, :1] - pad
    columns = torch.arange(width, device=image.device) + by[:, 1:] - pad
    n = torch.arange(image.shape[0], device=image.device)[:, None, None]
    picked = image.permute(0, 2, 3, 1)[
        n, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]
    ]
    return picked.permute(0, 3, 1, 2)


class Camera(nn.Module):
    """A stack of pictures `[N, F C, h, w]` to `[N, size]`: four convolutions, ReLU between them."""

    def __init__(self, shape: tuple[int, ...], frames: int, channels: int) -> None:
        """Raises `ValueError` for a picture too small for the four convolutions."""
        super().__init__()
        inputs, height, width = shape
        sizes = [height, width]
        for kernel, stride in KERNELS:
            sizes = [(n - kernel) // stride + 1 for n in sizes]
        if min(sizes) < 1:
            raise ValueError(
                f"A picture of {height} x {width} is too small; at least 39 x 39 is needed."
            )
        widths = [inputs * frames, *[channels] * len(KERNELS)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], kernel, stride)
            for i, (kernel, stride) in enumerate(KERNELS)
        )
        self.size = channels * sizes[0] * sizes[1]

    def forward(self, image: Tensor) -> Tensor:
        """Bytes `[N, F C, h, w]` to `[N, size]`."""
        *before, last = self.convolutions
        assert isinstance(last, nn.Conv2d)
        x = image.to(last.weight.dtype) / 255 - 0.5
        for layer in before:
            x = F.relu(layer(x))
        return last(x).flatten(1)


class Encoder(nn.Module):
    """All sensors to the latent z `[N, L]`; a missing sensor reads as zero.

    Vectors are joined in the order of their names, with the task embedding where there is one, and
    read by an MLP. A camera that is alone, and whose convolutions end in L numbers, is z before
    SimNorm, as published. Otherwise every camera passes one more layer with norm, and what all
    sensors say is added before SimNorm.
    """

    def __init__(self, spaces: Mapping[str, Space], task: int, config: NetConfig) -> None:
        super().__init__()
        self.spaces = dict(sorted(spaces.items()))
        self.group, latent = config.group, config.latent
        names = [name for name, space in self.spaces.items() if not space.is_image]
        width = sum(spaces[name].size for name in names) + task
        layers = config.encoder_layers - 1
        self.names = names
        self.vectors = (
            Latent(width, latent, config.encoder, layers, config.group) if names else None
        )
        self.cameras = nn.ModuleDict(
            {
                name: Camera(space.shape, config.frames, config.channels)
                for name, space in self.spaces.items()
                if space.is_image
            }
        )
        cameras = {n: c for n, c in self.cameras.items() if isinstance(c, Camera)}
        sizes = {n: c.size for n, c in cameras.items()}
        alone = not names and [*sizes.values()] == [latent]
        self.joins = nn.ModuleDict(
            {} if alone else {name: Dense(size, latent) for name, size in sizes.items()}
        )

    def forward(self, obs: Obs, frames: Mapping[str, Tensor], task: Tensor | None = None) -> Tensor:
        """z of vectors in `obs` `[N, ...]`, stacks `[N, F C, h, w]` and embedding `[N, E]`."""
        parts = []
        if self.vectors is not None:
            dtype = next(self.vectors.parameters()).dtype
            read = [masked(obs, n, obs[n].to(dtype)).flatten(1) for n in self.names]
            parts.append(
                self.vectors.logits(torch.cat(read if task is None else [*read, task], -1))
            )
        for name, camera in self.cameras.items():
            seen = camera(frames[name])
            if name in self.joins:
                join = self.joins[name]
                assert isinstance(join, Dense)
                seen = join.norm(seen)
            parts.append(seen)
        logits = torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
        return simnorm(precise(logits), self.group)
