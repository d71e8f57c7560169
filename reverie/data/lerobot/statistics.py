"""Statistics of an episode and of a dataset, as LeRobot keeps them: `stats/*`, `meta/stats.json`.

Of each feature the `min max mean std count q01 q10 q50 q90 q99`, by its last axis (a scalar is an
axis of one entry); of a camera by its channel, in 0..1, of shape `(3, 1, 1)`. A quantile is the
smallest value that at least that share of the values does not exceed; LeRobot estimates it with a
histogram of 5,000 bins, so both agree within 1/5,000 of the range. Of a whole dataset

    mean = sum_i c_i m_i / c,    std^2 = sum_i c_i (s_i^2 + (m_i - mean)^2) / c,    c = sum_i c_i

over its episodes i (`s_i` their standard deviations), and a quantile is, as LeRobot defines it, the
mean of the episodes' ones weighted with `c_i`.

Source: the format as `huggingface/lerobot` 0.4.4 writes it (`src/lerobot/datasets`). Its standard
deviation of pictures is too small (it squares bytes as bytes); here it is that of the definition.

Shapes: `n` frames, `C h w` image.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from reverie.data.container import Array

Stats = dict[str, Array]
"""Name of a statistic -> values."""

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
NAMES = ("min", "max", "mean", "std", "count", *QUANTILES)

_WIDE = 300
"""Pictures at least this large are thinned out ..."""
_NARROW = 150
"""... to about this many pixels a side."""


def summary(values: Array) -> Stats:
    """Statistics of a feature `[n, ...]`, by its last axis, over the finite entries; zero where
    there are none.

    `min` and `max` keep whole numbers whole.
    """
    flat = values.reshape(len(values), -1) if values.ndim < 3 else values
    flat = flat.reshape(-1, flat.shape[-1])
    if flat.dtype.kind == "f" and not np.isfinite(flat).all():
        columns = [c[np.isfinite(c)] if np.isfinite(c).any() else np.zeros(1) for c in flat.T]
        parts = [_summary(column[:, None]) for column in columns]
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    else:
        found = _summary(flat)
    return {**found, "count": np.array([len(values)])}


def _summary(flat: Array) -> Stats:
    wide = flat.astype(np.float64)
    share = list(QUANTILES.values())
    quantiles = np.quantile(wide, share, axis=0, method="inverted_cdf")
    kept = flat if flat.dtype.kind != "f" else wide
    return {
        "min": kept.min(axis=0),
        "max": kept.max(axis=0),
        "mean": wide.mean(axis=0),
        "std": wide.std(axis=0),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }


class Tally:
    """Statistics of the pictures of one camera, from how often each channel had each level."""

    def __init__(self) -> None:
        self.levels = np.zeros((3, 256), np.int64)
        self.frames = 0

    def add(self, picture: Array) -> None:
        """One picture uint8 `(C, h, w)`; a large one is thinned out, as LeRobot does."""
        _, height, width = picture.shape
        step = 1 if max(height, width) < _WIDE else max(1, max(height, width) // _NARROW)
        thin = picture[:, ::step, ::step]
        counts = [np.bincount(channel.reshape(-1), minlength=256) for channel in thin]
        self.levels += np.stack(counts)
        self.frames += 1

    def summary(self) -> Stats:
        """Of all pictures so far, in 0..1; grey stands in each channel."""
        level = np.arange(256)
        total = self.levels.sum(axis=1)
        mean = self.levels @ level / total
        variance = (self.levels * (level - mean[:, None]) ** 2).sum(axis=1) / total
        there = self.levels > 0
        up_to = self.levels.cumsum(axis=1)
        found = {
            "min": there.argmax(axis=1),
            "max": 255 - there[:, ::-1].argmax(axis=1),
            "mean": mean,
            "std": np.sqrt(variance),
            **{
                name: (up_to >= (share * total)[:, None]).argmax(axis=1)
                for name, share in QUANTILES.items()
            },
        }
        scaled = {name: (value / 255).reshape(3, 1, 1) for name, value in found.items()}
        return {**scaled, "count": np.array([self.frames])}


def joined(one: Mapping[str, Stats], two: Mapping[str, Stats]) -> dict[str, Stats]:
    """Statistics of two sets of episodes together, feature by feature."""
    found = {**one, **two}
    for key in one.keys() & two.keys():
        found[key] = _joined(one[key], two[key])
    return found


def _joined(one: Stats, two: Stats) -> Stats:
    count = one["count"] + two["count"]
    a, b = one["count"][0] / count[0], two["count"][0] / count[0]
    mean = a * one["mean"] + b * two["mean"]
    variance = a * (one["std"] ** 2 + (one["mean"] - mean) ** 2)
    variance += b * (two["std"] ** 2 + (two["mean"] - mean) ** 2)
    return {
        "min": np.minimum(one["min"], two["min"]),
        "max": np.maximum(one["max"], two["max"]),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": count,
        **{name: a * one[name] + b * two[name] for name in QUANTILES},
    }
