"""Scenes drawn with numpy: coloured discs and boxes with smooth edges, in a room with walls.

Objects are darker than the back wall and have their own colours; what is no object (the rod of the
pendulum, the mark) is lighter. So the share of a pixel that an object covers can be found again
from its colour.

Legend: `n` objects, `T` frames, `h w` pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reverie.envs.scenes.layout import ROOM, Array, Constants, Task
from reverie.envs.scenes.swing import PIVOT

VIEW = (-0.3, -0.3, 4.6)
"""Left and bottom edge of the picture, and the length of its shorter side [m]."""
COLOURS: tuple[tuple[int, int, int], ...] = ((206, 62, 52), (52, 104, 200), (60, 148, 72))
"""Of the objects, in their order; the agent is red."""
_WALL = (74.0, 80.0, 94.0)
_LIGHT = (252.0, 252.0, 248.0)


def colours(task: Task) -> Array:
    """`[n, 3]` in 0..1."""
    return np.array(COLOURS[: len(task.objects)], np.float64) / 255


def places(height: int, width: int) -> tuple[Array, Array]:
    """World x of each column `[w]` and y of each row `[h]` [m]; the first row is the highest."""
    left, bottom, span = VIEW
    pixel = span / min(height, width)
    x = left + span / 2 + (np.arange(width) + 0.5 - width / 2) * pixel
    y = bottom + span / 2 + (height / 2 - np.arange(height) - 0.5) * pixel
    return np.asarray(x, np.float64), np.asarray(y, np.float64)


def background(constants: Constants, height: int, width: int) -> Array:
    """The room without its objects, `[h, w, 3]` in 0..255: a gradient, walls and the mark."""
    x, y = places(height, width)
    pixel = x[1] - x[0] if width > 1 else 1.0
    rise = (y[:, None, None] / ROOM).clip(0, 1)
    image = np.array([226.0, 224.0, 220.0]) * (1 - rise) + np.array([204.0, 214.0, 226.0]) * rise
    image = np.broadcast_to(image, (height, width, 3)).copy()
    distance = np.hypot(x - constants.mark[0], y[:, None] - constants.mark[1])
    _paint(image, 0.07 - np.abs(distance - 0.14), pixel, _LIGHT)
    inside = ROOM / 2 - np.maximum(abs(x - ROOM / 2), abs(y[:, None] - ROOM / 2))
    _paint(image, -inside, pixel, _WALL)
    return image


def coverage(task: Task, constants: Constants, state: Array, height: int, width: int) -> Array:
    """The share of each pixel that each object covers, `[n, h, w]` in 0..1."""
    x, y = places(height, width)
    pixel = x[1] - x[0] if width > 1 else 1.0
    inside = [
        _inside(task, half, line, x, y[:, None])
        for half, line in zip(constants.halves, state, strict=True)
    ]
    return (np.stack(inside) / pixel + 0.5).clip(0, 1)


def picture(
    task: Task, constants: Constants, state: Array, height: int, width: int
) -> NDArray[np.uint8]:
    """The scene, uint8 `[h, w, 3]`; `state` is `[n, W]`."""
    return draw(task, constants, state, background(constants, height, width))


def draw(task: Task, constants: Constants, state: Array, behind: Array) -> NDArray[np.uint8]:
    """The objects before a background `[h, w, 3]`."""
    height, width = behind.shape[:2]
    image = behind.copy()
    if task.name == "pendulum":
        _draw_rod(image, state[0])
    cover = coverage(task, constants, state, height, width)
    for k in reversed(range(len(cover))):
        image += cover[k][..., None] * (np.array(COLOURS[k]) - image)
    return image.round().astype(np.uint8)


def film(
    task: Task, constants: Constants, states: Array, height: int = 64, width: int = 64
) -> NDArray[np.uint8]:
    """Frames uint8 `[T, 3, h, w]` of states `[T, n, W]`."""
    behind = background(constants, height, width)
    frames = [draw(task, constants, state, behind) for state in states]
    return np.ascontiguousarray(np.moveaxis(np.stack(frames), -1, 1))


def _inside(task: Task, half: Array, line: Array, x: Array, y: Array) -> Array:
    """Distance to the edge [m], above zero inside."""
    dx, dy = x - line[0], y - line[1]
    if task.shape == "disc":
        return np.asarray(half[0] - np.hypot(dx, dy))
    if task.turning:
        c, s = np.cos(line[4]), np.sin(line[4])
        dx, dy = c * dx + s * dy, c * dy - s * dx
    qx, qy = np.broadcast_arrays(abs(dx) - half[0], abs(dy) - half[1])
    outside = np.hypot(qx.clip(0), qy.clip(0))
    return np.asarray(-(np.minimum(np.maximum(qx, qy), 0) + outside))


def _draw_rod(image: Array, line: Array) -> None:
    x, y = places(*image.shape[:2])
    pixel = x[1] - x[0]
    end = line[:2] - PIVOT
    if np.hypot(*end) > ROOM / 2:  # gone with the mass
        return
    dx, dy = x - PIVOT[0], y[:, None] - PIVOT[1]
    along = ((dx * end[0] + dy * end[1]) / max(float(end @ end), 1e-12)).clip(0, 1)
    distance = np.hypot(dx - along * end[0], dy - along * end[1])
    _paint(image, 0.04 - distance, pixel, _LIGHT)


def _paint(image: Array, inside: Array, pixel: float, colour: tuple[float, ...]) -> None:
    """Colour what is inside, in place, with smooth edges."""
    cover = (inside / pixel + 0.5).clip(0, 1)[..., None]
    image += cover * (np.array(colour) - image)
