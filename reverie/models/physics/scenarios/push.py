"""Scenarios of an arm over a table: push an object into a zone.

Legend: `B` variants, `T` decisions, `A` action.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reverie.core import rollout, tree
from reverie.models.physics.model import Physics, PhysicsState
from reverie.models.physics.scenarios.arm import DT, bends, held, polar, tip_at
from reverie.models.physics.scenarios.scenario import Draw, Kind, Numbers, Scene, around, require
from reverie.models.physics.scenarios.tasks import (
    Bring,
    commanded,
    eased,
    laid,
    named,
    scattered,
    size_of,
    thing_at,
)
from reverie.physics import robots
from reverie.physics.rigid import Loaded, load
from reverie.physics.world import World

LIMIT = 125
LINKS = (0.32, 0.3, 0.16)
LOW = 0.043
"""Height of the tip while it pushes [m]."""
BEHIND = 0.13
"""Of the middle of what it will push, when it comes down [m]."""


def _draw_push(draw: Draw) -> dict[str, Any]:
    """A ball, can or block and a zone, within reach; cans beside the way.

    Harder: further, a smaller zone, a wider range of masses and frictions, cans nearer to the way.
    Ways on which the arm would have to reach too far, or too near, are drawn again.
    """
    shape = draw.one_of("ball", "can", "block")
    size = [draw.around(0.038, 0.05, 0.15) for _ in range(3)]
    while True:
        start, goal = (polar(draw.between(0.36, 0.5), draw.between(-0.9, 0.9)) for _ in range(2))
        far = math.dist(start, goal)
        back = [s - (g - s) * BEHIND / max(far, 1e-6) for s, g in zip(start, goal, strict=True)]
        if draw.harder(0.1, 0.15) < far < draw.harder(0.18, 0.3) and math.hypot(*back) > 0.27:
            break
    return {
        "shape": shape,
        "size": size,
        "mass": draw.around(0.2, 0.1, 0.5),
        "friction": draw.around(0.4, 0.1, 0.5),
        "start": start,
        "turn": round(draw.between(-1, 1) * draw.harder(0.2, 0.8), 4),
        "goal": goal,
        "near": draw.harder(0.04, 0.02),
        "cans": scattered(draw, [(back, goal)], 0.13, draw.harder(0.4, 0.25)),
        "wander": draw.harder(0.01, 0.04),
    }


def _push(numbers: Numbers) -> Scene:
    bounds = {"size": (0.02, 0.06), "mass": (0.02, 2.0), "friction": (0.1, 1.5)}
    require(numbers, {**bounds, "near": (1e-3, 0.2), "wander": (0.0, 0.2)})
    size = size_of(numbers["shape"], numbers["size"])
    text = robots.arm(links=LINKS, friction=0.1, gain=80.0, more=laid(numbers, size))
    robot = load(text)
    goal, wander = (*numbers["goal"], size[-1]), numbers["wander"]
    return Scene(
        World(dt=DT, robot=robot, substeps=10),
        Bring(robot, "thing", named(robot, "tip"), goal, numbers["near"], flat=True),
        LIMIT,
        goals={"goal": around(goal, wander, wander, 0.0)},
        knobs=("robot_mass", "robot_friction"),
        spread=1.15,
        view=(-60.0, 35.0, 0.75),
        mjcf=text,
    )


class _Pushing(NamedTuple):
    """How to push, in variants `[B, ...]`."""

    robot: Loaded
    back: Tensor
    """Where the tip comes down `[2]` [m]."""
    ahead: Tensor
    """The direction of the way `[2]`."""
    aim: Tensor
    """Where the object is to go `[B, 2]` [m]."""
    fast: Tensor
    """`[B, 1]` [m/s]."""
    gain: Tensor
    """How fast the tip gets back behind the object `[B, 1]` [1/s]."""
    further: Tensor
    """The tip stays behind the object as seen from this far behind the aim `[B, 1]` [m]."""

    def angles(self, state: PhysicsState, k: int) -> Tensor:
        """Joint angles `[B, 4]` to go to from a state in decision k."""
        seconds, down = torch.tensor(DT * (k + 1)), torch.tensor(math.pi / 2)
        if seconds < 1.2:
            high = 0.2 + eased((seconds - 0.8) / 0.4) * (LOW - 0.2)
            q, _ = bends(LINKS, torch.cat([self.back, high[None]]), down)
            return (q * eased(seconds / 0.8)).expand(len(self.aim), 4)
        x = tip_at(LINKS, state.world.robot.position[:, :4])[:, :2]
        o = thing_at(self.robot, state.world, "thing")[:, :2]
        way = self.aim + self.further * self.ahead - o
        left = way.norm(dim=-1, keepdim=True)
        way, left = way / left.clamp(min=1e-4), left - self.further
        along = ((x - o) * way).sum(-1, keepdim=True)
        beside = x - o - along * way
        pace = torch.minimum(self.fast, 2.5 * (left - 0.003).clamp(min=0))
        pace = pace * (1 - beside.norm(dim=-1, keepdim=True) / 0.04).clamp(min=0.0)
        speed = pace * way - self.gain * beside * (left > 0.003)
        low = torch.full_like(left, LOW)
        place = torch.cat([x + 0.1 * speed * (along < 0), low], -1)
        return bends(LINKS, place, down)[0]


@torch.no_grad()
def _plan_push(model: Physics, numbers: Numbers) -> Tensor:
    """The tip comes down behind the object and pushes it, staying behind it as seen from the goal.

    Several speeds and gains are imagined in one batch, each then again, aimed against by how much
    it missed, until one is near; the best is the plan.
    """
    robot = model.world.robot
    assert robot is not None
    start, goal = (torch.tensor(numbers[name]) for name in ("start", "goal"))
    ahead = (goal - start) / (goal - start).norm()
    choices = torch.tensor([0.1, 0.14, 0.18]), torch.tensor([3.0, 8.0]), torch.tensor([0.0, 0.03])
    variants = torch.cartesian_prod(*choices).split(1, 1)
    aim = goal.repeat(len(variants[0]), 1)
    best, least = torch.zeros(LIMIT, 4), torch.inf
    for _ in range(3):
        way = _Pushing(robot, start - BEHIND * ahead, ahead, aim, *variants)

        def act(state: PhysicsState, k: int, way: _Pushing = way) -> Tensor:
            return commanded(robot, held(robot, LINKS, way.angles(state, k)))[:, None]

        made = rollout.imagine(model, model.initial(len(aim)), act, (), steps=LIMIT)
        away = goal - thing_at(robot, tree.select(made.states.world, -1), "thing")[:, :2]
        first = int(away.norm(dim=-1).argmin())
        if away[first].norm() < least:
            best, least = made.actions[:, first, 0], away[first].norm()
        if least < 0.6 * numbers["near"]:
            break
        aim = aim + away.clamp(-0.03, 0.03)
    return best


PUSH = Kind(
    "push an object into a zone of the table",
    ("rigid",),
    _draw_push,
    _push,
    _plan_push,
)
