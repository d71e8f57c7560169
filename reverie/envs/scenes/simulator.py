"""A scene as a simulator, and its episodes and takes as rows, without an environment around them.

Legend: `n` objects, `W` entries of an object's state, `T` rows, `A` entries of the force.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reverie.core.spec import Space
from reverie.envs.scenes.layout import DT, FRAMES, Array, Constants, Task
from reverie.envs.scenes.picture import film, picture
from reverie.envs.scenes.tasks import find

Rows = dict[str, NDArray[Any]]
"""An episode: "image", "state", "constants", "action", "reward", "first", "last", "terminated",
each `[T, ...]`."""


class Scene:
    """One of the five scenes.

    Observed are "state" `[n W]` and "constants" `[3 n + 5]`; the reward is
    `exp(-distance of the agent from the mark / 1 m)`, in (0, 1]; episodes are cut after 3 s.
    """

    def __init__(self, name: str) -> None:
        self.task, self.ranges = find(name)
        self.name = f"scene:{name}"
        count = len(self.task.objects)
        self.obs: Mapping[str, Space] = {
            "state": Space((count * self.task.width,)),
            "constants": Space((3 * count + 5,)),
        }
        bound = self.task.force
        self.action = Space((self.task.axes,), low=-bound, high=bound, unit="N")
        self.dt = DT
        self.frames = FRAMES
        self.repeatable = True
        self._frame = 0
        self.constants, self.state = start(name, 0)

    def begin(self, seed: int) -> None:
        """Draw what is constant and how it begins."""
        self.constants, self.state = start(self.name.partition(":")[2], seed)
        self._frame = 0

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool]:
        """0.05 s under a force [N] on the agent."""
        self.state = self.task.advance(self.constants, self.state, action, True)
        self._frame += 1
        return reward_of(self.constants, self.state), False, self._frame >= self.frames

    def observe(self) -> dict[str, Any]:
        """State and constants."""
        return {"state": self.state.ravel(), "constants": self.constants.pack()}

    def picture(self, height: int, width: int) -> np.ndarray:
        """The room and its objects."""
        return picture(self.task, self.constants, self.state, height, width)

    def close(self) -> None:
        """Nothing is held."""


def start(name: str, seed: int) -> tuple[Constants, Array]:
    """Constants and first state `[n, W]` of the episode of this seed."""
    task, ranges = find(name)
    return task.begin(np.random.default_rng(seed), ranges)


def reward_of(constants: Constants, state: Array) -> float:
    """`exp(-distance / 1 m)` of the agent from the mark."""
    return float(np.exp(-np.hypot(*(state[0, :2] - constants.mark))))


def states_of(task: Task, constants: Constants, state: Array, actions: Array) -> Array:
    """States `[T, n, W]` from the first one on, under actions `[T - 1, A]` in -1..1."""
    states = [state]
    for action in np.clip(actions, -1, 1) * task.force:
        states.append(task.advance(constants, states[-1], action, True))
    return np.stack(states)


def rows_of(
    task: Task,
    constants: Constants,
    states: Array,
    actions: Array | None = None,
    size: tuple[int, int] = (64, 64),
) -> Rows:
    """An episode of states `[T, n, W]`, as an environment with pixels and state would record it;
    without actions `[T - 1, A]` they are zero."""
    count = len(states)
    action = np.zeros((count, task.axes), np.float32)
    if actions is not None:
        action[1:] = actions
    rewards = [0.0, *(reward_of(constants, state) for state in states[1:])]
    edge = np.arange(count)
    return {
        "image": film(task, constants, states, *size),
        "state": states.reshape(count, -1).astype(np.float32),
        "constants": np.tile(constants.pack().astype(np.float32), (count, 1)),
        "action": action,
        "reward": np.array(rewards, np.float32),
        "first": edge == 0,
        "last": edge == count - 1,
        "terminated": np.zeros(count, bool),
    }


def episode(
    name: str, seed: int, actions: Array | None = None, size: tuple[int, int] = (64, 64)
) -> Rows:
    """The episode of a seed under actions `[T - 1, A]` in -1..1; by default 60 zeros."""
    task, _ = find(name)
    constants, state = start(name, seed)
    if actions is None:
        actions = np.zeros((FRAMES, task.axes))
    states = states_of(task, constants, state, actions)
    return rows_of(task, constants, states, actions, size)


def retake(
    name: str,
    constants: NDArray[np.floating],
    state: NDArray[np.floating],
    actions: NDArray[np.floating],
    *,
    spread: float = 0.05,
    seed: int = 0,
    size: tuple[int, int] = (64, 64),
) -> Rows:
    """A second take of recorded rows: the same scene begun nearly, but not exactly, alike.

    What a person who sets the same scene up twice cannot help: every speed differs by a factor of
    `1 + spread z` and so does gravity, z normal. With `spread=0` it is the recorded future again.

    Args:
        name: "projectile", ...
        constants: as recorded with the first row, `[3 n + 5]`.
        state: of the first row, `[n W]`.
        actions: that follow, `[T - 1, A]` in -1..1.
        spread: standard deviation, relative.
        seed: of the take.
        size: height and width of its pictures.
    """
    task, _ = find(name)
    known = Constants.unpack(constants)
    rng = np.random.default_rng(seed)
    begun = np.asarray(state, np.float64).reshape(-1, task.width).copy()
    begun[:, 2:4] *= 1 + spread * rng.standard_normal((len(begun), 1))
    gravity = known.gravity * (1 + spread * float(rng.standard_normal()))
    changed = Constants(
        known.masses, known.halves, gravity, known.friction, known.restitution, known.mark
    )
    given = np.asarray(actions, np.float64)
    states = states_of(task, changed, begun, given)
    return rows_of(task, known, states, given, size)
