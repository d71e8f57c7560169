"""Scenarios of a gripper: throw a ball over a fence into a bin.

Legend: `B` variants, `T` decisions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reverie.core import rollout
from reverie.models.physics.model import Physics
from reverie.models.physics.scenarios.gripper import HEIGHT, OPEN, PADS, PRESS, driven, path
from reverie.models.physics.scenarios.scenario import Draw, Kind, Numbers, Scene, end_of, require
from reverie.models.physics.scenarios.tasks import Bring, joint_at, named
from reverie.physics import robots
from reverie.physics.rigid import load
from reverie.physics.world import World

DT, LIMIT = 0.02, 130
GRAVITY = 9.81
THICK = 0.008
"""Half of the walls of the bin [m]."""
BACK, LOW = 0.3, 0.22
"""Where the hand takes a run: behind the tee, and how high [m]."""
RUN, BRAKE = 0.34, 0.1
"""Ways on which it speeds up and stops [m]."""
READY = 1.2
"""When the run begins [s]."""


def _draw_throw(draw: Draw) -> dict[str, Any]:
    """A ball on a tee, and a bin in front of it.

    Harder: a smaller bin further away and to the side, a higher fence before it, a ball that is
    heavier or lighter.
    """
    return {
        "angle": round(draw.between(-1, 1) * draw.harder(0.4, 1.2), 4),
        "far": draw.between(0.65, draw.harder(0.8, 1.2)),
        "inside": draw.harder(0.1, 0.065),
        "wall": draw.between(0.07, 0.1),
        "fence": draw.between(0.02, draw.harder(0.05, 0.3)),
        "radius": draw.around(0.031, 0.03, 0.12),
        "mass": draw.around(0.1, 0.1, 0.5),
        "friction": draw.between(0.6, 1.0),
    }


def _bin(numbers: Numbers) -> tuple[str, tuple[float, float]]:
    """Its walls and the fence as MJCF, and where its middle is."""
    angle, far, inside = (numbers[name] for name in ("angle", "far", "inside"))
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = far * cos, far * sin
    high, out = numbers["wall"] / 2, inside + THICK
    boxes = [
        *(((side * out, 0.0, high), (THICK, out + THICK, high)) for side in (-1, 1)),
        *(((0.0, side * out, high), (out - THICK, THICK, high)) for side in (-1, 1)),
    ]
    fence = numbers["fence"] / 2
    boxes.append(((-0.5 * far + 0.17, 0.0, fence), (THICK, 0.25, fence)))
    text = ""
    for (along, aside, z), half in boxes:
        at = f"{x + cos * along - sin * aside:.5f} {y + sin * along + cos * aside:.5f} {z:.5f}"
        text += (
            f'<geom class="touch" type="box" pos="{at}" euler="0 0 {angle}" '
            f'size="{half[0]} {half[1]} {half[2]}"/>\n'
        )
    return text, (x, y)


def _throw(numbers: Numbers) -> Scene:
    bounds = {
        "far": (0.5, 2.0),
        "inside": (numbers["radius"] + 0.01, 0.2),
        "wall": (0.02, 0.3),
        "fence": (0.005, 0.5),
        "radius": (0.02, 0.045),
        "mass": (0.02, 1.0),
        "friction": (0.3, 1.5),
    }
    require(numbers, bounds)
    radius = numbers["radius"]
    walls, (x, y) = _bin(numbers)
    tee = HEIGHT - radius
    ball = robots.thing(
        "thing",
        "ball",
        (radius,),
        (0.0, 0.0, HEIGHT),
        mass=numbers["mass"],
        friction=numbers["friction"],
    )
    post = robots.fixed("tee", "box", (0.012, 0.012, tee / 2), (0.0, 0.0, tee / 2))
    text = robots.gripper(friction=0.3, more=ball + post + walls)
    robot = load(text)
    goal = (x, y, radius)
    return Scene(
        World(dt=DT, robot=robot, substeps=5),
        Bring(robot, "thing", named(robot, *PADS), goal, numbers["inside"], guide=0.0),
        LIMIT,
        knobs=("robot_mass", "gravity"),
        spread=1.03,
        view=(-60.0, 20.0, 0.9),
        mjcf=text,
    )


class Toss(NamedTuple):
    """How to throw."""

    speed: float
    """At the release [m/s]."""
    rise: float
    """Above the horizon [rad]."""
    angle: float
    """About z [rad]."""

    def run(self) -> tuple[Tensor, int]:
        """The path `[LIMIT + 1, 5]` of the hand without the fingers, and when they open.

        It speeds up evenly over RUN, s = v^2 t^2 / (4 RUN), and stops evenly over BRAKE.
        """
        time = DT * torch.arange(LIMIT + 1) - READY
        first, last = 2 * RUN / self.speed, 2 * BRAKE / self.speed
        fast = time.clamp(0, first)
        slow = (time - first).clamp(0, last)
        s = self.speed**2 / (4 * RUN) * fast.square()
        s = s + self.speed * slow - self.speed**2 / (4 * BRAKE) * slow.square()
        along = s * math.cos(self.rise)
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        moved = torch.stack([along * cos, along * sin, s * math.sin(self.rise), 0 * s], -1)
        return moved, int((READY + first) / DT)

    def path(self, tight: float) -> Tensor:
        """Grasp, lift, take a run, let go `[LIMIT + 1, 5]`; `tight` is what fingers are told."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        back = (-BACK * cos, -BACK * sin)
        ways = [
            (0.3, (0.0, 0.0, HEIGHT, self.angle), tight),
            (0.25, (0.0, 0.0, HEIGHT + 0.08, self.angle), tight),
            (0.3, (*back, HEIGHT + 0.08, self.angle), tight),
            (0.25, (*back, LOW, self.angle), tight),
        ]
        way = path(ways, DT, LIMIT)
        moved, free = self.run()
        way[:, :4] += moved
        way[free:, 4] = OPEN
        return way


def landing(position: Tensor, velocity: Tensor, height: float) -> Tensor:
    """Where what flies freely comes down to a height, x and y `[B, 2]` [m]."""
    rise = velocity[:, 2]
    drop = (position[:, 2] - height).clamp(min=0)
    time = (rise + (rise.square() + 2 * GRAVITY * drop).sqrt()) / GRAVITY
    return position[:, :2] + time[:, None] * velocity[:, :2]


def _tossed(
    model: Physics, tosses: Sequence[Toss], radius: float, rim: float
) -> tuple[Tensor, Tensor]:
    """The plans `[B, T, A]`, and where the ball comes down to the rim, or would `[B, 2]`."""
    robot = model.world.robot
    assert robot is not None
    plans = torch.stack([driven(robot, t.path(radius - PRESS), DT) for t in tosses])
    after = [t.run()[1] + 5 for t in tosses]
    acts = plans[:, : max(after)].transpose(0, 1).unsqueeze(2)
    made = rollout.imagine(model, model.initial(len(plans)), acts, ()).states.world.robot
    rows, at = torch.tensor(after) - 1, joint_at(robot, "thing")
    every = torch.arange(len(plans))
    speed = next(j.velocity for j in robot.model.joints if j.name == "thing")
    q, v = made.position[rows, every, at : at + 3], made.velocity[rows, every, speed : speed + 3]
    return plans, landing(q, v, rim)


@torch.no_grad()
def _plan_throw(model: Physics, numbers: Numbers) -> Tensor:
    """Throws of several rises, whose speed and direction are corrected by where the ball would come
    down to the rim; of those, a little slower and faster too, the one that ends nearest to the
    middle when it is imagined to the end."""
    _, middle = _bin(numbers)
    goal, radius = torch.tensor(middle), numbers["radius"]
    far, angle = float(goal.norm()), numbers["angle"]
    tosses = []
    for rise in (0.6, 0.8, 1.0, 1.15):
        out = far + BACK - RUN * math.cos(rise)
        drop = LOW + RUN * math.sin(rise) - radius
        needed = 2 * math.cos(rise) ** 2 * (drop + out * math.tan(rise))
        tosses.append(Toss(out * (GRAVITY / needed) ** 0.5, rise, angle))
    for _ in range(3):
        _, there = _tossed(model, tosses, radius, numbers["wall"])
        better = []
        for toss, place in zip(tosses, there, strict=True):
            short = (far - float(place.norm())) / (far + BACK)
            turn = angle - math.atan2(float(place[1]), float(place[0]))
            speed = min(4.0, max(1.0, toss.speed * (1 + 0.6 * short)))
            better.append(Toss(speed, toss.rise, toss.angle + turn))
        tosses = better
    tried = [t._replace(speed=t.speed * f) for t in tosses for f in (0.98, 1.0, 1.02)]
    plans, _ = _tossed(model, tried, radius, numbers["wall"])
    at = joint_at(model.world.robot, "thing") if model.world.robot else 0
    last = end_of(model, plans).robot.position[:, at : at + 3]
    away = (last - torch.tensor([*middle, radius])).norm(dim=-1)
    return plans[int(away.argmin())]


THROW = Kind(
    "throw a ball over a fence into a bin",
    ("rigid",),
    _draw_throw,
    _throw,
    _plan_throw,
)
