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

Also here: what a model predicted beside what really happened (`Pairs`), which every measure of a
distribution reads. Legend: `K` samples, `N` windows, `H` steps, `D` entries, `G` episodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from reverie.core import tree
from reverie.core.model import Batch, Obs, WorldModel
from reverie.core.spec import Spec
from reverie.eval.interval import LEVEL, Array, student
from reverie.eval.nulls import to_null
from reverie.eval.predict import Prediction, predict
from reverie.eval.score import Curve, Kind, summarise
from reverie.eval.windows import Windows

Model = WorldModel[Any, Any]
Groups = NDArray[np.int64]
DRAWS = 500
"""Resamples for statistics that are no means."""


class Pairs(NamedTuple):
    """What a model predicted of one sensor, or of the reward, beside what happened."""

    name: str
    kind: Kind
    unit: str
    steps: tuple[int, ...]
    """Decisions after the last observed row."""
    samples: Tensor
    """`[K, N, H, D]`; images in 0..1."""
    truth: Tensor
    """`[N, H, D]`."""
    last: Tensor
    """`[N, 1, D]`, the last observed row: the guess that nothing changes."""
    weight: Tensor
    """`[N, H]`, 0 where the sensor was missing."""


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


class Resampling:
    """Episodes drawn with replacement, for statistics that are no means: `counts` `[1 + R, N]` says
    how often each window is there; the first row is the data as it is."""

    def __init__(self, groups: Groups, seed: int = 0, draws: int = DRAWS) -> None:
        names, index = np.unique(groups, return_inverse=True)
        self.episodes = count = len(names)
        drawn = np.random.default_rng(seed).multinomial(count, [1 / count] * count, size=draws)
        self.counts: Array = np.concatenate([np.ones((1, count)), drawn])[:, index]

    def interval(self, statistic: Array) -> tuple[Array, Array, Array]:
        """The statistic `[...]` and the ends of its interval, from its values `[1 + R, ...]`: the
        expanded percentile interval of `interval.bootstrap`. NaN where there is one episode."""
        if self.episodes < 2:
            return statistic[0], *[np.full(statistic.shape[1:], np.nan)] * 2
        normal, n = NormalDist(), self.episodes
        t = student(normal.inv_cdf(0.5 + LEVEL / 2), n - 1)
        tail = normal.cdf(-math.sqrt(n / (n - 1)) * t)
        drawn = statistic[1:]
        empty = np.isnan(drawn).all(0)
        ends = np.nanquantile(np.where(empty, 0.0, drawn), [tail, 1 - tail], axis=0)
        low, high = np.where(empty, np.nan, ends)
        return statistic[0], low, high


def predicted(
    model: Model,
    windows: Windows,
    observed: int,
    horizon: int,
    samples: int,
    context: Obs | None = None,
    at_once: int = 32,
    generator: Generator | None = None,
) -> Iterator[tuple[slice, list[Pairs]]]:
    """Predictions of a few windows at a time, sensor by sensor, and which windows they are."""
    if "reward" not in model.spec.provides:
        model.spec.require("obs")
    for start in range(0, len(windows.episode), at_once):
        span = slice(start, start + at_once)
        batch = tree.select(windows.batch, span)
        given = None if context is None else tree.select(dict(context), span)
        imagined = predict(
            model,
            batch,
            observed=observed,
            horizon=horizon,
            samples=samples,
            context=given,
            generator=generator,
        )
        yield span, list(pairs(model.spec, batch, imagined, observed))


def pairs(spec: Spec, batch: Batch, prediction: Prediction, observed: int) -> Iterator[Pairs]:
    """Each sensor that the model decodes, and the reward, beside the truth of windows `[N]`."""
    for name, space in spec.obs.items():
        if name not in prediction.obs or space.dtype == "int64":
            continue
        steps = prediction.steps
        there = batch.obs.get(name + ".present", torch.ones_like(batch.first)).bool()
        weight = there[:, [observed - 1 + k for k in steps]] & there[:, observed - 1 : observed]
        shown = prediction.obs[name]
        samples = shown.reshape(*shown.shape[:3], -1).float()
        kind: Kind = "image" if space.is_image else "vector"
        truth, last = real(spec, batch, name, observed, steps)
        yield Pairs(name, kind, space.unit, steps, samples, truth, last, weight.float())
    if prediction.reward is not None:
        steps = tuple(spec.chunk * (k + 1) for k in range(prediction.reward.shape[2]))
        truth, last = real(spec, batch, "reward", observed, steps)
        weight = torch.ones_like(truth[..., 0])
        samples = prediction.reward.float().unsqueeze(3)
        yield Pairs("reward", "reward", "", steps, samples, truth, last, weight)


def real(
    spec: Spec,
    batch: Batch,
    name: str,
    observed: int,
    steps: Sequence[int],
    windows: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What happened `[N, H, D]` after the last observed row, and that row `[N, 1, D]`, in windows
    `[N]` of a batch (all by default); rewards are summed over each chunk."""
    device = batch.action.device
    every = torch.arange(len(batch.action), device=device) if windows is None else windows
    window, ahead = every[:, None], torch.tensor(steps, device=device)
    last = read(spec, batch, name, window, torch.full_like(window, observed - 1))
    if name != "reward":
        return read(spec, batch, name, window, observed - 1 + ahead), last
    row = (ahead[:, None] - torch.arange(spec.chunk, device=device)).flatten() + observed - 1
    truth = read(spec, batch, name, window, row)
    return truth.unflatten(1, (-1, spec.chunk)).sum(2), last * spec.chunk


def read(spec: Spec, batch: Batch, name: str, window: Tensor, row: Tensor) -> Tensor:
    """Entries of a sensor, or of the reward, in some rows: floats `[..., D]`, images in 0..1."""
    if name == "reward":
        return batch.reward[window, row].float().unsqueeze(-1)
    found = batch.obs[name][window, row]
    lead = found.ndim - len(spec.obs[name].shape)
    flat = found.reshape(*found.shape[:lead], -1)
    scale = 255 if spec.obs[name].is_image and flat.dtype == torch.uint8 else 1
    return flat.float() / scale


def deviation(model: Model, windows: Windows, at_once: int = 32) -> dict[str, Tensor]:
    """Standard deviation of each entry `[D]` over the rows of the windows in which the sensor is
    there, and of the reward; exactly 0 for an entry that never changes."""
    batch, found = windows.batch, {}
    names = [k for k, v in model.spec.obs.items() if k in batch.obs and v.dtype != "int64"]
    for name in [*names, "reward"]:
        there = batch.obs.get(name + ".present", torch.ones_like(batch.first)).bool()
        there = ~batch.first if name == "reward" else there
        chosen = there.nonzero()
        if not len(chosen):
            found[name] = torch.zeros(1 if name == "reward" else model.spec.obs[name].size)
            continue
        origin = read(model.spec, batch, name, *chosen[0]).double()
        moments = torch.zeros(2, len(origin), dtype=torch.float64, device=origin.device)
        for some in chosen.split(at_once * there.shape[1]):
            away = read(model.spec, batch, name, *some.T).double() - origin
            moments += torch.stack([away.sum(0), away.square().sum(0)])
        mean, square = moments / len(chosen)
        found[name] = (square - mean.square()).clamp_min(0).sqrt().float()
    return found


def column(parts: Sequence[Tensor]) -> Array:
    """Windows of all parts, as float64 numpy."""
    joined: Array = torch.cat(list(parts)).double().cpu().numpy()
    return joined


def find(sensors: Sequence[Any], name: str) -> Any:
    """The entry of that name."""
    for sensor in sensors:
        if sensor.name == name:
            return sensor
    raise KeyError(f"No sensor {name!r} was evaluated; there are: {[s.name for s in sensors]}.")


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
