"""Which particles are near: points sorted into cells, pairs of them, images across a period.

The search stands outside the graph: a pair beyond the kernel's support has no force, hence no
gradient either. Along an axis with a period every particle has images; particles are not put back
into the box, so a pair says by how many periods the two are apart.

Legend: `B` worlds, `N` particles, `M` points (particles and images), `P` pairs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

Period = tuple[float, float, float]
"""Length along x, y, z [m]; 0: no period."""
CELLS = 2**22
"""The most cells of a world."""
WIDER = 1 + 1e-5
"""Of a cell against the reach: no pair is lost to rounding."""


class Cells(NamedTuple):
    """Points in the order of the cells of a world, and where particles stand among them."""

    place: Tensor
    """Of points `[M, 3]` [m]."""
    particle: Tensor
    """Of which particle of its world, int32 `[M]`."""
    turns: Tensor
    """Periods that a particle is to be moved by to get there, int32 `[M, 3]`."""
    start: Tensor
    """The first point of each cell, int32 `[B cells + 1]`."""
    own: Tensor
    """Particles in the box `[B N, 3]` [m]."""
    laps: Tensor
    """By how many periods they are outside, int32 `[B N, 3]`."""
    cell: Tensor
    """Of each particle, int32 `[B N]`; a step along z is 1."""
    stride: tuple[int, int]
    """Cells to the next along x and y."""


class Pairs(NamedTuple):
    """Ordered pairs nearer than a reach: j as seen from i is at x_j + period * turns."""

    one: Tensor
    """i as row of `[B N]`, int64 `[P]`, ascending."""
    two: Tensor
    """j as row of `[B N]`."""
    turns: Tensor
    """int64 `[P, 3]`."""


@torch.no_grad()
def cells(position: Tensor, reach: float, period: Period = (0.0, 0.0, 0.0)) -> Cells:
    """Particles `[B, N, 3]` and their images within `reach` of the box, in cells of that width.

    Raises:
        FloatingPointError: A position is not finite, or particles spread over too many cells.
    """
    if not bool(torch.isfinite(position).all()):
        raise FloatingPointError(
            "A particle's position is not finite: a control or a parameter was NaN, or the "
            "simulation blew up; take a smaller dt (see `stable_dt`)."
        )
    worlds, count = position.shape[:2]
    box = torch.tensor(period, dtype=position.dtype, device=position.device)
    safe = torch.where(box > 0, box, 1.0)
    laps = torch.where(box > 0, (position / safe).floor(), 0.0).flatten(0, 1)
    own = position.flatten(0, 1) - laps * box
    row = torch.arange(worlds * count, device=position.device)
    place, turns = own, -laps
    for axis in (axis for axis in range(3) if period[axis] > 0):
        place, row, turns = _with_images(place, row, turns, axis, period[axis], reach)
    side = reach * WIDER
    low = place.amin(0)
    index = ((place - low) / side).floor().long() + 1
    size: list[int] = (index.amax(0) + 2).tolist()
    if math.prod(size) > CELLS:
        raise FloatingPointError(
            f"Particles spread over {size} cells of {side:.3g} m, more than {CELLS}: some flew "
            "off. Take a smaller dt (see `stable_dt`), or walls."
        )
    stride = (size[1] * size[2], size[2])
    world = row // count
    key = world * math.prod(size) + index[:, 0] * stride[0] + index[:, 1] * stride[1] + index[:, 2]
    order = key.argsort(stable=True)
    filled = torch.bincount(key, minlength=worlds * math.prod(size))
    start = torch.cat([filled.new_zeros(1), filled.cumsum(0)])
    return Cells(
        place[order].contiguous(),
        (row % count)[order].to(torch.int32),
        turns[order].to(torch.int32).contiguous(),
        start.to(torch.int32),
        own.contiguous(),
        laps.to(torch.int32).contiguous(),
        key[: worlds * count].to(torch.int32),
        stride,
    )


def _with_images(
    place: Tensor, row: Tensor, turns: Tensor, axis: int, length: float, reach: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Points, and their images along an axis that are within `reach` of [0, length]."""
    every = [(place, row, turns)]
    step = torch.zeros_like(place[:1])
    step[0, axis] = 1.0
    for lap in range(1, math.ceil(reach / length) + 1):
        for turn in (-lap, lap):
            at = place[:, axis] + turn * length
            near = (at > -reach * WIDER) & (at < length + reach * WIDER)
            shift = turn * step
            every.append((place[near] + length * shift, row[near], turns[near] + shift))
    return (
        torch.cat([x[0] for x in every]),
        torch.cat([x[1] for x in every]),
        torch.cat([x[2] for x in every]),
    )


@torch.no_grad()
def pairs(position: Tensor, reach: float, period: Period = (0.0, 0.0, 0.0)) -> Pairs:
    """All ordered pairs nearer than `reach` [m] in each world of `[B, N, 3]`.

    Raises:
        FloatingPointError: As `cells`.
    """
    found = cells(position, reach, period)
    count = position.shape[1]
    steps = torch.cartesian_prod(*[torch.arange(-1, 2, device=position.device)] * 2)
    column = steps[:, 0] * found.stride[0] + steps[:, 1] * found.stride[1]
    middle = (found.cell[:, None] + column).flatten()
    first, last = found.start[middle - 1].long(), found.start[middle + 2].long()
    many = last - first
    which = torch.arange(len(middle), device=position.device).repeat_interleave(many)
    begin = many.cumsum(0) - many
    point = torch.arange(len(which), device=position.device) - begin[which] + first[which]
    one = which // len(column)
    two = one // count * count + found.particle[point]
    turns = found.turns[point].long() + found.laps[one].long()
    far = found.own[one] - found.place[point]
    itself = (one == two) & (turns == 0).all(-1)
    near = (far.square().sum(-1) < reach * reach) & ~itself
    return Pairs(one[near], two[near], turns[near])
