"""The curves beside the tables: errors against horizon, and against data."""

from __future__ import annotations

import math
from collections.abc import Callable

from reverie.eval.score import Curve
from reverie.eval.sidebyside import WindowErrors, peak, root
from reverie.recipes.comparison_learning import overall
from reverie.recipes.comparison_subjects import SIMULATOR
from reverie.recipes.comparison_tables import Evidence
from reverie.viz.comparison import BASELINE, Bundle


def horizon_bundles(e: Evidence) -> tuple[Bundle, ...]:
    """Errors against horizon: over all sensors, then each, then the reward."""
    found = []
    if e.ground.kind == "vector":
        found.append(_bundle(e, "error of all vector sensors", "error [sd]", _pooled))
    for name, sensor in e.repeating.sensors.items():

        def curve(errors: WindowErrors, name: str = name) -> Curve | None:
            one = errors.sensors.get(name)
            if one is None:
                return None
            return (peak if one.kind == "image" else root)(one.square, errors.groups)

        picture = sensor.kind == "image"
        unit = f"RMSE [{sensor.unit}]" if sensor.unit else "RMSE"
        found.append(_bundle(e, name, "PSNR [dB]" if picture else unit, curve, picture))
    return tuple(found)


def _bundle(
    e: Evidence,
    title: str,
    label: str,
    curve: Callable[[WindowErrors], Curve | None],
    higher: bool = False,
) -> Bundle:
    """A curve of everyone who has one, and of repeating."""
    everyone = {m.candidate.name: m.errors for m in e.measured} | {BASELINE: e.repeating}
    curves = {name: made for name, w in everyone.items() if (made := curve(w)) is not None}
    x = {name: tuple(s * e.dt for s in everyone[name].steps) for name in curves}
    return Bundle(title, "seconds ahead", label, x, curves, higher)


def _pooled(errors: WindowErrors) -> Curve | None:
    if not any(s.kind == "vector" for s in errors.sensors.values()):
        return None
    return root(errors.pooled(), errors.groups)


def curve_bundles(e: Evidence) -> tuple[Bundle, ...]:
    """Errors against the number of episodes; the simulator, which learns nothing, is a level."""
    if not e.curves:
        return ()
    counts = sorted({n for curve in e.curves.values() for n in curve.episodes})
    curves = {name: found.error for name, found in e.curves.items()}
    x = {name: tuple(float(n) for n in found.episodes) for name, found in e.curves.items()}
    for m in e.measured:
        level = root(overall(m.errors, e.ground.kind)[:, None], m.errors.groups)
        if m.candidate.name == SIMULATOR and math.isfinite(level.mean[0]):
            curves[SIMULATOR] = Curve(level.mean * 2, level.low * 2, level.high * 2)
            x[SIMULATOR] = (float(counts[0]), float(counts[-1]))
    label = "error over the horizon" + (" [sd]" if e.ground.kind == "vector" else "")
    return (Bundle("error against data", "episodes learnt from", label, x, curves),)
