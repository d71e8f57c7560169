"""Several tasks that one model shares: sensed as one vector, acted in by one vector, and told apart
by a number, so that environments of all of them stand side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from reverie.core.spec import Space
from reverie.envs.env import Env, EnvConfig, Row, check_action

SENSOR, TASK = "observation", "task"
"""Names of the two sensors."""


@dataclass(frozen=True)
class Task:
    """One of several tasks, and what it uses of what they share."""

    env: EnvConfig
    observation: int
    """Entries of all that its environment observes, the first ones."""
    actions: int
    """Entries of its action, the first ones."""
    decisions: int
    """Of an episode that nothing but its clock ends; 0 where it has no clock."""
    dt: float
    """World time per decision [s]."""
    repeatable: bool

    @property
    def name(self) -> str:
        """Of the environment: "dmc:walker_walk"."""
        return self.env.name


@dataclass(frozen=True)
class Tasks:
    """Several tasks as one kind of environment; made by `share`."""

    members: tuple[Task, ...]

    @property
    def name(self) -> str:
        """Of all of them together."""
        return " + ".join(task.name for task in self.members)

    @property
    def obs(self) -> Mapping[str, Space]:
        """The widest observation, and the number of the task, int64."""
        width = max(task.observation for task in self.members)
        number = Space((), "int64", 0, len(self.members) - 1)
        return {SENSOR: Space((width,)), TASK: number}

    @property
    def action(self) -> Space:
        """The widest action, in -1..1."""
        return Space((max(task.actions for task in self.members),), low=-1.0, high=1.0)

    @property
    def dt(self) -> float:
        """World time per decision of the first task [s]; where the others have another, a shared
        model counts decisions and not seconds."""
        return self.members[0].dt

    @property
    def makers(self) -> tuple[Callable[[], Env], ...]:
        """What makes an environment of each task; for `parallel`, where environment i plays task
        i mod n."""
        return tuple(partial(TaskEnv, self, index) for index in range(len(self.members)))


def share(envs: Sequence[EnvConfig]) -> Tasks:
    """The tasks of environments; each is built once, and closed again.

    Raises:
        ValueError: there are fewer than two, two are one, or one cannot be shared.
    """
    names = [env.name for env in envs]
    if len(envs) < 2:
        raise ValueError(
            f"Tasks that share a model are at least 2; given was {names}. One alone needs no list: "
            "give it as the environment, --env NAME."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Tasks that share a model are given once each; {twice} stand twice.")
    if len({env.repeat for env in envs}) > 1:
        raise ValueError(
            f"The tasks {names} hold an action for {[env.repeat for env in envs]} frames; tasks "
            "that share a model need one action repeat."
        )
    return Tasks(tuple(_task(env) for env in envs))


def _task(config: EnvConfig) -> Task:
    """What an environment needs, if it can be shared."""
    from reverie.envs import make

    env = make(config)
    try:
        pictures = [name for name, space in env.obs.items() if space.is_image]
        if pictures:
            raise ValueError(
                f"Tasks that share a model are sensed as vectors, and {env.name} observes the "
                f"picture {pictures[0]!r}; leave out pixels, or choose another task."
            )
        bounds = (env.action.low, env.action.high)
        if not env.action.discrete and bounds != (-1.0, 1.0):
            raise ValueError(
                f"Tasks that share a model act in -1..1, and {env.name} has actions of bounds "
                f"{bounds[0]} to {bounds[1]}; give its action space finite bounds."
            )
        size = sum(space.size for space in env.obs.values())
        decisions = getattr(env, "decisions", 0)
        return Task(config, size, env.action.size, decisions, env.dt, env.repeatable)
    finally:
        env.close()


class TaskEnv:
    """One of several tasks as an `Env`.

    "observation" holds all that the task's own environment observes, joined in the order of the
    names, and then zeros; a sensor that is missing is zero, too. "task" is the number of the task.
    Of an action the environment takes the first entries, whatever stands in the others; a choice
    is that of the highest of its entries.
    """

    def __init__(self, tasks: Tasks, index: int) -> None:
        from reverie.envs import make

        task = tasks.members[index]
        self._env, self._index, self._used = make(task.env), index, task.actions
        self._sizes = {name: self._env.obs[name].size for name in sorted(self._env.obs)}
        self._decision = 0
        self.name, self.obs, self.action = tasks.name, tasks.obs, tasks.action
        self.dt, self.repeat = tasks.dt, task.env.repeat
        self.repeatable = all(member.repeatable for member in tasks.members)

    def reset(self, seed: int) -> Row:
        """Begin the episode of this seed."""
        self._decision = 0
        return self._padded(self._env.reset(seed))

    def step(self, action: np.ndarray) -> Row:
        """Act with the entries that the task uses."""
        self._decision += 1
        checked = check_action(self.name, self.action, action, self._decision)
        return self._padded(self._env.step(checked[: self._used]))

    def render(self, height: int = 240, width: int = 320) -> np.ndarray:
        """A picture of the task."""
        return self._env.render(height, width)

    def close(self) -> None:
        """Close the task's own environment."""
        self._env.close()

    def _padded(self, row: Row) -> Row:
        vector, start = np.zeros(self.obs[SENSOR].size, np.float32), 0
        for name, size in self._sizes.items():
            if row.obs.get(f"{name}.present", True):
                vector[start : start + size] = row.obs[name].reshape(-1)
            start += size
        return row._replace(obs={SENSOR: vector, TASK: np.array(self._index, np.int64)})
