"""How far ahead the model sees, drawn: error against horizon beside guesses that need no model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from reverie.eval.score import Curve, OpenLoop, SensorError
from reverie.viz import page
from reverie.viz.charts import Chart, Line, Role
from reverie.viz.ticks import amount

_NAMES: dict[str, tuple[str, Role]] = {
    "model": ("the model", "model"),
    "model_mean": ("the mean of its samples", "mean"),
    "repeat": ("repeating the last observation", "repeat"),
    "linear": ("extrapolating the last two", "linear"),
}
_METRICS = {
    "mae": "mean absolute error",
    "rmse": "root mean square error",
    "nrmse": "error in standard deviations",
    "mse": "mean squared error",
    "psnr": "PSNR [dB]",
    "ssim": "structural similarity",
}
_HIGHER = ("psnr", "ssim")  # is better


def horizon(found: OpenLoop) -> str:
    """The section, with one chart per sensor and all numbers below."""
    watched, ahead = (found.observed - 1) * found.dt, found.horizon * found.dt
    about = (
        f"The model watches {found.observed} rows ({amount(watched, 2)} s), then "
        f"imagines {found.horizon} decisions ({amount(ahead, 2)} s) with the actions that were "
        f"really taken: {found.windows} windows from {found.episodes} episodes. "
    )
    if any("nrmse" in sensor.errors for sensor in found.sensors):
        about += "Always guessing the mean would make an error of 1 standard deviation. "
    about += "Bands are 95 % intervals."
    if found.episodes < 2:
        about += " One episode alone gives no interval."
    charts = [(sensor, _chart(sensor, found.dt)) for sensor in found.sensors]
    legend = max((chart.legend() for _, chart in charts), key=len, default="")
    panels = "".join(
        page.panel(s.name, _verdict(s), chart, height=230, stacked=True) for s, chart in charts
    )
    numbers = page.details("All numbers", "".join(_numbers(s, found.dt) for s in found.sensors))
    body = f'<div class="grid-legend">{legend}</div><div class="grid">{panels}</div>{numbers}'
    return page.section("How far ahead it sees", about, body)


def lead(found: OpenLoop) -> tuple[str, str, str] | None:
    """A headline: how much smaller the error of the vector sensors is than that of repeating."""
    ratios = []
    for sensor in found.sensors:
        metric = main_metric(sensor)
        if sensor.kind in ("reward", "continues") or metric in _HIGHER:
            continue
        curves = sensor.errors[metric]
        pairs = zip(curves["model"].mean, curves["repeat"].mean, strict=True)
        known = [(m, r) for m, r in pairs if math.isfinite(m) and r > 0]
        if known:
            ratios.append(sum(m for m, _ in known) / sum(r for _, r in known))
    if not ratios:
        return None
    less = 1 - sum(ratios) / len(ratios)
    ahead = amount(found.horizon * found.dt, 2)
    words = f"than repeating the last observation, over {ahead} s ahead"
    if less >= 0:
        return "Prediction error", f"{less:.0%} less".replace("%", " %"), words
    return "Prediction error", f"{-less:.0%} more".replace("%", " %"), words


def main_metric(sensor: SensorError) -> str:
    """The metric that is drawn: one in which sensors compare, if there is one."""
    for metric in ("nrmse", "psnr", "mae"):
        curves = sensor.errors.get(metric)
        if curves and any(map(math.isfinite, curves["model"].mean)):
            return metric
    return next(iter(sensor.errors))


def _chart(sensor: SensorError, dt: float) -> Chart:
    metric = main_metric(sensor)
    seconds = [step * dt for step in sensor.steps]
    curves = sensor.errors[metric]
    lines = tuple(
        _line(who, c, seconds)
        for who, c in sorted(curves.items(), key=lambda entry: list(_NAMES).index(entry[0]))
    )
    seen = [v for who in ("model", "repeat") for v in curves[who].mean if math.isfinite(v)]
    return Chart(
        f"{sensor.name}: {_METRICS[metric]} against horizon",
        "seconds ahead",
        _unit(sensor, metric),
        lines,
        origin=True,
        top=math.inf if metric == "psnr" else 1.25 * max(seen, default=math.inf),
        zero=metric != "psnr",
    )


def _line(who: str, curve: Curve, seconds: Sequence[float]) -> Line:
    """With a band for the two that are to be compared; more bands would hide the lines."""
    name, role = _NAMES[who]
    if who in ("model", "repeat"):
        return Line(name, seconds, curve.mean, curve.low, curve.high, role)
    return Line(name, seconds, curve.mean, role=role)


def _unit(sensor: SensorError, metric: str) -> str:
    """The label of the y axis."""
    if metric in ("mae", "rmse") and sensor.unit:
        return f"{_METRICS[metric]} [{sensor.unit}]"
    return _METRICS[metric]


def _verdict(sensor: SensorError) -> str:
    """Where the model beats repeating the last observation."""
    metric = main_metric(sensor)
    model, repeat = (sensor.errors[metric][who].mean for who in ("model", "repeat"))
    pairs = [(m, r) for m, r in zip(model, repeat, strict=True) if math.isfinite(m)]
    wins = sum(m > r if metric in _HIGHER else m < r for m, r in pairs)
    return f"beats repeating at {wins} of {len(pairs)} horizons"


def _numbers(sensor: SensorError, dt: float) -> str:
    """All metrics at a few horizons."""
    count = len(sensor.steps)
    picked = sorted({round(k * (count - 1) / 4) for k in range(5)}) if count else []
    head = [sensor.name, *(f"{sensor.steps[i] * dt:.3g} s" for i in picked)]
    groups = {
        _unit(sensor, metric): [
            _row(_NAMES[who][0], [_entry(curves, who, i, metric) for i in picked]) for who in curves
        ]
        for metric, curves in sensor.errors.items()
    }
    return page.table(head, groups)


def _row(name: str, cells: list[page.Cell]) -> list[str | page.Cell]:
    return [name, *cells]


def _entry(curves: Mapping[str, Curve], who: str, i: int, metric: str) -> page.Cell:
    """A mean with its interval; the best of all predictors at this horizon stands out."""
    mean, low, high = (line[i] for line in (curves[who].mean, curves[who].low, curves[who].high))
    known = [c.mean[i] for c in curves.values() if math.isfinite(c.mean[i])]
    best = bool(known) and mean == (max if metric in _HIGHER else min)(known)
    interval = f"{amount(low, 2)} to {amount(high, 2)}" if math.isfinite(low) else ""
    return page.Cell(amount(mean, 2), interval, best)
