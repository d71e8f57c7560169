"""What happened while learning: returns and losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from reverie.eval.returns import Comparison, summarise
from reverie.viz import page
from reverie.viz.charts import Chart, Level, Line, thin
from reverie.viz.ticks import amount

Log = Sequence[Mapping[str, Any]]
_DOTS = 600


def learning(log: Log, returns: Comparison | None) -> str:
    """Return against frames: every training episode, their running mean, evaluations, and what
    random actions earn."""
    episodes = _points(log, "episode", "return")
    judged = [e for e in log if e.get("kind") == "evaluate" and _known(e.get("return"))]
    if not episodes and not judged:
        return ""
    lines = []
    if episodes:
        xs, ys = zip(*episodes, strict=True)
        every = math.ceil(len(xs) / _DOTS)
        lines.append(
            Line("training episodes", xs[::every], ys[::every], role="quiet", style="dots")
        )
        lines.append(Line("their running mean", *thin(xs, _running(ys)), role="real"))
    if judged:
        told = [summarise(e.get("returns") or [e["return"]]) for e in judged]
        lines.append(
            Line(
                "evaluations, without exploration",
                [float(e["frames"]) for e in judged],
                [r.mean for r in told],
                [r.low for r in told],
                [r.high for r in told],
                role="model",
            )
        )
    levels = []
    if returns:
        policy, random = returns.policy, returns.baseline
        name = f"random actions: {amount(random.mean)}"
        levels.append(Level(name, random.mean, random.low, random.high, "repeat"))
        if not judged:
            name = f"learned policy: {amount(policy.mean)}"
            levels.append(Level(name, policy.mean, policy.low, policy.high, "model"))
    chart = Chart(
        "Return against frames", "frames", "return", tuple(lines), tuple(levels), origin=True
    )
    about = (
        "The sum of rewards of each episode against simulator frames (action repeat included). "
        "Training episodes are played with exploration."
    )
    return page.section("Learning curve", about, page.big(chart))


def losses(log: Log) -> str:
    """Every loss that was minimised, against updates."""
    names = dict.fromkeys(k for e in log if e.get("kind") == "fit" for k in e if _is_loss(k))
    panels = []
    for name in names:
        points = _points(log, "fit", name, against="updates")
        if len(points) < 2:
            continue
        xs, ys = thin([x for x, _ in points], [y for _, y in points], 120)
        wide = min(ys) > 0 and max(ys) / min(ys) > 20
        short = name.removeprefix("loss/")
        chart = Chart(
            f"{short} against updates", "updates", "", (Line("", xs, ys),), log=wide, zero=False
        )
        panels.append(page.panel(short, f"now {amount(ys[-1])}", chart, height=160))
    if not panels:
        return ""
    about = "What was minimised: the mean of each loss, before it is scaled, against updates."
    return page.section("Losses", about, f'<div class="grid">{"".join(panels)}</div>')


def _is_loss(name: str) -> bool:
    return name.startswith("loss/")


def _points(log: Log, kind: str, name: str, against: str = "frames") -> list[tuple[float, float]]:
    """(counter, value) of the lines of a kind that have a finite value."""
    return [
        (float(e[against]), float(e[name]))
        for e in log
        if e.get("kind") == kind and _known(e.get(name))
    ]


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _running(values: Sequence[float]) -> list[float]:
    """Means of each value and up to 9 before it, or a twentieth of all, whichever is more."""
    width = max(10, len(values) // 20)
    return [
        sum(values[max(0, i - width + 1) : i + 1]) / min(i + 1, width) for i in range(len(values))
    ]
