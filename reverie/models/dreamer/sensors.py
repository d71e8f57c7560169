"""What the model senses: every observation to one embedding, and every one predicted back.

Legend: `N` rows, `E` embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reverie.core.model import Obs
from reverie.core.returns import symexp, symlog
from reverie.core.spec import Space
from reverie.models.dreamer.config import DreamerConfig
from reverie.nn.convolution import ImageDecoder, ImageEncoder
from reverie.nn.layers import Dense, linear, precise


def unit_image(image: Tensor, dtype: torch.dtype) -> Tensor:
    """An image as floats in 0..1, from bytes or from such floats."""
    return image.to(dtype) / 255 if image.dtype == torch.uint8 else image.to(dtype)


def masked(obs: Obs, name: str, value: Tensor) -> Tensor:
    """`value` `[N, ...]` of a sensor, zero in rows where it was missing, whatever stands there."""
    present = obs.get(f"{name}.present")
    if present is None:
        return value
    return torch.where(present.bool().reshape(-1, *[1] * (value.ndim - 1)), value, 0.0)


class Encoder(nn.Module):
    """All sensors `[N, ...]` to one embedding `[N, E]`; a missing sensor reads as zero.

    Vectors are squashed by symlog, joined in the order of their names and passed through an MLP;
    each camera has its own convolutional encoder.
    """

    def __init__(self, spaces: Mapping[str, Space], config: DreamerConfig) -> None:
        super().__init__()
        self.spaces = dict(sorted(spaces.items()))
        self.vectors = [name for name, space in self.spaces.items() if not space.is_image]
        self.images = [name for name, space in self.spaces.items() if space.is_image]
        width = sum(spaces[name].size for name in self.vectors)
        widths = [width, *[config.units] * config.layers]
        self.dense = (
            nn.Sequential(*(Dense(i, o) for i, o in pairwise(widths))) if self.vectors else None
        )
        cameras = {name: ImageEncoder(spaces[name].shape, config.depth) for name in self.images}
        self.cameras = nn.ModuleDict(cameras)
        sizes = [camera.size for camera in cameras.values()]
        self.size = (config.units if self.vectors else 0) + sum(sizes)

    def forward(self, obs: Obs) -> Tensor:
        """The embedding `[N, E]` of observations `[N, ...]`."""
        parts = []
        if self.dense is not None:
            parts.append(self.dense(torch.cat([self._vector(obs, n) for n in self.vectors], -1)))
        for name, camera in self.cameras.items():
            image = masked(obs, name, unit_image(obs[name], self._dtype()))
            parts.append(masked(obs, name, camera(image)))
        return torch.cat(parts, -1)

    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def _vector(self, obs: Obs, name: str) -> Tensor:
        x = masked(obs, name, obs[name].to(self._dtype()))
        x = x if self.spaces[name].discrete else symlog(x)
        return x.reshape(x.shape[0], -1)


class Decoder(nn.Module):
    """The state to every sensor's prediction: raw outputs per sensor, `[N, ...]`.

    A vector's raw output is in symlog space, a one-hot's are logits, an image's are floats in 0..1.
    """

    def __init__(
        self, spaces: Mapping[str, Space], deter: int, latent: int, config: DreamerConfig
    ) -> None:
        super().__init__()
        self.spaces = dict(spaces)
        vectors = {name: space for name, space in spaces.items() if not space.is_image}
        widths = [deter + latent, *[config.units] * config.layers]
        self.dense = nn.Sequential(*(Dense(i, o) for i, o in pairwise(widths))) if vectors else None
        self.outputs = nn.ModuleDict(
            {name: linear(config.units, space.size) for name, space in vectors.items()}
        )
        self.cameras = nn.ModuleDict(
            {
                name: ImageDecoder(
                    space.shape, deter, latent, config.units, config.depth, config.cell.blocks
                )
                for name, space in spaces.items()
                if space.is_image
            }
        )

    def forward(self, deter: Tensor, stoch: Tensor) -> dict[str, Tensor]:
        """Raw outputs by sensor from h `[N, D]` and z `[N, Z]`."""
        raw: dict[str, Tensor] = {}
        if self.dense is not None:
            x = self.dense(torch.cat([deter, stoch], -1))
            for name, output in self.outputs.items():
                raw[name] = precise(output(x)).reshape(-1, *self.spaces[name].shape)
        for name, camera in self.cameras.items():
            raw[name] = camera(deter, stoch)
        return raw

    def mean(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The predicted observation: vectors in their unit, one-hots as probabilities."""
        return {name: self._mean(name, value) for name, value in raw.items()}

    def _mean(self, name: str, raw: Tensor) -> Tensor:
        if self.spaces[name].is_image:
            return raw
        return raw.softmax(-1) if self.spaces[name].discrete else symexp(raw)

    def losses(self, raw: Mapping[str, Tensor], obs: Obs) -> dict[str, Tensor]:
        """Each sensor's loss `[N]`, zero where the sensor was missing.

        Images: sum over pixels of the squared error in 0..1. Vectors: sum of squared errors in
        symlog space. One-hots: cross-entropy.
        """
        return {name: self._loss(name, value, obs) for name, value in raw.items()}

    def _loss(self, name: str, raw: Tensor, obs: Obs) -> Tensor:
        space, target = self.spaces[name], obs[name]
        goal = unit_image(target, raw.dtype) if space.is_image else target.to(raw.dtype)
        goal = masked(obs, name, goal)
        if space.discrete:
            loss = -(goal * F.log_softmax(raw, -1)).sum(-1)
        else:
            goal = goal if space.is_image else symlog(goal)
            loss = (raw - goal).square().reshape(raw.shape[0], -1).sum(-1)
        return masked(obs, name, loss)
