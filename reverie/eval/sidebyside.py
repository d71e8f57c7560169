"""Several models asked about the same windows: their errors window by window, and ratios of them.

`openloop` averages over windows first. Here they are kept apart, so that the ratio of two models on
the same episodes, or of one model on two sets of episodes, has an interval of its own.

Legend: `N` windows, `K` samples of noise, `S` predicted rows, `D` entries, `C` observed rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from reverie.core import tree
from reverie.core.model import Batch, WorldModel
from reverie.core.spec import Space
from reverie.eval.interval import RESAMPLES, Array, Bounds, bootstrap, student
from reverie.eval.predict import predict
from reverie.eval.score import Curve, Kind, decibel, summarise
from reverie.eval.windows import Windows

REWARD = "reward"
_MOVES = 1e-6  # an entry with a smaller deviation stands still


class SensorErrors(NamedTuple):
    """Squared errors of one sensor, not yet averaged over windows."""

    kind: Kind
    unit: str
    square: Array
    """`[N, S]` in the sensor's unit squared, mean over samples and entries; images in 0..1."""
    scaled: Array
    """`[N, S]` in variances of each entry, mean over those that move; NaN where it has none."""
    entries: int
    """How many move."""


class WindowErrors(NamedTuple):
    """Errors of one predictor."""

    sensors: Mapping[str, SensorErrors]
    """By name; the reward is called "reward"."""
    steps: tuple[int, ...]
    """Decisions after the last observed row."""
    groups: NDArray[np.int64]
    """`[N]`, the episode of each window."""

    def pooled(self, names: Iterable[str] = ()) -> Array:
        r"""`sum_i D_i e_i / sum_i D_i` over vector sensors i, `[N, S]`: in variances of the data.

        Args:
            names: of the sensors; by default all.

        Raises:
            ValueError: none of them is a vector that moves.
        """
        wanted = set(names) or set(self.sensors)
        found = [
            (s.entries, s.scaled)
            for name, s in self.sensors.items()
            if name in wanted and s.kind == "vector" and s.entries
        ]
        if not found:
            raise ValueError(
                f"Errors are pooled over vector sensors that move; there are none among "
                f"{', '.join(sorted(wanted)) or 'no sensors'}."
            )
        total: Array = sum(n * e for n, e in found) / sum(n for n, _ in found)  # type: ignore[assignment]
        return total

    def at(self, share: float) -> int:
        """Index of the last step within this share of the horizon."""
        within = [i for i, s in enumerate(self.steps) if s <= share * self.steps[-1] + 1e-9]
        return within[-1] if within else 0


def deviations(windows: Windows, spaces: Mapping[str, Space]) -> dict[str, Tensor]:
    """Standard deviation of each entry `[D]` of the vector sensors over all rows, in float64."""
    return {
        name: _entries(windows.batch.obs[name], space).flatten(0, 1).std(0, correction=0)
        for name, space in spaces.items()
        if _is_vector(space)
    }


def window_errors(
    model: WorldModel[Any, Any],
    windows: Windows,
    spaces: Mapping[str, Space],
    deviation: Mapping[str, Tensor],
    *,
    observed: int,
    horizon: int,
    samples: int = 1,
    at_once: int = 64,
    generator: Generator | None = None,
) -> WindowErrors:
    """Errors of `predict` on every window, of the sensors that the model shows and of its reward.

    Args:
        model: any world model.
        windows: what really happened; every sensor is taken as present.
        spaces: sensors that are compared; those that the model does not decode are left out.
        deviation: of `deviations`, the unit of `scaled`; one for all that is compared.
        observed: C.
        horizon: decisions.
        samples: K; the error is that of one sample, on average.
        at_once: windows predicted together.
        generator: of the noise.

    Raises:
        ValueError: the model takes several actions at once.
    """
    if model.spec.chunk != 1:
        raise ValueError(
            f"The model takes {model.spec.chunk} actions at once; models are put side by side "
            "where each predicts every row, with a chunk of 1. `openloop` measures it alone."
        )
    parts: list[dict[str, SensorErrors]] = []
    for chosen in torch.arange(len(windows.episode)).split(at_once):
        batch = tree.select(windows.batch, slice(int(chosen[0]), int(chosen[-1]) + 1))
        found = predict(
            model,
            batch,
            observed=observed,
            horizon=horizon,
            samples=samples,
            generator=generator,
        )
        rows = [observed - 1 + k for k in found.steps]
        part = {
            name: _compare(found.obs[name], batch.obs[name][:, rows], space, deviation.get(name))
            for name, space in spaces.items()
            if name in found.obs and space.dtype != "int64"
        }
        if found.reward is not None:
            part[REWARD] = _reward(batch, found.reward, observed)
        parts.append(part)
    steps = tuple(range(1, horizon + 1))
    return WindowErrors(_joined(parts), steps, windows.episode.cpu().numpy())


def repeating(
    windows: Windows,
    spaces: Mapping[str, Space],
    deviation: Mapping[str, Tensor],
    *,
    observed: int,
    horizon: int,
) -> WindowErrors:
    """Errors of saying the last observation and the last reward again."""
    batch, found = windows.batch, {}
    rows = slice(observed, observed + horizon)
    for name, space in spaces.items():
        if space.dtype != "int64":
            last = batch.obs[name][:, observed - 1 : observed]
            guess = last.expand(-1, horizon, *last.shape[2:])[None]
            found[name] = _compare(guess, batch.obs[name][:, rows], space, deviation.get(name))
    reward = batch.reward[:, observed - 1 : observed].expand(-1, horizon)[None]
    found[REWARD] = _reward(batch, reward, observed)
    steps = tuple(range(1, horizon + 1))
    return WindowErrors(found, steps, windows.episode.cpu().numpy())


def root(values: Array, groups: NDArray[np.int64], seed: int = 0) -> Curve:
    """Root of the mean of squared errors `[N, S]`, with intervals over episodes."""
    return summarise(values, np.ones_like(values), groups, np.sqrt, seed)


def peak(values: Array, groups: NDArray[np.int64], seed: int = 0) -> Curve:
    """PSNR [dB] of the mean of squared errors `[N, S]` of pictures in 0..1, likewise."""
    return summarise(values, np.ones_like(values), groups, decibel, seed)


def paired_ratio(top: Array, bottom: Array, groups: NDArray[np.int64], seed: int = 0) -> Bounds:
    """Root of the ratio of two mean squared errors `[N]` on the same windows: both are resampled
    together, so that what made an episode hard cancels."""
    if not (np.isfinite(top).all() and np.isfinite(bottom).all() and bottom.sum() > 0):
        return Bounds(math.nan, math.nan, math.nan)
    each = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
    ends = bootstrap(each, bottom, groups, seed=seed)
    low, high = (float(np.sqrt(end)) for end in ends)
    return Bounds(math.sqrt(top.sum() / bottom.sum()), low, high)


class Sample(NamedTuple):
    """Mean squared errors `[N]` on some episodes."""

    values: Array
    groups: NDArray[np.int64]
    """The episode of each."""
    unit: Array | None = None
    """Those of a baseline on the same windows, by which they are divided."""

    @property
    def mean(self) -> float:
        """Of the values, in the unit; NaN where it cannot be known."""
        below = 1.0 if self.unit is None else float(self.unit.mean())
        return float(self.values.mean()) / below if below > 0 else math.nan


def apart_ratio(top: Sample, bottom: Sample, seed: int = 0) -> Bounds:
    r"""Root of the ratio of two mean squared errors on windows of *different* episodes.

    Both means are resampled by themselves, in logarithms, each spread around its mean by
    `sqrt(n / (n - 1)) t_{n-1} / z` so that a few episodes do not seem surer than they are. A unit
    is resampled with its values.
    """
    if not (0 < top.mean < math.inf and 0 < bottom.mean < math.inf):
        return Bounds(math.nan, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    above, below = (_log_means(sample, rng) for sample in (top, bottom))
    mean = math.sqrt(top.mean / bottom.mean)
    if above is None or below is None:
        return Bounds(mean, math.nan, math.nan)
    low, high = np.exp(np.quantile(above - below, [0.025, 0.975]) / 2)
    return Bounds(mean, float(low), float(high))


def _log_means(sample: Sample, rng: np.random.Generator) -> Array | None:
    """Logarithms of resampled means; None for one episode."""
    _, index = np.unique(sample.groups, return_inverse=True)
    count = int(index.max()) + 1
    if count < 2:
        return None
    unit = np.ones_like(sample.values) if sample.unit is None else sample.unit
    sums, mass = (np.bincount(index, v) for v in (sample.values, unit))
    draws = rng.multinomial(count, [1 / count] * count, size=RESAMPLES)
    centre, tiny = math.log(sample.mean), float(np.finfo(np.float64).tiny)
    spread = math.sqrt(count / (count - 1)) * student(1.959964, count - 1) / 1.959964
    means = np.log(draws @ sums + tiny) - np.log(draws @ mass + tiny)
    found: Array = centre + spread * (means - centre)
    return found


def _is_vector(space: Space) -> bool:
    return not space.is_image and space.dtype != "int64"


def _entries(values: Tensor, space: Space) -> Tensor:
    """A sensor's entries in one last axis, in float64; bytes of an image to 0..1."""
    flat = values.reshape(*values.shape[: values.ndim - len(space.shape)], -1).double()
    return flat / 255 if space.is_image and values.dtype == torch.uint8 else flat


def _compare(guess: Tensor, truth: Tensor, space: Space, deviation: Tensor | None) -> SensorErrors:
    """Errors of a guess `[K, N, S, ...]` of what was sensed, `[N, S, ...]`."""
    square = (_entries(guess, space) - _entries(truth, space).to(guess.device)).square().mean(0)
    scaled, entries = torch.full_like(square[..., 0], math.nan), 0
    if deviation is not None and bool((moves := deviation > _MOVES).any()):
        unit = deviation[moves].to(square).square()
        scaled, entries = (square[..., moves.to(square.device)] / unit).mean(-1), int(moves.sum())
    kind: Kind = "image" if space.is_image else "vector"
    plain, relative = (x.cpu().numpy() for x in (square.mean(-1), scaled))
    return SensorErrors(kind, space.unit, plain, relative, entries)


def _reward(batch: Batch, guess: Tensor, observed: int) -> SensorErrors:
    """Errors of a reward `[K, N, S]`."""
    truth = batch.reward[:, observed : observed + guess.shape[2]].to(guess.device).double()
    square: Array = (guess.double() - truth).square().mean(0).cpu().numpy()
    return SensorErrors("reward", "", square, np.full_like(square, np.nan), 0)


def _joined(parts: Sequence[Mapping[str, SensorErrors]]) -> dict[str, SensorErrors]:
    """Windows of all parts."""
    return {
        name: first._replace(
            square=np.concatenate([part[name].square for part in parts]),
            scaled=np.concatenate([part[name].scaled for part in parts]),
        )
        for name, first in parts[0].items()
    }
