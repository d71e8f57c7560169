"""What is asked on a table of coloured blocks, and what of it was done, read from pictures alone.

An instruction is one of sixteen sentences: "push the red block left", "go to the top left corner".
They are told as UTF-8 bytes, and are carried out by a script that looks at the picture. `where`
finds the things in a picture by their colours, and `told` says which of several instructions a
film shows: a check that knows neither the simulator nor any model, for films that a model made.

Places are x to the right and y up, from -1 to 1 along the shorter side of the picture.

Legend: `T` frames, `h w` pixels, `P` things: the hand, then the blocks; `...` any axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

TEXT_BYTES = 48
"""Length of the sensor "text"."""

TABLE = (76, 78, 80)
HAND = (226, 222, 214)
BLOCKS: Mapping[str, tuple[int, int, int]] = {
    "red": (214, 62, 56),
    "green": (44, 178, 62),
    "blue": (52, 84, 226),
}
"""Colours, 0..255. Each block is strong in a channel of its own, and only the hand in all."""

HAND_RADIUS, BLOCK_HALF = 0.1, 0.14
"""The hand is a disc, a block a square that does not turn: its half side."""
REACH = 0.09
"""How far an action of 1 moves the hand in one frame, along x and y."""
_BEHIND = HAND_RADIUS + BLOCK_HALF + 0.05
"""Where a push begins, from the middle of the block."""
ARRIVED = 0.56
"""A block is pushed until it is that far out on its side."""
CORNER = 0.8
"""A corner is (+-0.8, +-0.8)."""

DIRECTIONS: Mapping[str, tuple[float, float]] = {
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
    "up": (0.0, 1.0),
    "down": (0.0, -1.0),
}
_CORNERS: Mapping[str, tuple[float, float]] = {
    f"{vertical} {side}": (x * CORNER, y * CORNER)
    for vertical, y in (("top", 1), ("bottom", -1))
    for side, x in (("left", -1), ("right", 1))
}

INSTRUCTIONS: tuple[str, ...] = (
    *(f"push the {block} block {side}" for block in BLOCKS for side in DIRECTIONS),
    *(f"go to the {corner} corner" for corner in _CORNERS),
)
"""All that can be asked."""

Array = NDArray[Any]


class Asked(NamedTuple):
    """An instruction, understood."""

    block: int | None
    """Which block is pushed, counted from 0; None where the hand goes to a place."""
    way: tuple[float, float]
    """The direction of the push, of length 1; the place where the hand goes."""


def understand(text: str) -> Asked:
    """The meaning of one of `INSTRUCTIONS`.

    Raises:
        ValueError: it is none of them.
    """
    if text not in INSTRUCTIONS:
        raise ValueError(
            f"Nobody on this table understands {text!r}; say one of {', '.join(INSTRUCTIONS)}."
        )
    words = text.split()
    if words[0] == "push":
        return Asked(list(BLOCKS).index(words[2]), DIRECTIONS[words[4]])
    return Asked(None, _CORNERS[f"{words[3]} {words[4]}"])


def written(text: str) -> NDArray[np.uint8]:
    """The UTF-8 bytes of an instruction with zeros behind, uint8 `[48]`."""
    return np.frombuffer(text.encode().ljust(TEXT_BYTES, b"\0"), np.uint8)


def spoken(data: Array) -> str:
    """The inverse of `written`."""
    return bytes(np.asarray(data, np.uint8)).rstrip(b"\0").decode("utf-8", "replace")


def where(pictures: Array) -> NDArray[np.float64]:
    """Places of hand and blocks in pictures `[..., 3, h, w]` in 0..255, as `[..., P, 2]`.

    A pixel belongs to a block as far as one channel stands out from the two others, and to the
    hand as far as all are bright; a place is the mean of its pixels. What covers less than an
    eighth of its size is not there: NaN.
    """
    cover = _covers(np.moveaxis(np.asarray(pictures, np.float32), -3, 0))
    height, width = cover.shape[-2:]
    pixel = 2 / min(height, width)
    columns, rows = cover.sum(-2), cover.sum(-1)
    mass = rows.sum(-1)
    least = np.array([math.pi * HAND_RADIUS**2, *[4 * BLOCK_HALF**2] * len(BLOCKS)]) / pixel**2 / 8
    mass = np.where(mass < least, np.nan, mass)
    x = columns @ ((np.arange(width) + 0.5 - width / 2) * pixel)
    y = rows @ ((height / 2 - np.arange(height) - 0.5) * pixel)
    return np.stack([x, y], -1) / mass[..., None]


def _covers(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much of each pixel is hand and blocks, `[3, ..., h, w]` in 0..255 to `[..., P, h, w]`
    in 0..1."""
    red, green, blue = channels
    parts = [_above(np.minimum(np.minimum(red, green), blue), min(TABLE), min(HAND))]
    for colour in BLOCKS.values():
        least, middle, most = np.argsort(colour)
        out = channels[most] - np.maximum(channels[least], channels[middle])
        parts.append(_above(out, 0, colour[most] - colour[middle]))
    return np.stack(parts, -3)


def _above(value: NDArray[np.float32], nothing: float, full: float) -> NDArray[np.float32]:
    """From 0 to 1, and 0 below four tenths: the table, and noise."""
    share = (value - np.float32(nothing)) * np.float32(1 / (full - nothing))
    share[share < 0.4] = 0
    return np.minimum(share, 1)


def progress(places: Array, text: str) -> NDArray[np.float64]:
    """How much of an instruction was done at each moment of a film, `[T]`, 1 when it is done.

        push:  (s_t - s_0) / (0.56 - s_0),   s = where the block is along the direction
        go:    1 - |hand_t - corner| / |hand_0 - corner|

    Args:
        places: `[T, P, 2]`, of hand and blocks; where something was not seen (NaN), it is where it
            was seen last.
        text: one of `INSTRUCTIONS`.
    """
    seen, asked = _seen_last(np.asarray(places, np.float64)), understand(text)
    way = np.array(asked.way)
    if asked.block is None:
        distance = np.linalg.norm(seen[:, 0] - way, axis=-1)
        return np.asarray(1 - distance / max(distance[0], 1e-6))
    along = seen[:, 1 + asked.block] @ way
    return np.asarray((along - along[0]) / max(ARRIVED - along[0], 0.05))


def _seen_last(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN replaced by what was there before, in the beginning by the middle of the table."""
    filled = places.copy()
    filled[0] = np.where(np.isnan(filled[0]), 0, filled[0])
    for before, now in itertools.pairwise(filled):
        now[...] = np.where(np.isnan(now), before, now)
    return filled


def told(pictures: Array, texts: Sequence[str]) -> int:
    """Which of several instructions a film `[T, 3, h, w]` in 0..255 shows being carried out.

    The one with the highest score at its end, the first where several are equal:

        push:  (closest + done) / 2,   closest = max_t (1 - d_t / d_0)
        go:    done

    `done` is the `progress`, and d_t how far the hand is from where the push would begin: a film
    that ends before anything was pushed shows what the hand is about to do.
    """
    return told_at(where(pictures), texts)


def told_at(places: Array, texts: Sequence[str]) -> int:
    """As `told`, from known places `[T, P, 2]`."""
    if not texts:
        raise ValueError("There is no instruction to choose from; give at least one.")
    return int(np.argmax([_score(places, text) for text in texts]))


def _score(places: Array, text: str) -> float:
    done, asked = float(progress(places, text)[-1].clip(0, 1)), understand(text)
    if asked.block is None:
        return done
    seen = _seen_last(np.asarray(places, np.float64))
    behind = seen[:, 1 + asked.block] - _BEHIND * np.array(asked.way)
    distance = np.linalg.norm(seen[:, 0] - behind, axis=-1)
    closest = 1 - float(distance.min()) / max(float(distance[0]), 0.05)
    return (max(closest, 0.0) + done) / 2


# -------------------------------------------------------------------------------------------------
# The script

_CLEAR = HAND_RADIUS + BLOCK_HALF * math.sqrt(2) + 0.03
"""At that distance the hand passes a block without touching it."""


def follow(row: Mapping[str, Array]) -> NDArray[np.float32]:
    """toy:tabletop: do what the text says, by sight.

    A push goes behind the block, around whatever lies in between, and then through it, steering
    back to its middle line; a hand whose block has arrived stays where it is.

    Args:
        row: "image" and "text" of one moment.
    """
    asked = understand(spoken(row["text"]))
    places = where(row["image"])
    hand = places[0]
    if np.isnan(hand).any():
        return np.zeros(2, np.float32)
    blocks = [place for place in places[1:] if not np.isnan(place).any()]
    if asked.block is None:
        return _move(_around(hand, np.array(asked.way), blocks))
    block, way = places[1 + asked.block], np.array(asked.way)
    if np.isnan(block).any() or block @ way >= ARRIVED:
        return np.zeros(2, np.float32)
    offset = hand - block
    along = float(offset @ way)
    across = offset - along * way
    if along < -HAND_RADIUS - BLOCK_HALF / 2 and np.abs(across).max() < BLOCK_HALF / 2:
        return _move(0.8 * REACH * way - 0.5 * across)
    return _move(_around(hand, block - _BEHIND * way, blocks))


def _around(hand: Array, goal: Array, blocks: Sequence[Array]) -> Array:
    """The next move towards a goal, past the blocks in between: along the circle around a block
    that is entered, on the side of the goal."""
    wish = goal - hand
    distance = float(np.linalg.norm(wish))
    if distance < 1e-6:
        return wish
    ahead = wish / distance
    for block in sorted(blocks, key=lambda place: float(np.linalg.norm(place - hand))):
        offset = block - hand
        along, gap = float(offset @ ahead), float(np.linalg.norm(offset))
        aside = float(ahead[0] * offset[1] - ahead[1] * offset[0])
        if along <= 0 or along > distance + 0.05 or abs(aside) >= _CLEAR or gap > 2 * _CLEAR:
            continue
        out = -offset / max(gap, 1e-6)
        along_circle = np.array([-out[1], out[0]])
        if along_circle @ ahead < 0:
            along_circle = -along_circle
        return (along_circle + 2 * (_CLEAR - gap) * out) * min(distance, 1.0)
    return wish


def _move(wish: Array) -> NDArray[np.float32]:
    """A wished displacement as an action, shortened to the reach."""
    length = float(np.linalg.norm(wish))
    return np.asarray(wish / max(length, REACH), np.float32)
