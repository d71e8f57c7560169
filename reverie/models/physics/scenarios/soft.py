"""Scenarios of soft bodies: squeeze; and what those of clay and liquids are built from.

Legend: `B` worlds, `N` particles, `H` hands, `T` decisions, `A` action.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reverie.core.spec import Space
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
from reverie.models.physics.task import length
from reverie.physics import mpm
from reverie.physics.mpm import MPMParams
from reverie.physics.mpm.material import at_rest, lame
from reverie.physics.tools import Shape, Tools
from reverie.physics.world import Hands, Matter, World, WorldState

Triple = Sequence[float]
GRAVITY = 9.81
"""[m/s^2]"""

# -------------------------------------------------------------------------------------------------
# What worlds are built from


def filled(shape: str, half: Triple, count: int) -> tuple[Tensor, float]:
    """`count` places `[N, 3]` on an even lattice in a block, ball (ellipsoid) or drum (its axis is
    z) of half widths `half` [m] about 0, and the volume of each [m^3].

    Of the lattices with about one place for each the one that has the fewest too many, and those
    left out evenly.

    Raises:
        ValueError: there is no such shape.
    """
    shares = {"block": 8.0, "ball": 4 / 3 * math.pi, "drum": 2 * math.pi}
    if shape not in shares:
        raise ValueError(f"A soft body is one of {', '.join(shares)}; got {shape!r}.")
    volume = shares[shape] * half[0] * half[1] * half[2] / count
    most = [max(1, int(2 * a / volume ** (1 / 3))) for a in half]
    found = [
        _lattice(shape, sides) for sides in itertools.product(*(range(n, n + 4) for n in most))
    ]
    unit = min((x for x in found if len(x) >= count), key=len)
    kept = torch.linspace(0, len(unit) - 1, count, dtype=torch.float64).round().long()
    return (unit[kept] * torch.tensor([*half], dtype=torch.float64)).float(), volume


def _lattice(shape: str, sides: Sequence[int]) -> Tensor:
    """Places `[M, 3]` of so many along each side, within a solid of half widths 1."""
    axes = [(torch.arange(n, dtype=torch.float64) + 0.5) * 2 / n - 1 for n in sides]
    unit = torch.cartesian_prod(*axes)
    if shape == "block":
        return unit
    flat = unit if shape == "ball" else unit[:, :2]
    return unit[flat.norm(dim=-1) <= 1]


def body(
    kind: mpm.Kind,
    position: Tensor,
    volume: float,
    *,
    density: float,
    stiffness: float,
    dx: float,
    dt: float,
    limit: float = 0.0,
    viscosity: float = 0.0,
) -> Matter:
    """Particles `[N, 3]` of one material; `stiffness` [Pa] is Young's modulus (Poisson's ratio is
    0.3), or the bulk modulus of a liquid."""
    one = torch.ones(1, len(position))
    if kind == mpm.Kind.LIQUID:
        mu, lam = 0 * one, stiffness * one
    else:
        mu, lam = lame(stiffness * one, 0.3 * one)
    cells = volume * one
    gravity = torch.tensor([[0.0, 0.0, -GRAVITY]])
    params = MPMParams(density * cells, cells, mu, lam, limit * one, viscosity * one, gravity)
    kinds = torch.full((len(position),), int(kind))
    return Matter(kinds, params, at_rest(position[None], kinds), dx=dx, dt=dt)


def solids(
    places: Sequence[Triple],
    halves: Sequence[Triple],
    friction: float,
    turns: Sequence[Triple] | None = None,
) -> Tools:
    """Tools at rest `[1, H, ...]`: boxes of half widths, or what `Shape` says of others; turns are
    quaternions wxyz."""
    place = torch.tensor([[[*x] for x in places]])
    turn = torch.tensor([[[*x] for x in turns or [(1.0, 0.0, 0.0, 0.0)] * len(places)]])
    still = torch.zeros_like(place)
    extent = torch.tensor([[[*x] for x in halves]])
    return Tools(place, turn, still, still, extent, torch.full_like(still[..., 0], friction))


def grounded(
    places: Sequence[Triple] = (), halves: Sequence[Triple] = (), friction: float = 0.5
) -> tuple[tuple[Shape, ...], Tools]:
    """The floor z = 0, and boxes on it."""
    made = solids([(0.0, 0.0, 0.0), *places], [(1.0, 1.0, 1.0), *halves], friction)
    return (Shape.PLANE, *[Shape.BOX] * len(places)), made


def legs(points: Tensor, speed: float, dt: float, limit: int) -> Tensor:
    """Actions `[T, 3 H]` that bring hands through `points` `[K, H, 3]` [m], and then to rest.

    Each leg begins and ends slowly, x = (1 - cos(pi k / n)) / 2 of the way after k of n decisions,
    and takes as few as `speed` [m/s] lets it.

    Raises:
        ValueError: it takes more than `limit` decisions.
    """
    steps = []
    for way in points.diff(dim=0).flatten(1):
        count = max(1, math.ceil(math.pi / 2 * float(way.abs().max()) / (speed * dt)))
        share = (1 - torch.cos(math.pi * torch.arange(count + 1) / count)) / 2
        steps.append(share.diff()[:, None] * way)
    found = torch.cat(steps) / (speed * dt)
    if len(found) > limit:
        raise ValueError(f"The way takes {len(found)} decisions, and an episode has {limit}.")
    return torch.cat([found, found.new_zeros(limit - len(found), found.shape[1])])


# -------------------------------------------------------------------------------------------------
# Squeeze


@dataclass(frozen=True)
class Carried:
    """Bring matter to a goal with hands: r = -|m - goal| - g mean_h |hand_h - m| - c |a|^2, with m
    the mean of its particles; done where |m - goal| < near."""

    target: tuple[float, ...]
    """[m]"""
    near: float
    """[m]"""
    grip: float = 0.2
    """g."""
    effort: float = 1e-3
    """c."""

    @property
    def goals(self) -> Mapping[str, Space]:
        """`goal` `[3]` [m]."""
        return {"goal": Space((3,), unit="m")}

    def goal(self) -> Mapping[str, tuple[float, ...]]:
        """The target."""
        return {"goal": self.target}

    def reward(
        self, before: WorldState, action: Tensor, after: WorldState, context: Mapping[str, Tensor]
    ) -> Tensor:
        """`[B]`."""
        middle = after.matter.position.mean(1)
        away = length(after.hands.place - middle.unsqueeze(1)).mean(1)
        effort = self.effort * action.square().sum(-1)
        return -length(middle - context["goal"]) - self.grip * away - effort

    def success(self, state: WorldState, context: Mapping[str, Tensor]) -> Tensor:
        """`[B]`."""
        return length(state.matter.position.mean(1) - context["goal"]) < self.near


SPEED, DT, LIMIT = 0.4, 0.04, 100
HAND = (0.03, 0.019, 0.025)
STEP = 0.03
"""Half its length [m]."""
GRIPS = (0.75, 0.6, 0.45)
"""What is left of a body's width between the hands."""


def _draw_squeeze(draw: Draw) -> dict[str, Any]:
    """A soft body at x = 0 between two hands, a step behind it, and beyond that a stand.

    Harder: a higher step and stand, a heavier, softer body in smoother hands, a wider range."""
    half = [draw.around(0.036, 0.05, 0.15) for _ in range(3)]
    step = round(max(0.0, draw.between(draw.harder(-0.04, 0.02), draw.harder(0.0, 0.07))), 4)
    far = draw.between(0.2, draw.harder(0.23, 0.3))
    return {
        "shape": draw.one_of("block", "ball", "drum"),
        "half": half,
        "law": draw.one_of("neo-hookean", "corotated"),
        "stiffness": draw.between(draw.harder(2e4, 1.2e4), 3e4, 0),
        "density": draw.between(600, draw.harder(700, 1000), 0),
        "friction": draw.between(draw.harder(0.9, 0.6), 1.0),
        "step": step,
        "hands": [draw.between(-1, 1) * draw.harder(0.01, 0.04) for _ in range(4)],
        "goal": [far, round(draw.between(-1, 1) * draw.harder(0.02, 0.1), 4)],
        "stand": draw.between(0.005, draw.harder(0.02, 0.08)),
        "near": draw.harder(0.03, 0.015),
        "wander": draw.harder(0.01, 0.03),
    }


def _squeeze(numbers: Numbers) -> Scene:
    bounds = {
        "half": (0.025, 0.05),
        "stiffness": (5e3, 3.2e4),
        "density": (500.0, 2e3),
        "friction": (0.0, 2.0),
        "step": (0.0, 0.09),
        "stand": (0.0, 0.1),
        "near": (1e-3, 0.1),
        "wander": (0.0, 0.1),
    }
    require(numbers, bounds)
    laws = {"neo-hookean": mpm.Kind.NEO_HOOKEAN, "corotated": mpm.Kind.COROTATED}
    if numbers["law"] not in laws:
        raise ValueError(f"The law is one of {', '.join(laws)}; got {numbers['law']!r}.")
    half, goal = numbers["half"], _goal(numbers)
    x, volume = filled(numbers["shape"], half, 400)
    matter = body(
        laws[numbers["law"]],
        x + torch.tensor([0.0, 0.0, half[2] + 0.002]),
        volume,
        density=numbers["density"],
        stiffness=numbers["stiffness"],
        dx=0.02,
        dt=8e-4,
    )
    boxes = [((goal[0], goal[1], numbers["stand"] - 0.05), (0.045, 0.045, 0.05))]
    if numbers["step"]:
        boxes.append(((0.11, 0.0, numbers["step"] - 0.05), (STEP, 0.13, 0.05)))
    world = World(
        dt=DT,
        matter=matter,
        hands=Hands(
            (Shape.BOX, Shape.BOX),
            solids(_hands(numbers).tolist(), [HAND] * 2, numbers["friction"]),
            speed=SPEED,
        ),
        obstacles=grounded(*zip(*boxes, strict=True)),
    )
    wander = numbers["wander"]
    return Scene(
        world,
        Carried(goal, numbers["near"]),
        LIMIT,
        goals={"goal": around(goal, wander, wander, 0.0)},
        knobs=("matter_mass", "matter_stiffness", "tool_friction"),
        spread=1.15,
        view=(-65.0, 25.0, 0.75),
    )


def _goal(numbers: Numbers) -> tuple[float, ...]:
    """The middle of the body where it is on the stand."""
    return (*numbers["goal"], numbers["stand"] + numbers["half"][2] + 0.005)


def _hands(numbers: Numbers) -> Tensor:
    """Where they begin `[H, 3]`: beside the body, a little off."""
    half, off = numbers["half"], numbers["hands"]
    out = half[1] + HAND[1] + 0.05
    up = max(half[2], HAND[2])
    return torch.tensor(
        [[off[0], -out, up + abs(off[1])], [off[2], out, up + abs(off[3])]], dtype=torch.float32
    )


def _ways(numbers: Numbers, aim: Tensor, grip: float) -> Tensor:
    """Places of the hands `[K, H, 3]`: from both sides, in until the body is `grip` as wide as it
    was, up, over the step, and to `aim`."""
    half = numbers["half"]
    middle = torch.tensor([0.0, 0.0, max(half[2], HAND[2])])
    high = max(numbers["step"], numbers["stand"]) + 0.035 + float(middle[2])
    close = grip * half[1] + HAND[1]
    out = torch.tensor([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
    wide = half[1] + HAND[1] + 0.02
    top = torch.stack([middle[0], middle[1], torch.tensor(high)])
    over = torch.stack([aim[0], aim[1], torch.tensor(high)])
    centres = [(middle, wide), (middle, close), (top, close), (over, close), (aim, close)]
    return torch.stack([_hands(numbers), *(c + w * out for c, w in centres)])


def _plan_squeeze(model: Physics, numbers: Numbers) -> Tensor:
    """Both hands close on the body, lift it over the step, and carry it to the goal: the best of
    several grips, whose sagging and slipping is imagined, and aimed against."""
    goal = torch.tensor(_goal(numbers))
    aims = goal.repeat(len(GRIPS), 1)
    best, least = torch.zeros(LIMIT, 6), math.inf
    for _ in range(2):
        ways = [_ways(numbers, aim, grip) for aim, grip in zip(aims, GRIPS, strict=True)]
        plans = torch.stack([legs(way, SPEED, DT, LIMIT) for way in ways])
        away = goal - end_of(model, plans).matter.position.mean(1)
        first = int(away.norm(dim=-1).argmin())
        if away[first].norm() < least:
            best, least = plans[first], float(away[first].norm())
        if least < numbers["near"] / 3:
            break
        aims = aims + away.clamp(-0.02, 0.02)
    return best


SQUEEZE = Kind(
    "squeeze a soft body between two hands, and carry it over a step onto a stand",
    ("soft",),
    _draw_squeeze,
    _squeeze,
    _plan_squeeze,
)
