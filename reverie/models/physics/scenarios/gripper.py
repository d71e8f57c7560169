"""Scenarios of a gripper: lift a thing to a place; and how the gripper moves.

Legend: `B` variants, `K` way points, `T` decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from reverie.models.physics.model import Physics
from reverie.models.physics.scenarios.scenario import (
    Draw,
    Kind,
    Numbers,
    Scene,
    around,
    end_of,
    require,
)
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

DT = 0.04
PADS = ("left_high", "left_low", "right_high", "right_low")
"""Of the fingers; the hand is where their middle is."""
HEIGHT = 0.3
"""Of the hand where its slides are at 0 [m]."""
OPEN = 0.06
"""Of each finger [m]."""
PRESS = 0.008
"""How far inside of what they hold fingers are told to be [m]."""

# -------------------------------------------------------------------------------------------------
# The gripper


def path(ways: Sequence[tuple[float, Sequence[float], float]], dt: float, limit: int) -> Tensor:
    """Commands of `legs`: x, y, z, yaw and the gap `[limit + 1, 5]`, at the ends of decisions.

    Args:
        ways: Of each leg how long it takes [s], where it ends (x, y, z [m] of the hand, yaw [rad]),
            and what the fingers are told in it [m]. Legs begin and end at rest.
        dt: Of a decision [s].
        limit: How many there are; after the last leg the hand stays.

    Raises:
        ValueError: they take longer.
    """
    whole = sum(seconds for seconds, _, _ in ways)
    if whole > limit * dt + 1e-6:
        raise ValueError(f"The way takes {whole:.2f} s, and an episode has {limit * dt:.2f} s.")
    at = torch.tensor([0.0, 0.0, HEIGHT, 0.0])
    time = dt * torch.arange(limit + 1)
    place, gap = at.repeat(limit + 1, 1), torch.full((limit + 1, 1), OPEN)
    begun = 0.0
    for seconds, end, fingers in ways:
        way = torch.tensor([*end]) - at
        place = place + eased((time - begun) / max(seconds, 1e-6))[:, None] * way
        gap[time > begun + 1e-6] = fingers
        at, begun = torch.tensor([*end]), begun + seconds
    return torch.cat([place, gap], -1)


def driven(robot: Loaded, way: Tensor, dt: float) -> Tensor:
    """Actions `[T, 6]` under which the hand goes along a path `[T + 1, 5]`.

        u = x + (k_v x' + m x'' + m g) / k_p

    what the servos of the slides must be told to be at x, by the masses that they carry; for a
    command that is held in a decision x is taken in its middle.
    """
    actuators = robot.params.actuators
    gain, damping = actuators.gain[0, :4], -actuators.bias[0, :4, 2]
    first = robot.model.body("hand")
    mass = float(robot.params.bodies.mass[0, first : first + 3].sum())
    x = way[:, :4] - torch.tensor([0.0, 0.0, HEIGHT, 0.0])
    speed = x.diff(dim=0) / dt
    pull = torch.diff(speed, dim=0, prepend=torch.zeros(1, 4)) / dt * mass
    pull[:, 2] += 9.81 * mass
    pull[:, 3] = 0.0
    told = (x[1:] + x[:-1]) / 2 + (damping * speed + pull) / gain
    return commanded(robot, torch.cat([told, way[1:, 4:], way[1:, 4:]], -1))


# -------------------------------------------------------------------------------------------------
# Lift

LIMIT = 100


def _draw_lift(draw: Draw) -> dict[str, Any]:
    """A ball, can or block on a table, a place above it, cans beside it.

    Harder: further and higher, a smaller goal, a heavier and smoother thing, cans nearer to it.
    """
    shape = draw.one_of("ball", "can", "block")
    side = draw.harder(0.1, 0.28)
    start = [draw.between(-side, side) for _ in range(2)]
    goal = [draw.between(-side, side) for _ in range(2)]
    return {
        "shape": shape,
        "size": [draw.around(0.029, 0.05, 0.17) for _ in range(3)],
        "mass": draw.around(0.15, 0.1, 0.6),
        "friction": draw.between(draw.harder(0.8, 0.5), 1.0),
        "start": start,
        "turn": round(draw.between(-1, 1) * draw.harder(0.2, 0.75), 4),
        "goal": [*goal, draw.between(0.15, draw.harder(0.25, 0.4))],
        "near": draw.harder(0.03, 0.015),
        "cans": scattered(draw, [(start, start)], 0.13, draw.harder(0.4, 0.2), middle=start),
        "wander": draw.harder(0.01, 0.04),
    }


def _lift(numbers: Numbers) -> Scene:
    bounds = {"size": (0.02, 0.045), "mass": (0.02, 1.0), "friction": (0.3, 1.5)}
    require(numbers, {**bounds, "near": (1e-3, 0.2), "wander": (0.0, 0.2), "goal": (-0.45, 0.55)})
    size = size_of(numbers["shape"], numbers["size"])
    text = robots.gripper(friction=0.3, more=laid(numbers, size))
    robot = load(text)
    goal, wander = tuple(numbers["goal"]), numbers["wander"]
    return Scene(
        World(dt=DT, robot=robot, substeps=10),
        Bring(robot, "thing", named(robot, *PADS), goal, numbers["near"]),
        LIMIT,
        goals={"goal": around(goal, wander)},
        knobs=("robot_mass", "robot_friction"),
        spread=1.15,
        view=(-60.0, 25.0, 0.65),
        mjcf=text,
    )


def _plan_lift(model: Physics, numbers: Numbers) -> Tensor:
    """The hand comes down on the thing, closes, lifts it and carries it to the goal; how it hangs
    between the fingers is imagined, and aimed against."""
    robot = model.world.robot
    assert robot is not None
    goal = torch.tensor(numbers["goal"])
    (x, y), turn = numbers["start"], numbers["turn"]
    size = size_of(numbers["shape"], numbers["size"])
    middle, tight = size[-1], (size[1] if numbers["shape"] == "block" else size[0]) - PRESS
    aim, best, least = goal, torch.zeros(LIMIT, 6), torch.inf
    for _ in range(2):
        a, b, c = aim.tolist()
        ways = [
            (0.7, (x, y, middle + 0.1, turn), OPEN),
            (0.4, (x, y, middle, turn), OPEN),
            (0.3, (x, y, middle, turn), tight),
            (0.6, (x, y, max(c, 0.2), turn), tight),
            (0.8, (a, b, max(c, 0.2), turn), tight),
            (0.4, (a, b, c, turn), tight),
        ]
        plan = driven(robot, path(ways, DT, LIMIT), DT)
        away = goal - thing_at(robot, end_of(model, plan[None]), "thing")[0]
        if away.norm() < least:
            best, least = plan, away.norm()
        aim = aim + away.clamp(-0.03, 0.03)
    return best


LIFT = Kind(
    "grasp a thing and hold it at a place",
    ("rigid",),
    _draw_lift,
    _lift,
    _plan_lift,
)
