r"""Discs that fly, bounce off the walls of the room and collide with each other, in closed form.

Between two events every disc follows its parabola

    p(t) = p + v t - (0, g) t^2 / 2,    v(t) = v - (0, g) t

and events are found as roots. At a wall the normal speed becomes `-e` times itself. Two discs that
meet along the normal n change their velocities by the impulse

    j = -(1 + e) (v_2 - v_1) . n  m_1 m_2 / (m_1 + m_2),    v_1 -= j n / m_1,    v_2 += j n / m_2,

which keeps momentum for every e, and energy for e = 1. A force acts by its impulse F dt at the
start of a frame. A disc that leaves the floor with less than 0.05 m/s stays on it.

Legend: `n` discs.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from reverie.envs.scenes.layout import DT, ROOM, Array, Constants

_REST = 0.05  # [m/s]
_TOUCH = 1e-9  # [m], [m/s]
_EVENTS = 1000


def fly(constants: Constants, state: Array, force: Array, solid: bool = True) -> Array:
    """The discs `[n, 4]` a frame later; `force` `[2]` acts on the first.

    Discs that may collide must feel no gravity, or none of them may come to rest on the floor: two
    that meet are taken to have the same acceleration.
    """
    state = state.copy()
    state[0, 2:] += force * DT / constants.masses[0]
    if not solid:
        return _coast(state, np.full(len(state), constants.gravity), DT)
    left = DT
    for _ in range(_EVENTS):
        pull = np.array([_pull(constants, state, k) for k in range(len(state))])
        when, what = _next_event(constants, state, pull)
        if when >= left:
            return _coast(state, pull, left)
        state = _coast(state, pull, when)
        left -= when
        _resolve(constants, state, what)
    raise RuntimeError(f"More than {_EVENTS} collisions within a frame; are the discs in a room?")


def _coast(state: Array, pull: Array, time: float) -> Array:
    """Parabolas for some time."""
    moved = state.copy()
    moved[:, :2] += time * state[:, 2:]
    moved[:, 1] -= pull * time**2 / 2
    moved[:, 3] -= pull * time
    return moved


def _pull(constants: Constants, state: Array, k: int) -> float:
    """Downward acceleration; 0 for a disc that lies on what it is pulled to."""
    y, speed, radius = state[k, 1], state[k, 3], constants.halves[k, 0]
    gap = y - radius if constants.gravity > 0 else ROOM - radius - y
    held = gap <= _TOUCH and abs(speed) <= _TOUCH
    return 0.0 if held else constants.gravity


def _next_event(
    constants: Constants, state: Array, pull: Array
) -> tuple[float, tuple[int, int, int]]:
    """Time until the first contact; a disc, an axis, a side, or two discs and -1 for the axis."""
    when, what = math.inf, (0, 0, 0)
    for k, (x, y, vx, vy) in enumerate(state.tolist()):
        radius, g = float(constants.halves[k, 0]), float(pull[k])
        for axis, place, speed, a in ((0, x, vx, 0.0), (1, y, vy, -g)):
            for side in (-1, 1):
                gap = place - radius if side < 0 else ROOM - radius - place
                time = time_to_contact(gap, side * speed, side * a)
                if time < when:
                    when, what = time, (k, axis, side)
    for i, j in combinations(range(len(state)), 2):
        time = _time_to_meet(
            state[j] - state[i], float(constants.halves[i, 0] + constants.halves[j, 0])
        )
        if time < when:
            when, what = time, (i, -1, j)
    return when, what


def time_to_contact(gap: float, speed: float, acceleration: float) -> float:
    """The first t >= 0 with `gap = speed t + acceleration t^2 / 2`; infinite if there is none.

    The gap [m] closes with that speed [m/s] and acceleration [m/s^2]; one below zero by rounding
    counts as zero.
    """
    gap = max(gap, 0.0)
    square = speed**2 + 2 * acceleration * gap
    if square < 0:
        return math.inf
    root = math.sqrt(square)
    if speed > 0:
        return 2 * gap / (speed + root)
    return (root - speed) / acceleration if acceleration > 0 else math.inf


def _time_to_meet(difference: Array, reach: float) -> float:
    """When two discs with this relative state `[4]` are `reach` apart; infinite if they never
    are, or part."""
    x, y, vx, vy = difference.tolist()
    along, square = x * vx + y * vy, vx * vx + vy * vy
    beyond = max(x * x + y * y - reach**2, 0.0)
    inside = along**2 - square * beyond
    if along >= -_TOUCH * reach or inside < 0:
        return math.inf
    return beyond / (math.sqrt(inside) - along)


def _resolve(constants: Constants, state: Array, what: tuple[int, int, int]) -> None:
    """Bounce, in place."""
    one, axis, two = what
    e = constants.restitution
    if axis < 0:
        normal = state[two, :2] - state[one, :2]
        normal = normal / np.hypot(*normal)
        m1, m2 = constants.masses[[one, two]]
        speed = float((state[two, 2:] - state[one, 2:]) @ normal)
        impulse = -(1 + e) * speed * m1 * m2 / (m1 + m2)
        state[one, 2:] -= impulse * normal / m1
        state[two, 2:] += impulse * normal / m2
        return
    radius = constants.halves[one, 0]
    state[one, axis] = radius if two < 0 else ROOM - radius
    after = -e * state[one, 2 + axis]
    pressed = axis == 1 and constants.gravity * two < 0
    state[one, 2 + axis] = 0.0 if pressed and abs(after) < _REST else after
