"""Scenarios of cloth: hang one over a bar, fold one on a table.

Legend: `V` vertices, `T` decisions.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from reverie.models.physics.model import Physics
from reverie.models.physics.scenarios.hands import (
    DT,
    FINGER,
    KNOBS,
    THICKNESS,
    Arrange,
    best,
    frame,
    in_hands,
    path,
    plan,
)
from reverie.models.physics.scenarios.scenario import (
    POSITIVE,
    Draw,
    Kind,
    Numbers,
    Scene,
    require,
)
from reverie.models.physics.scenarios.soft import solids
from reverie.physics import cloth
from reverie.physics.cloth import ClothMesh
from reverie.physics.tools import Shape

HANGS = 13
"""Vertices along each side of a cloth that is hung."""
FOLDS = 11
"""Of one that is folded."""
OUT = 0.01
"""Of a hand beside the corner that it hangs up [m]."""
VIEW = (50.0, 30.0, 0.62)


def _material(draw: Draw) -> dict[str, Any]:
    """What differs between cloths."""
    return {
        "density": draw.around(0.2, 0.0, 0.3),
        "stretch": draw.around(25.0, 0.0, 0.3),
        "bend": draw.around(5e-6, 0.0, 0.5, digits=8),
    }


# ------------------------------------------------------------------ hang

HANG_LIMIT = 100


def _draw_hang(draw: Draw) -> dict[str, Any]:
    """A bar that is thinner, turned and higher, and a cloth that begins further off."""
    return {
        "side": draw.between(0.28, draw.harder(0.3, 0.36)),
        "radius": draw.between(draw.harder(0.032, 0.022), 0.036),
        "height": draw.between(0.3, draw.harder(0.32, 0.45)),
        "yaw": draw.between(-1, 1) * draw.harder(0.2, 1.2),
        "off": [draw.between(-0.16, -0.08), draw.between(-1, 1) * draw.harder(0.0, 0.08)],
        "friction": draw.between(draw.harder(0.6, 0.4), 0.8),
        "near": draw.harder(0.04, 0.02),
        **_material(draw),
    }


def draped(mesh: ClothMesh, side: float, radius: float) -> Tensor:
    """A cloth over a bar in its axes `[V, 3]`: its middle on top, both sides down.

    At the arc length s from the middle: on the circle up to s = pi r / 2, then straight down.
    """
    s, along = side / 2 - mesh.rest[:, 0], mesh.rest[:, 1] - side / 2
    angle = (s / radius).clamp(-math.pi / 2, math.pi / 2)
    down = (s.abs() - radius * math.pi / 2).clamp_min(0)
    return torch.stack([radius * angle.sin(), along, radius * angle.cos() - down], -1)


def _hang(numbers: Numbers) -> Scene:
    require(numbers, dict.fromkeys(("side", "radius", "density", "stretch", "near"), POSITIVE))
    side, radius, height = (numbers[name] for name in ("side", "radius", "height"))
    if height < side / 2 + radius or side < 4 * radius:
        raise ValueError(
            f"A cloth of {side} m over a bar of radius {radius} m at {height} m: the bar is to be "
            "higher than half the cloth, and the cloth four radii long."
        )
    mesh, axes = cloth.grid(side, side, HANGS, HANGS), frame(numbers["yaw"])
    over, shift = numbers["off"]
    hanging = torch.stack(
        [
            torch.full((mesh.vertices,), over, dtype=torch.float64),
            mesh.rest[:, 1] - side / 2 + shift,
            height + 0.55 * side - mesh.rest[:, 0],
        ],
        -1,
    )
    half = torch.tensor(math.pi / 4)
    upright = torch.tensor([half.cos(), half.sin(), 0.0, 0.0])  # z along -y
    turned = numbers["yaw"] / 2
    c, s = math.cos(turned), math.sin(turned)
    turn = torch.stack([c * upright[0], c * upright[1], s * upright[1], s * upright[0]])
    extent = (radius - THICKNESS / 2, side / 2 + 0.08, 0.0)
    bar = solids([(0.0, 0.0, height)], [extent], numbers["friction"], [turn.tolist()])
    world = in_hands(
        mesh,
        hanging @ axes.double(),
        numbers,
        held={0: 0, HANGS - 1: 1, 1: 0, HANGS - 2: 1},
        off=torch.tensor([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]]) @ axes * OUT,
        more=((Shape.CAPSULE,), bar),
    )
    goal = draped(mesh, side, radius) @ axes.double() + torch.tensor([0.0, 0.0, height])
    task = Arrange(goal.float(), numbers["near"])
    return Scene(world, task, HANG_LIMIT, knobs=KNOBS, spread=1.2, view=VIEW)


def _plan_hang(model: Physics, numbers: Numbers) -> Tensor:
    """Align along the bar, carry the top edge over it on an arc, and leave sideways."""
    side, radius, height = (numbers[name] for name in ("side", "radius", "height"))
    axes, hands = frame(numbers["yaw"]), model.world.hands
    assert hands is not None
    plans = []
    for slack, beyond in itertools.product((0.95, 1.0), (0.0, 0.03)):
        arm, paths = slack * side / 2, []
        for hand, out in enumerate((-1.0, 1.0)):
            begin = hands.start.place[0, hand] @ axes.T
            y = out * (side / 2 + OUT)
            above = torch.tensor([-radius - 0.02, y, height + radius + arm])

            def arc(
                share: Tensor, y: float = y, arm: float = arm, beyond: float = beyond
            ) -> Tensor:
                angle = math.pi * share
                first = -(radius + 0.02) * (1 - share)
                flat = first + (arm + beyond) * angle.sin() + share * radius
                z = (
                    height
                    + arm * angle.cos()
                    + radius * (1 - share)
                    + 0.5 * math.pi * radius * share
                )
                return torch.cat([flat, torch.full_like(flat, y), z], 1)

            end = arc(torch.ones(1, 1))[0]
            away = end + torch.tensor([0.0, out * 0.08, 0.0])
            local = path((0.8, above), (1.6, arc), (0.5, end), (0.3, away), start=begin)
            paths.append(local @ axes)
        plans.append(plan(paths, round(2.5 / DT), HANG_LIMIT))
    return best(model, plans)


# ------------------------------------------------------------------ fold

FOLD_LIMIT = 75
FOLD_HELD = {FOLDS * (FOLDS - 1): 0, FOLDS * FOLDS - 1: 1}
"""The hands at both ends of an edge; where the fold is a diagonal the second is at its end."""


def _draw_fold(draw: Draw) -> dict[str, Any]:
    """In the middle or nearer to the edge; where it is hard also along a diagonal."""
    return {
        "way": draw.one_of("edge", "diagonal") if draw.difficulty >= 0.5 else "edge",
        "side": draw.between(0.26, draw.harder(0.28, 0.34)),
        "rows": 5 - int(draw.between(0.0, draw.harder(0.0, 2.0))),
        "place": [draw.between(-1, 1) * draw.harder(0.02, 0.1) for _ in range(2)],
        "yaw": draw.between(-1, 1) * draw.harder(0.2, 3.1),
        "friction": draw.between(draw.harder(0.7, 0.5), 0.9),
        "near": draw.harder(0.025, 0.012),
        **_material(draw),
    }


def folded(flat: Tensor, point: Tensor, normal: Tensor, gap: float) -> Tensor:
    """Places `[V, 3]` in the plane with what lies on the side of `normal` turned over the line.

    x + 2 max(0, (p - x) . n) n below the line's own side, one gap higher.
    """
    beyond = ((flat - point) @ normal)[:, None]
    over = beyond > 1e-6
    up = torch.tensor([0.0, 0.0, gap], dtype=flat.dtype)
    return torch.where(over, flat - 2 * beyond * normal + up, flat)


def _fold_line(numbers: Numbers) -> tuple[Tensor, Tensor]:
    """A point of it and its normal towards what moves, in the cloth's own plane `[3]`."""
    side = numbers["side"]
    if numbers["way"] == "diagonal":
        return torch.tensor([side / 2, side / 2, 0.0]), torch.tensor([0.5**0.5, -(0.5**0.5), 0.0])
    turned = side * numbers["rows"] / (FOLDS - 1)
    return torch.tensor([side - turned, 0.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])


def _on_table(numbers: Numbers, flat: Tensor) -> Tensor:
    """From the cloth's own plane to where it lies."""
    side = numbers["side"]
    place = torch.tensor([*numbers["place"], THICKNESS / 2], dtype=flat.dtype)
    middle = torch.tensor([side / 2, side / 2, 0.0], dtype=flat.dtype)
    return (flat - middle) @ frame(numbers["yaw"]).to(flat) + place


def _fold(numbers: Numbers) -> Scene:
    require(numbers, dict.fromkeys(("side", "density", "stretch", "near"), POSITIVE))
    if numbers["way"] not in ("edge", "diagonal") or not 2 <= numbers["rows"] <= 5:
        raise ValueError(
            f"'way' is {numbers['way']!r} and 'rows' {numbers['rows']}: give edge or diagonal, and "
            f"2 to 5 of the {FOLDS - 1} rows of the cloth to be turned over."
        )
    side = numbers["side"]
    mesh = cloth.grid(side, side, FOLDS, FOLDS)
    world = in_hands(
        mesh,
        _on_table(numbers, mesh.rest),
        numbers,
        held=FOLD_HELD,
        off=torch.tensor([0.0, 0.0, FINGER + THICKNESS]),
        layers=True,
    )
    point, normal = (x.double() for x in _fold_line(numbers))
    goal = _on_table(numbers, folded(mesh.rest, point, normal, 1.25 * THICKNESS))
    task = Arrange(goal.float(), numbers["near"], flat=0.03)
    return Scene(world, task, FOLD_LIMIT, knobs=KNOBS, spread=1.2, view=VIEW)


def _plan_fold(model: Physics, numbers: Numbers) -> Tensor:
    """Each corner that moves on an ellipse about the line; then up and aside."""
    hands, (point, normal) = model.world.hands, _fold_line(numbers)
    assert hands is not None
    axes, up = frame(numbers["yaw"]), torch.tensor([0.0, 0.0, 1.0])
    corners = cloth.grid(numbers["side"], numbers["side"], FOLDS, FOLDS).rest.float()
    plans = []
    for rise, beyond in ((0.7, 0.005), (0.9, 0.015)):
        paths = []
        for hand, vertex in enumerate(FOLD_HELD):
            begin = hands.start.place[0, hand]
            far = float((corners[vertex] - point) @ normal)
            across = normal @ axes

            def arc(
                share: Tensor,
                begin: Tensor = begin,
                far: float = far,
                rise: float = rise,
                beyond: float = beyond,
                across: Tensor = across,
            ) -> Tensor:
                angle = math.pi * share
                back = (far * (1 - angle.cos()) + beyond * share) * across
                lift = rise * far * angle.sin() + 1.5 * THICKNESS * share
                return begin - back + lift * up

            if far < 1e-6:  # it is on the line, and stays
                paths.append(path((2.3, begin), (0.4, begin + 0.1 * up), start=begin))
                continue
            end = arc(torch.ones(1, 1))[0]
            paths.append(path((1.8, arc), (0.5, end), (0.4, end + 0.1 * up), start=begin))
        plans.append(plan(paths, round(1.9 / DT), FOLD_LIMIT))
    return best(model, plans)


HANG = Kind("hang a cloth over a bar", ("cloth",), _draw_hang, _hang, _plan_hang)
FOLD = Kind("fold a cloth on a table", ("cloth",), _draw_fold, _fold, _plan_fold)
