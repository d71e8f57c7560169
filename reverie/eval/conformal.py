"""How wide a band holds the truth, whatever the model believes? Split conformal prediction.

On some episodes the error of a prediction is measured; its quantile, a little raised for their
number, is the half-width of a band that holds the truth of a new episode with probability `level`
or more, for any model and any law of the errors, if the new episode comes from where those came
from. On other episodes this is checked.

    half-width = min {q : sum_g 1 / (G + 1) mean_i [e_gi <= q] >= level}

over G episodes g with windows i: with one window each it is the ceil((G + 1) level)-th smallest
error (Vovk et al. 2005); with several, the windows of an episode share its weight (Lee, Barber and
Willett 2023). An error is the largest over the entries of a vector, in its unit, so that the band
holds all of them at once, and the root mean square over the entries of an image.

Legend: `K` samples, `N` windows, `H` steps, `D` entries, `G` episodes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Generator, Tensor

from reverie.core.model import Obs, WorldModel
from reverie.eval.interval import Array, Groups
from reverie.eval.nulls import to_null
from reverie.eval.pairs import Pairs, column, find, predicted
from reverie.eval.score import Curve, Kind, summarise
from reverie.eval.windows import Windows

Model = WorldModel[Any, Any]


@dataclass(frozen=True)
class Band:
    """A band around a prediction."""

    factor: tuple[float, ...]
    """The quantile at each step; infinite where episodes with this sensor are too few."""
    half_width: tuple[float, ...]
    """In the sensor's unit: the factor itself, or times the mean spread of the checked windows."""
    coverage: Curve
    """Share of the windows of the other episodes in which the band held the truth."""


@dataclass(frozen=True)
class SensorBands:
    """Bands of one sensor around `model` (the mean of its samples), the same in units of the
    spread of the samples (`normalised`), and around the guess that nothing changes (`repeat`)."""

    name: str
    kind: Kind
    unit: str
    steps: tuple[int, ...]
    bands: Mapping[str, Band]


@dataclass(frozen=True)
class Conformal:
    """The result of `conformal`."""

    sensors: tuple[SensorBands, ...]
    level: float
    """Probability with which a band is to hold the truth."""
    calibrated_on: int
    """Episodes from which the bands come."""
    checked_on: int
    """Other episodes, on which their coverage was measured."""
    observed: int
    horizon: int
    samples: int

    def sensor(self, name: str) -> SensorBands:
        """One sensor by name."""
        found: SensorBands = find(self.sensors, name)
        return found

    def to_json(self) -> dict[str, Any]:
        """A JSON object (NaN and infinity as null)."""
        result: dict[str, Any] = to_null(asdict(self))
        return result


def conformal(
    model: Model,
    windows: Windows,
    *,
    observed: int,
    horizon: int,
    samples: int = 1,
    level: float = 0.9,
    context: Obs | None = None,
    at_once: int = 32,
    generator: Generator | None = None,
    seed: int = 0,
) -> Conformal:
    """Bands of the prediction of every sensor and the reward, and whether they hold.

    Half of the episodes, drawn with `seed`, give the bands; at least so many as the level needs,
    level / (1 - level), and two are left to check them. The arguments are those of `calibration`;
    with several samples there is also the normalised band, which is wide where they are spread.
    """
    groups = windows.episode.cpu().numpy()
    fitted = split_episodes(groups, level, seed)
    parts: dict[str, list[dict[str, Tensor]]] = {}
    heads: dict[str, Pairs] = {}
    chunks = predicted(model, windows, observed, horizon, samples, context, at_once, generator)
    for _, found in chunks:
        for pair in found:
            parts.setdefault(pair.name, []).append(_scores(pair))
            heads[pair.name] = pair

    def bands(name: str) -> dict[str, Band]:
        scores = {k: column([p[k] for p in parts[name]]) for k in parts[name][0]}
        weight, spread = scores.pop("weight"), scores.pop("spread", None)
        some = {k: band(v, weight, groups, fitted, level, seed=seed) for k, v in scores.items()}
        if spread is not None and (spread > 0).any():
            errors = scores["model"], weight, groups, fitted, level, spread
            some["normalised"] = band(*errors, seed=seed)
        return some

    return Conformal(
        tuple(SensorBands(*heads[k][:4], bands=bands(k)) for k in parts),
        level,
        len(np.unique(groups[fitted])),
        len(np.unique(groups[~fitted])),
        observed,
        horizon,
        samples,
    )


def split_episodes(groups: Groups, level: float, seed: int = 0) -> NDArray[np.bool_]:
    """Which windows `[N]` give the band: half of the episodes, or so many as the level needs."""
    if not 0 < level < 1:
        raise ValueError(f"The level of a band must lie in (0, 1); got {level}.")
    episodes = np.random.default_rng(seed).permutation(np.unique(groups))
    least = math.ceil(level / (1 - level) - 1e-9)
    if len(episodes) < least + 2:
        raise ValueError(
            f"A band of level {level:g} needs {least} episodes, and 2 others to check it; there "
            f"are {len(episodes)}. Give more episodes, or a level of at most "
            f"{max(len(episodes) - 2, 0) / max(len(episodes) - 1, 1):.2f}."
        )
    chosen: NDArray[np.bool_] = np.isin(groups, episodes[: max(least, len(episodes) // 2)])
    return chosen


def band(
    errors: Array,
    weight: Array,
    groups: Groups,
    fitted: NDArray[np.bool_],
    level: float,
    spread: Array | None = None,
    seed: int = 0,
) -> Band:
    """The band of errors `[N, H]`, at least 0, from the windows that are `fitted` `[N]`, checked on
    the others; where `spread` `[N, H]` is given, in its units."""
    scale = np.ones_like(errors) if spread is None else spread
    scale = np.maximum(scale, max(1e-9 * float(scale.max()), 1e-100))
    factor = quantile(errors[fitted] / scale[fitted], weight[fitted], groups[fitted], level)
    rest = ~fitted
    held = (errors[rest] <= factor * scale[rest]).astype(np.float64)
    mass = weight[rest].sum(0)
    mean = (scale[rest] * weight[rest]).sum(0) / np.where(mass > 0, mass, np.nan)
    width = factor if spread is None else factor * mean
    coverage = summarise(held, weight[rest], groups[rest], np.asarray, seed)
    return Band(tuple(factor.tolist()), tuple(width.tolist()), coverage)


def quantile(errors: Array, weight: Array, groups: Groups, level: float) -> Array:
    """Half-width `[H]` from errors `[N, H]` where weight `[N, H]` is not 0 (module docstring);
    infinite where fewer than level / (1 - level) episodes have any."""
    widths = np.full(errors.shape[1], np.inf)
    for h in range(errors.shape[1]):
        there = weight[:, h] > 0
        _, index, count = np.unique(groups[there], return_inverse=True, return_counts=True)
        order = np.argsort(errors[there, h], kind="stable")
        share = np.cumsum((1 / count[index])[order]) / (len(count) + 1)
        reached = np.flatnonzero(share >= level - 1e-9)
        if len(reached):
            widths[h] = errors[there, h][order[reached[0]]]
    return widths


def _scores(pair: Pairs) -> dict[str, Tensor]:
    """Errors `[N, H]` of the mean of the samples and of the last row, and the samples' spread."""

    def one(difference: Tensor) -> Tensor:
        if pair.kind == "image":
            return difference.square().mean(-1).sqrt()
        return difference.abs().amax(-1)

    guess = pair.samples.mean(0)
    found = {"model": one(guess - pair.truth), "repeat": one(pair.last - pair.truth)}
    if pair.samples.shape[0] > 1:
        found["spread"] = one(pair.samples.std(0))
    return {**found, "weight": pair.weight}
