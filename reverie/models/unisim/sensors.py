"""From what is sensed to frames in -1..1 and scaled vectors, and back.

Legend: `B` batch, `T` rows, `C h w` image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from reverie.core import tree
from reverie.core.model import Obs
from reverie.core.spec import Space
from reverie.models.unisim.scale import Scale
from reverie.nn.moments import Moments


class Cameras:
    """All images that are sensed as one, their channels after each other."""

    def __init__(self, obs: Mapping[str, Space]) -> None:
        self.spaces = {name: space for name, space in obs.items() if space.is_image}
        if not self.spaces:
            raise ValueError(
                f"UniSim predicts pictures and is given {', '.join(obs) or 'nothing'}; add an "
                "image (uint8 of shape (C, h, w)), with --env.pixels for example."
            )
        sizes = {name: space.shape[1:] for name, space in self.spaces.items()}
        if len({*sizes.values()}) > 1:
            raise ValueError(
                f"The cameras have different sizes, {sizes}; UniSim sees cameras of one size. "
                "Record them in one size, or leave some out."
            )
        height, width = next(iter(sizes.values()))
        self.shape = (sum(s.shape[0] for s in self.spaces.values()), height, width)

    def read(self, obs: Obs, last: Tensor) -> Tensor:
        """`[B, C, h, w]` in -1..1, of the dtype of `last`, which stands where a camera is not."""
        parts, start = [], 0
        for name, space in self.spaces.items():
            held = last[..., start : start + space.shape[0], :, :]
            parts.append(self._one(obs, name, space, held))
            start += space.shape[0]
        return torch.cat(parts, -3)

    def read_all(self, obs: Obs, last: Tensor, first: Tensor) -> Tensor:
        """`read` of all rows `[B, T, C, h, w]`; where `first` `[B, T]`, nothing was seen before."""
        steps = first.shape[1]
        if not any(f"{name}.present" in obs for name in self.spaces):
            return self.read(obs, last[:, None].expand(-1, steps, -1, -1, -1))
        frames = []
        for t in range(steps):
            last = self.read({n: v[:, t] for n, v in obs.items()}, forgotten(last, first[:, t]))
            frames.append(last)
        return torch.stack(frames, 1)

    def _one(self, obs: Obs, name: str, space: Space, last: Tensor) -> Tensor:
        if name not in obs:
            raise ValueError(
                f"The camera {name!r} is missing; the model sees {', '.join(self.spaces)} and was "
                f"given {', '.join(obs)}. Mark moments without a picture by '{name}.present'."
            )
        image = obs[name]
        if tuple(image.shape[-3:]) != space.shape:
            raise ValueError(
                f"The picture {name!r} is {tuple(image.shape[-3:])}; this model sees pictures of "
                f"{space.shape} (channels, height, width)."
            )
        scale = 127.5 if image.dtype == torch.uint8 else 0.5
        frame = image.to(last.dtype) / scale - 1
        there = obs.get(f"{name}.present")
        return frame if there is None else torch.where(there[..., None, None, None], frame, last)

    def show(self, frame: Tensor) -> dict[str, Tensor]:
        """Each camera's picture in 0..1 from `[B, C, h, w]` in -1..1."""
        sizes = [space.shape[0] for space in self.spaces.values()]
        parts = ((frame + 1) / 2).split(sizes, -3)
        return dict(zip(self.spaces, parts, strict=True))


class Vectors(nn.Module):
    """Proprioception: vectors of floats, scaled to about -1..1, see `scale.py`."""

    def __init__(self, obs: Mapping[str, Space]) -> None:
        super().__init__()
        known = ("text", "text_embedding", "embodiment")
        self.spaces = {n: s for n, s in obs.items() if not s.is_image and n not in known}
        for name, space in self.spaces.items():
            if space.dtype not in ("float32", "float64") or len(space.shape) != 1:
                raise ValueError(
                    f"UniSim cannot read {name!r}, {space.dtype} of shape {space.shape}; it reads "
                    "images, vectors of floats, a text and which robot it is. Leave it out."
                )
        self.scales = nn.ModuleDict({n: Scale(s) for n, s in self.spaces.items()})

    def meet(self, obs: Obs) -> None:
        """Rows `[B, T, ...]` from which what has no bounds is scaled, from `adopt` on."""
        for name, moments in self._unbounded.items():
            there = obs.get(f"{name}.present")
            rows = obs[name].flatten(0, -2)
            moments.meet(rows if there is None else rows[there.flatten()])

    def adopt(self) -> None:
        """What was met since counts from now on."""
        for moments in self._unbounded.values():
            moments.adopt()

    @property
    def _unbounded(self) -> dict[str, Moments]:
        found = {}
        for name, scale in self.scales.items():
            if isinstance(moments := scale.moments, Moments):
                found[name] = moments
        return found

    def zeros(self, batch: int, like: Tensor) -> dict[str, Tensor]:
        """Before anything was sensed."""
        return {n: like.new_zeros(batch, *s.shape) for n, s in self.spaces.items()}

    def read(self, obs: Obs, last: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scaled; where a sensor is not there, the last value stands."""
        found = {}
        for name, held in last.items():
            value = cast(Scale, self.scales[name]).enter(obs[name], held)
            there = obs.get(f"{name}.present")
            found[name] = value if there is None else torch.where(there[..., None], value, held)
        return found

    def read_all(self, obs: Obs, last: Mapping[str, Tensor], first: Tensor) -> dict[str, Any]:
        """`read` of all rows `[B, T, ...]`; where `first` `[B, T]`, nothing was sensed before."""
        if not any(f"{name}.present" in obs for name in last):
            return self.read(obs, last)
        rows, now = list[dict[str, Tensor]](), last
        for t in range(first.shape[1]):
            now = self.read({n: v[:, t] for n, v in obs.items()}, forgotten(now, first[:, t]))
            rows.append(dict(now))
        return {name: torch.stack([row[name] for row in rows], 1) for name in last}

    def show(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Values in the sensors' own units."""
        return {n: cast(Scale, self.scales[n]).leave(value) for n, value in vectors.items()}


def forgotten(last: Any, first: Tensor) -> Any:
    """The last values of a tree `[B, ...]`, zeros where `first` `[B]`: what initial states hold."""
    return tree.where(first, tree.map(torch.zeros_like, last), last)
