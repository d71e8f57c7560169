r"""Where are the objects in a picture? Found by their colours, softly.

A pixel in which object k with colour c_k covers the share a_k of a background b is

    I - b = sum_k a_k (c_k - b),

so with up to three objects the shares follow from the three channels by least squares. They are
the mask of each object; the centroid and the sum of a mask are its place and its area. This holds
for soft edges and for blur, which keeps both.

Legend: `n` objects, `h w` pixels, `S` predicted frames; leading axes are free.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reverie.eval.interval import Array

Frames = NDArray[np.floating]
LEAST = 0.2
"""Shares below this are noise and count as nothing."""


class Tracks(NamedTuple):
    """Objects found in frames."""

    position: Array
    """`[..., n, 2]`, in the unit of the axes given; NaN where nothing has the object's colour."""
    area: Array
    """`[..., n]`, in that unit squared."""


def masks(frames: Frames, colours: Array, background: Frames, least: float = LEAST) -> Array:
    """The share of each pixel that each object covers, `[..., n, h, w]` in 0..1.

    Args:
        frames: `[..., 3, h, w]` in 0..1.
        colours: `[n, 3]` in 0..1, n at most 3.
        background: what the frames show without objects, `[..., 3, h, w]` in 0..1.
        least: shares below it become 0.

    Raises:
        ValueError: there are more objects than channels, or frames that are not in colour.
    """
    if frames.shape[-3] != 3 or not 1 <= len(colours) <= 3:
        raise ValueError(
            f"Objects are told apart by three channels: give frames [..., 3, h, w] and 1 to 3 "
            f"colours; got frames {frames.shape} and {len(colours)} colours."
        )
    difference = np.asarray(frames, np.float32) - np.asarray(background, np.float32)
    shares = np.einsum("...nchw,...chw->...nhw", _unmixing(colours, background), difference)
    return np.where(shares < least, 0.0, shares.clip(0, 1)).astype(np.float64)


def track(
    frames: Frames,
    colours: Array,
    background: Frames,
    x: Array,
    y: Array,
    least: float = LEAST,
) -> Tracks:
    """Place and area of each object in frames `[..., 3, h, w]`; `x` `[w]` and `y` `[h]` are the
    places of columns and rows. The other arguments are those of `masks`."""
    shares = masks(frames, colours, background, least)
    total = shares.sum((-2, -1))
    sums = np.stack([shares.sum(-2) @ x, shares.sum(-1) @ y], -1)
    nothing = np.full_like(sums, np.nan)
    place = np.divide(sums, total[..., None], out=nothing, where=total[..., None] > 0)
    pixel = abs(x[-1] - x[0]) * abs(y[-1] - y[0]) / ((len(x) - 1) * (len(y) - 1))
    return Tracks(place, total * pixel)


def held(position: Array, lost: NDArray[np.bool_], start: Array) -> Array:
    """Places `[..., S, n, 2]` in which an object that is lost `[..., S, n]` stays where it was last
    seen, at first at `start` `[..., n, 2]`: losing an object must not make its error smaller."""
    last, places = np.broadcast_to(start, position[..., 0, :, :].shape), []
    for s in range(position.shape[-3]):
        last = np.where(lost[..., s, :, None], last, position[..., s, :, :])
        places.append(last)
    return np.stack(places, -3)


def velocities(position: Array, start: Array, times: Array) -> Array:
    """Mean velocities `[..., S, n, 2]` on the way to places `[..., S, n, 2]` at `times` `[S]` > 0,
    from `start` `[..., n, 2]` at time 0."""
    before = np.broadcast_to(start, position[..., 0, :, :].shape)[..., None, :, :]
    steps = np.diff(np.concatenate([before, position], -3), axis=-3)
    return np.asarray(steps / np.diff(times, prepend=0.0)[:, None, None])


def _unmixing(colours: Array, background: Frames) -> Frames:
    """`[..., n, 3, h, w]`: the pseudo-inverse of `c_k - b` in every pixel."""
    behind = np.moveaxis(np.asarray(background, np.float64), -3, -1)
    basis = colours - behind[..., None, :]
    gram = basis @ np.swapaxes(basis, -1, -2) + 1e-6 * np.eye(len(colours))
    return np.moveaxis(np.linalg.solve(gram, basis), (-2, -1), (-4, -3)).astype(np.float32)
