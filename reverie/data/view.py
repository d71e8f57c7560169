"""Part of a dataset as a dataset: some sensors, smaller pictures, the first episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from reverie.core.spec import Space
from reverie.data.container import Array
from reverie.data.datasets import Dataset, Episode


class View:
    """What is chosen of a dataset.

    Args:
        dataset: what is looked at; it is closed with the view.
        sensors: names to keep; none keeps all.
        size: height and width that pictures are resized to, by bilinear interpolation with
            antialiasing; `(0, 0)` leaves them.
        episodes: how many, from the first on; 0 for all.

    Raises:
        ValueError: there is no such sensor.
    """

    def __init__(
        self,
        dataset: Dataset,
        sensors: Sequence[str] = (),
        size: tuple[int, int] = (0, 0),
        episodes: int = 0,
    ) -> None:
        unknown = [name for name in sensors if name not in dataset.obs]
        if unknown:
            raise ValueError(
                f"{dataset.where} has no sensor {', '.join(unknown)}; it has "
                f"{', '.join(dataset.obs)}."
            )
        if (min(size) < 1 and any(size)) or episodes < 0:
            raise ValueError(
                f"Pictures cannot be resized to {size}, nor {episodes} episodes be chosen; give "
                "height and width in pixels, or 0 0 to leave them, and 0 episodes for all."
            )
        self.dataset, self._count, self._size = dataset, episodes, size
        self.where, self.action, self.about = dataset.where, dataset.action, dataset.about
        if hasattr(dataset, "timestamps"):
            self.timestamps = dataset.timestamps
        self.obs: Mapping[str, Space] = {
            name: self._space(dataset.obs[name]) for name in (sensors or dataset.obs)
        }

    @property
    def whole(self) -> bool:
        """Whether nothing is left out or changed."""
        same = dict(self.obs) == dict(self.dataset.obs)
        return same and (not self._count or self._count >= len(self.dataset.episodes()))

    def _space(self, space: Space) -> Space:
        if not space.is_image or not any(self._size):
            return space
        return replace(space, shape=(space.shape[0], *self._size))

    def episodes(self) -> Sequence[Episode]:
        """The chosen ones."""
        return self.dataset.episodes()[: self._count or None]

    def read(
        self, name: str, start: int = 0, stop: int | None = None, only: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Rows of an episode; see `Dataset.read`."""
        wanted = [n for n in self.obs if only is None or n in only]
        rows = self.dataset.read(name, start, stop, wanted)
        for sensor in wanted:
            if rows[sensor].shape[1:] != self.obs[sensor].shape:
                rows[sensor] = resize(rows[sensor], self._size)
        return rows

    def close(self) -> None:
        """Close what is looked at."""
        self.dataset.close()


def resize(pictures: Array, size: tuple[int, int]) -> Array:
    """Pictures uint8 `[T, C, h, w]` in another height and width, the aspect not kept."""
    frames = torch.from_numpy(np.ascontiguousarray(pictures))
    small = functional.interpolate(frames, size=size, mode="bilinear", antialias=True)
    found: Array = small.numpy()
    return found
