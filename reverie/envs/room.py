"""A camera that is moved through a furnished room, with all six degrees of freedom.

Plain numpy: a world for models that read camera motion. Nothing but the camera moves, so what a
picture shows is known for every pose. `filmed` makes the film of any path, `taken` says which of
several films a generated one is nearest to, and `drift` measures how a picture moved without
knowing any truth.

Legend: `T` moments, `h w` pixels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reverie.core.spec import Space
from reverie.envs.raycast import HALF, HEIGHT, Ball, Box, Interior, photograph

SHIFT, TURN = 0.15, 0.12
"""How far an action of 1 moves [m] and turns [rad] the camera in one frame, about each axis."""

_MARGIN = 0.3
"""How near the camera comes to walls and solids [m]."""
_COLOURS = (
    (226, 66, 58),
    (58, 116, 226),
    (240, 196, 52),
    (70, 186, 92),
    (176, 84, 204),
    (64, 200, 206),
    (242, 138, 50),
    (238, 238, 238),
)

Array = NDArray[Any]


class Room:
    """The room as a `Simulator`.

    The action is the motion of the camera in its own axes (x right, y down, z ahead): a translation
    v [m], then a rotation vector w [rad],

        p' = p + R v,   R' = R exp([w]_x).

    A translation that would end in a wall or a solid is not made. Without pictures, "pose" is
    sensed: the rows of `[R | p]`, 12 numbers. The reward is 0; an episode has 60 frames, 6 s. It
    begins near a wall, looking across the middle, where three boxes and two balls stand.
    """

    frames = 60

    def __init__(self) -> None:
        self.name = "toy:room"
        self.obs: Mapping[str, Space] = {"pose": Space((12,))}
        bounds = (*[SHIFT] * 3, *[TURN] * 3)
        self.action = Space((6,), low=tuple(-b for b in bounds), high=bounds)
        self.dt = 0.1
        self.repeatable = True
        self.interior = Interior((), ())
        self.position, self.rotation = np.zeros(3), np.eye(3)
        self._frame = 0

    def begin(self, seed: int) -> None:
        """Furnish the room and stand in it."""
        random = np.random.default_rng(seed)
        self.interior = _furnished(random)
        angle, distance = random.uniform(-math.pi, math.pi), random.uniform(2.6, 3.3)
        height = random.uniform(0.9, 1.7)
        self.position = np.array([distance * math.cos(angle), distance * math.sin(angle), height])
        down = math.atan2(height - 0.5, distance) + random.uniform(-0.1, 0.1)
        self.rotation = _level(angle + math.pi + random.uniform(-0.25, 0.25)) @ rotation_of(
            np.array([-down, 0.0, 0.0])
        )
        self._frame = 0

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool]:
        """Move the camera, then turn it."""
        motion = np.asarray(action, np.float64)
        place = self.position + self.rotation @ motion[:3]
        ends = np.array([HALF, HALF, HEIGHT / 2]) - _MARGIN
        free = (np.abs(place - np.array([0, 0, HEIGHT / 2])) <= ends).all()
        if free and not self.interior.inside(place, _MARGIN):
            self.position = place
        self.rotation = self.rotation @ rotation_of(motion[3:])
        self._frame += 1
        return 0.0, False, self._frame >= self.frames

    def observe(self) -> dict[str, Any]:
        """The pose."""
        return {"pose": np.concatenate([self.rotation, self.position[:, None]], 1).ravel()}

    def picture(self, height: int, width: int) -> np.ndarray:
        """What the camera sees."""
        return photograph(self.interior, self.position, self.rotation, height, width)

    def close(self) -> None:
        """Nothing is held."""


def rotation_of(vector: Array) -> NDArray[np.float64]:
    """exp([w]_x) of a rotation vector w [rad], by Rodrigues: I + a K + b K^2 with K = [w]_x,
    a = sin|w| / |w| and b = (1 - cos|w|) / |w|^2."""
    x, y, z = vector
    angle = math.sqrt(x * x + y * y + z * z)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    a = math.sin(angle) / angle if angle else 1.0
    b = 0.5 * (math.sin(angle / 2) / (angle / 2)) ** 2 if angle else 0.5
    return np.asarray(np.eye(3) + a * cross + b * cross @ cross)


def _level(heading: float) -> NDArray[np.float64]:
    """Axes of a camera that looks along (cos, sin, 0) of a heading: columns right, down, ahead."""
    cos, sin = math.cos(heading), math.sin(heading)
    return np.array([[sin, 0.0, cos], [-cos, 0.0, sin], [0.0, -1.0, 0.0]])


def _furnished(random: np.random.Generator) -> Interior:
    """Three boxes and two balls on the floor within 1.9 m of the middle, apart from each other."""
    radii = [*random.uniform(0.3, 0.55, 3), *random.uniform(0.25, 0.45, 2)]
    places: list[tuple[float, float]] = []
    while len(places) < len(radii):
        angle, away = random.uniform(-math.pi, math.pi), 1.9 * math.sqrt(random.uniform())
        x, y = away * math.cos(angle), away * math.sin(angle)
        room = [radii[len(places)] + radius + 0.1 for radius in radii]
        if all(math.hypot(x - u, y - v) > r for (u, v), r in zip(places, room, strict=False)):
            places.append((x, y))
    colours = [_COLOURS[k] for k in random.permutation(len(_COLOURS))]
    boxes, balls = [], []
    for k, ((x, y), radius) in enumerate(zip(places, radii, strict=True)):
        if k < 3:
            wide, deep = random.uniform(0.5, 0.85, 2) * radius
            tall = random.uniform(0.2, 0.7)
            half = (float(wide), float(deep), float(tall))
            turn = float(random.uniform(-math.pi, math.pi))
            boxes.append(Box((x, y, half[2]), half, turn, colours[k]))
        else:
            balls.append(Ball((x, y, float(radius)), float(radius), colours[k]))
    return Interior(tuple(balls), tuple(boxes))


# -------------------------------------------------------------------------------------------------
# Paths


def wander(begun: int, age: int) -> NDArray[np.float32]:
    """toy:room: a smooth path that keeps the middle of the room more or less in view, `[6]`.

    Each entry is a sum of three sines with periods of 15 to 80 frames; the camera turns against its
    motion to the side, as one does who walks around a thing.

    Args:
        begun: what the path is drawn from: another number, another path.
        age: frames since the episode began.
    """
    size, rate, phase = _sines(begun)
    motion = (size * np.sin(rate * age + phase)).sum(0)
    motion[4] -= 0.35 * motion[0]
    return np.asarray(motion.clip(-1, 1), np.float32)


@functools.lru_cache(maxsize=1024)
def _sines(begun: int) -> tuple[Array, Array, Array]:
    """Sizes, rates [rad per frame] and phases of the sines, `[3, 6]` each."""
    random = np.random.default_rng(begun)
    most = np.array([1.0, 0.45, 0.7, 0.15, 0.45, 0.1])  # up, and pitch and roll: less
    size = random.uniform(0.2, 1.0, (3, 6)) * most * random.uniform(0.2, 1, 6)
    rate = 2 * math.pi / random.uniform(15, 80, (3, 6))
    return size, rate, random.uniform(-math.pi, math.pi, (3, 6))


def filmed(seed: int, actions: Array, size: tuple[int, int] = (64, 64)) -> NDArray[np.uint8]:
    """The film of a path: pictures `[T + 1, 3, h, w]` before and after each action `[T, 6]` in
    -1..1, in the room of a seed."""
    room = Room()
    room.begin(seed)
    scale = np.asarray(room.action.high)
    pictures = [room.picture(*size)]
    for action in np.asarray(actions, np.float64).clip(-1, 1):
        room.advance(action * scale)
        pictures.append(room.picture(*size))
    return np.moveaxis(np.stack(pictures), -1, 1)


# -------------------------------------------------------------------------------------------------
# Which path was it?


def taken(pictures: Array, films: Sequence[Array]) -> int:
    """Which of several films `[T, 3, h, w]` another one, in 0..255, is nearest to: the one with the
    least mean squared difference, hence with the highest PSNR."""
    wrong = [film.shape for film in films if film.shape != pictures.shape]
    if wrong or not films:
        raise ValueError(
            f"A film of shape {pictures.shape} is compared with {wrong or 'none'}; give films of "
            "its shape."
        )
    seen = np.asarray(pictures, np.float64)
    return int(np.argmin([np.square(seen - film).mean() for film in films]))


def drift(pictures: Array) -> NDArray[np.float64]:
    """How far the content of each picture `[T, 3, h, w]` moved since the one before, right and down
    [pixels], `[T - 1, 2]`.

    Phase correlation: the peak of F^-1(G conj(F) / |G conj(F)|) of two pictures under a window, in
    whole pixels (Kuglin and Hines 1975). A camera that turns right by w moves the middle of the
    picture left by f w, f = h / (2 tan(36 degrees)).
    """
    grey = np.asarray(pictures, np.float64).mean(1)
    height, width = grey.shape[1:]
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
    spectra = np.fft.rfft2((grey - grey.mean((1, 2), keepdims=True)) * window)
    cross = spectra[1:] * spectra[:-1].conj()
    peaks = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-9), s=(height, width))
    down, right = np.unravel_index(peaks.reshape(len(peaks), -1).argmax(1), (height, width))
    centred = [(n + size // 2) % size - size // 2 for n, size in ((right, width), (down, height))]
    return np.stack(centred, -1).astype(np.float64)
