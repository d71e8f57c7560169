"""What an open-loop evaluation says: plain numbers that can be stored, compared and drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from reverie.eval.interval import Array, Bounds, Groups, bootstrap
from reverie.eval.nulls import from_null, to_null

Kind = Literal["vector", "image", "reward", "continues"]


@dataclass(frozen=True)
class Curve:
    """A mean error and its 95 % interval at each horizon; NaN where nothing was measured."""

    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Verdict:
    """An answer in words and the interval that decided it; NaN where nothing could be measured."""

    answer: str
    statistic: str
    """What was measured."""
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        interval = f"{self.low:.2g} to {self.high:.2g}"
        return f"{self.answer} ({self.statistic} {self.value:.2g}, {interval})"


@dataclass(frozen=True)
class SensorError:
    """How far predictions of one sensor were from the truth, against horizon."""

    name: str
    kind: Kind
    unit: str
    """Of `mae` and `rmse`; empty where mixed or unknown."""
    steps: tuple[int, ...]
    """Decisions after the last observed row."""
    errors: Mapping[str, Mapping[str, Curve]]
    """Metric, then predictor, to its curve.

    Metrics: `mae` and `rmse` in the sensor's unit, averaged over its entries; `nrmse`, in standard
    deviations of each entry over the data; for images `mse` of values in 0..1, and `psnr` [dB] of
    the mean squared error and `ssim` (higher is better). Predictors: `model` (the mean error of one
    sample), `model_mean` (the error of the mean of the samples, if there are several), `repeat`
    (the last observation again; of `continues`: that the episode always goes on), `linear` (the
    last two observations extrapolated; vectors only)."""
    drift: Mapping[str, Bounds] = field(default_factory=dict)
    """By predictor: how fast the absolute error grows, the slope of its regression line over the
    horizon, in the unit of `mae` (images: of values in 0..1) per second. NaN for one step."""

    def __post_init__(self) -> None:
        for metric, curves in self.errors.items():
            for predictor, curve in curves.items():
                if {len(curve.mean), len(curve.low), len(curve.high)} != {len(self.steps)}:
                    raise ValueError(
                        f"{self.name}: the curve {metric}/{predictor} has {len(curve.mean)} points "
                        f"for {len(self.steps)} steps."
                    )


@dataclass(frozen=True)
class OpenLoop:
    """The result of `openloop`."""

    sensors: tuple[SensorError, ...]
    observed: int
    """Rows that were filtered before the model was left alone."""
    horizon: int
    """Decisions imagined."""
    samples: int
    """Draws of the noise."""
    windows: int
    episodes: int
    """Episodes from which the windows come: the number of independent pieces of evidence."""
    dt: float
    """World time per decision [s]."""

    def sensor(self, name: str) -> SensorError:
        """The errors of one sensor by name."""
        for sensor in self.sensors:
            if sensor.name == name:
                return sensor
        names = ", ".join(s.name for s in self.sensors)
        raise KeyError(f"No sensor {name!r} was evaluated; there are: {names}.")

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same result (NaN as null)."""
        result: dict[str, Any] = to_null(asdict(self))
        return result

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> OpenLoop:
        """The inverse of `to_json`."""
        sensors = tuple(
            SensorError(
                name=s["name"],
                kind=s["kind"],
                unit=s["unit"],
                steps=tuple(s["steps"]),
                errors={
                    metric: {who: _curve(c) for who, c in curves.items()}
                    for metric, curves in s["errors"].items()
                },
                drift={
                    who: Bounds(*(from_null(v[n]) for n in ("mean", "low", "high")))
                    for who, v in s.get("drift", {}).items()
                },
            )
            for s in value["sensors"]
        )
        return OpenLoop(**{**value, "sensors": sensors})


def summarise(
    errors: Array,
    weights: Array,
    groups: Groups,
    transform: Callable[[Array], Array],
    seed: int,
) -> Curve:
    """The curve of `transform(weighted mean)` of errors `[N, H]`; `transform` is monotone, so the
    ends of the interval of the mean, transformed and sorted, are its interval."""
    mass = weights.sum(0)
    total = np.where(weights > 0, errors, 0.0).sum(0)
    mean = np.divide(total, mass, out=np.full_like(mass, np.nan), where=mass > 0)
    ends = np.stack([transform(end) for end in bootstrap(errors, weights, groups, seed=seed)])
    return Curve(
        tuple(transform(mean).tolist()), tuple(ends.min(0).tolist()), tuple(ends.max(0).tolist())
    )


def ratio(
    top: Array,
    bottom: Array,
    groups: Groups,
    transform: Callable[[Array], Array] = np.asarray,
    seed: int = 0,
    floor: float = 0.0,
) -> Curve:
    """`transform(sum top / sum bottom)` over windows `[N, H]`, paired: both sums are over the same
    resampled episodes. Bottoms are at least `floor`; where top and bottom are both 0 there is
    nothing to compare: such windows do not count, and a step of only such is NaN."""
    # A weighted mean of top / bottom with the weights `bottom`; those of 0 keep their top.
    least = max(floor, 1e-12 * float(bottom.mean()), 1e-100)
    bottom = np.where((top > 0) | (bottom > 0), np.maximum(bottom, least), 0.0)
    with np.errstate(all="ignore"):
        share = np.where(bottom > 0, top / bottom, 0.0)
        lines = top.sum(0) / bottom.sum(0), *bootstrap(share, bottom, groups, seed=seed)
    return Curve(*(tuple(transform(line).tolist()) for line in lines))


def slope(errors: Array, weights: Array, groups: Groups, seconds: Array, seed: int) -> Bounds:
    """Slope of the regression of errors `[N, H]` on time `[H]`, over the windows that are whole."""
    away = seconds - seconds.mean()
    whole = (weights > 0).all(1)
    if len(seconds) < 2 or not whole.any():
        return Bounds(math.nan, math.nan, math.nan)
    slopes = errors[whole] @ away / (away @ away)
    low, high = bootstrap(slopes, groups=groups[whole], seed=seed)
    return Bounds(float(slopes.mean()), float(low), float(high))


def decibel(mse: Array) -> Array:
    """Peak signal-to-noise ratio [dB] of images in 0..1; at most 100 dB, for a perfect one."""
    return -10 * np.log10(np.maximum(mse, 1e-10))


def _curve(value: Mapping[str, Any]) -> Curve:
    def line(name: str) -> tuple[float, ...]:
        return tuple(from_null(v) for v in value[name])

    return Curve(line("mean"), line("low"), line("high"))
