"""The five scenes, and from where the parameters of their episodes are drawn."""

from __future__ import annotations

import difflib
import math

import numpy as np

from reverie.envs.scenes.flight import fly
from reverie.envs.scenes.layout import OUT, ROOM, Array, Constants, Ranges, Task, uniform
from reverie.envs.scenes.slide import slide
from reverie.envs.scenes.stack import topple
from reverie.envs.scenes.swing import state_of, swing

_SLOW = (0.0, 0.0)


def find(name: str) -> tuple[Task, Ranges]:
    """A scene and its ranges: "projectile", or "projectile-out" outside those of training."""
    task = TASKS.get(name.removesuffix(OUT))
    if task is None:
        known = [*TASKS, *(task + OUT for task in TASKS)]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"Scene {name!r} is unknown; {hint}there are: {', '.join(known)}.")
    return task, task.out if name.endswith(OUT) else task.training


def _constants(
    rng: np.random.Generator, ranges: Ranges, masses: Array, halves: Array, mark: Array
) -> Constants:
    gravity, friction = uniform(rng, ranges.gravity), uniform(rng, ranges.friction)
    return Constants(masses, halves, gravity, friction, uniform(rng, ranges.restitution), mark)


def _objects(rng: np.random.Generator, ranges: Ranges, count: int) -> tuple[Array, Array]:
    """Masses `[n]` and, for discs and squares, half sizes `[n, 2]`."""
    masses = np.array([uniform(rng, ranges.mass) for _ in range(count)])
    sizes = np.array([uniform(rng, ranges.size) for _ in range(count)])
    return masses, np.column_stack([sizes, sizes])


def _begin_projectile(rng: np.random.Generator, ranges: Ranges) -> tuple[Constants, Array]:
    """From the left, or mirrored, upwards at up to 70 degrees."""
    masses, halves = _objects(rng, ranges, 1)
    side, angle = rng.choice([-1.0, 1.0]), rng.uniform(0.2, 1.2)
    speed = uniform(rng, ranges.speed)
    mark = rng.uniform([0.5, 0.5], [ROOM - 0.5, ROOM - 1.0])
    start = [ROOM / 2 - side * rng.uniform(0.8, 1.3), rng.uniform(1.0, 2.0)]
    speeds = [side * speed * math.cos(angle), speed * math.sin(angle)]
    return _constants(rng, ranges, masses, halves, mark), np.array([[*start, *speeds]])


def _begin_pendulum(rng: np.random.Generator, ranges: Ranges) -> tuple[Constants, Array]:
    """Aside, by 0.4 to 1.5 rad, on a rod of 0.9 to 1.4 m."""
    masses, halves = _objects(rng, ranges, 1)
    length, side = rng.uniform(0.9, 1.4), rng.choice([-1.0, 1.0])
    speed = rng.choice([-1.0, 1.0]) * uniform(rng, ranges.speed)
    angle = float(side * rng.uniform(0.4, 1.5))
    mark = state_of(float(rng.uniform(-2.6, 2.6)), 0.0, float(length))[0, :2]
    state = state_of(angle, float(speed / length), float(length))
    return _constants(rng, ranges, masses, halves, mark), state


def _begin_collision(rng: np.random.Generator, ranges: Ranges) -> tuple[Constants, Array]:
    """Towards each other, at most about a radius off the line between them."""
    masses, halves = _objects(rng, ranges, 2)
    places = np.array([[0.9, rng.uniform(1.2, 2.8)], [3.1, rng.uniform(1.2, 2.8)]])
    line = places[1] - places[0]
    aim = math.atan2(line[1], line[0]) + rng.uniform(-0.12, 0.12)
    way = np.array([math.cos(aim), math.sin(aim)])
    speeds = [uniform(rng, ranges.speed) * way, -uniform(rng, ranges.speed) * way]
    order = rng.permutation(2)
    state = np.column_stack([places, speeds])[order]
    mark = rng.uniform([0.6, 0.6], [ROOM - 0.6, ROOM - 0.6])
    return _constants(rng, ranges, masses, halves, mark), state


def _begin_sliding(rng: np.random.Generator, ranges: Ranges) -> tuple[Constants, Array]:
    """From one side of the floor towards the other."""
    masses, halves = _objects(rng, ranges, 1)
    side = rng.choice([-1.0, 1.0])
    x = ROOM / 2 - side * rng.uniform(1.0, 1.4)
    mark = np.array([rng.uniform(0.6, ROOM - 0.6), halves[0, 1]])
    state = np.array([[x, halves[0, 1], side * uniform(rng, ranges.speed), 0.0]])
    return _constants(rng, ranges, masses, halves, mark), state


def _begin_stacking(rng: np.random.Generator, ranges: Ranges) -> tuple[Constants, Array]:
    """Three flat boxes; every second stack or so falls. The mark is where the top box is."""
    masses, halves = _objects(rng, ranges, 3)
    halves = halves * np.array([2.2, 1.0])
    x = ROOM / 2 + rng.uniform(-0.4, 0.4) + np.cumsum(rng.uniform(-1.3, 1.3, 3) * halves[:, 0])
    x = x.clip(halves[:, 0], ROOM - halves[:, 0])
    tall = np.cumsum(2 * halves[::-1, 1])[::-1]
    state = np.zeros((3, 6))
    state[:, 0], state[:, 1] = x, tall - halves[:, 1]
    return _constants(rng, ranges, masses, halves, state[0, :2].copy()), state


TASKS: dict[str, Task] = {
    "projectile": Task(
        name="projectile",
        objects=("ball",),
        shape="disc",
        turning=False,
        axes=2,
        force=6.0,
        training=Ranges((0.2, 0.3), (0.5, 1.5), (1.0, 4.0), restitution=(0.6, 0.9)),
        out=Ranges((0.34, 0.44), (2.0, 3.0), (5.0, 7.0), restitution=(0.6, 0.9)),
        begin=_begin_projectile,
        advance=fly,
    ),
    "pendulum": Task(
        name="pendulum",
        objects=("bob",),
        shape="disc",
        turning=False,
        axes=1,
        force=6.0,
        training=Ranges((0.2, 0.3), (0.5, 1.5), (0.0, 1.0)),
        out=Ranges((0.34, 0.44), (2.0, 3.0), (2.5, 4.0)),
        begin=_begin_pendulum,
        advance=swing,
    ),
    "collision": Task(
        name="collision",
        objects=("puck", "other"),
        shape="disc",
        turning=False,
        axes=2,
        force=4.0,
        training=Ranges((0.2, 0.3), (0.5, 1.5), (0.6, 1.6), _SLOW, restitution=(0.5, 1.0)),
        out=Ranges((0.34, 0.44), (2.0, 3.0), (2.2, 3.5), _SLOW, restitution=(0.5, 1.0)),
        begin=_begin_collision,
        advance=fly,
    ),
    "sliding": Task(
        name="sliding",
        objects=("box",),
        shape="box",
        turning=False,
        axes=1,
        force=8.0,
        training=Ranges(
            (0.2, 0.3), (0.5, 1.5), (1.5, 3.5), friction=(0.08, 0.3), restitution=(0.5,) * 2
        ),
        out=Ranges(
            (0.34, 0.44), (2.0, 3.0), (4.5, 6.0), friction=(0.08, 0.3), restitution=(0.5,) * 2
        ),
        begin=_begin_sliding,
        advance=slide,
    ),
    "stacking": Task(
        name="stacking",
        objects=("top", "middle", "bottom"),
        shape="box",
        turning=True,
        axes=1,
        force=6.0,
        training=Ranges((0.18, 0.26), (0.5, 1.5), _SLOW, friction=(0.4, 0.8)),
        out=Ranges((0.3, 0.36), (2.0, 3.0), _SLOW, friction=(0.4, 0.8)),
        begin=_begin_stacking,
        advance=topple,
    ),
}
"""By the name after "scene:"."""
