r"""Does it move where it should? Motion masks of predicted and real films, compared as sets.

After the manner of Physics-IQ (Motamed et al. 2025): a pixel moves where its grey value, blurred
by 5 x 5 binomial weights, differs from a running average of the past by more than 10 / 255,

    b_0 = I_0,   M_t = |blur(I_t) - b_{t-1}| > threshold,   b_t = (1 - r) b_{t-1} + r blur(I_t).

Spatial: union over time of the masks, |A and B| / |A or B|. Spatiotemporal: the same of each frame,
averaged. Weighted: with the share of frames in which each pixel moves, sum min / sum max. What
neither film moves counts as agreement, 1. A film and a second take of its scene agree as well as
can be asked for; a model's score is divided by that.

Legend: `T` frames, `h w` pixels; leading axes are free.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reverie.eval.interval import Array

Masks = NDArray[np.bool_]
SCORES = ("spatial_iou", "spatiotemporal_iou", "weighted_iou")
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_BLUR = np.array([1, 4, 6, 4, 1], np.float32) / 16


def motion_masks(
    frames: NDArray[np.floating], threshold: float = 10 / 255, rate: float = 0.1
) -> Masks:
    """Where frames `[..., T, 3, h, w]` in 0..1 move, `[..., T - 1, h, w]`.

    The first frame is where the running average begins: give the last one that was seen before the
    prediction. `rate` is the share of a new frame in the average; with 1 it is the last frame.
    """
    if frames.ndim < 4 or frames.shape[-3] != 3 or frames.shape[-4] < 2:
        raise ValueError(
            f"Motion needs at least two frames [..., T, 3, h, w] in colour; got {frames.shape}."
        )
    grey = _blurred(np.einsum("...chw,c->...hw", np.asarray(frames, np.float32), _GREY))
    average, found = grey[..., 0, :, :], []
    for t in range(1, grey.shape[-3]):
        now = grey[..., t, :, :]
        found.append(np.abs(now - average) > threshold)
        average = (1 - rate) * average + rate * now
    return np.stack(found, -3)


def motion_scores(one: Masks, other: Masks) -> dict[str, Array]:
    """The three scores, named as in `SCORES`, each `[...]` in 0..1, of masks `[..., T, h, w]`."""
    if one.shape[-3:] != other.shape[-3:]:
        raise ValueError(f"Films of {one.shape[-3:]} and {other.shape[-3:]} cannot be compared.")
    spatial = _ratio(
        (one.any(-3) & other.any(-3)).sum((-2, -1)), (one.any(-3) | other.any(-3)).sum((-2, -1))
    )
    framewise = _ratio((one & other).sum((-2, -1)), (one | other).sum((-2, -1))).mean(-1)
    heats = np.broadcast_arrays(one.mean(-3), other.mean(-3))
    weighted = _ratio(np.minimum(*heats).sum((-2, -1)), np.maximum(*heats).sum((-2, -1)))
    return dict(zip(SCORES, (spatial, framewise, weighted), strict=True))


def _ratio(top: NDArray[np.number], bottom: NDArray[np.number]) -> Array:
    """`top / bottom`, 1 where nothing moves."""
    one = np.ones(np.broadcast_shapes(top.shape, bottom.shape))
    return np.divide(top, bottom, out=one, where=bottom > 0)


def _blurred(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """5 x 5 binomial weights; the edge is repeated."""
    for axis in (-1, -2):
        widths = [(0, 0)] * grey.ndim
        widths[axis] = (2, 2)
        padded, length = np.pad(grey, widths, mode="edge"), grey.shape[axis]
        grey = np.asarray(
            sum(w * padded.take(range(k, k + length), axis) for k, w in enumerate(_BLUR))
        )
    return grey
