"""What an evaluation of physics says: plain numbers that can be stored, compared and drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reverie.eval.interval import Array, Bounds, bootstrap
from reverie.eval.nulls import from_null, to_null
from reverie.eval.physics_surprise import Plausibility
from reverie.eval.score import Curve, summarise

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Measure:
    """One property of the predictions, of the model and of those it is compared with."""

    name: str
    """`position_error`, `energy_error`, ...; see `physics`."""
    sensor: str
    """Of the model: "state", or "image", where objects were found by their colours."""
    unit: str
    """SI; "1" for a ratio."""
    better: Better
    steps: tuple[int, ...]
    """Decisions after the last observed row; one alone for a measure of the whole film."""
    curves: Mapping[str, Curve]
    """By predictor, against horizon: `model`; `repeat`, the last observation again; `linear`, the
    last velocity kept; `real`, the same procedure on the real frames, which says what the
    procedure itself costs; `take`, a second take of the same scene."""
    overall: Mapping[str, Bounds]
    """By predictor, over the whole horizon."""
    gains: Mapping[str, Bounds]
    """By baseline, how much better the model is over the whole horizon, window by window;
    above 0 is better, whichever direction the measure has."""

    @property
    def beats(self) -> bool | None:
        """Whether the model is better than every baseline with 95 % confidence; None without
        baselines, or where too few episodes leave no interval."""
        lows = [bounds.low for bounds in self.gains.values()]
        return None if not lows or any(map(math.isnan, lows)) else min(lows) > 0


@dataclass(frozen=True)
class Physics:
    """The result of `physics`."""

    task: str
    measures: tuple[Measure, ...]
    observed: int
    horizon: int
    samples: int
    windows: int
    episodes: int
    dt: float
    """World time per decision [s]."""
    plausibility: Plausibility | None = None
    """Whether what cannot happen surprises the model; None where no pairs of films were given."""

    def measure(self, name: str, sensor: str = "") -> Measure:
        """A measure by its name; the first of its name unless the sensor is told."""
        for measure in self.measures:
            if measure.name == name and sensor in ("", measure.sensor):
                return measure
        known = ", ".join(f"{m.name} ({m.sensor})" for m in self.measures)
        raise KeyError(
            f"No {name!r} was measured from {sensor or 'any sensor'}; there is: {known}."
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same result (NaN as null)."""
        result: dict[str, Any] = to_null(asdict(self))
        return result

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Physics:
        """The inverse of `to_json`."""
        surprise = value["plausibility"]
        return Physics(
            **{
                **value,
                "measures": tuple(_measure(m) for m in value["measures"]),
                "plausibility": None if surprise is None else Plausibility.from_json(surprise),
            }
        )


def summary(
    name: str,
    sensor: str,
    unit: str,
    better: Better,
    steps: Sequence[int],
    values: Mapping[str, Array],
    baselines: Sequence[str],
    groups: NDArray[np.int64],
    seed: int,
) -> Measure:
    """A measure of values `[N, S]` by predictor, with intervals over episodes; NaN is left out."""
    curves, overall, gains = {}, {}, {}
    sign = 1.0 if better == "lower" else -1.0
    for who, value in values.items():
        known = np.isfinite(value)
        curves[who] = summarise(
            np.where(known, value, 0.0), known.astype(np.float64), groups, np.asarray, seed
        )
        overall[who] = bounds(value, groups, seed)
    for who in baselines:
        if who in values:
            gains[who] = bounds(sign * (values[who] - values["model"]), groups, seed)
    return Measure(name, sensor, unit, better, tuple(steps), curves, overall, gains)


def bounds(values: Array, groups: NDArray[np.int64], seed: int = 0) -> Bounds:
    """Mean of `[N, S]` over everything that is known, and its interval over episodes."""
    known = np.isfinite(values)
    mass = known.sum(1).astype(np.float64)
    if not mass.sum():
        return Bounds(math.nan, math.nan, math.nan)
    total = np.where(known, values, 0.0).sum(1)
    each = np.divide(total, mass, out=np.zeros_like(mass), where=mass > 0)
    low, high = bootstrap(each, mass, groups, seed=seed)
    return Bounds(float(total.sum() / mass.sum()), float(low), float(high))


def ratio(top: Array, bottom: Array, groups: NDArray[np.int64], seed: int = 0) -> Bounds:
    """Ratio of the means of two scores `[N]`, and its interval over episodes."""
    if not bottom.sum() > 0:
        return Bounds(math.nan, math.nan, math.nan)
    each = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
    low, high = bootstrap(each, bottom, groups, seed=seed)
    return Bounds(float(top.sum() / bottom.sum()), float(low), float(high))


def _measure(value: Mapping[str, Any]) -> Measure:
    def curve(c: Mapping[str, Any]) -> Curve:
        mean, low, high = (tuple(from_null(x) for x in c[k]) for k in ("mean", "low", "high"))
        return Curve(mean, low, high)

    def bound(b: Mapping[str, Any]) -> Bounds:
        return Bounds(*(from_null(b[k]) for k in ("mean", "low", "high")))

    return Measure(
        **{
            **value,
            "steps": tuple(value["steps"]),
            "curves": {who: curve(c) for who, c in value["curves"].items()},
            "overall": {who: bound(b) for who, b in value["overall"].items()},
            "gains": {who: bound(b) for who, b in value["gains"].items()},
        }
    )
