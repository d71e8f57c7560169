"""How far ahead the model sees, drawn: error against horizon beside guesses that need no model."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reverie.eval.score import OpenLoop, SensorError
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
}


def horizon(found: OpenLoop) -> str:
    """The section, with one chart per sensor and all numbers below."""
    seconds = found.horizon * found.dt
    about = (
        f"The model watches {found.observed} rows ({amount(found.observed * found.dt, 2)} s), then "
        f"imagines {found.horizon} decisions ({amount(seconds, 2)} s) with the actions that were "
        f"really taken: {found.windows} windows from {found.episodes} episodes. An error of 1 "
        "standard deviation is what always guessing the mean would make. Bands are 95 % intervals."
    )
    if found.episodes < 2:
        about += " One episode alone gives no interval."
    charts = [(sensor, _chart(sensor, found.dt)) for sensor in found.sensors]
    legend = max((chart.legend() for _, chart in charts), key=len, default="")
    panels = "".join(page.panel(s.name, _verdict(s), chart) for s, chart in charts)
    numbers = page.details("All numbers", "".join(_numbers(s, found.dt) for s in found.sensors))
    body = f'<div class="grid-legend">{legend}</div><div class="grid">{panels}</div>{numbers}'
    return page.section("How far ahead it sees", about, body)


def lead(found: OpenLoop) -> tuple[str, str, str] | None:
    """A headline: how much smaller the error of the vector sensors is than that of repeating."""
    ratios = []
    for sensor in found.sensors:
        metric = main_metric(sensor)
        if sensor.kind == "reward" or metric == "psnr":
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
        Line(_NAMES[who][0], seconds, c.mean, c.low, c.high, _NAMES[who][1])
        for who, c in sorted(curves.items(), key=lambda entry: -list(_NAMES).index(entry[0]))
    )
    seen = [v for who in ("model", "repeat") for v in curves[who].mean if math.isfinite(v)]
    return Chart(
        f"{sensor.name}: {_METRICS[metric]} against horizon",
        "seconds ahead",
        _unit(sensor, metric),
        lines[::-1],
        top=math.inf if metric == "psnr" else 1.25 * max(seen, default=math.inf),
        zero=metric != "psnr",
    )


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
    wins = sum(m > r if metric == "psnr" else m < r for m, r in pairs)
    return f"beats repeating at {wins} of {len(pairs)} horizons"


def _numbers(sensor: SensorError, dt: float) -> str:
    """All metrics at a few horizons."""
    count = len(sensor.steps)
    picked = sorted({0, count // 4, count // 2, 3 * count // 4, count - 1} & set(range(count)))
    head = [
        f"{sensor.name}{f' [{sensor.unit}]' if sensor.unit else ''}",
        *(f"{amount(sensor.steps[i] * dt, 2)} s" for i in picked),
    ]
    rows = []
    for metric, curves in sensor.errors.items():
        for who, curve in curves.items():
            cells = [_entry(curve.mean[i], curve.low[i], curve.high[i]) for i in picked]
            rows.append([f"{_METRICS[metric]}, {_NAMES[who][0]}", *cells])
    return page.table(head, rows)


def _entry(mean: float, low: float, high: float) -> str:
    if not math.isfinite(low):
        return amount(mean)
    return f"{amount(mean)} ({_short([low, high])})"


def _short(ends: Sequence[float]) -> str:
    return " to ".join(amount(end) for end in ends)
