"""From a simulator to an environment: the one place where actions are checked, clipped, scaled and
repeated, and where rows are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from reverie.core.spec import Space
from reverie.envs.env import (
    EnvError,
    RenderError,
    Row,
    check_action,
    check_row,
    check_spaces,
    moment,
)
from reverie.envs.physics import Physics, physics_of

_SEEDS = 2**32
Draw = Callable[[int, int], np.ndarray]
"""From height and width [pixels] to a picture, uint8 `[height, width, 3]`."""


class Simulator(Protocol):
    """A world that advances one frame at a time, in its own units.

    One whose clock ends every episode may say after how many frames: `frames`, an integer. Sensors
    that are no state but something told, such as an instruction, may be named in `beside`, a tuple:
    they are observed beside pictures whatever `with_state` says. More cameras than that of
    `picture` may stand in `views`: the names of their sensors, and what draws them, called as
    `picture` is.
    """

    name: str
    obs: Mapping[str, Space]
    """What `observe` returns."""
    action: Space
    """A vector with the simulator's own bounds, or a discrete choice."""
    dt: float
    """World time per frame [s]."""
    repeatable: bool

    def begin(self, seed: int) -> None:
        """Start an episode that depends on the seed alone."""
        ...

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool]:
        """One frame under an action within bounds (float64 vector, or one-hot).

        Returns the reward, whether the task ended, and whether a time limit cut it short.
        """
        ...

    def observe(self) -> Mapping[str, Any]:
        """What is sensed now."""
        ...

    def picture(self, height: int, width: int) -> np.ndarray:
        """Uint8 `[height, width, 3]`, or a RenderError."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


class Adapter:
    """An `Env` made of a `Simulator`.

    Actions in [-1, 1] are clipped and scaled to the simulator's bounds, entry by entry; an entry
    with an infinite bound keeps its own scale. With `pixels` the observation "image" is a picture,
    uint8 `[3, h, w]`, drawn once per decision, and so are the simulator's other views; with
    `physics` the observation "physics" is the whole state of a MuJoCo simulator, float64.

    `decisions` is how many an episode has that nothing but a clock ends; 0 where there is no clock.
    """

    def __init__(
        self,
        simulator: Simulator,
        *,
        repeat: int = 1,
        pixels: bool = False,
        with_state: bool = False,
        size: tuple[int, int] = (64, 64),
        max_decisions: int = 0,
        physics: bool = False,
    ) -> None:
        self._simulator = simulator
        self._physics = physics_of(simulator) if physics else None
        self._max_decisions = max_decisions
        self._picture_size = size if pixels else None
        self._views: Mapping[str, Draw] = getattr(simulator, "views", {}) if pixels else {}
        self._decision = 0
        self._seed: int | None = None
        self._over = True
        self._scale = _Scale(simulator.action)
        beside = getattr(simulator, "beside", ())
        everything = with_state or not pixels
        self._state = {k: s for k, s in simulator.obs.items() if everything or k in beside}
        cameras = ("image", *self._views) if pixels else ()
        for camera in self._state.keys() & set(cameras):
            raise ValueError(
                f"{simulator.name} observes an {camera!r} by itself; leave out pixels, or "
                "with_state."
            )
        self.name = simulator.name
        self.obs: Mapping[str, Space] = dict(self._state)
        if pixels:
            picture = Space((3, *size), "uint8", 0, 255)
            self.obs = {**dict.fromkeys(cameras, picture), **self._state}
        if self._physics:
            if "physics" in self.obs:
                raise ValueError(
                    f"{simulator.name} observes a 'physics' by itself; rename it, or leave out the "
                    f"option physics."
                )
            self.obs = {**self.obs, "physics": Space((self._physics.size,), "float64")}
        self.action = self._scale.space
        self.dt = simulator.dt * repeat
        self.repeat = repeat
        self.repeatable = simulator.repeatable
        clocks = (-(-getattr(simulator, "frames", 0) // repeat), max_decisions)
        self.decisions = min(filter(None, clocks), default=0)
        check_spaces(self.name, self.obs, self.action)

    @property
    def simulator(self) -> Simulator:
        """What is adapted."""
        return self._simulator

    @property
    def physics(self) -> Physics | None:
        """The simulator's whole state, to be read and written; None without the option."""
        return self._physics

    def native(self, actions: np.ndarray) -> np.ndarray:
        """Actions `[..., A]` in the simulator's bounds, float64, as `step` takes them there."""
        return self._scale(np.asarray(actions, np.float32))

    def reset(self, seed: int) -> Row:
        """Begin the episode of this seed."""
        if not 0 <= seed < _SEEDS:
            raise ValueError(f"{self.name}: seed {seed} is outside 0 .. 2^32 - 1.")
        self._decision, self._seed, self._over = 0, seed, False
        with self._said_where():
            self._simulator.begin(seed)
        return self._row(0.0, True, False, False)

    def step(self, action: np.ndarray) -> Row:
        """Hold the action for `repeat` frames, fewer if the episode ends."""
        return self._row(*self._advance(action))

    def replay(self, seed: int, actions: Sequence[np.ndarray] | np.ndarray) -> Row:
        """The row that resetting and then taking these actions gives, without drawing the rows
        between."""
        row = self.reset(seed)
        for k, action in enumerate(actions):
            reached = self._advance(action)
            if k == len(actions) - 1:
                row = self._row(*reached)
        return row

    def render(self, height: int = 240, width: int = 320) -> np.ndarray:
        """A picture of the present, uint8 `[height, width, 3]`."""
        if self._seed is None:
            raise EnvError(f"{self.name}: reset it before it is drawn.")
        return self._drawn(self._simulator.picture, height, width)

    def _drawn(self, draw: Draw, height: int, width: int) -> np.ndarray:
        image = np.asarray(draw(height, width))
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise RenderError(
                f"{self.name} drew {image.dtype} of shape {image.shape}; "
                f"expected uint8 of shape {(height, width, 3)}."
            )
        return image

    def close(self) -> None:
        """Close the simulator."""
        self._over = True
        self._simulator.close()

    def _advance(self, action: np.ndarray) -> tuple[float, bool, bool, bool]:
        """Reward, first, last and terminated after one decision."""
        if self._over:
            raise EnvError(f"{self.name}: no episode is under way; reset it before a step.")
        self._decision += 1
        native = self._scale(check_action(self.name, self.action, action, self._decision))
        total, terminated, truncated = 0.0, False, False
        with self._said_where():
            for _ in range(self.repeat):
                reward, terminated, truncated = self._simulator.advance(native)
                total += float(reward)
                if terminated or truncated:
                    break
        if self._max_decisions and self._decision >= self._max_decisions:
            truncated = True
        self._over = terminated or truncated
        return total, False, self._over, terminated

    @contextmanager
    def _said_where(self) -> Iterator[None]:
        """Errors of the simulator leave with a note of where they happened."""
        try:
            yield
        except Exception as problem:
            at = moment(self._decision)
            problem.add_note(f"in environment {self.name}, at {at} with seed {self._seed}")
            raise

    def _row(self, reward: float, first: bool, last: bool, terminated: bool) -> Row:
        obs: dict[str, Any] = dict(self._simulator.observe()) if self._state else {}
        if self._picture_size:
            for name, draw in {"image": self._simulator.picture, **self._views}.items():
                obs[name] = np.moveaxis(self._drawn(draw, *self._picture_size), -1, 0)
        if self._physics:
            obs["physics"] = self._physics.read()
        row = Row(obs, reward, first, last, terminated)
        return check_row(self.name, self.obs, row, self._decision)


class _Scale:
    """From the model's actions to the simulator's: clip, then low + (a + 1) / 2 (high - low).

    Only entries with two finite bounds are scaled; the others are clipped to the bound they have.
    """

    def __init__(self, native: Space) -> None:
        self._discrete = native.discrete
        if native.discrete:
            self.space = native
            return
        low = np.broadcast_to(np.asarray(native.low, np.float64), native.shape)
        high = np.broadcast_to(np.asarray(native.high, np.float64), native.shape)
        bounded = np.isfinite(low) & np.isfinite(high)
        scaled = bounded & ~((low == -1) & (high == 1))
        self._plain = not scaled.any()
        start, stop = np.where(scaled, low, -1.0), np.where(scaled, high, 1.0)
        self._middle, self._slope = (start + stop) / 2, (stop - start) / 2
        self._bounds = low, high
        self._unit = least, most = np.where(bounded, -1.0, low), np.where(bounded, 1.0, high)
        unit = native.unit if self._plain else ""
        self.space = Space(native.shape, low=_bound(least), high=_bound(most), unit=unit)

    def __call__(self, action: np.ndarray) -> np.ndarray:
        if self._discrete:
            choice: np.ndarray = np.eye(action.shape[-1])[np.argmax(action, -1)]
            return choice
        value = _between(action.astype(np.float64), self._unit)
        if self._plain:
            return value
        return _between(self._middle + self._slope * value, self._bounds)


def _between(value: np.ndarray, bounds: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """What `np.clip` does, in a quarter of its time for a few numbers."""
    least, most = bounds
    clipped: np.ndarray = np.minimum(np.maximum(value, least), most)
    return clipped


def _bound(values: np.ndarray) -> float | tuple[float, ...]:
    """One number if all are equal."""
    return float(values[0]) if (values == values[0]).all() else tuple(values.tolist())
