"""Scenarios of a rope: lay it in a curve on a table.

Legend: `V` vertices, `T` decisions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    end_of,
    require,
)
from reverie.models.physics.scenarios.soft import solids
from reverie.physics import cloth
from reverie.physics.tools import Shape

BEADS = 33
"""Vertices of a rope."""
LIMIT = 105
LAYING = 3.2
"""[s]"""
ROUNDS, GAIN = 8, 0.7
LOW = 0.01
"""Of the rope's end above the table at first [m]."""
DOTS = 3
"""That show the curve, flush with the table."""
VIEW = (50.0, 35.0, 0.8)


def _draw_rope(draw: Draw) -> dict[str, Any]:
    """A curve that bends more; one that comes back to itself is drawn again."""
    length = draw.between(0.45, draw.harder(0.5, 0.65))
    while True:
        turns = [draw.between(-1, 1) * draw.harder(*ends) for ends in _TURNS]
        bends = [round(x / length, 4) for x in turns]
        if apart(curve(length, bends)) > 0.06:
            break
    return {
        "length": length,
        "bends": bends,
        "place": [draw.between(-1, 1) * draw.harder(0.02, 0.1) for _ in range(2)],
        "yaw": draw.between(-3.1, 3.1),
        "friction": draw.between(draw.harder(0.8, 0.5), 1.0),
        "near": draw.harder(0.03, 0.018),
        "density": draw.around(0.05, 0.0, 0.3),
        "stretch": draw.around(8.0, 0.0, 0.2),
        "bend": draw.around(5e-6, 0.0, 0.5, digits=8),
    }


_TURNS = ((0.5, 3.0), (0.5, 3.0), (0.0, 3.0))
"""Of the curvature times the length [rad], easy and hard: its mean, and its first two waves."""


def curve(length: float, bends: Sequence[float]) -> Tensor:
    """A curve in the plane `[V, 3]` about the origin, by its curvature over the arc length s.

    k(s) = k_0 + k_1 sin(2 pi s / L) + k_2 sin(4 pi s / L), points as far apart as on the rope.
    """
    step = length / (BEADS - 1)
    s = (torch.arange(BEADS - 1, dtype=torch.float64) + 0.5) / (BEADS - 1) * 2 * math.pi
    bend = bends[0] + bends[1] * s.sin() + bends[2] * (2 * s).sin()
    turn = (bend * step).cumsum(0) - 0.5 * bend * step
    moves = step * torch.stack([turn.cos(), turn.sin(), torch.zeros_like(turn)], -1)
    points = torch.cat([torch.zeros(1, 3, dtype=torch.float64), moves.cumsum(0)])
    return points - points.mean(0)


def apart(points: Tensor) -> float:
    """The least distance of points that are more than a quarter of the rope apart along it [m]."""
    index = torch.arange(len(points))
    far = (index[:, None] - index).abs() > len(points) // 4
    return float(torch.cdist(points, points)[far].min())


def _laid(numbers: Numbers) -> Tensor:
    """Where the rope is to lie `[V, 3]`."""
    flat = curve(numbers["length"], numbers["bends"]) @ frame(numbers["yaw"]).double()
    return flat + torch.tensor([*numbers["place"], THICKNESS / 2], dtype=torch.float64)


def _rope(numbers: Numbers) -> Scene:
    require(numbers, dict.fromkeys(("length", "density", "stretch", "near"), POSITIVE))
    if len(numbers["bends"]) != len(_TURNS) or numbers["length"] > 0.8:
        raise ValueError(
            f"A rope of {numbers['length']} m with the bends {numbers['bends']}: give at most "
            f"0.8 m and {len(_TURNS)} curvatures [1/m]."
        )
    goal, length = _laid(numbers), numbers["length"]
    up = torch.linspace(0, length, BEADS, dtype=torch.float64)[:, None]
    hanging = goal[:1] + (up + LOW) * torch.tensor([0.0, 0.0, 1.0])
    shown = goal[torch.linspace(0, BEADS - 1, DOTS).long()] * torch.tensor([1.0, 1.0, 0.0])
    places = (shown - torch.tensor([0.0, 0.0, 0.018])).tolist()
    dots = solids(places, [(0.02, 0.0, 0.0)] * DOTS, numbers["friction"])
    world = in_hands(
        cloth.rope(hanging),
        hanging,
        numbers,
        held={BEADS - 1: 0},
        off=torch.tensor([0.0, 0.0, FINGER + THICKNESS]),
        more=((Shape.SPHERE,) * DOTS, dots),
    )
    task = Arrange(goal.float(), numbers["near"])
    return Scene(world, task, LIMIT, knobs=KNOBS, spread=1.2, view=VIEW)


def _plan_rope(model: Physics, numbers: Numbers) -> Tensor:
    """The hand goes along the curve, and is as high as what is not laid yet is long.

    Where a point then lies beside its place by e, the hand passes there by -e further the next time
    (iterative learning, Arimoto et al. 1984), save at the start, where it is: a few rounds, until
    all points lie well, or else the best of them.
    """
    goal, task = _laid(numbers).float(), model.task
    assert isinstance(task, Arrange)
    aim, found = goal, []
    gain = GAIN * (torch.arange(BEADS) / 4).clamp(max=1)[:, None] * torch.tensor([1.0, 1.0, 0.0])
    for _ in range(ROUNDS):
        actions = _laying(model, aim, numbers["length"])
        state = end_of(model, actions[None])
        share = float((task.away(state) < 0.7 * task.near).float().mean())
        found.append((share, actions))
        if share > 0.97:
            break
        aim = aim - gain * (state.cloth.position[0] - goal)
    return max(found, key=lambda pair: pair[0])[1]


def _laying(model: Physics, aim: Tensor, length: float) -> Tensor:
    """The plan of a hand along a curve of points `[V, 3]`."""
    hands, up = model.world.hands, torch.tensor([0.0, 0.0, 1.0])
    assert hands is not None
    begin = hands.start.place[0, 0]
    high = begin[2] - aim[0, 2]

    def along(share: Tensor) -> Tensor:
        index = share * (BEADS - 1)
        low = index.long().clamp(0, BEADS - 2)[:, 0]
        part = index - low[:, None]
        at = (1 - part) * aim[low] + part * aim[low + 1]
        return at + (high - (length + LOW) * share) * up

    end = along(torch.ones(1, 1))[0]
    way = path((LAYING, along), (0.4, end), (0.4, end + 0.1 * up), start=begin)
    return plan([way], round(LAYING / DT), LIMIT)


ROPE = Kind("lay a rope in a curve", ("cloth",), _draw_rope, _rope, _plan_rope)
