"""Crafter (Hafner 2021, arXiv 2109.06780; MIT): a small open world seen from above, in which one
gathers, builds and survives. It has 17 actions to choose from, and 22 achievements."""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from reverie.core.spec import Space
from reverie.envs.env import RenderError

TASKS = ("reward", "noreward")
"""With its reward, 1 for each first achievement and a tenth of each change of health; without."""

_EXTRA = 'pip install "reverie[crafter]"'
_SQUARES = 9
_LEAST = 2 * _SQUARES  # pixels; smaller, and the items are drawn with none


class Crafter:
    """Crafter as a `Simulator`; `task` is one of `TASKS`.

    The sensor "inventory" counts what is owned, 0..9, health, food, drink and energy first; with
    pixels there is the picture of the game. One frame is one move of the game; `dt` is set to 0.1 s
    since the game has no clock. Death terminates an episode, and 10,000 moves truncate it.

    Episodes depend on their seeds alone, as they do not in the package: there creatures lie in
    sets, whose order is that of addresses in memory, and drawing at night takes from the generator
    that moves them. Here they lie in the order in which they came, and drawing leaves the generator
    as it was.

    Raises:
        ModuleNotFoundError: the package `crafter` is not installed.
    """

    frames = 10_000

    def __init__(self, task: str = "reward") -> None:
        if task not in TASKS:
            raise ValueError(f"Crafter has no task {task!r}; choose one of {', '.join(TASKS)}.")
        try:
            import crafter
        except ModuleNotFoundError as missing:
            raise ModuleNotFoundError(
                f"Crafter needs {missing.name}, which is not installed: {_EXTRA}",
                name=missing.name,
            ) from missing
        self._env: Any = crafter.Env(reward=task == "reward", length=self.frames, seed=0)
        self._env._obs = _nothing  # drawn below, once, and where it is asked for
        world = self._env._world
        world.reset = functools.partial(_reset_in_order, world)
        self.name = f"crafter:{task}"
        owned = len(crafter.constants.items)
        self.obs: Mapping[str, Space] = {"inventory": Space((owned,), low=0.0, high=9.0)}
        self.choices: tuple[str, ...] = tuple(self._env.action_names)
        """What the actions do, in their order: noop, move_left, ..."""
        self.action = Space((len(self.choices),), low=0.0, high=1.0, discrete=True)
        self.dt = 0.1
        self.repeatable = True

    def begin(self, seed: int) -> None:
        """Another world."""
        self._env._seed, self._env._episode = seed, 0
        self._env.reset()

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool]:
        """One move."""
        _, reward, over, info = self._env.step(int(np.argmax(action)))
        dead = info["discount"] == 0
        return float(reward), dead, bool(over) and not dead

    def observe(self) -> dict[str, Any]:
        """What is owned."""
        return {"inventory": list(self._env._player.inventory.values())}

    def picture(self, height: int, width: int) -> np.ndarray:
        """The game as a square in the middle, black beside it."""
        side = min(height, width)
        if side < _LEAST:
            raise RenderError(
                f"{self.name} cannot be drawn with {height} x {width} pixels; give at least "
                f"{_LEAST} x {_LEAST}."
            )
        self._env._size = np.array([side, side])  # an array as `render(size)` fails
        random = self._env._world.random
        before = random.get_state()
        image = np.zeros((height, width, 3), np.uint8)
        top, left = (height - side) // 2, (width - side) // 2
        image[top : top + side, left : left + side] = self._env.render()
        random.set_state(before)
        return image

    def close(self) -> None:
        """Nothing is held."""


class _InOrder:
    """What a set of creatures is used for, in the order in which they came."""

    def __init__(self) -> None:
        self._inside: dict[Any, None] = {}

    def add(self, creature: Any) -> None:
        self._inside[creature] = None

    def remove(self, creature: Any) -> None:
        del self._inside[creature]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._inside)


def _reset_in_order(world: Any, seed: int | None = None) -> None:
    type(world).reset(world, seed)
    world._chunks = collections.defaultdict(_InOrder)


def _nothing() -> None:
    """Instead of the picture that the package draws at each move."""
