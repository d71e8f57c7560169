"""The same task on a robot that is not the one a model learnt: heavier, weaker, otherwise lit or
seen. For measuring whether a model notices, and what a policy keeps of its skill."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np

from reverie.core.spec import Space
from reverie.envs.env import Env, EnvConfig, Row
from reverie.envs.parallel import Maker
from reverie.envs.physics import MujocoSimulator

Change = Literal["mass", "motor", "colour", "camera"]

CHANGES: Mapping[Change, str] = {
    "mass": "all bodies twice as heavy",
    "motor": "motors half as strong",
    "colour": "red, green and blue exchanged",
    "camera": "the camera nearer and aside",
}

_MASS, _MOTOR = 2.0, 0.5
_NEARER, _ASIDE = 0.8, 0.1  # of the picture that is left, and how far from its middle


def possible(env: Env) -> tuple[Change, ...]:
    """The changes that make a difference in an environment: colour and camera where there are
    pictures, mass where there is a MuJoCo inside, motor where actions are continuous."""
    seen = any(space.is_image for space in env.obs.values())
    fits = {
        "mass": _has_body(env),
        "motor": not env.action.discrete,
        "colour": seen,
        "camera": seen,
    }
    return tuple(change for change in CHANGES if fits[change])


def _has_body(env: Env) -> bool:
    """Whether there is a MuJoCo inside: a Gymnasium environment knows when it is asked for it."""
    simulator = getattr(env, "simulator", None)
    if not isinstance(simulator, MujocoSimulator):
        return False
    try:
        simulator.workings()
    except ValueError:
        return False
    return True


def changed(config: EnvConfig, change: Change) -> Maker:
    """What makes the environment of a config with one change, for `parallel`."""
    return partial(_make, config, change)


def _make(config: EnvConfig, change: Change) -> Env:
    from reverie.envs import make

    return Changed(make(config), change)


class Changed:
    """An environment with one change.

    Raises:
        ValueError: the change makes no difference there.
    """

    def __init__(self, env: Env, change: Change) -> None:
        if change not in possible(env):
            raise ValueError(
                f"The change {change!r} makes no difference in {env.name}; possible are "
                f"{', '.join(possible(env)) or 'none'}."
            )
        self.env, self.change = env, change
        self.name, self.action = f"{env.name}, {CHANGES[change]}", env.action
        self.obs: Mapping[str, Space] = env.obs
        self.dt, self.repeat, self.repeatable = env.dt, env.repeat, env.repeatable
        self._light: dict[str, np.ndarray] = {}

    def reset(self, seed: int) -> Row:
        """Begin an episode; where the task draws its masses, they are drawn before the change."""
        if self.change != "mass":
            return self._seen(self.env.reset(seed))
        model = self._model()
        for name, value in self._light.items():
            getattr(model, name)[...] = value
        row = self.env.reset(seed)
        self._light = {n: getattr(model, n).copy() for n in ("body_mass", "body_inertia")}
        for name in self._light:
            getattr(model, name)[...] *= _MASS
        return row

    def _model(self) -> Any:
        simulator: Any = self.env
        return simulator.simulator.workings().model

    def step(self, action: np.ndarray) -> Row:
        """Act."""
        if self.change == "motor":
            action = np.asarray(action) * np.float32(_MOTOR)
        return self._seen(self.env.step(action))

    def _seen(self, row: Row) -> Row:
        if self.change not in ("colour", "camera"):
            return row
        turn = _colours if self.change == "colour" else _nearer
        pictures = (n for n, space in self.obs.items() if space.is_image)
        return row._replace(obs={**row.obs, **{n: turn(row.obs[n]) for n in pictures}})

    def render(self, height: int = 240, width: int = 320) -> np.ndarray:
        """As the environment."""
        return self.env.render(height, width)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


def _colours(picture: np.ndarray) -> np.ndarray:
    """Channels exchanged in a ring; a grey picture is inverted."""
    if len(picture) == 1:
        return np.asarray(255 - picture)
    return np.ascontiguousarray(np.roll(picture, 1, axis=0))


def _nearer(picture: np.ndarray) -> np.ndarray:
    """A part of a picture `[C, h, w]` in its place, by the nearest pixel."""
    _, height, width = picture.shape
    rows, columns = (
        np.clip(
            ((np.arange(n) + 0.5) * _NEARER + n * ((1 - _NEARER) / 2 + aside)).astype(int), 0, n - 1
        )
        for n, aside in ((height, 0.0), (width, _ASIDE))
    )
    return np.ascontiguousarray(picture[:, rows][:, :, columns])
