"""A world model as a Gymnasium environment: alone, or as a vector of episodes in one batch.

The vector of `B` episodes is one batch of the model, so that it costs what the model's batch costs;
an episode that ended begins anew at the next step, as `AutoresetMode.NEXT_STEP` says.

Legend: `B` episodes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from reverie.core.spec import Space
from reverie.envs.play import Episodes, Play

SIZE = 240, 320
"""Height and width of pictures [px]."""


def as_env(model: Any, episodes: Episodes, size: tuple[int, int] = SIZE) -> Any:
    """A `gymnasium.Env`: actions and observations are those of the model, in its units.

    `size`: of its pictures. A lone observation stands for itself, several are a `Dict`.

    Raises:
        ModuleNotFoundError: Gymnasium is not installed.
    """
    return _env()(Play(model, episodes), size)


def as_procedural(
    fresh: Callable[[int], tuple[Any, Episodes]], size: tuple[int, int] = SIZE
) -> Any:
    """A `gymnasium.Env` in which every episode is played in a model of its own, made from its seed;
    all have the same spaces.

    Raises:
        ModuleNotFoundError: Gymnasium is not installed.
    """
    return _env()(Play(*fresh(0)), size, lambda seed: Play(*fresh(seed)))


def as_vector(model: Any, episodes: Episodes, count: int, size: tuple[int, int] = SIZE) -> Any:
    """A `gymnasium.vector.VectorEnv` of `count` episodes in one batch of the model.

    Raises:
        ModuleNotFoundError: Gymnasium is not installed.
    """
    return _vector()(Play(model, episodes, count), size)


def _box(space: Space, lead: tuple[int, ...] = ()) -> Any:
    from gymnasium.spaces import Box

    low, high = (np.asarray(bound, np.float64) for bound in (space.low, space.high))
    if space.is_image:
        low, high = np.zeros(()), np.full((), 255.0)
    shape = (*lead, *space.shape)
    dtype: Any = np.dtype(space.dtype)
    bounds = (np.broadcast_to(x.reshape(space.shape if x.ndim else ()), shape) for x in (low, high))
    low, high = (x.astype(dtype) for x in bounds)
    return Box(low, high, shape, dtype)


def _spaces(play: Play, lead: tuple[int, ...] = ()) -> tuple[Any, Any]:
    """Of observations and actions; a lone observation stands for itself."""
    from gymnasium.spaces import Dict

    boxes = {name: _box(space, lead) for name, space in play.spaces.items()}
    seen = next(iter(boxes.values())) if len(boxes) == 1 else Dict(boxes)
    return seen, _box(play.model.spec.action, lead)


def _given(play: Play, row: int | None = None) -> Any:
    seen = play.seen() if row is None else {k: v[row] for k, v in play.seen().items()}
    return next(iter(seen.values())) if len(seen) == 1 else seen


def _gymnasium() -> Any:
    try:
        import gymnasium
    except ModuleNotFoundError:
        raise ModuleNotFoundError('Gymnasium is needed here: pip install "reverie[gym]".') from None
    return gymnasium


def _metadata(play: Play) -> dict[str, Any]:
    return {"render_modes": ["rgb_array"], "render_fps": max(1, round(1 / play.model.spec.dt))}


@functools.cache
def _env() -> Any:
    """The class of one episode after the other; it needs Gymnasium to be defined."""
    gymnasium = _gymnasium()

    class ModelEnv(gymnasium.Env):  # type: ignore[name-defined]
        """One episode after the other in a world model."""

        def __init__(
            self, play: Play, size: tuple[int, int], fresh: Callable[[int], Play] | None = None
        ) -> None:
            self.play, self._size, self._fresh = play, size, fresh
            self.dt = play.model.spec.dt
            self.metadata = _metadata(play)
            self.observation_space, self.action_space = _spaces(play)
            self.render_mode = "rgb_array" if play.episodes.picture else None

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
            super().reset(seed=seed)
            given = int(self.np_random.integers(2**31)) if seed is None else seed
            if self._fresh is not None:
                self.play = self._fresh(given)
                if _spaces(self.play) != (self.observation_space, self.action_space):
                    raise ValueError(f"The model of seed {given} has other spaces.")
            self.play.reset(given)
            return _given(self.play, 0), self._info()

        def step(self, action: Any) -> tuple[Any, float, bool, bool, Any]:
            reward, over, late = self.play.step(np.asarray(action)[None])
            seen = _given(self.play, 0)
            return seen, float(reward[0]), bool(over[0]), bool(late[0]), self._info()

        def _info(self) -> dict[str, Any]:
            done = self.play.succeeded()
            return {} if done is None else {"success": bool(done[0])}

        def render(self) -> Any:
            picture = self.play.episodes.picture
            return None if picture is None else picture(self.play.state, *self._size)[0]

    return ModelEnv


@functools.cache
def _vector() -> Any:
    """The class of episodes side by side."""
    gymnasium = _gymnasium()

    class ModelVectorEnv(gymnasium.vector.VectorEnv):  # type: ignore[name-defined]
        """Episodes side by side in one batch of a world model."""

        def __init__(self, play: Play, size: tuple[int, int]) -> None:
            self.play, self.num_envs, self._size = play, play.batch, size
            self.dt = play.model.spec.dt
            mode = gymnasium.vector.AutoresetMode.NEXT_STEP
            self.metadata = {**_metadata(play), "autoreset_mode": mode}
            self.single_observation_space, self.single_action_space = _spaces(play)
            self.observation_space, self.action_space = _spaces(play, (play.batch,))
            self.render_mode = "rgb_array" if play.episodes.picture else None
            self._over = torch.zeros(play.batch, dtype=torch.bool)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
            super().reset(seed=seed)
            self.play.reset(int(self.np_random.integers(2**31)) if seed is None else seed)
            self._over.zero_()
            return _given(self.play), self._info()

        def step(self, actions: Any) -> tuple[Any, Any, Any, Any, Any]:
            renewed = self._over.clone()
            reward, over, late = self.play.step(np.asarray(actions))
            self.play.renew(renewed)
            fresh = renewed.numpy()
            reward, over, late = reward * ~fresh, over & ~fresh, late & ~fresh
            self._over = torch.from_numpy(over | late)
            return _given(self.play), reward, over, late, self._info()

        def _info(self) -> dict[str, Any]:
            done = self.play.succeeded()
            everyone = np.ones(self.num_envs, bool)
            return {} if done is None else {"success": done, "_success": everyone}

        def render(self) -> Any:
            picture = self.play.episodes.picture
            return None if picture is None else tuple(picture(self.play.state, *self._size))

    return ModelVectorEnv
