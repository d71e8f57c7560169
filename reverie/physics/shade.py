"""How bright, and of what colour? Light, shadow, ground and sky of a picture.

A surface of colour c, its unit normal n turned to the camera, under a sun in direction l, seen from
direction v, has the colour

    c sqrt(ambient + sun max(0, n . l) s + head max(0, n . v))

with s in [0, 1] what reaches it of the sun. The sum is Lambert's law for linear light; the root
stands for the display's curve. Where it is 1, at default weights on a surface that faces both sun
and camera, the colour is c itself.

*Shadows* come from a map of depths seen from the sun. On the ground they are the blurred outline of
what lies between, on surfaces a comparison of depths, a little in front of the surface lest it
shade itself.

Legend: `P` pixels, `n` some of them, `M` side of the shadow map; points and colours are `[3, n]`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reverie.physics import raster, raster_balls
from reverie.physics.raster import Integers, Lens
from reverie.physics.shapes import Colour, Ground

Reals = NDArray[np.floating[Any]]
Single = NDArray[np.float32]

_MAP = 256
"""M [pixels]."""
_MARGIN = 6
"""Pixels of the map that stay empty at each side, so that beyond it lies light."""
_AWAY = 1.5
"""By so many pixels of the map surfaces are lifted off themselves."""
_FADE = 6.0
"""The ground is half way to the horizon's colour at so many times the distance of the target."""


class Light(NamedTuple):
    """A sun, light from everywhere, and a lamp at the camera."""

    direction: tuple[float, float, float] = (0.45, -0.55, 0.95)
    """From the scene to the sun, of any length but 0."""
    ambient: float = 0.34
    sun: float = 0.52
    head: float = 0.14
    """Weights; with a sum of 1 nothing is brighter than its colour."""
    zenith: Colour = (0.60, 0.71, 0.83)
    horizon: Colour = (0.90, 0.92, 0.94)
    """The sky above, and where it meets the ground."""
    fade: float | None = None
    """Distance at which half of the ground's colour is lost [m]; None: 6 times the target's."""

    def unit(self) -> Reals:
        """The direction with length 1 `[3]`."""
        towards = np.asarray(self.direction, np.float64)
        length = float(np.sqrt((towards * towards).sum())) if towards.shape == (3,) else math.nan
        if not 0 < length < math.inf:
            raise ValueError(
                "Light.direction is a vector [3] to the sun, of any length but 0; got "
                f"{self.direction}."
            )
        return towards / length


DAYLIGHT = Light()


def turn(rotation: Reals, points: Reals) -> Reals:
    """R p of points `[3, n]`, in an order of operations that no library may change."""
    columns = rotation[:, :, None]
    turned: Reals = (
        columns[:, 0] * points[0] + columns[:, 1] * points[1] + columns[:, 2] * points[2]
    )
    return turned


def lambert(normal: Reals, view: Reals, light: Light, sun: Reals, lit: Single | None) -> Single:
    """The factor of the equation above `[n]`.

    Args:
        normal: unit normals `[3, n]`.
        view: unit directions to the camera `[3, n]`, in the same axes.
        light: its weights.
        sun: unit direction to it `[3]`, in the same axes.
        lit: s `[n]`; None for 1.
    """
    facing = np.maximum(normal[0] * sun[0] + normal[1] * sun[1] + normal[2] * sun[2], 0.0)
    if lit is not None:
        facing *= lit
    ahead = np.maximum((normal * view).sum(0), 0.0)
    return np.sqrt(light.ambient + light.sun * facing + light.head * ahead).astype(np.float32)


def sky(light: Light, up: Reals) -> Single:
    """Colours `[3, n]` of directions whose sines of elevation are `up` `[n]`."""
    share = np.sqrt(np.clip(up, 0, 1)).astype(np.float32)
    low, high = (np.asarray(c, np.float32)[:, None] for c in (light.horizon, light.zenith))
    return low + (high - low) * share


# -------------------------------------------------------------------------------------------------
# Ground


def checker(ground: Ground, point: Reals, footprint: Reals) -> Single:
    """The ground's colours `[3, n]`, averaged over what a pixel covers.

    The average over a rectangle of a checker of sides 1 is 1/2 + (m_x m_y) / 2, where m is the mean
    of a wave of period 2, that is 1 and -1 by turns, and whose integral is a triangle wave (the box
    filter of Quilez 2017).

    Args:
        ground: its height and its squares.
        point: x and y `[2, n]` [m].
        footprint: width of the pixel along x and y there `[2, n]` [m].
    """
    at = (point / ground.square).astype(np.float32)
    width = np.maximum(footprint / ground.square, 1e-3).astype(np.float32)
    mean = (_triangle(at + width / 2) - _triangle(at - width / 2)) / width
    share = 0.5 + 0.5 * mean[0] * mean[1]
    first, second = (np.asarray(c, np.float32)[:, None] for c in ground.colours)
    return second + (first - second) * share


def _triangle(x: Single) -> Single:
    """Integral of the wave that is 1 on [0, 1), -1 on [1, 2), and so on."""
    part: Single = np.abs(x - np.float32(2) * np.floor(x / np.float32(2)) - np.float32(1))
    return np.float32(1) - part


def fade(light: Light, colour: Single, distance: Reals, target: float) -> Single:
    """The ground's colours on their way to the horizon's.

    Args:
        light: its horizon and its fade.
        colour: `[3, n]`.
        distance: from the camera `[n]` [m].
        target: from the camera to what it looks at [m].
    """
    half = _FADE * target if light.fade is None else light.fade
    if not half > 0:
        raise ValueError(f"Light.fade is a distance above 0 [m], or None; got {light.fade}.")
    ratio = np.minimum(distance / half, 30.0) ** 4
    left = (1 / (1 + ratio)).astype(np.float32)
    horizon = np.asarray(light.horizon, np.float32)[:, None]
    return horizon + (colour - horizon) * left


# -------------------------------------------------------------------------------------------------
# Shadow


class Shadow(NamedTuple):
    """What the sun sees."""

    lens: Lens
    """Its parallel rays."""
    axes: Reals
    """Of the map: right, down, away from the sun, as rows `[3, 3]`."""
    origin: Reals
    """`[3]` [m]."""
    depth: Single
    """From the origin to the first surface `[M M]`, inf where there is none."""
    outline: Single
    """The share of the sun that something takes away, blurred `[M M]`."""

    def at(self, points: Reals) -> tuple[Integers, Single, Reals]:
        """Four texels `[4, n]`, their bilinear weights `[4, n]`, and depth `[n]` of points."""
        x, y, z = turn(self.axes, points - self.origin[:, None])
        (u, v), side = self.lens.centre, self.lens.width
        column = np.clip(self.lens.focal * x + (u - 0.5), 0, side - 1.001)
        row = np.clip(self.lens.focal * y + (v - 0.5), 0, side - 1.001)
        left, top = column.astype(np.int64), row.astype(np.int64)
        right, low = (column - left).astype(np.float32), (row - top).astype(np.float32)
        texel = top * side + left
        texels = np.stack([texel, texel + 1, texel + side, texel + side + 1])
        one = np.float32(1)
        weights = [(one - right) * (one - low), right * (one - low), (one - right) * low]
        return texels, np.stack([*weights, right * low]), z

    def on_ground(self, points: Reals) -> Single:
        """s of points of the ground `[3, n]`."""
        texels, weights, _ = self.at(points)
        lit: Single = 1 - (self.outline.take(texels) * weights).sum(0)
        return lit

    def on_surface(self, points: Reals, normals: Reals) -> Single:
        """s of points of surfaces `[3, n]` with outward normals `[3, n]`."""
        texel = 1 / self.lens.focal
        texels, weights, z = self.at(points + normals * (_AWAY * texel))
        clear = self.depth.take(texels) >= (z - _AWAY * texel).astype(np.float32)
        lit: Single = (clear * weights).sum(0)
        return lit


def shadow(sun: Reals, points: Reals, faces: Integers, centres: Reals, radii: Reals) -> Shadow:
    """Look at a scene from the sun.

    Args:
        sun: unit direction to it `[3]`.
        points: of meshes `[3, V]` [m].
        faces: corners `[3, F]`.
        centres: of balls `[3, N]` [m].
        radii: of balls `[N]` [m].
    """
    right = np.cross(sun, np.eye(3)[np.argmin(np.abs(sun))])
    right /= np.sqrt((right * right).sum())
    axes = np.stack([right, np.cross(-sun, right), -sun])
    corners, middles = turn(axes, points), turn(axes, centres)
    low = np.concatenate([corners, middles - radii], 1).min(1)
    high = np.concatenate([corners, middles + radii], 1).max(1)
    extent = max(float((high - low)[:2].max()), 1e-6)
    focal = (_MAP - 2 * _MARGIN) / extent
    lens = Lens(focal, (_MAP / 2, _MAP / 2), _MAP, _MAP, parallel=True)
    # Depths count from one metre before the first point, for they must be positive.
    start = np.array([*(low + high)[:2] / 2, low[2] - 1])
    nearest = raster.blank(lens)
    raster.put_triangles(nearest, lens, corners - start[:, None], faces)
    raster_balls.put_balls(nearest, lens, middles - start[:, None], radii, faces.shape[1])
    depth = raster.depths(nearest).astype(np.float32)
    return Shadow(lens, axes, turn(axes.T, start[:, None])[:, 0], depth, _blurred(depth))


def _blurred(depth: Single) -> Single:
    """The outline under two box filters of 3 x 3 pixels."""
    image = np.isfinite(depth).astype(np.float32).reshape(_MAP, _MAP)
    for _ in range(2):
        for axis in (0, 1):
            image = (image + np.roll(image, 1, axis) + np.roll(image, -1, axis)) / np.float32(3)
    return image.ravel()
