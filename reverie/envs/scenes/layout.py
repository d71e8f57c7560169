"""What a scene is made of: a room, objects, what is constant in an episode, and a state.

The room is a square, 4 m wide, with its floor at y = 0. The state has one line for each object:
x, y [m] and x', y' [m/s] of its centre, and where boxes may turn also the angle [rad] and its rate
[rad/s]. A frame takes it 0.05 s further, by a pure function of the constants, the state and the
force on the first object, which is the agent; without force it is physics alone.

Legend: `n` objects, `W` entries of an object's state, 4 or 6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Range = tuple[float, float]

ROOM = 4.0
"""Width and height of the room [m]."""
DT = 0.05
"""World time of a frame [s]."""
FRAMES = 60
"""Frames of an episode."""
OUT = "-out"
"""What stands behind a task's name for parameters outside the range of training."""


@dataclass(frozen=True, eq=False)
class Constants:
    """What does not change in an episode; recorded with every row as "constants"."""

    masses: Array
    """`[n]` [kg]."""
    halves: Array
    """`[n, 2]` [m]: half width and half height; of a disc its radius, twice."""
    gravity: float
    """[m/s^2], downwards; 0 for a scene that is seen from above."""
    friction: float
    """Coulomb's coefficient between everything, at rest and sliding."""
    restitution: float
    """Speed of parting over speed of approach, between everything that bounces."""
    mark: Array
    """`[2]` [m]: where the agent is wanted."""

    def pack(self) -> Array:
        """One vector `[3 n + 5]`: mass, half width, half height of each object, then gravity,
        friction, restitution, and the mark."""
        objects = np.column_stack([self.masses, self.halves]).ravel()
        world = [self.gravity, self.friction, self.restitution]
        return np.concatenate([objects, world, self.mark])

    @staticmethod
    def unpack(vector: NDArray[np.floating]) -> Constants:
        """The inverse of `pack`."""
        values = np.asarray(vector, np.float64)
        count, rest = divmod(values.size - 5, 3)
        if values.ndim != 1 or count < 1 or rest:
            raise ValueError(
                f"The constants of n objects are a vector of 3 n + 5 entries; got {values.shape}."
            )
        objects = values[:-5].reshape(count, 3)
        gravity, friction, restitution = values[-5:-2].tolist()
        return Constants(objects[:, 0], objects[:, 1:], gravity, friction, restitution, values[-2:])


@dataclass(frozen=True)
class Ranges:
    """From where the parameters of an episode are drawn, uniformly."""

    size: Range
    """Radius, or half an edge [m]."""
    mass: Range
    """[kg]."""
    speed: Range
    """With which the objects begin [m/s]."""
    gravity: Range = (8.0, 11.0)
    """[m/s^2]."""
    friction: Range = (0.0, 0.0)
    restitution: Range = (0.0, 0.0)


Begin = Callable[[np.random.Generator, Ranges], tuple[Constants, Array]]
Advance = Callable[[Constants, Array, Array, bool], Array]


@dataclass(frozen=True)
class Task:
    """One scene."""

    name: str
    objects: tuple[str, ...]
    """Names of the n objects; the agent stands first."""
    shape: Literal["disc", "box"]
    turning: bool
    """Whether objects have an angle: W = 6, else 4."""
    axes: int
    """Entries of the force: x, or x and y; along the circle for a pendulum."""
    force: float
    """The largest in each entry [N]."""
    training: Ranges
    out: Ranges
    """Faster, heavier, larger than in training."""
    begin: Begin
    """Constants, and the first state `[n, W]`."""
    advance: Advance
    """From constants, state, force `[axes]` [N] and whether things are solid (else they pass
    through each other and the walls) to the state a frame later."""

    @property
    def width(self) -> int:
        """W."""
        return 6 if self.turning else 4


def uniform(rng: np.random.Generator, range_: Range) -> float:
    """One number of a range."""
    return float(rng.uniform(*range_))
