"""What is known of recorded rows of a scene: contact, energy, momentum.

    kinetic = sum m |v|^2 / 2 + I w^2 / 2,    potential = sum m g y,    I = m (a^2 + b^2) / 3

of a box with half edges a, b; momentum = sum m v. A gap is the distance between the surfaces of two
objects, or of an object and a wall: below zero they overlap.

Legend: `n` objects, `P` pairs that may touch; leading axes are free, `[..., n]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reverie.envs.scenes.layout import ROOM, Array, Task
from reverie.envs.scenes.simulator import episode
from reverie.envs.scenes.tasks import find

WALLS = ("floor", "ceiling", "left", "right")
TOUCH = 0.01
"""Gap below which two things count as touching [m]."""


class Truth(NamedTuple):
    """What rows say, each `[..., ...]` with the leading axes of the rows."""

    position: Array
    """`[..., n, 2]` [m]."""
    velocity: Array
    """`[..., n, 2]` [m/s]."""
    angle: Array
    """`[..., n]` [rad]; zeros where nothing turns."""
    rate: Array
    """`[..., n]` [rad/s]."""
    masses: Array
    """`[..., n]` [kg]."""
    halves: Array
    """`[..., n, 2]` [m]."""
    gravity: Array
    """`[...]` [m/s^2]."""
    gap: Array
    """`[..., P]` [m], in the order of `pairs(task)`."""
    kinetic: Array
    """`[...]` [J]."""
    potential: Array
    """`[...]` [J], 0 on the floor."""
    momentum: Array
    """`[..., 2]` [kg m/s]."""

    @property
    def contact(self) -> NDArray[np.bool_]:
        """`[..., P]`, which pairs touch."""
        return np.asarray(self.gap < TOUCH)

    @property
    def energy(self) -> Array:
        """`[...]` [J]."""
        return self.kinetic + self.potential


def truth(name: str, seed: int) -> Truth:
    """The episode of a seed without any action, 61 rows."""
    return describe(name, episode(name, seed))


def describe(name: str, rows: Mapping[str, Any]) -> Truth:
    """What rows with "state" `[..., n W]` and "constants" `[..., 3 n + 5]` say.

    Leading axes are broadcast, so that the constants of a window may stand for all its rows.
    """
    task, _ = find(name)
    lacking = [key for key in ("state", "constants") if key not in rows]
    if lacking:
        raise ValueError(
            f"The truth of scene {name!r} needs the rows' 'state' and 'constants', but there is no "
            f"{' and no '.join(lacking)}; record with pixels and with_state, or without pixels."
        )
    state = np.asarray(rows["state"], np.float64)
    constants = np.asarray(rows["constants"], np.float64)
    count = len(task.objects)
    if state.shape[-1] != count * task.width or constants.shape[-1] != 3 * count + 5:
        raise ValueError(
            f"Rows of scene {name!r} have a state of {count * task.width} entries and "
            f"{3 * count + 5} constants; got {state.shape} and {constants.shape}."
        )
    lines = state.reshape(*state.shape[:-1], count, task.width)
    objects = constants[..., :-5].reshape(*constants.shape[:-1], count, 3)
    masses, halves, gravity = objects[..., 0], objects[..., 1:], constants[..., -5]
    position, velocity = lines[..., :2], lines[..., 2:4]
    still = np.zeros(lines.shape[:-1])
    angle, rate = (lines[..., 4], lines[..., 5]) if task.turning else (still, still)
    return Truth(
        position,
        velocity,
        angle,
        rate,
        masses,
        halves,
        gravity,
        gaps(task, position, angle, halves),
        kinetic(masses, velocity) + spin(masses, halves, rate),
        potential(masses, gravity, position[..., 1]),
        momentum(masses, velocity),
    )


def kinetic(masses: Array, velocity: Array) -> Array:
    """`sum m |v|^2 / 2` [J] of masses `[..., n]` and velocities `[..., n, 2]`, or in 3-D."""
    return np.asarray((masses * np.square(velocity).sum(-1)).sum(-1) / 2)


def spin(masses: Array, halves: Array, rate: Array) -> Array:
    """`sum I w^2 / 2` [J] of boxes."""
    return np.asarray((masses * np.square(halves).sum(-1) / 3 * np.square(rate)).sum(-1) / 2)


def potential(masses: Array, gravity: Array, height: Array) -> Array:
    """`sum m g y` [J]."""
    return np.asarray(gravity * (masses * height).sum(-1))


def momentum(masses: Array, velocity: Array) -> Array:
    """`sum m v` [kg m/s], `[..., 2]`."""
    return np.asarray((masses[..., None] * velocity).sum(-2))


def pairs(task: Task) -> tuple[tuple[str, str], ...]:
    """Names of what may touch: each object with each wall, then each two objects."""
    walls = [(name, wall) for name in task.objects for wall in WALLS]
    return (*walls, *combinations(task.objects, 2))


def gaps(task: Task, position: Array, angle: Array, halves: Array) -> Array:
    """Distances `[..., P]` between surfaces [m], below zero where they overlap; of two boxes the
    distance along the best separating axis."""
    found = []
    upright = (np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    for k in range(len(task.objects)):
        x, y = position[..., k, 0], position[..., k, 1]
        wide, tall = (_reach(task, halves[..., k, :], angle[..., k], u) for u in upright)
        found += [y - tall, ROOM - y - tall, x - wide, ROOM - x - wide]
    for i, j in combinations(range(len(task.objects)), 2):
        between = position[..., j, :] - position[..., i, :]
        sizes, angles = (halves[..., i, :], halves[..., j, :]), (angle[..., i], angle[..., j])
        if task.shape == "disc":
            found.append(
                np.hypot(between[..., 0], between[..., 1]) - sizes[0][..., 0] - sizes[1][..., 0]
            )
        else:
            found.append(_box_gap(task, between, sizes, angles))
    return np.stack(np.broadcast_arrays(*found), -1)


def _box_gap(
    task: Task, between: Array, sizes: tuple[Array, Array], angles: tuple[Array, Array]
) -> Array:
    best = np.full(between.shape[:-1], -np.inf)
    for owner in angles:
        for quarter in (0.0, np.pi / 2):
            u = np.stack([np.cos(owner + quarter), np.sin(owner + quarter)], -1)
            apart = np.abs((between * u).sum(-1))
            reaches = [_reach(task, half, a, u) for half, a in zip(sizes, angles, strict=True)]
            best = np.maximum(best, apart - sum(reaches))
    return best


def _reach(task: Task, half: Array, angle: Array, u: Array) -> Array:
    """How far an object extends from its centre along the unit vector u `[..., 2]`."""
    if task.shape == "disc":
        return np.asarray(half[..., 0])
    c, s = np.cos(angle), np.sin(angle)
    along, across = c * u[..., 0] + s * u[..., 1], c * u[..., 1] - s * u[..., 0]
    return np.asarray(half[..., 0] * abs(along) + half[..., 1] * abs(across))
