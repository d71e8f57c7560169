"""Ground to walk on, from a seed: heights over a rectangle.

    z(x, y) = s(x) relief f(x, y)        0 <= f <= 1        s = 0 where the robot begins

f by kind: flat 0; waves two sines crossed; steps stairs up and down again; blocks square tiles of
random heights; slope up to a top and down again; rough noise of several lengths.
Legend: `n m` points along y and x.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ground = Literal["flat", "waves", "steps", "blocks", "slope", "rough"]
KINDS: tuple[Ground, ...] = ("flat", "waves", "steps", "blocks", "slope", "rough")
Grid = NDArray[np.float64]


class Terrain(NamedTuple):
    """Heights, bilinear between points, and where they are."""

    heights: Grid
    """`[n, m]` [m], rows along y, columns along x, both upwards; at least 0."""
    low: tuple[float, float]
    """x and y of the first point [m]."""
    high: tuple[float, float]
    """Of the last."""

    def at(self, x: float, y: float) -> float:
        """The height at a place [m]; beyond the edge that of the edge."""
        rows, columns = self.heights.shape
        u = np.clip((x - self.low[0]) / (self.high[0] - self.low[0]), 0, 1) * (columns - 1)
        v = np.clip((y - self.low[1]) / (self.high[1] - self.low[1]), 0, 1) * (rows - 1)
        i, j = min(int(u), columns - 2), min(int(v), rows - 2)
        u, v, corner = u - i, v - j, self.heights[j : j + 2, i : i + 2]
        return float(np.array([1 - v, v]) @ corner @ np.array([1 - u, u]))


def terrain(
    kind: Ground,
    seed: int,
    relief: float,
    *,
    low: tuple[float, float] = (-0.8, -0.8),
    high: tuple[float, float] = (3.2, 0.8),
    gap: float = 0.05,
    level: tuple[float, float] = (0.3, 0.6),
) -> Terrain:
    """The ground of a seed; the same numbers always give the same ground.

    Args:
        kind: What it looks like.
        seed: Of the draw.
        relief: From its lowest to its highest point at most [m].
        low: Its first corner [m].
        high: Its last [m].
        gap: About the distance of points [m].
        level: x up to which it is flat, and from which it has all of its relief [m].

    Raises:
        ValueError: a kind that is not there, or sizes that make no ground.
    """
    if kind not in KINDS:
        raise ValueError(f"There is no ground {kind!r}; there are {', '.join(KINDS)}.")
    long, wide = high[0] - low[0], high[1] - low[1]
    if relief < 0 or gap <= 0 or min(long, wide) < 2 * gap or level[0] >= level[1]:
        raise ValueError(
            f"Ground from {low} to {high} m with points every {gap} m, a relief of {relief} m, "
            f"flat up to {level}: give a relief of at least 0, sides of two points, level rising."
        )
    x = np.linspace(low[0], high[0], round(long / gap) + 1)
    y = np.linspace(low[1], high[1], round(wide / gap) + 1)
    x, y = np.meshgrid(x, y)
    dice = np.random.default_rng([seed, KINDS.index(kind)])
    shape = {
        "flat": lambda: np.zeros_like(x),
        "waves": lambda: _waves(x, y, dice),
        "steps": lambda: _steps(x - level[1], dice),
        "blocks": lambda: _blocks(x, y, dice),
        "slope": lambda: _slope(x - level[0], dice),
        "rough": lambda: _rough(x.shape, gap, dice),
    }[kind]()
    return Terrain(relief * _smooth((x - level[0]) / (level[1] - level[0])) * shape, low, high)


def _smooth(x: Grid) -> Grid:
    """From 0 to 1 over [0, 1], with a slope that begins and ends at 0."""
    x = np.clip(x, 0, 1)
    return np.asarray(x * x * (3 - 2 * x))


def _waves(x: Grid, y: Grid, dice: np.random.Generator) -> Grid:
    """Crests every 0.5 to 0.9 m along x, and two to three times as far along y."""
    long = dice.uniform(0.5, 0.9)
    wide, first, second = long * dice.uniform(2, 3), *dice.uniform(0, 2 * np.pi, 2)
    return np.asarray(
        0.5 + 0.5 * np.sin(2 * np.pi * x / long + first) * np.sin(2 * np.pi * y / wide + second)
    )


def _steps(x: Grid, dice: np.random.Generator) -> Grid:
    """Up two or three stairs of 0.25 to 0.4 m, a landing, and down as many."""
    count, deep = int(dice.integers(2, 4)), dice.uniform(0.25, 0.4)
    up = np.clip(np.floor(x / deep) + 1, 0, count)
    down = np.clip(np.floor((x - (count + 1) * deep) / deep) + 1, 0, count)
    return np.asarray((up - down) / count)


def _blocks(x: Grid, y: Grid, dice: np.random.Generator) -> Grid:
    """Tiles of 0.2 to 0.35 m."""
    side = dice.uniform(0.2, 0.35)
    i = np.floor((x - x.min()) / side).astype(int)
    j = np.floor((y - y.min()) / side).astype(int)
    return np.asarray(dice.uniform(0, 1, (int(j.max()) + 1, int(i.max()) + 1))[j, i])


def _slope(x: Grid, dice: np.random.Generator) -> Grid:
    """Up over 0.8 to 1.2 m, a top of 0.3 m, and down as it went up."""
    long = dice.uniform(0.8, 1.2)
    return np.asarray(_smooth(x / long) - _smooth((x - long - 0.3) / long))


def _rough(shape: tuple[int, ...], gap: float, dice: np.random.Generator) -> Grid:
    """Noise of 0.4, 0.2 and 0.1 m, each half as high as the one before; stretched to [0, 1]."""
    total = np.zeros(shape)
    for octave, long in enumerate((0.4, 0.2, 0.1)):
        rows, columns = (int(np.ceil((n - 1) * gap / long)) + 2 for n in shape)
        knots = dice.uniform(0, 1, (rows, columns))
        v, u = (np.arange(n) * gap / long for n in shape)
        i, j = u.astype(int), v.astype(int)[:, None]
        s, t = _smooth(u - u.astype(int)), _smooth(v - v.astype(int))[:, None]
        near = (1 - s) * knots[j, i] + s * knots[j, i + 1]
        far = (1 - s) * knots[j + 1, i] + s * knots[j + 1, i + 1]
        total += 0.5**octave * ((1 - t) * near + t * far)
    return np.asarray((total - total.min()) / (total.max() - total.min()))
