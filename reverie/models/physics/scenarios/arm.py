"""Scenarios of an arm over a table: reach a place among posts; and how the arm moves.

Legend: `T` decisions, `A` action.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from reverie.models.physics.model import Physics
from reverie.models.physics.scenarios.scenario import Draw, Kind, Numbers, Scene, around, require
from reverie.models.physics.scenarios.tasks import AWAY, Touch, aside, commanded, eased, named
from reverie.physics import robots
from reverie.physics.rigid import Loaded, load
from reverie.physics.world import World

DT = 0.04
SHOULDER = 0.26
"""Height of the first bend [m]."""

# -------------------------------------------------------------------------------------------------
# The arm


def bends(links: Sequence[float], place: Tensor, pitch: Tensor) -> tuple[Tensor, Tensor]:
    """Joint angles `[..., 4]` that bring the tip to `place` `[..., 3]`, its last link `pitch` below
    the horizon, and whether that is possible.

    With w where the last link begins, (r, d) its distance from the axis and below the shoulder:

        cos b = (r^2 + d^2 - l_0^2 - l_1^2) / (2 l_0 l_1)
        bend_0 = atan2(d, r) - atan2(l_1 sin b, l_0 + l_1 cos b)        bend_1 = b
        bend_2 = pitch - bend_0 - bend_1
    """
    one, two, three = links
    far = place[..., :2].square().sum(-1).sqrt() - three * pitch.cos()
    down = SHOULDER - place[..., 2] - three * pitch.sin()
    cosine = (far.square() + down.square() - one**2 - two**2) / (2 * one * two)
    b = cosine.clamp(-1, 1).acos()
    first = torch.atan2(down, far) - torch.atan2(two * b.sin(), one + two * b.cos())
    turn = torch.atan2(place[..., 1], place[..., 0]).expand_as(b)
    q = torch.stack([turn, first, b, pitch - first - b], -1)
    able = (cosine.abs() < 0.99) & (q[..., 1:].abs() < 2.3).all(-1) & (far > 0.05)
    elbow = SHOULDER - one * first.sin()
    return q, able & (elbow > 0.06) & (SHOULDER - down > 0.06)


def tip_at(links: Sequence[float], q: Tensor) -> Tensor:
    """Where joint angles `[..., 4]` bring the tip `[..., 3]` [m]; the inverse of `bends`."""
    slope, length_ = q[..., 1:].cumsum(-1), torch.tensor([*links])
    far, down = (slope.cos() * length_).sum(-1), (slope.sin() * length_).sum(-1)
    turn = q[..., 0]
    return torch.stack([far * turn.cos(), far * turn.sin(), SHOULDER - down], -1)


def any_bends(links: Sequence[float], place: Tensor) -> Tensor | None:
    """Joint angles `[4]` for a place `[3]`, the last link as near to 0.6 below the horizon as can
    be; None where it is out of reach."""
    pitch = 0.6 + torch.linspace(0, 1.8, 19)[:, None] * torch.tensor([1.0, -1.0])
    q, able = bends(links, place, pitch.flatten())
    return q[int(able.int().argmax())] if bool(able.any()) else None


def held(robot: Loaded, links: Sequence[float], q: Tensor) -> Tensor:
    """The command `[..., 4]` under which the arm rests at angles q `[..., 4]`.

        kp (u_i - q_i) = -g sum_{j >= i} m_j (r_j - r_i)

    r_j the distance of the middle of link j, r_i that of bend i, from the axis.
    """
    gain = robot.params.actuators.gain[0, 1:4]
    first = robot.model.body("link0")
    mass = robot.params.bodies.mass[0, first : first + 3]
    middle = robot.params.bodies.centre[0, first : first + 3, 0]
    slope = q[..., 1:].cumsum(-1).cos()
    out = slope * torch.tensor([*links])
    begin = out.cumsum(-1) - out
    load_ = mass * (begin + slope * middle)
    moment = load_.flip(-1).cumsum(-1).flip(-1) - begin * mass.flip(-1).cumsum(-1).flip(-1)
    return torch.cat([q[..., :1], q[..., 1:] - 9.81 * moment / gain], -1)


# -------------------------------------------------------------------------------------------------
# Reach


def polar(far: float, angle: float) -> list[float]:
    """x and y [m]."""
    return [round(far * math.cos(angle), 4), round(far * math.sin(angle), 4)]


LIMIT = 60
POST = 0.03
"""Radius [m]."""


def _draw_reach(draw: Draw) -> dict[str, Any]:
    """A place in front of the arm, further out and to the sides where it is harder, and up to three
    posts, 13 cm or more beside the planes in which the arm begins and is to end.

    Goals that no pose of the arm reaches are drawn again.
    """
    links = [draw.around(x, 0.0, 0.15) for x in (0.3, 0.25, 0.15)]
    while True:
        angle = draw.between(-1, 1) * draw.harder(0.6, 2.0)
        far = draw.between(0.3, draw.harder(0.4, 0.55))
        goal = [*polar(far, angle), draw.between(0.1, draw.harder(0.25, 0.5))]
        if any_bends(links, torch.tensor(goal)) is not None:
            break
    posts = [[AWAY, 0.2 * k - 0.2, 0.1] for k in range(3)]
    ways = [polar(1.0, 0.0), polar(1.0, angle)]
    for k in range(round(3 * draw.difficulty)):
        for _ in range(50):
            place = polar(draw.between(0.3, 0.5), 1.5 * angle * draw.between(0, 1))
            clear = min(aside(place, (0.0, 0.0), way) for way in ways)
            apart = min(math.dist(place, post[:2]) for post in posts)
            if clear > 0.13 and apart > 0.12:
                posts[k] = [*place, draw.between(0.15, draw.harder(0.2, 0.4))]
                break
    return {
        "goal": goal,
        "near": draw.harder(0.04, 0.02),
        "links": links,
        "gain": draw.around(60.0, 0.0, 0.2),
        "posts": posts,
        "wander": draw.harder(0.02, 0.05),
    }


def _reach(numbers: Numbers) -> Scene:
    bounds = {"near": (1e-3, 0.2), "links": (0.1, 0.5), "gain": (20.0, 200.0), "wander": (0.0, 0.2)}
    require(numbers, bounds)
    if any(not 0.05 <= post[2] <= 1.0 for post in numbers["posts"]):
        raise ValueError(f"Posts are 0.05 to 1 m high; they are {numbers['posts']}.")
    posts = ""
    for k, (x, y, high) in enumerate(numbers["posts"]):
        half = max(high / 2 - POST / 2, 1e-3)
        posts += robots.fixed(f"post{k}", "capsule", (POST, half), (x, y, half))
    text = robots.arm(links=tuple(numbers["links"]), gain=numbers["gain"], more=posts)
    robot = load(text)
    goal, wander = tuple(numbers["goal"]), numbers["wander"]
    return Scene(
        World(dt=DT, robot=robot, substeps=10),
        Touch(robot, named(robot, "tip")[0], goal, numbers["near"]),
        LIMIT,
        goals={"goal": around(goal, wander)},
        knobs=("robot_mass",),
        spread=1.15,
        view=(-60.0, 30.0, 0.75),
        mjcf=text,
    )


def _plan_reach(model: Physics, numbers: Numbers) -> Tensor:
    """The arm is lifted until it is upright, turned, and let down to the goal."""
    robot = model.world.robot
    assert robot is not None
    links = numbers["links"]
    end = any_bends(links, torch.tensor(numbers["goal"]))
    if end is None:
        raise ValueError(f"No pose of the arm reaches the goal {numbers['goal']}.")
    seconds = DT * torch.arange(1, LIMIT + 1)
    upright = torch.tensor([-math.pi / 2, 0.0, 0.0])
    lifted = eased(seconds / 0.8)[:, None] * upright
    let = eased((seconds - 1.05) / 0.8)[:, None]
    turned = eased((seconds - 0.65) / 0.6)[:, None] * end[:1]
    q = torch.cat([turned, lifted + let * (end[1:] - upright)], -1)
    return commanded(robot, held(robot, links, q))


REACH = Kind(
    "bring the tip of an arm to a place, around posts",
    ("rigid",),
    _draw_reach,
    _reach,
    _plan_reach,
)
