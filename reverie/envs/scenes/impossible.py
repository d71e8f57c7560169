"""Pairs of films of one scene: what happens, and what cannot.

Both films of a pair have the same scene and the same frames until something impossible happens in
one of them, after the manner of IntPhys (Riochet et al. 2018): an object vanishes, is suddenly
elsewhere, passes through what is solid, or gravity turns round. A model that knows how the scene
goes on is more surprised by the impossible film.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from reverie.envs.scenes.layout import DT, FRAMES, ROOM, Array, Constants, Task
from reverie.envs.scenes.simulator import Rows, rows_of, start, states_of
from reverie.envs.scenes.swing import angle_of, state_of
from reverie.envs.scenes.tasks import find

Kind = Literal["vanishes", "teleports", "passes", "rises"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The agent vanishes; it is elsewhere at once; it goes through a wall or another object; gravity
is reversed."""
_AWAY = (-3.0, -3.0)  # [m], out of sight
_SPARE = 6  # frames of the room's life before and after


class Pair(NamedTuple):
    """Two films, as recorded episodes without any action."""

    possible: Rows
    impossible: Rows
    kind: Kind
    at: int
    """The first row in which they differ."""


def impossible(
    name: str,
    seed: int,
    kinds: Sequence[Kind] = KINDS,
    size: tuple[int, int] = (64, 64),
    repeat: int = 1,
) -> tuple[Pair, ...]:
    """A pair for each kind that the scene of this seed can show.

    Left out are "passes" where nothing is hit, or for a pendulum or a stack, and "rises" where
    there is no gravity. Where an object vanishes, its "state" is a place out of sight. `size` and
    `repeat`, frames from row to row, are those of the environment that a model was trained in.
    """
    task, _ = find(name)
    constants, state = start(name, seed)
    states = states_of(task, constants, state, np.zeros((FRAMES, task.axes)))
    possible = rows_of(task, constants, states[::repeat], size=size)
    rng = np.random.default_rng([seed, 1])
    middle = int(rng.integers(FRAMES // 4, FRAMES // 2))
    pairs = []
    for kind in kinds:
        at = _first_hit(task, constants, states) if kind == "passes" else middle
        if at is None or not _SPARE <= at <= FRAMES - _SPARE or not _shows(task, constants, kind):
            continue
        film = np.concatenate([states[:at], _go_on(task, constants, states[at - 1], kind, at)])
        rows = rows_of(task, constants, film[::repeat], size=size)
        pairs.append(Pair(possible, rows, kind, -(-at // repeat)))
    return tuple(pairs)


def _shows(task: Task, constants: Constants, kind: Kind) -> bool:
    if kind == "passes":
        return task.name in {"projectile", "collision", "sliding"}
    return kind != "rises" or constants.gravity != 0


def _first_hit(task: Task, constants: Constants, states: Array) -> int | None:
    """The row on the way to which the agent first hits something: a box turns back, the velocity
    of a disc changes by more than gravity."""
    change = np.diff(states[:, 0, 2:4], axis=0)
    if task.shape == "box":
        hits = np.flatnonzero(states[1:, 0, 2] * states[:-1, 0, 2] < 0)
    else:
        hits = np.flatnonzero(
            np.abs(change + np.array([0.0, constants.gravity * DT])).max(-1) > 1e-3
        )
    return int(hits[0]) + 1 if len(hits) else None


def _go_on(task: Task, constants: Constants, state: Array, kind: Kind, at: int) -> Array:
    """States from row `at` on, `[T - at, n, W]`, that begin with something impossible."""
    count, still = FRAMES + 1 - at, np.zeros(task.axes)
    solid, begun = True, state
    if kind == "rises":
        constants = dataclasses.replace(constants, gravity=-constants.gravity)
    elif kind == "passes":
        solid = False
    elif kind == "teleports":
        begun = _elsewhere(task, constants, state)
    elif kind == "vanishes":
        return _without_agent(task, constants, state, count)
    states = [task.advance(constants, begun, still, solid)]
    while len(states) < count:
        states.append(task.advance(constants, states[-1], still, solid))
    return np.stack(states)


def _without_agent(task: Task, constants: Constants, state: Array, count: int) -> Array:
    """So many states in which the agent is out of sight and the others go on without it."""
    film = np.zeros((count, *state.shape))
    film[:, 0, :2] = _AWAY
    if len(state) > 1:
        others = dataclasses.replace(
            constants, masses=constants.masses[1:], halves=constants.halves[1:]
        )
        left, still = state[1:], np.zeros(task.axes)
        for k in range(count):
            left = task.advance(others, left, still, True)
            film[k, 1:] = left
    return film


def _elsewhere(task: Task, constants: Constants, state: Array) -> Array:
    """The agent at least 1 m away, at a place that is free, with the same velocity."""
    moved = state.copy()
    if task.name == "pendulum":
        angle, rate, length = angle_of(state)
        return state_of(angle - np.sign(angle or 1.0) * 2.0, rate, length)
    half = constants.halves[0]
    reach = float(np.hypot(*half))
    low, high = half + 0.02, ROOM - half - 0.02
    spots = [
        np.array([x, y])
        for x in np.linspace(low[0], high[0], 8)
        for y in (np.linspace(low[1], high[1], 8) if task.name != "sliding" else state[0, 1:2])
    ]
    sizes = np.hypot(*constants.halves.T)
    free = [
        spot
        for spot in spots
        if np.hypot(*(spot - state[0, :2])) >= 1
        and all(
            np.hypot(*(spot - o[:2])) > reach + s for o, s in zip(state[1:], sizes[1:], strict=True)
        )
    ]
    moved[0, :2] = free[len(free) // 2]
    return moved
