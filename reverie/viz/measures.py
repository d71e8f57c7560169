"""What was measured of a world model, a section of the page for each kind of measurement."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from reverie.eval.calibration import Calibration
from reverie.eval.conformal import Conformal
from reverie.eval.controllability import Controllability
from reverie.eval.quality import Quality
from reverie.eval.ranking import Ranking
from reverie.eval.score import Curve, OpenLoop
from reverie.eval.speed import NOTES, Speed
from reverie.eval.usefulness import Usefulness
from reverie.viz import page
from reverie.viz.charts import Chart, Level, Line, Role
from reverie.viz.ticks import amount

Row = list[str | page.Cell]


def interval(low: float, high: float) -> str:
    """In words."""
    return f"{amount(low, 2)} to {amount(high, 2)}" if math.isfinite(low) else "no interval"


def cell(value: Any) -> page.Cell:
    """Of something with a value (or mean), low and high."""
    mean = value.value if hasattr(value, "value") else value.mean
    return page.Cell(amount(mean, 2), interval(value.low, value.high))


# ------------------------------------------------------------------ prediction


def drift(found: OpenLoop) -> str:
    """How fast errors grow."""
    rows: list[Row] = []
    for sensor in found.sensors:
        if not sensor.drift:
            continue
        unit = f" [{sensor.unit}/s]" if sensor.unit else " [1/s]"
        known = [sensor.drift.get(who) for who in ("model", "repeat", "linear")]
        rows.append([sensor.name + unit, *(cell(s) if s else "" for s in known)])
    if not rows:
        return ""
    head = ["how fast the error grows", "the model", "repeating", "extrapolating"]
    return page.details("Drift", page.table(head, {"mean absolute error per second": rows}))


# ------------------------------------------------------------------ control


def control(quality: Quality) -> str:
    """Errors with other actions."""
    found = quality.controllability
    if found is None:
        return ""
    about = (
        "The same windows imagined with other actions: those of another episode, random ones, or "
        "the mean action held. An error ratio of 1 means that the action makes no difference to "
        "what the model imagines."
    )
    charts = [(s, _ratios(found, s)) for s in found.sensors]
    legend = charts[0][1].legend() if charts else ""
    panels = "".join(
        page.panel(s.name, f"{s.verdict.answer}: {_spread(s.verdict)}", chart, 230, stacked=True)
        for s, chart in charts
    )
    body = [f'<div class="grid-legend">{legend}</div><div class="grid">{panels}</div>']
    gaps: list[Row] = [
        [s.name, *(amount(v, 2) for v in s.gap_at(min(4, s.steps[-1])))]
        for s in found.sensors
        if s.psnr_gap is not None
    ]
    if gaps:
        head = ["PSNR gap at step 4 [dB]", "true less random", "from", "to"]
        body.append(page.table(head, {"pictures": gaps}))
    if quality.inverse is not None:
        rows: list[Row] = [
            [s.name, _triple(s.real), _triple(s.imagined), s.verdict.answer]
            for s in quality.inverse.sensors
        ]
        head = ["the action, read off transitions", "R² of real ones", "of imagined ones", ""]
        body.append(page.table(head, {"by sensor": rows}))
    return page.section("Does it obey the action?", about, *body)


def _spread(verdict: Any) -> str:
    return f"{amount(verdict.value, 2)} ({interval(verdict.low, verdict.high)})"


def _triple(values: tuple[float, float, float]) -> page.Cell:
    return page.Cell(amount(values[0], 2), interval(values[1], values[2]))


def _ratios(found: Controllability, sensor: Any) -> Chart:
    roles: dict[str, tuple[str, Role]] = {
        "shuffled": ("another episode's actions", "model"),
        "random": ("random actions", "linear"),
        "held": ("the mean action", "quiet"),
    }
    seconds = [step * found.dt for step in sensor.steps]
    lines = tuple(
        _band(name, seconds, sensor.ratio[who], role, who == "shuffled")
        for who, (name, role) in roles.items()
        if who in sensor.ratio
    )
    return Chart(
        f"{sensor.name}: error with other actions by error with the true ones",
        "seconds ahead",
        "error ratio",
        lines,
        levels=(Level("ignored", 1.0),),
        origin=True,
    )


def _band(name: str, x: Sequence[float], curve: Curve, role: Role, band: bool = True) -> Line:
    if band and all(map(math.isfinite, (*curve.low, *curve.high))):
        return Line(name, x, curve.mean, curve.low, curve.high, role)
    return Line(name, x, curve.mean, role=role)


# ------------------------------------------------------------------ calibration


def calibration(found: Calibration, bands: Conformal | None) -> str:
    """Coverage and CRPS."""
    about = (
        f"{found.samples} samples of each future. Left: how often the truth lies in the central "
        "interval of a probability; on the diagonal the model is calibrated, below it too sure. "
        "Right: the CRPS, the error of the whole distribution; lower is better."
    )
    panels = []
    for sensor in found.sensors:
        levels = [0.0, *sensor.levels, 1.0]
        ends = sensor.reliability
        curve = Curve((0.0, *ends.mean, 1.0), (0.0, *ends.low, 1.0), (0.0, *ends.high, 1.0))
        diagonal = Line("calibrated", [0.0, 1.0], [0.0, 1.0], role="quiet")
        reliability = Chart(
            f"{sensor.name}: coverage of central intervals",
            "probability",
            "coverage",
            (diagonal, _band("the model", levels, curve, "model")),
            origin=True,
        )
        panels.append(page.panel(sensor.name, str(sensor.verdict), reliability, 230, stacked=True))
        seconds = [step * found.dt for step in sensor.steps]
        names: dict[str, tuple[str, Role]] = {
            "model": ("the model", "model"),
            "repeat": ("repeating the last", "repeat"),
            "climatology": ("other episodes", "quiet"),
        }
        lines = tuple(
            _band(label, seconds, sensor.crps[who], role, who == "model")
            for who, (label, role) in names.items()
            if who in sensor.crps
        )
        unit = f"CRPS [{sensor.unit}]" if sensor.unit else "CRPS"
        chart = Chart(
            f"{sensor.name}: CRPS against horizon", "seconds ahead", unit, lines, origin=True
        )
        panels.append(
            page.panel(sensor.name, "error of the distribution", chart, 230, stacked=True)
        )
    body = [f'<div class="grid">{"".join(panels)}</div>', _bands(bands) if bands else ""]
    return page.section("Does it know how sure it may be?", about, *body)


def _bands(found: Conformal) -> str:
    """Half-widths of the conformal bands at a few horizons, and whether they hold."""
    groups: dict[str, list[Row]] = {}
    for sensor in found.sensors:
        count = len(sensor.steps)
        picked = sorted({0, count // 4, count // 2, count - 1})
        for name, band in sensor.bands.items():
            cells = [
                page.Cell(amount(band.half_width[k], 2), f"step {sensor.steps[k]}") for k in picked
            ]
            cells += [page.Cell("")] * (4 - len(cells))
            known = [c for c in band.coverage.mean if math.isfinite(c)]
            held = f"{sum(known) / len(known):.0%}" if known else ""
            groups.setdefault(
                f"{sensor.name} {f'[{sensor.unit}]' if sensor.unit else ''}", []
            ).append([name, *cells, held])
    words = (
        f"Bands that hold the truth of a new episode with probability {found.level:.0%}, whatever "
        f"the model believes: half-widths from {found.calibrated_on} episodes, checked on "
        f"{found.checked_on} others."
    )
    head = ["band around", "half-width", "", "", "", "held"]
    return page.details("Conformal bands", f"<p>{escape(words)}</p>" + page.table(head, groups))


# ------------------------------------------------------------------ unsure, changed


def unsure(quality: Quality) -> str:
    """Uncertainty beside errors, and changed robots."""
    body = []
    if quality.error_ranking is not None:
        rows: list[Row] = []
        for sensor in quality.error_ranking.sensors:
            k = len(sensor.steps) // 2
            spearman, area = sensor.spearman, sensor.ause
            rows.append(
                [
                    f"{sensor.name}, {sensor.source}",
                    page.Cell(
                        amount(spearman.mean[k], 2), interval(spearman.low[k], spearman.high[k])
                    ),
                    page.Cell(amount(area.mean[k], 2), interval(area.low[k], area.high[k])),
                    amount(sensor.ause_chance[k], 2),
                ]
            )
        head = [
            "half-way ahead",
            "rank correlation with the error",
            "AUSE, 0 is best",
            "AUSE by chance",
        ]
        body.append(page.table(head, {"uncertainty": rows}))
    if quality.detections:
        changes: list[Row] = [
            [
                change,
                page.Cell(amount(d.verdict.value, 2), interval(d.verdict.low, d.verdict.high)),
                f"{d.missed:.0%}",
                d.verdict.answer,
            ]
            for change, d in quality.detections.items()
        ]
        head = ["what was changed", "area under the ROC curve", "missed at 5 % false alarms", ""]
        body.append(page.table(head, {"surprise along filtered states": changes}))
    if not body:
        return ""
    about = (
        "Whether its uncertainty is where its errors are, and whether a changed robot surprises it."
    )
    return page.section("Does it know when it is wrong?", about, *body)


# ------------------------------------------------------------------ physics


def physics(quality: Quality) -> str:
    """Scenes with known truth."""
    found = quality.physics
    if found is None:
        return ""
    rows: list[Row] = []
    for m in found.measures:
        cells = [m.overall.get(who) for who in ("model", "repeat", "linear", "real")]
        name = f"{m.name.replace('_', ' ')} [{m.unit}], {m.sensor}, {m.better} is better"
        rows.append([name, *(cell(c) if c else "" for c in cells)])
    head = ["measure", "the model", "repeating", "constant velocity", "real frames"]
    body = [page.table(head, {f"scene {found.task}": rows})]
    if found.plausibility is not None:
        body.append(page.note(_plausible(found.plausibility), plain=True))
    about = "Measured on scenes whose truth is known: what the model imagines, read as physics."
    return page.section("Does it keep to physics?", about, *body)


def _plausible(found: Any) -> str:
    share = found.overall
    return (
        f"What cannot happen surprises the model more than what can in {share.mean:.0%} "
        f"({share.low:.0%} to {share.high:.0%}) of pairs of films; chance is 50 %."
    )


# ------------------------------------------------------------------ use


def use(found: Usefulness) -> str:
    """Returns, and the ranking of policies."""
    rows: list[Row] = []
    compared = {"policy": "the run's own agent", "planner": "a planner in the model"}
    for name, words in compared.items():
        one = getattr(found, name)
        if one is not None:
            ours = one.policy
            rows.append([words, cell(ours), str(ours.n), found.beats[name]])
    dice = found.random
    rows.append(["random actions", cell(dice), str(dice.n), ""])
    head = ["acting", "mean return", "episodes", ""]
    body = [page.table(head, {"in the real environment": rows})]
    if found.ranking is not None:
        body.append(_ranking(found.ranking))
    about = "What it earns, and whether it tells a good policy from a bad one without trying it."
    return page.section("Is it of use?", about, *body)


def _ranking(found: Ranking) -> str:
    imagined = [p.imagined.value for p in found.policies]
    real = [p.real.value for p in found.policies]
    ends = [min(*imagined, *real), max(*imagined, *real)]
    chart = Chart(
        "real return of each policy against its imagined return",
        "imagined return",
        "real return",
        (
            Line("equal", ends, ends, role="quiet"),
            Line("a policy", imagined, real, role="model", style="dots"),
        ),
        zero=False,
    )
    names = ("pearson", "spearman", "kendall", "mmrv", "bias", "slope", "regret")
    rows: list[Row] = [[name, cell(getattr(found, name)), _chance(found, name)] for name in names]
    rows.append(["p, permutations of the policies", amount(found.p_ranks, 2), ""])
    table = page.table(["agreement", "value", "by chance"], {f"{len(real)} policies": rows})
    notes = "".join(page.note(words, plain=True) for words in found.warnings)
    return page.big(chart) + notes + table


def _chance(found: Ranking, name: str) -> str:
    chance = {"mmrv": found.mmrv_chance, "regret": found.regret_chance}.get(name)
    return "" if chance is None else amount(chance, 2)


# ------------------------------------------------------------------ speed


def speed(found: Speed) -> str:
    """Latencies and sizes."""
    rows: list[Row] = [
        [f"{x.what}, batch {x.batch}", *(f"{v:.3g}" for v in (x.p50, x.p95, x.p99, x.worst))]
        for x in found.latencies
    ]
    facts = dict(_sizes(found))
    about = f"On {found.device}, {found.threads} threads; milliseconds."
    body = [
        page.table(["call", "median", "95 %", "99 %", "worst"], {"latency [ms]": rows}),
        page.facts(facts),
        page.details("What is not counted", "".join(f"<p>{escape(words)}</p>" for words in NOTES)),
    ]
    return page.section("Is it fast enough?", about, *body)


def _sizes(found: Speed) -> Iterator[tuple[str, str]]:
    yield "Parameters", f"{found.parameters:,} ({found.parameter_bytes / 2**20:.1f} MiB)"
    compression = found.compression
    yield (
        "One state",
        f"{found.state_bytes:,} bytes; an observation {found.observation_bytes:,} "
        f"({compression:.2g} times as much)",
    )
    yield "Memory of a step", f"{found.peak_bytes / 2**20:.1f} MiB at the largest batch"
    yield (
        "Operations",
        f"{found.flops_step / 1e6:.3g} MFLOP a step, {found.flops_decode / 1e6:.3g} a decoded "
        "observation",
    )
    for batch in sorted({x.batch for x in found.latencies if x.what == "step"}):
        yield (
            f"Imagined, batch {batch}",
            f"{found.steps_per_second(batch):,.0f} decisions a second, "
            f"{found.real_time(batch):,.3g} times real time",
        )
    if found.keeps_up is not None:
        yield (
            "Control rate",
            f"{found.control_rate:.0f} Hz in 99 of 100 decisions; the robot asks "
            f"{1 / found.dt:.3g}",
        )
