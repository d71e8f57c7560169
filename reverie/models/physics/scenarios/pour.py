"""Scenarios of liquids: pour.

Legend: `B` worlds, `N` particles, `T` decisions, `K` plans.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
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
from reverie.models.physics.scenarios.soft import body, filled, grounded
from reverie.models.physics.task import length
from reverie.physics import mpm
from reverie.physics.rigid import load
from reverie.physics.world import World, WorldState

DT, LIMIT = 0.04, 90
DX = 0.016
"""Grid spacing [m]."""
WALL = 0.02
"""Half the width of every wall [m]. Walls reach into each other at the corners: inside a box near
its end the nearest face, which pushes, is the end, and water under pressure creeps along there."""
REACH, TILT = 0.25, 2.4
"""What the servos of the cup reach from where it begins [m], [rad]."""
AHEAD, LOWER = 0.03, 0.06
"""Of the plan: how far before the middle of the bowl the lip is, and how far the tilted cup is let
down [m]."""

_CUP = Template("""<mujoco model="cup">
  <compiler angle="radian"/>
  <option timestep="0.001" gravity="0 0 0"/>
  <worldbody>
    <body name="cup" pos="$x 0 $z">
      <joint name="aside" type="slide" axis="1 0 0" damping="10"/>
      <joint name="up" type="slide" axis="0 0 1" damping="10"/>
      <joint name="tilt" type="hinge" axis="0 1 0" armature="0.01" damping="0.1"/>
      <geom type="box" pos="$middle 0 $under" size="$long $broad $w" mass="0.4"/>
      <geom type="box" pos="-$w 0 $low" size="$w $broad $tall" mass="0.15"/>
      <geom type="box" pos="$back 0 $low" size="$w $broad $tall" mass="0.15"/>
      <geom type="box" pos="$middle -$side $low" size="$long $w $tall" mass="0.15"/>
      <geom type="box" pos="$middle $side $low" size="$long $w $tall" mass="0.15"/>
    </body>
  </worldbody>
  <actuator>
    <position joint="aside" kp="2000" kv="90" ctrlrange="-$reach $reach"
              forcerange="-10 10"/>
    <position joint="up" kp="2000" kv="90" ctrlrange="-$reach $reach"
              forcerange="-10 10"/>
    <position joint="tilt" kp="30" kv="1.5" ctrlrange="-$most $most" forcerange="-0.6 0.6"/>
  </actuator>
</mujoco>
""")


def cup(lip: tuple[float, float], half: tuple[float, float], deep: float) -> str:
    """A cup without a weight, as MJCF, in three position servos: along x, along z, and about its
    lip, the outer edge of its wall at +x, which begins at (x, z) [m]. Their force is bounded, and
    with it their speed to 1 m/s and 6 rad/s: water that is hit harder flies off.

    Inside it has half widths `half` and is `deep` [m]; its walls are 2 `WALL` thick.
    """
    a, b = half
    return _CUP.substitute(
        x=lip[0],
        z=lip[1],
        a=a,
        w=WALL,
        middle=-2 * WALL - a,
        under=-deep - WALL,
        low=-deep / 2 - WALL,
        tall=deep / 2 + WALL,
        back=-3 * WALL - 2 * a,
        side=b + WALL,
        long=a + 2 * WALL,
        broad=b + 2 * WALL,
        reach=REACH,
        most=TILT,
    )


@dataclass(frozen=True)
class Poured:
    """Bring a share s of a liquid from a cup into a bowl, and leave the rest where it is.

    With d_i and e_i the distances of particle i from the inside of the bowl and the cup [m], and P
    the s N particles of the least d_i - e_i,

        reward = -1/N (sum_P d_i + sum_others e_i)

    so what is spilt costs its distance from both. Done where the share in the bowl is within
    `tolerance` of s, and at most `spill` is neither in the bowl nor in the cup (within `near`)."""

    lip: tuple[float, float]
    """(x, z) of the cup's lip at the start [m]."""
    inside: tuple[float, float, float]
    """Half widths of the cup, and its depth [m]."""
    bowl: tuple[float, float, float, float]
    """x of its middle, half widths, height [m]."""
    share: float
    """s, where no context is given."""
    tolerance: float
    spill: float
    near: float = 0.01
    """[m]"""

    @property
    def goals(self) -> Mapping[str, Space]:
        """`share` `[1]`."""
        return {"share": Space((1,), low=0.0, high=1.0)}

    def goal(self) -> Mapping[str, tuple[float, ...]]:
        """s."""
        return {"share": (self.share,)}

    def away(self, state: WorldState) -> tuple[Tensor, Tensor]:
        """d and e `[B, N]`."""
        x, q = state.matter.position, state.robot.position.unsqueeze(1)
        place, a, b, high = self.bowl
        d = _outside(x, (place, 0.0, high / 2), (a, b, high / 2))
        right, up = x[..., 0] - self.lip[0] - q[..., 0], x[..., 2] - self.lip[1] - q[..., 1]
        c, s = torch.cos(q[..., 2]), torch.sin(q[..., 2])
        own = torch.stack([c * right - s * up, x[..., 1], s * right + c * up], -1)
        a, b, deep = self.inside
        return d, _outside(own, (-2 * WALL - a, 0.0, -deep / 2), (a, b, deep / 2))

    def reward(
        self, before: WorldState, action: Tensor, after: WorldState, context: Mapping[str, Tensor]
    ) -> Tensor:
        """`[B]`."""
        d, e = self.away(after)
        rank = (d - e).argsort(-1).argsort(-1)
        return -torch.where(rank < context["share"] * d.shape[1], d, e).mean(-1)

    def shares(self, state: WorldState) -> tuple[Tensor, Tensor]:
        """The shares in the bowl and spilt, `[B]`."""
        d, e = self.away(state)
        there, spilt = d < self.near, (d >= self.near) & (e >= self.near)
        return there.to(d).mean(-1), spilt.to(d).mean(-1)

    def success(self, state: WorldState, context: Mapping[str, Tensor]) -> Tensor:
        """`[B]`."""
        there, spilt = self.shares(state)
        return ((there - context["share"][:, 0]).abs() <= self.tolerance) & (spilt <= self.spill)


def _outside(
    x: Tensor, middle: tuple[float, float, float], half: tuple[float, float, float]
) -> Tensor:
    """The distance of places `[B, N, 3]` from a box."""
    return length(((x - x.new_tensor(middle)).abs() - x.new_tensor(half)).clamp_min(0)) - 1e-4


def _draw_pour(draw: Draw) -> dict[str, Any]:
    """A cup and a bowl in front of it: further, higher, smaller where it is harder, and any share
    instead of about half."""
    wide = draw.harder(0.075, 0.06)
    return {
        "cup": [draw.around(0.038, 0.0, 0.1), draw.around(0.034, 0.0, 0.1), 0.08],
        "full": draw.between(0.45, 0.55),
        "lip": [0.0, draw.between(0.18, draw.harder(0.2, 0.25))],
        "bowl": [draw.between(0.13, draw.harder(0.15, 0.22)), wide, wide, 0.05],
        "viscosity": draw.between(0.01, draw.harder(0.05, 1.0)),
        "share": draw.between(draw.harder(0.5, 0.25), draw.harder(0.6, 0.8)),
        "tolerance": draw.harder(0.1, 0.05),
        "spill": draw.harder(0.1, 0.06),
        "wander": draw.harder(0.03, 0.1),
    }


def _pour(numbers: Numbers) -> Scene:
    bounds = {"cup": (0.03, 0.12), "full": (0.2, 0.9), "viscosity": (0.0, 5.0)}
    bounds |= {"share": (0.05, 0.95), "tolerance": (0.005, 0.3), "spill": (0.0, 0.5)}
    require(numbers, bounds)
    (a, b, deep), lip, bowl = numbers["cup"], tuple(numbers["lip"]), tuple(numbers["bowl"])
    half = (a - 0.006, b - 0.006, numbers["full"] * deep / 2)
    x, volume = filled("block", half, 300)
    x = x + torch.tensor([lip[0] - 2 * WALL - a, 0.0, lip[1] - deep + half[2] + 0.004])
    water = body(
        mpm.Kind.LIQUID,
        x,
        volume,
        density=1e3,
        stiffness=1e4,
        viscosity=numbers["viscosity"],
        dx=DX,
        dt=0.01 / 6,
    )
    place, p, q, high = bowl
    ends, sides = (WALL, q + 2 * WALL, high), (p + 2 * WALL, WALL, high)
    walls = [(place + s * (p + WALL), 0.0, 0.0) for s in (-1, 1)]
    walls += [(place, s * (q + WALL), 0.0) for s in (-1, 1)]
    text = cup(lip, (a, b), deep)
    world = World(
        dt=DT,
        ticks=4,
        robot=load(text),
        substeps=10,
        matter=water,
        obstacles=grounded(walls, [ends, ends, sides, sides]),
    )
    share = numbers["share"]
    return Scene(
        world,
        Poured(lip, (a, b, deep), bowl, share, numbers["tolerance"], numbers["spill"]),
        LIMIT,
        goals={"share": around((share,), numbers["wander"])},
        knobs=("gravity", "matter_mass"),
        spread=1.1,
        view=(-60.0, 32.0, 0.75),
        mjcf=text,
    )


def _tilted(numbers: Numbers, angle: Tensor) -> Tensor:
    """Plans `[K, T, 3]`: over the bowl, down and tilt to each angle `[K]` [rad], wait, back."""

    def ramp(first: int, last: int) -> Tensor:
        share = ((torch.arange(LIMIT) - first) / (last - first)).clamp(0, 1)
        return (1 - torch.cos(math.pi * share)) / 2

    tilt = (ramp(14, 46) - ramp(66, 80)) * angle[:, None]
    aside = ramp(0, 18) * (numbers["bowl"][0] - AHEAD - numbers["lip"][0])
    up = ramp(0, 18) * (0.18 - numbers["lip"][1]) - LOWER * (ramp(24, 44) - ramp(64, 76))
    ways = [(way / REACH).expand_as(tilt) for way in (aside, up)]
    return torch.stack([*ways, tilt / TILT], -1)


def _plan_pour(model: Physics, numbers: Numbers) -> Tensor:
    """Tilt as far as pours the share: an angle between those that were imagined to pour less and
    more, until one is within a third of the tolerance; then the best."""
    task, goal = model.task, float(numbers["share"])
    assert isinstance(task, Poured)
    tried: dict[float, tuple[float, float]] = {}
    angles = torch.linspace(0.9, 1.9, 4)
    for _ in range(3):
        shares = torch.stack(task.shares(end_of(model, _tilted(numbers, angles))), -1)
        for angle, (there, spilt) in zip(angles.tolist(), shares.tolist(), strict=True):
            tried[angle] = (there, abs(there - goal) + spilt)
        best = min(tried, key=lambda angle: tried[angle][1])
        if tried[best][1] < task.tolerance / 3:
            break
        angles = _between({a: there for a, (there, _) in tried.items()}, goal)
    return _tilted(numbers, torch.tensor([best]))[0]


def _between(shares: Mapping[float, float], goal: float) -> Tensor:
    """Angles `[3]` around where the share that is poured passes the goal, on a straight line."""
    angles = sorted(shares)
    after = next((k for k, angle in enumerate(angles) if shares[angle] >= goal), len(angles) - 1)
    low, high = angles[max(after - 1, 0)], angles[after]
    rise = max(shares[high] - shares[low], 1e-3)
    share = min(max((goal - shares[low]) / rise, 0.0), 2.0)
    return low + (high - low) * torch.tensor([share - 0.2, share, share + 0.2])


POUR = Kind(
    "tilt a cup so that a share of its water ends in a bowl, and none beside it",
    ("liquid", "rigid"),
    _draw_pour,
    _pour,
    _plan_pour,
)
