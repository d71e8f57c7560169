"""Tasks of hands and things: touch a place, bring a thing to a place; and what their scenes need.

Legend: `B` worlds, `A` action.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from reverie.core import tree
from reverie.core.spec import Space
from reverie.models.physics.scenarios.scenario import Draw, Numbers
from reverie.models.physics.task import length
from reverie.physics import robots
from reverie.physics.rigid import Loaded, kinematics
from reverie.physics.world import WorldState

AWAY = -0.55
"""x of what has no place on the table [m]."""

# -------------------------------------------------------------------------------------------------
# Robots and things


def named(robot: Loaded, *names: str) -> tuple[int, ...]:
    """The geoms of these names, in their order."""
    every = [geom.name for geom in robot.model.geoms]
    return tuple(every.index(name) for name in names)


def where(robot: Loaded, state: WorldState, geoms: Sequence[int]) -> Tensor:
    """The mean of the places of geoms `[B, 3]`."""
    params = tree.map(lambda x: x.to(state.robot.position), robot.params)
    return kinematics(robot.model, state.robot, params).geoms[:, list(geoms), :3].mean(1)


def joint_at(robot: Loaded, name: str) -> int:
    """Where the position of a joint begins in those of the robot."""
    return next(joint.position for joint in robot.model.joints if joint.name == name)


def thing_at(robot: Loaded, state: WorldState, name: str) -> Tensor:
    """The place of a free body `[B, 3]`."""
    first = joint_at(robot, name)
    place: Tensor = state.robot.position[:, first : first + 3]
    return place


def commanded(robot: Loaded, control: Tensor) -> Tensor:
    """The actions in [-1, 1] of these commands of the servos, `[..., A]`."""
    low, high = robot.params.actuators.lowest[0], robot.params.actuators.highest[0]
    return (2 * (control - low) / (high - low) - 1).clamp(-1, 1)


def eased(share: Tensor) -> Tensor:
    """A motion from 0 to 1 that begins and ends at rest, 10 s^3 - 15 s^4 + 6 s^5."""
    s = share.clamp(0, 1)
    return s**3 * (10 + s * (6 * s - 15))


def aside(place: Sequence[float], begin: Sequence[float], end: Sequence[float]) -> float:
    """How far a place is from the straight way between two others, in the plane [m]."""
    (x, y), (a, b), (c, d) = (tuple(p[:2]) for p in (place, begin, end))
    whole = (c - a) ** 2 + (d - b) ** 2
    share = ((x - a) * (c - a) + (y - b) * (d - b)) / whole if whole else 0.0
    share = min(1.0, max(0.0, share))
    return math.hypot(x - a - share * (c - a), y - b - share * (d - b))


def size_of(shape: str, size: Sequence[float]) -> tuple[float, ...]:
    """What `robots.thing` takes for a shape, of three half sides."""
    if shape == "ball":
        return (size[2],)
    return (size[0], max(size[0], size[2])) if shape == "can" else tuple(size)


def cans(places: Sequence[Sequence[float]], friction: float) -> str:
    """Distractors: cans at x, y of a radius and half height."""
    return "".join(
        robots.thing(f"can{k}", "can", (r, h), (x, y, h), friction=friction, mass=0.15)
        for k, (x, y, r, h) in enumerate(places)
    )


def laid(numbers: Numbers, size: tuple[float, ...]) -> str:
    """A thing that lies on the table where it starts, and its distractors, as MJCF."""
    thing = robots.thing(
        "thing",
        numbers["shape"],
        size,
        (*numbers["start"], size[-1]),
        turn=numbers["turn"],
        mass=numbers["mass"],
        friction=numbers["friction"],
    )
    return thing + cans(numbers["cans"], 0.5)


def scattered(
    draw: Draw,
    ways: Sequence[tuple[Sequence[float], Sequence[float]]],
    near: float,
    far: float,
    middle: Sequence[float] = (0.3, 0.0),
) -> list[list[float]]:
    """Three cans between `near` and `far` [m] beside ways, 0.45 m or less about a middle; more of
    them there, not away, where it is harder."""
    found = [[AWAY, 0.2 * k - 0.2, 0.03, 0.04] for k in range(3)]
    for k in range(round(3 * draw.difficulty)):
        for _ in range(60):
            place = [round(x + draw.between(-0.45, 0.45), 4) for x in middle]
            clear = min(aside(place, *way) for way in ways)
            apart = min(math.dist(place, other[:2]) for other in found)
            if near < clear < far and apart > 0.08:
                radius = draw.between(0.022, 0.03)
                found[k] = [*place, radius, round(radius + draw.between(0.0, 0.015), 4)]
                break
    return found


# -------------------------------------------------------------------------------------------------
# Tasks


@dataclass(frozen=True, eq=False)
class Touch:
    """Bring a geom to a goal: reward -|x - goal| - c |a|^2; done within `near`."""

    robot: Loaded
    geom: int
    target: tuple[float, ...]
    """[m]"""
    near: float
    """[m]"""
    effort: float = 1e-3
    """c [m]."""

    @property
    def goals(self) -> Mapping[str, Space]:
        """`goal` `[3]` [m]."""
        return {"goal": Space((3,), unit="m")}

    def goal(self) -> Mapping[str, tuple[float, ...]]:
        """The target."""
        return {"goal": self.target}

    def _away(self, state: WorldState, context: Mapping[str, Tensor]) -> Tensor:
        return length(where(self.robot, state, (self.geom,)) - context["goal"])

    def reward(
        self, before: WorldState, action: Tensor, after: WorldState, context: Mapping[str, Tensor]
    ) -> Tensor:
        """`[B]`."""
        return -self._away(after, context) - self.effort * action.square().sum(-1)

    def success(self, state: WorldState, context: Mapping[str, Tensor]) -> Tensor:
        """`[B]`."""
        return self._away(state, context) < self.near


@dataclass(frozen=True, eq=False)
class Bring:
    """Bring a free body to a goal: reward -|o - goal| - g |hand - o| - c |a|^2; done where
    |o - goal| < near. Heights count only where the goal is not `flat`."""

    robot: Loaded
    thing: str
    hand: tuple[int, ...]
    """Geoms whose mean it is."""
    target: tuple[float, ...]
    """[m]"""
    near: float
    """[m]"""
    flat: bool = False
    guide: float = 0.2
    """g."""
    effort: float = 1e-3
    """c [m]."""

    @property
    def goals(self) -> Mapping[str, Space]:
        """`goal` `[3]` [m]."""
        return {"goal": Space((3,), unit="m")}

    def goal(self) -> Mapping[str, tuple[float, ...]]:
        """The target."""
        return {"goal": self.target}

    def _away(self, state: WorldState, context: Mapping[str, Tensor]) -> Tensor:
        count = 2 if self.flat else 3
        place = thing_at(self.robot, state, self.thing)
        return length((place - context["goal"])[:, :count])

    def reward(
        self, before: WorldState, action: Tensor, after: WorldState, context: Mapping[str, Tensor]
    ) -> Tensor:
        """`[B]`."""
        place = thing_at(self.robot, after, self.thing)
        away = length(where(self.robot, after, self.hand) - place)
        effort = self.effort * action.square().sum(-1)
        return -self._away(after, context) - self.guide * away - effort

    def success(self, state: WorldState, context: Mapping[str, Tensor]) -> Tensor:
        """`[B]`."""
        return self._away(state, context) < self.near
