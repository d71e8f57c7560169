"""A hand and three coloured blocks on a table, seen from above, and a sentence to be carried out.

Plain numpy: a world for models that read text, quick enough to record by the million. Everything
moves as slowly as it is pushed (quasi-static): there is no momentum, and a block that nobody
touches lies still.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reverie.core.spec import Space
from reverie.envs.instructions import (
    BLOCK_HALF,
    BLOCKS,
    HAND,
    HAND_RADIUS,
    INSTRUCTIONS,
    REACH,
    TABLE,
    TEXT_BYTES,
    progress,
    understand,
    written,
)

_SUBSTEPS = 4
_APART = 0.05
"""Between any two things at the beginning."""
_SPREAD = 0.4
"""Blocks begin with their middles in -0.4..0.4."""

Place = tuple[float, float]


class Layout(NamedTuple):
    """Where hand and blocks are."""

    hand: Place
    blocks: tuple[Place, ...]

    def array(self) -> NDArray[np.float64]:
        """`[P, 2]`, the hand first."""
        return np.array([self.hand, *self.blocks])


class Tabletop:
    """The table as a `Simulator`; the action moves the hand, x to the right and y up.

    Sensors: "text", the instruction as 48 bytes, the same in all rows of an episode and kept beside
    pictures; and "state", the places of hand and blocks, x and y each. The reward is the increase
    of `progress`: an episode in which all is done brings 1. An episode has 40 frames, 4 s.

    The seed decides where things lie and, independently, what is asked; `instruct` asks for
    something else from the same start.
    """

    frames = 40
    beside = ("text",)

    def __init__(self) -> None:
        self.name = "toy:tabletop"
        self.obs: Mapping[str, Space] = {
            "text": Space((TEXT_BYTES,), "uint8", 0, 255),
            "state": Space((2 + 2 * len(BLOCKS),), low=-1.0, high=1.0),
        }
        self.action = Space((2,), low=-1.0, high=1.0)
        self.dt = 0.1
        self.repeatable = True
        self.text = INSTRUCTIONS[0]
        self.layout = self._start = Layout((0.0, 0.0), ())
        self._wanted: str | None = None
        self._done, self._frame = 0.0, 0

    def instruct(self, text: str | None) -> None:
        """Ask for this in all episodes that begin from now on; None: for what their seeds say."""
        if text is not None:
            understand(text)
        self._wanted = text

    def begin(self, seed: int) -> None:
        """Things lie apart from each other, and nothing is done yet."""
        self.layout = self._start = _scatter(np.random.default_rng((seed, 0)))
        choice = int(np.random.default_rng((seed, 1)).integers(len(INSTRUCTIONS)))
        self.text = self._wanted or INSTRUCTIONS[choice]
        self._done, self._frame = 0.0, 0

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool]:
        """One move of the hand."""
        x, y = np.clip(action, -1, 1).tolist()
        self.layout = moved(self.layout, (x * REACH, y * REACH))
        self._frame += 1
        places = np.stack([self._start.array(), self.layout.array()])
        done = min(float(progress(places, self.text)[-1]), 1.0)
        reward, self._done = done - self._done, done
        return reward, False, self._frame >= self.frames

    def observe(self) -> dict[str, Any]:
        """The instruction and the places."""
        return {"text": written(self.text), "state": self.layout.array().ravel()}

    def picture(self, height: int, width: int) -> np.ndarray:
        """The table from above."""
        return drawn(self.layout, height, width)

    def close(self) -> None:
        """Nothing is held."""


# -------------------------------------------------------------------------------------------------
# What moves


def moved(layout: Layout, by: Place) -> Layout:
    """After a displacement of the hand, in four equal parts.

    What the hand meets it pushes ahead, out of itself by the shortest way, and what that meets is
    pushed in turn. A part that would press something off the table, or through something, is not
    made: its share along x alone is tried, then that along y.
    """
    x, y = by[0] / _SUBSTEPS, by[1] / _SUBSTEPS
    for _ in range(_SUBSTEPS):
        for part in ((x, y), (x, 0.0), (0.0, y)):
            found = _pushed(layout, part)
            if found is not None:
                layout = found
                break
    return layout


def _pushed(layout: Layout, by: Place) -> Layout | None:
    """After a small displacement; None where it is impossible.

    The hand stops at the edge of the table, a block does not give way there.
    """
    edge = 1 - HAND_RADIUS
    hand = (_within(layout.hand[0] + by[0], edge), _within(layout.hand[1] + by[1], edge))
    blocks = list(layout.blocks)
    pushing: list[int] = []
    for k, block in enumerate(blocks):
        x, y = _out_of_hand(hand, block)
        if x or y:
            blocks[k] = (block[0] + x, block[1] + y)
            pushing.append(k)
    fixed = set(pushing)
    while pushing:
        k = pushing.pop(0)
        for other, block in enumerate(blocks):
            x, y = _out_of_block(blocks[k], block) if other != k else (0.0, 0.0)
            if not (x or y):
                continue
            if other in fixed:
                return None
            blocks[other] = (block[0] + x, block[1] + y)
            fixed.add(other)
            pushing.append(other)
    end = 1 - BLOCK_HALF
    if any(max(abs(x), abs(y)) > end for x, y in blocks):
        return None
    if any(_out_of_hand(hand, block) != (0.0, 0.0) for block in blocks):
        return None
    return Layout(hand, tuple(blocks))


_TOUCH = 1e-9
"""Depths below that are a touch, no overlap."""


def _out_of_hand(hand: Place, block: Place) -> Place:
    """How a block must move so that the hand's disc does not overlap it, straight away from the
    point where it is nearest; (0, 0) where it does not."""
    x, y = block[0] - hand[0], block[1] - hand[1]
    if max(abs(x), abs(y)) >= HAND_RADIUS + BLOCK_HALF:
        return 0.0, 0.0
    near_x, near_y = x - _within(x, BLOCK_HALF), y - _within(y, BLOCK_HALF)
    gap = float(np.hypot(near_x, near_y))
    depth = HAND_RADIUS - gap
    if depth <= _TOUCH:
        return 0.0, 0.0
    if gap > 0:
        return near_x / gap * depth, near_y / gap * depth
    reach = HAND_RADIUS + BLOCK_HALF  # the hand's middle is inside: out by the nearest face
    if abs(x) >= abs(y):
        return float(np.copysign(reach - abs(x), x)), 0.0
    return 0.0, float(np.copysign(reach - abs(y), y))


def _out_of_block(pusher: Place, block: Place) -> Place:
    """How a block must move so that another does not overlap it, along x or y."""
    x, y = block[0] - pusher[0], block[1] - pusher[1]
    depth_x, depth_y = 2 * BLOCK_HALF - abs(x), 2 * BLOCK_HALF - abs(y)
    if min(depth_x, depth_y) <= _TOUCH:
        return 0.0, 0.0
    if depth_x <= depth_y:
        return float(np.copysign(depth_x, x)), 0.0
    return 0.0, float(np.copysign(depth_y, y))


def _within(value: float, bound: float) -> float:
    return min(max(value, -bound), bound)


def _scatter(random: np.random.Generator) -> Layout:
    """Blocks near the middle, the hand anywhere, none near another."""
    while True:
        blocks = random.uniform(-_SPREAD, _SPREAD, (len(BLOCKS), 2))
        gaps = np.abs(blocks[:, None] - blocks[None]).max(-1) + 9 * np.eye(len(BLOCKS))
        if gaps.min() > 2 * BLOCK_HALF + _APART:
            break
    while True:
        hand = random.uniform(-0.85, 0.85, 2)
        if np.abs(blocks - hand).max(-1).min() > BLOCK_HALF + HAND_RADIUS + _APART:
            places = tuple((float(x), float(y)) for x, y in blocks)
            return Layout((float(hand[0]), float(hand[1])), places)


# -------------------------------------------------------------------------------------------------
# What is seen

_FLOOR = (34, 36, 42)
_LINE = (58, 61, 68)


def drawn(layout: Layout, height: int, width: int) -> NDArray[np.uint8]:
    """The table from above with smooth edges, uint8 `[height, width, 3]`; it fills the shorter
    side."""
    image = _table(height, width).copy()
    pixel = 2 / min(height, width)
    for (x, y), colour in zip(layout.blocks, BLOCKS.values(), strict=True):
        rows, columns = _box(x, y, BLOCK_HALF, height, width)
        across, up = _offsets(x, y, rows, columns, height, width)
        cover = _share(BLOCK_HALF - np.abs(across), pixel) * _share(BLOCK_HALF - np.abs(up), pixel)
        _paint(image[rows, columns], cover, colour)
    x, y = layout.hand
    rows, columns = _box(x, y, HAND_RADIUS, height, width)
    across, up = _offsets(x, y, rows, columns, height, width)
    _paint(image[rows, columns], _share(HAND_RADIUS - np.hypot(across, up), pixel), HAND)
    return image.round().astype(np.uint8)


@functools.lru_cache(maxsize=8)
def _table(height: int, width: int) -> NDArray[np.float64]:
    """Nothing but the table: a cross marks its middle, darkness what is beyond it."""
    pixel = 2 / min(height, width)
    everything = slice(0, height), slice(0, width)
    across, up = _offsets(0.0, 0.0, *everything, height, width)
    image = np.full((height, width, 3), _FLOOR, np.float64)
    _paint(image, _share(1 - np.abs(across), pixel) * _share(1 - np.abs(up), pixel), TABLE)
    inside = _share(1 - np.abs(across), pixel) * _share(1 - np.abs(up), pixel)
    line = np.maximum(_share(0.016 - np.abs(across), pixel), _share(0.016 - np.abs(up), pixel))
    _paint(image, line * inside, _LINE)
    return image


def _box(x: float, y: float, reach: float, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns that a thing may touch."""
    pixel = 2 / min(height, width)
    row, column, size = height / 2 - y / pixel, width / 2 + x / pixel, reach / pixel + 1
    return (
        slice(max(int(row - size), 0), max(int(row + size) + 1, 0)),
        slice(max(int(column - size), 0), max(int(column + size) + 1, 0)),
    )


def _offsets(
    x: float, y: float, rows: slice, columns: slice, height: int, width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of the middles of pixels from a place: `[columns]` to the right, `[rows, 1]` up."""
    pixel = 2 / min(height, width)
    across = (np.arange(columns.start, min(columns.stop, width)) + 0.5 - width / 2) * pixel - x
    up = (height / 2 - np.arange(rows.start, min(rows.stop, height))[:, None] - 0.5) * pixel - y
    return across, up


def _share(inside: NDArray[np.float64], pixel: float) -> NDArray[np.float64]:
    """How much of a pixel is covered whose middle is so far inside."""
    return (inside / pixel + 0.5).clip(0, 1)


def _paint(part: NDArray[np.float64], cover: NDArray[np.float64], colour: Any) -> None:
    part += cover[..., None] * (np.array(colour, np.float64) - part)
