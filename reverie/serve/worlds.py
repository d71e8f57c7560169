"""Where the first picture comes from, and what really happens on the same actions.

Legend: `A` action, `C h w` image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from reverie.data.datasets import Dataset
from reverie.envs.env import Env, RenderError, Row
from reverie.viz.video import Frames

Values = Mapping[str, NDArray[Any]]


class Seen(NamedTuple):
    """What the world showed at one moment."""

    obs: Values
    """By name, without a batch axis."""
    picture: Frames | None
    """uint8 `[h, w, 3]`; None where it is not shown beside the model."""
    reward: float = 0.0
    over: bool = False
    """The episode ended here; nothing happens until the next one begins."""


class World(Protocol):
    """Where an episode begins. One thread makes it, uses it and closes it."""

    about: str
    """For people: what it is."""
    beside: bool
    """Whether `step` can be asked what really happens."""

    def begin(self, seed: int) -> Seen:
        """The first moment of an episode; the same seed begins the same one."""
        ...

    def step(self, action: NDArray[np.float32]) -> Seen:
        """The next moment, after an action `[A]`."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


class Simulated:
    """An environment: episodes begin with its resets and, beside the model, go on in it."""

    def __init__(self, env: Env, camera: str, size: tuple[int, int], beside: bool) -> None:
        """`camera` is the sensor that the model shows too; where the environment has none of that
        name it draws itself, `size` = (h, w)."""
        self.about, self.beside = env.name, beside
        self._env, self._camera, self._size = env, camera, size
        self._last: Seen | None = None

    def begin(self, seed: int) -> Seen:
        """The row of a reset."""
        self._last = self._seen(self._env.reset(seed))
        return self._last

    def step(self, action: NDArray[np.float32]) -> Seen:
        """The environment's next row; after the end of its episode, the last one again."""
        if self._last is None or not self.beside:
            raise RuntimeError(f"{self.about} does not act here: begin first, with beside=True.")
        if not self._last.over:
            self._last = self._seen(self._env.step(action))
        else:
            self._last = self._last._replace(reward=0.0)
        return self._last

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _seen(self, row: Row) -> Seen:
        return Seen(row.obs, self._picture(row) if self.beside else None, row.reward, row.last)

    def _picture(self, row: Row) -> Frames | None:
        if self._camera in row.obs:
            return colour(row.obs[self._camera])
        try:
            return self._env.render(*self._size)
        except (RenderError, NotImplementedError):
            return None


class Recorded:
    """Recorded episodes: the seed chooses one, and its first row begins the model's."""

    beside = False

    def __init__(self, dataset: Dataset) -> None:
        self.about = dataset.where
        self._dataset = dataset
        self._names = [episode.name for episode in dataset.episodes() if episode.rows]
        if not self._names:
            raise ValueError(f"{dataset.where} holds no episode to begin with.")

    def begin(self, seed: int) -> Seen:
        """The first row of the episode number `seed`, counted around."""
        rows = self._dataset.read(self._names[seed % len(self._names)], 0, 1)
        return Seen({name: values[0] for name, values in rows.items()}, None)

    def step(self, action: NDArray[np.float32]) -> Seen:
        """Records do not answer."""
        raise RuntimeError(f"{self.about} is recorded: it cannot say what other actions do.")

    def close(self) -> None:
        """Close the dataset."""
        self._dataset.close()


def colour(image: NDArray[Any]) -> Frames:
    """A picture `[C, h, w]`, bytes or 0..1, as bytes `[h, w, 3]`; one channel is grey.

    Raises:
        ValueError: a value is not finite.
    """
    if image.dtype != np.uint8:
        if not np.isfinite(image).all():
            raise ValueError("The model's picture is not finite: it has diverged. Reset it.")
        image = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    channels = [0, 1, 2] if image.shape[0] >= 3 else [0, 0, 0]
    return np.ascontiguousarray(np.moveaxis(image[channels], 0, -1))
