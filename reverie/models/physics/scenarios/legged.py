"""Scenarios of legs: a quadruped walks over ground to a goal line.

Legend: `B` worlds, `L` legs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from reverie.core import rollout, tree
from reverie.core.spec import Space
from reverie.models.physics.model import Physics, PhysicsState
from reverie.models.physics.scenarios.scenario import Draw, Kind, Numbers, Scene, around
from reverie.models.physics.task import up
from reverie.physics import robots
from reverie.physics.rigid import load
from reverie.physics.stepper import smooth
from reverie.physics.terrain import KINDS, Terrain, terrain
from reverie.physics.world import World, WorldState

DT = 0.02
LIMIT = 250
RAMP = 0.4
"""In which a gait reaches its pace [s]."""
BEYOND = 0.2
"""Of the line, where it stops [m]."""
WAY = 0.6
"""Where the trunk may be across [m], left and right."""
RANGES = (0.7, 1.2, 1.2)
"""Of the servos of roll, pitch and knee [rad]."""
OUT = 0.04
"""Of the thigh from the hip, outwards [m]."""


@dataclass(frozen=True, eq=False)
class Walk:
    """Bring a trunk across a line x = goal, on its feet.

        reward = x_{t+1} - x_t (none beyond the goal) - u (1 - up) - h (clear - stand)^2 - c |a|^2

    up is the share of the trunk's z axis along the world's, clear its height above the ground below
    it. Done where x is beyond the goal, |y| within the way, up above 0.8 and clear above stand / 2.
    """

    ground: Terrain
    line: float
    """x of the goal where no context is given [m]."""
    stand: float
    """[m]"""
    upright: float = 0.05
    """u [m]."""
    level: float = 0.2
    """h [1/m]."""
    effort: float = 1e-4
    """c [m]."""

    @property
    def goals(self) -> Mapping[str, Space]:
        """`goal` `[1]`, the x of the line [m]."""
        return {"goal": Space((1,), unit="m")}

    def goal(self) -> Mapping[str, tuple[float, ...]]:
        """The line."""
        return {"goal": (self.line,)}

    def clear(self, position: Tensor) -> Tensor:
        """Height of trunks `[B, 3..]` above the ground `[B]` [m]."""
        low, high = (torch.tensor(x).to(position) for x in (self.ground.low, self.ground.high))
        at = 2 * (position[:, :2] - low) / (high - low) - 1
        map_ = torch.tensor(self.ground.heights).to(position)[None, None]
        map_ = map_.expand(len(at), -1, -1, -1)
        below = functional.grid_sample(
            map_, at[:, None, None], padding_mode="border", align_corners=True
        )
        return position[:, 2] - below.flatten()

    def reward(
        self, before: WorldState, action: Tensor, after: WorldState, context: Mapping[str, Tensor]
    ) -> Tensor:
        """`[B]`."""
        line, q = context["goal"][:, 0], after.robot.position
        gained = torch.minimum(q[:, 0], line) - torch.minimum(before.robot.position[:, 0], line)
        low = self.level * (self.clear(q) - self.stand).square()
        return gained - self.upright * (1 - up(q)) - low - self.effort * action.square().sum(-1)

    def success(self, state: WorldState, context: Mapping[str, Tensor]) -> Tensor:
        """`[B]`."""
        q = state.robot.position
        there = (q[:, 0] > context["goal"][:, 0]) & (q[:, 1].abs() < WAY)
        return there & (up(q) > 0.8) & (self.clear(q) > 0.5 * self.stand)


def _draw_walk(draw: Draw) -> dict[str, Any]:
    """Ground whose relief grows with the difficulty, and a robot that differs from its like."""
    kind = draw.one_of(*KINDS)
    relief = {"slope": 3.3, "waves": 1.2, "steps": 1.8}.get(kind, 1.0)
    return {
        "ground": kind,
        "seed": draw.seed(),
        "relief": round(relief * draw.harder(0.01, 0.055), 4),
        "goal": draw.between(1.0, draw.harder(1.2, 1.6)),
        "leg": draw.around(0.38, 0.0, 0.12),
        "mass": draw.around(6.0, 0.0, 0.25),
        "friction": draw.around(0.9, 0.0, 0.25),
        "gain": draw.around(60.0, 0.0, 0.15),
        "wander": draw.harder(0.05, 0.2),
    }


def _walk(numbers: Numbers) -> Scene:
    goal, wander = numbers["goal"], numbers["wander"]
    if not 0 < goal + wander <= 2 or not 0 <= wander < goal:
        raise ValueError(
            f"The goal is {goal} m ahead and wanders by {wander} m; give a goal ahead, "
            "and at most 2 m with what it wanders."
        )
    ground = terrain(
        numbers["ground"], numbers["seed"], numbers["relief"], low=(-0.6, -WAY), high=(2.5, WAY)
    )
    text = robots.quadruped(
        leg=numbers["leg"],
        mass=numbers["mass"],
        gain=numbers["gain"],
        friction=numbers["friction"],
        terrain=ground,
        more=_posts(ground, goal),
    )
    robot = load(text)
    stand = float(robot.poses["default"].position[0, 2])
    world = World(dt=DT, robot=robot, substeps=5)
    return Scene(
        world,
        Walk(ground, goal, stand),
        LIMIT,
        goals={"goal": around((goal,), wander)},
        knobs=("robot_mass", "robot_friction"),
        spread=1.15,
        view=(-65.0, 22.0, 0.44),
        mjcf=text,
    )


def _posts(ground: Terrain, goal: float) -> str:
    """Two posts at the ends of the goal line, to be seen and not touched."""
    return "".join(
        f'<geom name="goal_{side}" type="cylinder" size="0.012 0.15" '
        f'pos="{goal} {y} {ground.at(goal, y) + 0.15:.4f}"/>'
        for side, y in (("left", 0.95 * WAY), ("right", -0.95 * WAY))
    )


class Trot(NamedTuple):
    """A gait `[B]`: diagonal legs step together, half a period after the others."""

    stride: Tensor
    """How far a foot goes back while it stands [m]."""
    lift: Tensor
    """How high it is lifted [m]."""
    period: Tensor
    """[s] of two steps."""
    high: Tensor
    """Of the hips above the feet, as a share of how high the robot stands at first."""
    lean: Tensor
    """How far feet go towards where the hips are above them when the trunk tilts, as a share."""


def angles(x: Tensor, y: Tensor, down: Tensor, leg: float, out: Tensor) -> Tensor:
    """Roll, pitch and knee `[..., 3]` [rad] that bring a foot to (x, out + y, -down) from its hip.

    The thigh begins at (0, out, 0) and turns with the roll. With d = sqrt((out + y)^2 + down^2 -
    out^2) and r = |(x, d)| in the plane of the leg, thigh and shin of leg / 2:

        roll = atan2(out + y, down) - atan2(out, d)      cos a = r / leg
        pitch = a - atan2(x, d) - pi/6                   knee = pi/3 - 2 a

    where a = pi/6 in the pose in which all angles are 0.
    """
    aside = out + y
    reach = (aside.square() + down.square() - out.square()).sqrt()
    roll = torch.atan2(aside, down) - torch.atan2(out, reach)
    bend = ((x.square() + reach.square()).sqrt() / leg).clamp(max=0.999).acos()
    pitch = bend - torch.atan2(x, reach) - math.pi / 6
    return torch.stack([roll, pitch, math.pi / 3 - 2 * bend], -1)


def steps(gait: Trot, time: float, leg: float, pace: Tensor, turn: Tensor, shift: Tensor) -> Tensor:
    """The action `[B, 12]` of a gait at a time [s].

    Args:
        gait: It.
        time: Since it began [s].
        leg: Its length [m].
        pace: Share of the stride `[B]`.
        turn: Left legs go this share of the stride less, right ones more `[B]`.
        shift: How far ahead and to the left of below their hips feet are [m] `[B, 2]`.
    """
    offset = torch.tensor([0.0, 0.5, 0.5, 0.0]).to(pace)  # fl fr rl rr
    left = torch.tensor([1.0, -1.0, 1.0, -1.0]).to(pace)
    phase = (time / gait.period[:, None] + offset) % 1.0
    stands = phase < 0.5
    share = torch.where(stands, 2 * phase, 2 * phase - 1)
    swing = smooth(share)
    along = torch.where(stands, 0.5 - share, swing - 0.5)
    reach = gait.stride * pace
    x = along * (reach[:, None] - left * (turn * gait.stride)[:, None]) + shift[:, :1]
    moved = torch.maximum(pace, turn.abs()).clamp(max=1.0)
    raised = (gait.lift * moved)[:, None] * (math.pi * share).sin().square()
    y = shift[:, 1:].expand_as(x)
    stance = (gait.high * math.cos(math.pi / 6) * leg)[:, None]
    wanted = angles(x, y, torch.where(stands, stance, stance - raised), leg, OUT * left)
    return (wanted / torch.tensor(RANGES).to(wanted)).flatten(1).clamp(-1, 1)


def _steered(gait: Trot, leg: float, line: float, state: PhysicsState, k: int) -> Tensor:
    """Feedback of heading and place on a gait: straight on, and stop behind the line `[B, A]`."""
    q = state.world.robot.position
    yaw = torch.atan2(
        2 * (q[:, 3] * q[:, 6] + q[:, 4] * q[:, 5]),
        1 - 2 * (q[:, 5].square() + q[:, 6].square()),
    )
    left = ((line + BEYOND - q[:, 0]) / 0.15).clamp(0, 1)
    pace = left * min(1.0, k * DT / RAMP)
    wanted = (-0.8 * q[:, 1]).clamp(-0.4, 0.4)
    turn = (wanted - yaw).clamp(-0.4, 0.4) * pace
    tilt = torch.stack(
        [q[:, 4] * q[:, 6] - q[:, 3] * q[:, 5], q[:, 5] * q[:, 6] + q[:, 3] * q[:, 4]], -1
    )
    shift = (-2 * tilt * (gait.lean * gait.high)[:, None] * leg).clamp(-0.08, 0.08)
    return steps(gait, k * DT, leg, pace, turn, shift)


def _gaits() -> Trot:
    """The variants that are tried."""
    every = torch.cartesian_prod(
        torch.tensor([0.16, 0.2, 0.24]),
        torch.tensor([0.08, 0.11, 0.14]),
        torch.tensor([0.26, 0.3, 0.36]),
        torch.tensor([0.9]),
        torch.tensor([0.0, 0.3, 0.6, 0.85]),
    )
    return Trot(*every.unbind(1))


@torch.no_grad()
def _plan_walk(model: Physics, numbers: Numbers) -> Tensor:
    """The best of all trots: each steers itself in the model, and what it did is the plan."""
    gaits, leg, line = _gaits(), numbers["leg"], numbers["goal"]
    begin = model.initial(len(gaits.stride))

    def act(state: PhysicsState, k: int) -> Tensor:
        return _steered(gaits, leg, line, state, k)[:, None]

    made = rollout.imagine(model, begin, act, (), steps=LIMIT)
    task = model.task
    assert isinstance(task, Walk)
    assert made.transition.reward is not None
    done = task.success(tree.select(made.states.world, -1), begin.context)
    score = made.transition.reward.sum(0) + 10.0 * done
    return made.actions[:, int(score.argmax()), 0]


WALK = Kind("walk over uneven ground to a line", ("rigid",), _draw_walk, _walk, _plan_walk)
