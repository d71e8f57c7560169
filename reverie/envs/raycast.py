"""Pictures of a furnished room by following rays: boxes and balls between four walls, in numpy.

A ray o + t d with |d| = 1 leaves the room at the least t at which one of its coordinates reaches a
wall, meets a ball of radius r about c where |o + t d - c| = r, and a box where it is between all
three pairs of its faces at once. What it meets first is lit by a lamp at infinity.

Legend: `R` rays, `h w` pixels. The world is in metres, z up; cameras look along their z, with x to
the right and y down.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Point = tuple[float, float, float]
Colour = tuple[float, float, float]

HALF, HEIGHT = 4.0, 3.0
"""The room is from -4 to 4 m along x and y, and 3 m high."""
FIELD = math.radians(72)
"""Angle of view along the shorter side of the picture [rad]."""

_LAMP = np.array([0.42, -0.31, 0.85], np.float32)
_FACES = np.array(
    [  # walls at x = -4, 4, y = -4, 4; floor; ceiling
        (178, 92, 84),
        (84, 146, 110),
        (92, 112, 176),
        (186, 160, 88),
        (150, 146, 140),
        (206, 206, 202),
    ],
    np.float32,
)
_TILE = 1.0
"""Side of the tiles on the walls and on the floor [m]."""


class Ball(NamedTuple):
    """A sphere."""

    centre: Point
    radius: float
    colour: Colour


class Box(NamedTuple):
    """A cuboid that is turned about the vertical."""

    centre: Point
    half: Point
    """Half of its sides [m]."""
    turn: float
    """[rad]"""
    colour: Colour


class Interior(NamedTuple):
    """What stands in the room."""

    balls: tuple[Ball, ...]
    boxes: tuple[Box, ...]

    def inside(self, place: NDArray[np.float64], margin: float) -> bool:
        """Whether a place is nearer than `margin` to a solid, or inside it."""
        for ball in self.balls:
            if np.linalg.norm(place - np.array(ball.centre)) < ball.radius + margin:
                return True
        for box in self.boxes:
            local = np.abs(_turned(place - np.array(box.centre), box.turn))
            if np.linalg.norm((local - np.array(box.half)).clip(0)) < margin:
                return True
        return False


def photograph(
    interior: Interior,
    position: NDArray[np.float64],
    rotation: NDArray[np.float64],
    height: int,
    width: int,
) -> NDArray[np.uint8]:
    """The room from a camera, uint8 `[h, w, 3]`: one ray a pixel, four where a solid ends.

    Args:
        interior: what stands there.
        position: of the camera, `[3]` [m], within the room.
        rotation: from the camera's axes to the world's, `[3, 3]`.
        height: h.
        width: w.
    """
    origin, turn = position.astype(np.float32), rotation.astype(np.float32)
    rays, pixel = _rays(height, width)
    colours, things = _seen(interior, origin, turn @ rays)
    edge = _edges(things.reshape(height, width)).ravel()
    count = int(edge.sum())
    if count:
        corners = np.array([(-1, -1, 0), (1, -1, 0), (-1, 1, 0), (1, 1, 0)], np.float32)
        finer = rays[:, None, edge] + np.float32(pixel / 4) * corners.T[:, :, None]
        four = _seen(interior, origin, turn @ finer.reshape(3, -1).astype(np.float32))[0]
        colours[edge] = four.reshape(4, count, 3).mean(0)
    return colours.reshape(height, width, 3).round().clip(0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=8)
def _rays(height: int, width: int) -> tuple[Floats, float]:
    """Through the middles of the pixels in the camera's axes, `[3, R]` with z = 1, and the side of
    a pixel there."""
    pixel = 2 * math.tan(FIELD / 2) / min(height, width)
    x = (np.arange(width) + 0.5 - width / 2) * pixel
    y = (np.arange(height) + 0.5 - height / 2) * pixel
    right, down = np.meshgrid(x, y)
    rays = np.stack([right.ravel(), down.ravel(), np.ones(height * width)]).astype(np.float32)
    return rays, pixel


def _edges(things: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Pixels that show another thing than a neighbour, `[h, w]`."""
    edge = np.zeros(things.shape, bool)
    down, right = things[1:] != things[:-1], things[:, 1:] != things[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


def _seen(interior: Interior, origin: Floats, rays: Floats) -> tuple[Floats, NDArray[np.int8]]:
    """Colours `[R, 3]` in 0..255 and numbers of the things that rays `[3, R]` meet first: walls,
    then balls, then boxes."""
    rays = rays / np.sqrt((rays * rays).sum(0))
    rays[np.abs(rays) < 1e-7] = 1e-7
    distance, colours, things = _walls(origin, rays)
    solids: list[Ball | Box] = [*interior.balls, *interior.boxes]
    for number, solid in enumerate(solids, len(_FACES)):
        near = _near(solid, origin, rays)
        if not near.size:
            continue
        if isinstance(solid, Ball):
            away, normals = _meet_ball(solid, origin, rays[:, near])
        else:
            away, normals = _meet_box(solid, origin, rays[:, near])
        hit = away < distance[near]
        near = near[hit]
        distance[near], things[near] = away[hit], number
        colours[near] = _lit(normals[:, hit], solid.colour)
    return colours, things


def _near(solid: Ball | Box, origin: Floats, rays: Floats) -> NDArray[np.int64]:
    """Numbers of the rays ahead that pass through the sphere around a solid."""
    radius = solid.radius if isinstance(solid, Ball) else math.hypot(*solid.half)
    offset = np.array(solid.centre, np.float32) - origin
    middle = offset @ rays
    past = float(offset @ offset) - radius**2
    return np.flatnonzero((middle > 0) & (middle * middle > past))


def _walls(origin: Floats, rays: Floats) -> tuple[Floats, Floats, NDArray[np.int8]]:
    """How far the walls are, their colours, and which of six each ray meets."""
    ends = np.array([HALF, HALF, HEIGHT], np.float32)
    starts = np.array([-HALF, -HALF, 0], np.float32)
    ahead = rays > 0
    away = (np.where(ahead, ends[:, None], starts[:, None]) - origin[:, None]) / rays
    axis = away.argmin(0)
    every = np.arange(rays.shape[1])
    distance = away[axis, every]
    face = 2 * axis + ahead[axis, every]
    x, y, z = origin[:, None] + distance * rays
    u = np.where(axis == 0, y, x)
    v = np.where(axis == 2, y, z)
    # Tiles with soft edges, softer where a pixel covers more of the wall.
    wave = np.sin(u * (math.pi / _TILE)) * np.sin(v * (math.pi / _TILE))
    tiles = (wave * np.minimum(6, 12 / distance)).clip(-1, 1)
    shade = 0.84 + 0.16 * tiles
    return distance, _FACES[face] * shade[:, None], face.astype(np.int8)


def _meet_ball(ball: Ball, origin: Floats, rays: Floats) -> tuple[Floats, Floats]:
    """How far a ball is along each ray, infinite where it is missed, and the normals there,
    `[3, R]`."""
    offset = origin - np.array(ball.centre, np.float32)
    middle = -(offset @ rays)
    square = middle**2 - (float(offset @ offset) - ball.radius**2)
    away = middle - np.sqrt(square.clip(0))
    normals = (offset[:, None] + away * rays) / ball.radius
    return np.where((square > 0) & (away > 0), away, np.float32(np.inf)), normals


def _meet_box(box: Box, origin: Floats, rays: Floats) -> tuple[Floats, Floats]:
    """How far a box is along each ray, infinite where it is missed, and the normals of the faces
    that are met, `[3, R]`."""
    start = _turned(origin - np.array(box.centre, np.float32), box.turn)[:, None]
    along = _turned(rays, box.turn)
    along[np.abs(along) < 1e-7] = 1e-7
    half = np.array(box.half, np.float32)[:, None]
    reach = np.abs(half / along)
    middle = -start / along
    near = middle - reach
    enters = near.max(0)
    leaves = (middle + reach).min(0)
    hit = (enters < leaves) & (enters > 0)
    axis = near.argmax(0)
    every = np.arange(rays.shape[1])
    normals = np.zeros_like(along)
    normals[axis, every] = -np.sign(along[axis, every])
    away = np.where(hit, enters, np.float32(np.inf)).astype(np.float32)
    return away, _turned(normals, -box.turn)


def _turned(vectors: Any, turn: float) -> NDArray[Any]:
    """Vectors `[3, ...]` in axes that are turned by that angle about z."""
    cos, sin = math.cos(turn), math.sin(turn)
    x, y, z = vectors
    return np.stack([cos * x + sin * y, cos * y - sin * x, z])


def _lit(normals: Floats, colour: Colour) -> Floats:
    """Lambert's law over a floor of light, `[n, 3]`."""
    bright = 0.45 + 0.55 * (0.5 + 0.5 * (_LAMP @ normals))
    return np.asarray(bright[:, None] * np.array(colour, np.float32), np.float32)
