r"""Boxes on each other: rigid bodies in the plane with dry friction and no bounce.

A stack stands exactly if at every level the centre of mass of all boxes above lies over the part
in which the two boxes of that level touch (`stands`). What falls is followed in steps of 5 ms:
contacts between two boxes are the corners of one face, cut to the width of the other; contacts
with the room are corners. In each step the velocities are changed by impulses along the normal n
and the tangent t of every contact, in turn until they agree (sequential impulses; Catto,
"Iterative Dynamics with Temporal Coherence", 2005), so that

    v_n >= 0,   j_n >= 0,   j_n v_n = 0,   |j_t| <= mu j_n,

and positions follow the new velocities. What overlaps by more than 1 mm is pushed apart.

Legend: `n` boxes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from reverie.envs.scenes.layout import DT, ROOM, Array, Constants

_STEPS = 10
_SWEEPS = 12
_SKIN = 0.004  # [m] from which contacts are watched
_SLOP = 0.001  # [m] of overlap that is left alone
_PUSH = 0.2  # share of the overlap that is undone in a step
_WALLS = (((0.0, 1.0), 0.0), ((0.0, -1.0), -ROOM), ((1.0, 0.0), 0.0), ((-1.0, 0.0), -ROOM))

Point = tuple[float, float]


class _Box:
    """A box while it moves."""

    def __init__(self, values: Sequence[float], mass: float, half: Point) -> None:
        self.x, self.y, self.vx, self.vy, self.angle, self.rate = values
        self.half = half
        self.lightness = 1 / mass
        self.ease = 3 / (mass * (half[0] ** 2 + half[1] ** 2))  # 1 / moment of inertia

    def axes(self) -> tuple[Point, Point]:
        c, s = math.cos(self.angle), math.sin(self.angle)
        return (c, s), (-s, c)

    def reach(self, axes: tuple[Point, Point], n: Point) -> float:
        """How far the box extends from its centre along n."""
        return sum(h * abs(_dot(u, n)) for h, u in zip(self.half, axes, strict=True))

    def kick(self, arm: Point, impulse: Point, sign: float) -> None:
        self.vx += sign * self.lightness * impulse[0]
        self.vy += sign * self.lightness * impulse[1]
        self.rate += sign * self.ease * _cross(arm, impulse)

    def speed_at(self, arm: Point, n: Point) -> float:
        return (self.vx - self.rate * arm[1]) * n[0] + (self.vy + self.rate * arm[0]) * n[1]


class _Contact(NamedTuple):
    """Body `one` (None: the room) and body `two`, which the normal points into, meet in a point."""

    key: tuple[int, int, int]
    one: _Box | None
    two: _Box
    normal: Point
    depth: float
    """[m]; below zero while there is a gap."""
    arm_one: Point
    arm_two: Point


def topple(constants: Constants, state: Array, force: Array, solid: bool = True) -> Array:
    """The boxes `[n, 6]` a frame later; `force` `[1]` pushes the centre of the first sideways."""
    boxes = [
        _Box(line, float(mass), (float(half[0]), float(half[1])))
        for line, mass, half in zip(state.tolist(), constants.masses, constants.halves, strict=True)
    ]
    step, known = DT / _STEPS, dict[tuple[int, int, int], list[float]]()
    for _ in range(_STEPS):
        for box in boxes:
            box.vy -= constants.gravity * step
        boxes[0].vx += boxes[0].lightness * float(force[0]) * step
        found = _contacts(boxes) if solid else []
        known = _solve(found, known, constants.friction, step)
        for box in boxes:
            box.x += box.vx * step
            box.y += box.vy * step
            box.angle += box.rate * step
    return np.array([[b.x, b.y, b.vx, b.vy, b.angle, b.rate] for b in boxes])


def stands(centres: Sequence[float], halves: Sequence[float], masses: Sequence[float]) -> bool:
    """Whether boxes on each other stand, by the rule of the centre of mass.

    Args:
        centres: x of each box, from the top downwards [m].
        halves: half of the width of each [m].
        masses: of each [kg].
    """
    return margin(centres, halves, masses) > 0


def margin(centres: Sequence[float], halves: Sequence[float], masses: Sequence[float]) -> float:
    """How far the centre of mass above is inside its support, at the worst level [m]; below zero
    where the stack falls. Arguments as those of `stands`."""
    worst = math.inf
    for k in range(1, len(centres)):
        mass = sum(masses[:k])
        centre = sum(m * x for m, x in zip(masses[:k], centres[:k], strict=True)) / mass
        left = max(centres[k - 1] - halves[k - 1], centres[k] - halves[k])
        right = min(centres[k - 1] + halves[k - 1], centres[k] + halves[k])
        worst = min(worst, centre - left, right - centre)
    return worst


def _dot(a: Point, b: Point) -> float:
    return a[0] * b[0] + a[1] * b[1]


def _cross(a: Point, b: Point) -> float:
    return a[0] * b[1] - a[1] * b[0]


def _contacts(boxes: list[_Box]) -> list[_Contact]:
    axes = [box.axes() for box in boxes]
    found = []
    for k, box in enumerate(boxes):
        for wall, (normal, offset) in enumerate(_WALLS):
            gap = _dot((box.x, box.y), normal) - offset - box.reach(axes[k], normal)
            if gap < _SKIN:
                found += _on_wall(k, box, axes[k], wall)
    for i, j in combinations(range(len(boxes)), 2):
        found += _between(i, j, boxes, axes)
    return found


def _on_wall(k: int, box: _Box, axes: tuple[Point, Point], wall: int) -> list[_Contact]:
    normal, offset = _WALLS[wall]
    found = []
    for corner, (sx, sy) in enumerate(((1, 1), (1, -1), (-1, 1), (-1, -1))):
        (ux, uy), (a, b) = axes, (sx * box.half[0], sy * box.half[1])
        arm = (a * ux[0] + b * uy[0], a * ux[1] + b * uy[1])
        depth = offset - _dot((box.x + arm[0], box.y + arm[1]), normal)
        if depth > -_SKIN:
            key = (-1 - wall, k, corner)
            found.append(_Contact(key, None, box, normal, depth, (0.0, 0.0), arm))
    return found


def _between(i: int, j: int, boxes: list[_Box], axes: list[tuple[Point, Point]]) -> list[_Contact]:
    """Contacts of two boxes: none if an axis of either separates them, else along the axis on
    which they overlap least, with a preference for the first axes among equals."""
    one, two = boxes[i], boxes[j]
    between = (two.x - one.x, two.y - one.y)
    best, reference, normal = -math.inf, i, (0.0, 0.0)
    for owner in (i, j):
        for u in axes[owner]:
            along = _dot(between, u)
            gap = abs(along) - one.reach(axes[i], u) - two.reach(axes[j], u)
            if gap > _SKIN:
                return []
            if gap > best + 1e-4:
                sign = 1.0 if along > 0 else -1.0
                best, reference, normal = gap, owner, (sign * u[0], sign * u[1])
    if reference == i:
        return _on_face(i, j, boxes, axes, normal, 1.0)
    return _on_face(j, i, boxes, axes, (-normal[0], -normal[1]), -1.0)


def _on_face(
    i: int, j: int, boxes: list[_Box], axes: list[tuple[Point, Point]], n: Point, sign: float
) -> list[_Contact]:
    """Ends of the face of box j that looks at the face of box i with normal n, cut to its width.

    `sign` is -1 where the contact is told as one of j with i.
    """
    face, other = boxes[i], boxes[j]
    tangent = (-n[1], n[0])
    side, top = face.reach(axes[i], tangent), face.reach(axes[i], n)
    u, v = axes[j]
    (a, b) = other.half
    if abs(_dot(v, n)) > abs(_dot(u, n)):
        u, v, a, b = v, u, b, a
    flip = -math.copysign(a, _dot(u, n))
    middle = (other.x + flip * u[0] - face.x, other.y + flip * u[1] - face.y)
    slope, start = _dot(v, tangent), _dot(middle, tangent)
    ends = sorted(((-side - start) / slope, (side - start) / slope)) if slope else [-b, b]
    low, high = max(-b, ends[0]), min(b, ends[1])
    if low > high:
        return []
    found = []
    for k, s in enumerate((low, high)):
        point = (middle[0] + s * v[0], middle[1] + s * v[1])
        depth = top - _dot(point, n)
        if depth > -_SKIN:
            arm = (point[0] + face.x - other.x, point[1] + face.y - other.y)
            key = (min(i, j), max(i, j), k)
            pair = (face, other, n) if sign > 0 else (other, face, (-n[0], -n[1]))
            arms = (point, arm) if sign > 0 else (arm, point)
            found.append(_Contact(key, *pair, depth, *arms))
    return found


def _solve(
    contacts: list[_Contact],
    known: dict[tuple[int, int, int], list[float]],
    friction: float,
    step: float,
) -> dict[tuple[int, int, int], list[float]]:
    """Change velocities until the contacts agree; begins with the impulses of the last step."""
    total = {c.key: known.get(c.key, [0.0, 0.0]) for c in contacts}
    rows = []
    for c in contacts:
        n, tangent = c.normal, (-c.normal[1], c.normal[0])
        _apply(c, n, total[c.key][0])
        _apply(c, tangent, total[c.key][1])
        rows.append(
            (c, n, tangent, total[c.key], _ease(c, n), _ease(c, tangent), _parting(c, step))
        )
    for _ in range(_SWEEPS):
        for c, n, tangent, sums, ease, ease_across, wanted in rows:
            limit = friction * sums[0]
            after = min(max(sums[1] - _speed(c, tangent) / ease_across, -limit), limit)
            _apply(c, tangent, after - sums[1])
            sums[1] = after
            after = max(sums[0] + (wanted - _speed(c, n)) / ease, 0.0)
            _apply(c, n, after - sums[0])
            sums[0] = after
    return total


def _parting(c: _Contact, step: float) -> float:
    """The least speed along the normal [m/s]: a gap may close within the step, overlap opens."""
    if c.depth < 0:
        return c.depth / step
    return min(_PUSH * max(c.depth - _SLOP, 0.0) / step, 0.5)


def _apply(c: _Contact, along: Point, size: float) -> None:
    impulse = (size * along[0], size * along[1])
    c.two.kick(c.arm_two, impulse, 1.0)
    if c.one is not None:
        c.one.kick(c.arm_one, impulse, -1.0)


def _speed(c: _Contact, along: Point) -> float:
    speed = c.two.speed_at(c.arm_two, along)
    return speed - (c.one.speed_at(c.arm_one, along) if c.one is not None else 0.0)


def _ease(c: _Contact, along: Point) -> float:
    """Change of speed for each unit of impulse [1 / kg]."""
    ease = c.two.lightness + c.two.ease * _cross(c.arm_two, along) ** 2
    if c.one is not None:
        ease += c.one.lightness + c.one.ease * _cross(c.arm_one, along) ** 2
    return ease
