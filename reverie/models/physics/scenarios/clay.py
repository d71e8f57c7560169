"""Scenarios of clay, which keeps the shape that it is given: cut, mould.

Legend: `B` worlds, `N` particles, `H` hands, `T` decisions, `K` way points or plans.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
from reverie.models.physics.scenarios.soft import body, filled, grounded, legs, solids
from reverie.models.physics.task import length
from reverie.physics import mpm
from reverie.physics.tools import Shape
from reverie.physics.world import Hands, World, WorldState

SPEED, DT, LIMIT = 0.3, 0.04, 100
DX = 0.016
"""Grid spacing [m]."""
BOUNDS = {"stiffness": (1e4, 4.2e4), "limit": (500.0, 5e3), "density": (800.0, 2e3)}


def _lump(numbers: Numbers, position: Tensor, volume: float) -> Any:
    return body(
        mpm.Kind.VON_MISES,
        position,
        volume,
        density=numbers["density"],
        stiffness=numbers["stiffness"],
        limit=numbers["limit"],
        dx=DX,
        dt=8e-4,
    )


def _clay(draw: Draw) -> dict[str, float]:
    """Stiffer against flowing where it is harder."""
    return {
        "stiffness": draw.between(3e4, 4e4, 0),
        "limit": draw.between(1e3, draw.harder(1.2e3, 2.5e3), 0),
        "density": draw.between(1000, 1400, 0),
    }


# -------------------------------------------------------------------------------------------------
# Cut


@dataclass(frozen=True)
class Parted:
    """Part matter in two along d, so that a share s of it lies below a gap of at least g.

    With y_1 <= .. <= y_N the particles' places along d, and m those that may stay in the gap,

        gap    = max { y_(k+m) - y_k : |k / N - s| <= tolerance }
        u      = clamp(1 - gap / g, 0, 1)
        reward = -u (1 + |e - p| / l) - c |a|^2      done where u = 0

    e is the edge of the blade, p the place at y_(sN) on the floor, l a length: the way to begin."""

    along: tuple[float, float]
    """d, a unit vector in the plane."""
    gap: float
    """g [m]; from three spacings of the grid on, no node hears of both parts."""
    share: float
    """s, where no context is given."""
    tolerance: float
    edge: float
    """How far below the middle of the blade its edge is [m]."""
    size: float = 0.2
    """l [m]."""
    stray: float = 0.01
    """m / N."""
    effort: float = 1e-3
    """c."""

    @property
    def goals(self) -> Mapping[str, Space]:
        """`share` `[1]`."""
        return {"share": Space((1,), low=0.0, high=1.0)}

    def goal(self) -> Mapping[str, tuple[float, ...]]:
        """s."""
        return {"share": (self.share,)}

    def lack(self, state: WorldState, context: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """u `[B]`, and y_(sN) `[B]`."""
        x = state.matter.position
        along = (x[..., :2] * x.new_tensor(self.along)).sum(-1).sort(-1).values
        count = along.shape[1]
        strays = 1 + round(self.stray * count)
        gaps = along[:, strays:] - along[:, :-strays]
        below = (torch.arange(gaps.shape[1]).to(x) + 0.5 * strays + 0.5) / count
        near = (below - context["share"]).abs() <= self.tolerance
        gap = torch.where(near, gaps, 0).amax(-1)
        at = (context["share"] * count).long().clamp(0, count - 1)
        return (1 - gap / self.gap).clamp(0, 1), along.gather(1, at)[:, 0]

    def reward(
        self, before: WorldState, action: Tensor, after: WorldState, context: Mapping[str, Tensor]
    ) -> Tensor:
        """`[B]`."""
        lack, at = self.lack(after, context)
        d = action.new_tensor(self.along)
        across = torch.stack([-d[1], d[0]])
        aside = (after.matter.position[..., :2].mean(1) * across).sum(-1)
        place = torch.cat([at[:, None] * d + aside[:, None] * across, 0 * at[:, None]], -1)
        edge = after.hands.place[:, 0] - action.new_tensor([0.0, 0.0, self.edge])
        way = length(edge - place) / self.size
        return -lack * (1 + way) - self.effort * action.square().sum(-1)

    def success(self, state: WorldState, context: Mapping[str, Tensor]) -> Tensor:
        """`[B]`."""
        return self.lack(state, context)[0] <= 0


WEDGE = 0.022
"""Half the side of the square prism that stands on its edge [m]."""
EDGE = WEDGE * math.sqrt(2)
SWEEPS = ((0.06, -0.04), (0.04, -0.06, 0.02), (0.07, -0.05), (0.06, -0.07, 0.04))
"""Where the blade is moved to one after the other, on both sides of the cut [m]."""


def _draw_cut(draw: Draw) -> dict[str, Any]:
    """A loaf, at an angle to the blade where it is harder; parts alike where it is easy."""
    return {
        "half": [draw.around(0.1, 0.0, 0.1), draw.around(0.032, 0.0, 0.1), 0.024],
        "yaw": draw.between(-1, 1) * draw.harder(0.2, 0.6),
        "skew": draw.between(-1, 1) * draw.harder(0.0, 0.3),
        "share": draw.between(0.5 - draw.harder(0.03, 0.15), 0.5 + draw.harder(0.03, 0.15)),
        "tolerance": draw.harder(0.08, 0.04),
        "gap": draw.between(0.05, draw.harder(0.055, 0.07)),
        "wander": draw.harder(0.02, 0.05),
        "hand": [draw.between(-0.05, 0.05), draw.between(-0.02, 0.02), draw.between(0.1, 0.12)],
        **_clay(draw),
    }


def _on_edge(yaw: float) -> tuple[float, ...]:
    """An eighth turn about y, then by `yaw` about z."""
    c, s = math.cos(yaw / 2), math.sin(yaw / 2)
    along, over = math.cos(math.pi / 8), math.sin(math.pi / 8)
    return c * along, -s * over, c * over, s * along


def _cut(numbers: Numbers) -> Scene:
    bounds = {"half": (0.015, 0.15), "share": (0.3, 0.7), "tolerance": (0.01, 0.2)}
    bounds |= {"gap": (0.048, 0.15), "wander": (0.0, 0.1), **BOUNDS}
    require(numbers, bounds)
    half, yaw = numbers["half"], numbers["yaw"]
    x, volume = filled("block", half, 1000)
    turn = yaw + numbers["skew"]
    d = torch.tensor([math.cos(turn), math.sin(turn)])
    axes = torch.tensor([[d[0], d[1], 0.0], [-d[1], d[0], 0.0], [0.0, 0.0, 1.0]])
    x = x @ axes + torch.tensor([0.0, 0.0, half[2] + 0.002])
    blade = solids([numbers["hand"]], [(WEDGE, 0.07, WEDGE)], 0.1, [_on_edge(yaw)])
    world = World(
        dt=DT,
        matter=_lump(numbers, x, volume),
        hands=Hands((Shape.BOX,), blade, speed=SPEED),
        obstacles=grounded(friction=0.6),
    )
    task = Parted(
        (math.cos(yaw), math.sin(yaw)), numbers["gap"], numbers["share"], numbers["tolerance"], EDGE
    )
    return Scene(
        world,
        task,
        LIMIT,
        goals={"share": around((numbers["share"],), numbers["wander"])},
        knobs=("matter_mass", "matter_limit"),
        spread=1.15,
        view=(-65.0, 38.0, 0.8),
    )


def _plan_cut(model: Physics, numbers: Numbers) -> Tensor:
    """Down to the floor where the share is to end, to both sides to push the parts away, and up:
    of several sweeps the one that is seen to be the best.

    The flank of a wedge slides over the lowest clay at the first sweep; the second takes it along.
    """
    yaw, share = numbers["yaw"], numbers["share"]
    along = torch.tensor([math.cos(yaw), math.sin(yaw), 0.0])
    up = torch.tensor([0.0, 0.0, 1.0])
    at = (2 * share - 1) * numbers["half"][0] * math.cos(numbers["skew"]) * along
    first = along if share > 0.5 else -along
    down, plans = (EDGE - 0.004) * up, []
    for sweep in SWEEPS:
        ways = [torch.tensor(numbers["hand"]), at + (EDGE + 0.06) * up, at + down]
        ways += [at + away * first + down for away in (*sweep, 0.5 * sweep[-1])]
        ways += [ways[-1] + 0.08 * up]
        plans.append(legs(torch.stack(ways)[:, None], SPEED, DT, LIMIT))
    task = model.task
    assert isinstance(task, Parted)
    shares = torch.full((len(plans), 1), share)
    lack, _ = task.lack(end_of(model, torch.stack(plans)), {"share": shares})
    return plans[int(lack.argmin())]


CUT = Kind(
    "part a loaf of clay with a blade, so that a share of it ends on each side of a gap",
    ("clay",),
    _draw_cut,
    _cut,
    _plan_cut,
)

# -------------------------------------------------------------------------------------------------
# Mould


@dataclass(frozen=True)
class Moulded:
    """Press matter into a box.

    With d_i the distance of particle i from the box [m] and m the mean of the particles,

        reward = -mean_i d_i - g |hand - m| - c |a|^2      done where d_i < near for a share of all

    Clay keeps its volume, so what is in the box fills it."""

    middle: tuple[float, ...]
    """[m]"""
    half: tuple[float, ...]
    """[m]"""
    near: float
    """[m]"""
    share: float
    grip: float = 0.02
    """g."""
    effort: float = 1e-3
    """c."""

    @property
    def goals(self) -> Mapping[str, Space]:
        """None: the box is where it is."""
        return {}

    def goal(self) -> Mapping[str, tuple[float, ...]]:
        """None."""
        return {}

    def away(self, state: WorldState) -> Tensor:
        """d `[B, N]`."""
        x = state.matter.position
        return length(
            ((x - x.new_tensor(self.middle)).abs() - x.new_tensor(self.half)).clamp_min(0)
        )

    def reward(
        self, before: WorldState, action: Tensor, after: WorldState, context: Mapping[str, Tensor]
    ) -> Tensor:
        """`[B]`."""
        hand = length(after.hands.place[:, 0] - after.matter.position.mean(1))
        effort = self.effort * action.square().sum(-1)
        return -self.away(after).mean(-1) - self.grip * hand - effort

    def success(self, state: WorldState, context: Mapping[str, Tensor]) -> Tensor:
        """`[B]`."""
        return (self.away(state) < self.near).to(state.matter.position).mean(-1) >= self.share


RIM = 0.02
"""Half the width of the walls [m]."""
PRESS = 0.02
"""Half the height of the press [m]."""


def _draw_mould(draw: Draw) -> dict[str, Any]:
    """A mould without a lid, and in it a lump that is higher than the mould: in its middle, under a
    press that is as large where it is easy; off its middle, under a smaller press where not."""
    half = [draw.around(0.055, 0.05, 0.15), draw.around(0.042, 0.05, 0.15)]
    lump = draw.one_of("block", "ball", "drum")
    least = 0.8 if lump == "ball" else draw.harder(0.7, 0.62)
    return {
        "half": half,
        "depth": draw.between(0.034, 0.042),
        "fill": draw.between(0.75, draw.harder(0.78, 0.85)),
        "lump": lump,
        "foot": [draw.between(least, least + 0.05) for _ in range(2)],
        "off": [round(draw.between(-1, 1) * draw.harder(0.1, 0.7), 4) for _ in range(2)],
        "press": [draw.between(draw.harder(0.95, 0.7), draw.harder(1.0, 0.85)) for _ in range(2)],
        "hand": [draw.between(-0.03, 0.03), draw.between(-0.03, 0.03), draw.between(0.02, 0.04)],
        "share": draw.harder(0.9, 0.95),
        **_clay(draw),
    }


def _lump_half(numbers: Numbers) -> list[float]:
    """Half widths of the lump, whose volume fills a share of the mould."""
    half, depth = numbers["half"], numbers["depth"]
    x, y = (share * side for share, side in zip(numbers["foot"], half, strict=True))
    part = {"block": 8.0, "ball": 4 / 3 * math.pi, "drum": 2 * math.pi}.get(numbers["lump"], 8.0)
    return [x, y, numbers["fill"] * 4 * half[0] * half[1] * depth / (part * x * y)]


def _off(numbers: Numbers) -> list[float]:
    """Where the middle of the lump begins [m]."""
    sides = zip(numbers["off"], numbers["half"], _lump_half(numbers), strict=False)
    return [off * (half - own) for off, half, own in sides]


def _mould(numbers: Numbers) -> Scene:
    bounds = {"half": (0.03, 0.08), "depth": (0.03, 0.05), "fill": (0.5, 0.95), "foot": (0.3, 0.95)}
    bounds |= {"off": (-1.0, 1.0), "press": (0.4, 1.0), "share": (0.5, 1.0), **BOUNDS}
    require(numbers, bounds)
    (a, b), depth, lump = numbers["half"], numbers["depth"], _lump_half(numbers)
    x, volume = filled(numbers["lump"], lump, 500)
    x = x + torch.tensor([*_off(numbers), lump[2] + 0.002])
    ends, sides = (RIM, b + 2 * RIM, depth), (a + 2 * RIM, RIM, depth)
    places = [(s * (a + RIM), 0.0, 0.0) for s in (-1, 1)]
    places += [(0.0, s * (b + RIM), 0.0) for s in (-1, 1)]
    hand = [*numbers["hand"][:2], 2 * lump[2] + PRESS + numbers["hand"][2]]
    own = [share * side for share, side in zip(numbers["press"], (a, b), strict=True)]
    world = World(
        dt=DT,
        matter=_lump(numbers, x, volume),
        hands=Hands((Shape.BOX,), solids([hand], [(*own, PRESS)], 0.1), speed=SPEED),
        obstacles=grounded(places, [ends, ends, sides, sides], 0.3),
    )
    task = Moulded((0.0, 0.0, depth / 2), (a, b, depth / 2), DX / 4, numbers["share"])
    return Scene(
        world,
        task,
        LIMIT,
        knobs=("matter_mass", "matter_limit"),
        spread=1.15,
        view=(-60.0, 45.0, 0.9),
    )


def _plan_mould(model: Physics, numbers: Numbers) -> Tensor:
    """Strokes from above, side by side where the press is smaller than the mould, first where the
    lump is, and up: the best of three orders and depths, as imagined."""
    assert model.world.hands is not None and isinstance(model.task, Moulded)
    hands, half = model.world.hands.start, numbers["half"]
    start, own = hands.place[0, 0], hands.extent[0, 0]
    room = [max(0.0, side - float(x)) for side, x in zip(half, own, strict=False)]
    lump = [min(max(x, -r), r) for x, r in zip(_off(numbers), room, strict=True)]
    corners = [[sx * room[0], sy * room[1]] for sx in (-1, 1) for sy in (-1, 1)]
    corners.sort(key=lambda at: math.dist(at, lump))
    down = numbers["depth"] + PRESS
    orders = [
        [(at, down - deep) for deep in (0.006, 0.0) for at in corners],
        [(at, down) for at in (lump, *corners)],
        [(at, down - deep) for deep in (0.003, 0.0) for at in (lump, *corners[::-1])],
    ]
    plans = []
    for order in orders:
        ways = [start.tolist(), [*order[0][0], float(start[2])]]
        for at, low in order:
            ways += [[*at, low + 0.01], [*at, low], [*at, low + 0.01]]
        plans.append(torch.tensor([*ways, [*order[-1][0], down + 0.06]])[:, None])
    made = torch.stack([legs(plan, SPEED, DT, LIMIT) for plan in plans])
    away = model.task.away(end_of(model, made))
    return made[int((away < model.task.near).sum(-1).argmax())]


MOULD = Kind(
    "press a lump of clay into a mould, until it fills it",
    ("clay",),
    _draw_mould,
    _mould,
    _plan_mould,
)
