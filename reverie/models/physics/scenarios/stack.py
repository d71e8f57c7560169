"""Scenarios of a gripper: put a block on another, and where it is hard a third on top.

Legend: `B` worlds, `T` decisions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reverie.core.spec import Space
from reverie.models.physics.model import Physics
from reverie.models.physics.scenarios.gripper import OPEN, PADS, PRESS, driven, path
from reverie.models.physics.scenarios.scenario import Draw, Kind, Numbers, Scene, require
from reverie.models.physics.scenarios.tasks import named, thing_at, where
from reverie.models.physics.task import length
from reverie.physics import robots
from reverie.physics.rigid import Loaded, load
from reverie.physics.world import World, WorldState

DT, LIMIT = 0.04, 125
LEVEL = 0.01
"""How much too high or low a block on another may be [m]."""
FREE = 0.06
"""How far the hand is to be from what it has put down [m]."""


@dataclass(frozen=True, eq=False)
class Tower:
    """Put block 1 on block 0, block 2 on block 1, ...

    With e_i = |p_i - p_{i-1} - (0, 0, h_i)|, h_i the sum of both half heights, and s = 5 cm, so
    that the hand is drawn to what is not yet in its place,

        reward = -sum_i e_i - g sum_i |hand - p_i| e_i / (e_i + s) - c |a|^2        i = 1 .. levels

    Done where each middle is within `near` of the one below, its height within `LEVEL`, and the
    hand `FREE` of all of them.
    """

    robot: Loaded
    halves: tuple[float, ...]
    """Of the heights of blocks [m]."""
    levels: int
    """How many are to be put on others."""
    near: float
    """[m]"""
    guide: float = 0.2
    """g."""
    effort: float = 1e-3
    """c [m]."""

    @property
    def goals(self) -> Mapping[str, Space]:
        """None: the tower is where block 0 is."""
        return {}

    def goal(self) -> Mapping[str, tuple[float, ...]]:
        """None."""
        return {}

    def off(self, state: WorldState) -> Tensor:
        """By how much blocks are not above those below `[B, levels, 3]` [m]."""
        places = torch.stack([thing_at(self.robot, state, f"block{i}") for i in range(3)], 1)
        halves = torch.tensor(self.halves).to(places)
        off = places.diff(dim=1)
        off = torch.cat([off[..., :2], off[..., 2:] - (halves[1:] + halves[:-1])[:, None]], -1)
        return off[:, : self.levels]

    def _hand(self, state: WorldState) -> Tensor:
        """How far it is from the blocks that are to be moved `[B, levels]` [m]."""
        hand = where(self.robot, state, named(self.robot, *PADS))
        names = [f"block{i + 1}" for i in range(self.levels)]
        places = torch.stack([thing_at(self.robot, state, name) for name in names], 1)
        return length(places - hand.unsqueeze(1))

    def reward(
        self, before: WorldState, action: Tensor, after: WorldState, context: Mapping[str, Tensor]
    ) -> Tensor:
        """`[B]`."""
        off = length(self.off(after))
        drawn = self._hand(after) * off / (off + 0.05)
        effort = self.effort * action.square().sum(-1)
        return -off.sum(-1) - self.guide * drawn.sum(-1) - effort

    def success(self, state: WorldState, context: Mapping[str, Tensor]) -> Tensor:
        """`[B]`."""
        off = self.off(state)
        above = (off[..., :2].norm(dim=-1) < self.near) & (off[..., 2].abs() < LEVEL)
        return (above & (self._hand(state) > FREE)).all(-1)


def _draw_stack(draw: Draw) -> dict[str, Any]:
    """Three blocks, 16 cm or more from each other, of which one, or above 0.6 two, are to be moved.

    Harder: less overhang, a wider range of sizes and masses, smoother.
    """
    places: list[list[float]] = []
    reach = draw.harder(0.2, 0.26)
    while len(places) < 3:
        place = [draw.between(-reach, reach) for _ in range(2)]
        if all(math.dist(place, other) > 0.16 for other in places):
            places.append(place)
    return {
        "levels": 2 if draw.difficulty > 0.6 else 1,
        "sizes": [[draw.around(0.03, 0.05, 0.15) for _ in range(3)] for _ in range(3)],
        "masses": [draw.around(0.15, 0.1, 0.4) for _ in range(3)],
        "friction": draw.between(draw.harder(0.8, 0.6), 1.0),
        "places": places,
        "turns": [round(draw.between(-1, 1) * draw.harder(0.2, 0.75), 4) for _ in range(3)],
        "near": draw.harder(0.015, 0.01),
    }


def _stack(numbers: Numbers) -> Scene:
    require(numbers, {"levels": (1, 2), "masses": (0.02, 1.0), "friction": (0.3, 1.5)})
    require(numbers, {"near": (1e-3, 0.1), "turns": (-3.2, 3.2)})
    sizes, blocks = numbers["sizes"], ""
    if not all(0.02 <= side <= 0.05 for size in sizes for side in size):
        raise ValueError(f"Half sides of blocks are 0.02 to 0.05 m; they are {sizes}.")
    for i, (size, (x, y)) in enumerate(zip(sizes, numbers["places"], strict=True)):
        blocks += robots.thing(
            f"block{i}",
            "block",
            tuple(size),
            (x, y, size[2]),
            turn=numbers["turns"][i],
            mass=numbers["masses"][i],
            friction=numbers["friction"],
        )
    text = robots.gripper(friction=0.3, more=blocks)
    robot = load(text)
    halves = tuple(size[2] for size in sizes)
    return Scene(
        World(dt=DT, robot=robot, substeps=10),
        Tower(robot, halves, int(numbers["levels"]), numbers["near"]),
        LIMIT,
        knobs=("robot_mass", "robot_friction"),
        spread=1.15,
        view=(-60.0, 25.0, 0.7),
        mjcf=text,
    )


def _moved(
    begin: Sequence[float], end: Sequence[float], turns: tuple[float, float], tight: float
) -> list[tuple[float, tuple[float, ...], float]]:
    """Legs that take a block of half height begin[2] from a place to another, in 2.4 s."""
    (x, y, low), (a, b, high) = begin, end
    over = max(0.14, high + 0.03)
    return [
        (0.45, (x, y, max(low + 0.09, 0.12), turns[0]), OPEN),
        (0.25, (x, y, low, turns[0]), OPEN),
        (0.2, (x, y, low, turns[0]), tight),
        (0.3, (x, y, over, turns[0]), tight),
        (0.5, (a, b, over, turns[1]), tight),
        (0.3, (a, b, high, turns[1]), tight),
        (0.15, (a, b, high, turns[1]), OPEN),
        (0.25, (a, b, high + 0.09, turns[1]), OPEN),
    ]


def _plan_stack(model: Physics, numbers: Numbers) -> Tensor:
    """Block after block is grasped across its y axis, lifted, and put down turned as the one below
    is."""
    robot = model.world.robot
    assert robot is not None
    sizes, places, turns = (numbers[name] for name in ("sizes", "places", "turns"))
    ways, top = [], 2 * sizes[0][2]
    for i in range(1, int(numbers["levels"]) + 1):
        half = sizes[i][2]
        end = (*places[0], top + half + 0.001)
        tight = sizes[i][1] - PRESS
        ways += _moved((*places[i], half), end, (turns[i], turns[0]), tight)
        top += 2 * half
    return driven(robot, path(ways, DT, LIMIT), DT)


STACK = Kind(
    "put a block on another, and where it is hard a third on top",
    ("rigid",),
    _draw_stack,
    _stack,
    _plan_stack,
)
