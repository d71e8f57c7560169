"""The two tables that people argue about, from what was measured; and the curves beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from reverie.envs.changed import CHANGES, Change
from reverie.eval.datacurve import DataCurve
from reverie.eval.interval import Bounds
from reverie.eval.returns import Returns, compare
from reverie.eval.score import Curve
from reverie.eval.sidebyside import (
    REWARD,
    Sample,
    WindowErrors,
    apart_ratio,
    paired_ratio,
    peak,
    root,
)
from reverie.recipes.comparison_learning import overall
from reverie.recipes.comparison_measure import BATCHES, HORIZONS, Measured
from reverie.recipes.comparison_subjects import ADAPTED, SIMULATOR, Ground
from reverie.recipes.twin_source import PHYSICS
from reverie.viz.comparison import Entry, Row, Table
from reverie.viz.ticks import amount

_EXACT = 1e-5  # in standard deviations: rounding
_NONE = 0.01  # in standard deviations: as good as no error
_SHARES = {"a quarter": 0.25, "half-way": 0.5, "the end": 1.0}


class Evidence(NamedTuple):
    """All that was measured of everyone."""

    ground: Ground
    measured: tuple[Measured, ...]
    repeating: WindowErrors
    still: Mapping[Change, WindowErrors]
    """The errors of repeating on changed robots."""
    random: Returns
    curves: Mapping[str, DataCurve]
    """By subject; empty where none was asked for."""
    adapted: Mapping[str, Mapping[Change, WindowErrors]]
    """By subject and change."""

    @property
    def dt(self) -> float:
        """World time per decision [s]."""
        return float(self.measured[0].candidate.spec.dt)

    def each(self, entry: Callable[[Measured], Entry]) -> dict[str, Entry]:
        """A cell of everyone."""
        return {m.candidate.name: entry(m) for m in self.measured}


def spaces_table(e: Evidence) -> Table:
    """Latent against pixel space."""
    half = amount(e.dt * e.ground.horizon / 2, 2)
    about = (
        f"{len(e.ground.windows.episode)} windows of {len(set(e.repeating.groups))} episodes that "
        "all the runs' policies played, from their own actions to random ones, the same for "
        f"everyone; {e.ground.observed} rows are watched, {e.ground.horizon} decisions imagined. "
        "Errors are those of one sample, in standard deviations of the data, pooled over the "
        f"sensors {', '.join(e.ground.sensors) or '(none in common)'}; physical accuracy is in "
        f"each sensor's own unit {half} s ahead. A model that shows nothing is read out linearly, "
        "by a readout fitted on other episodes. The planner is one small iCEM with the same "
        "budget in every model, without a learnt policy or value; all act in the same episodes."
    )
    groups = {
        "what it is": tuple(_kind(e)),
        "prediction": tuple(_prediction(e)),
        "compute": tuple(_compute(e)),
        "training data": (_needed(e),),
        "physical accuracy": tuple(_physical(e)),
        "planability": tuple(_planability(e)),
    }
    return Table(
        "Latent against pixel space", about, {k: rows for k, rows in groups.items() if rows}
    )


def physics_table(e: Evidence) -> Table:
    """Learnt against differentiable physics."""
    changes = " and ".join(CHANGES[c] for c in e.ground.changes) or "none that fits"
    about = (
        f"Changed robots: {changes}; the models know nothing of it. Errors are over the whole "
        "horizon, in standard deviations of the usual data. A heavier or weaker robot moves less, "
        "so errors are told beside those of repeating on the same windows, too, and it is these "
        "that are compared between robots. Gradients of the sum of what is predicted are held to "
        "central differences in random directions of the actions, in the worst of them; where "
        "differences of two sizes disagree, what is predicted jumps. Adapting is learning, or "
        "identification of the twin's masses, on "
        f"{ADAPTED} episodes of the changed robot; the error after it is on other ones."
    )
    groups = {
        "accuracy": tuple(_accuracy(e)),
        "training data": (_needed(e),),
        "gradient access": tuple(_gradient(e)),
        "sim-to-real gap": tuple(_gap(e)),
    }
    name = "Learnt against differentiable physics"
    return Table(name, about, {k: rows for k, rows in groups.items() if rows})


# ------------------------------------------------------------------ entries


def _bounds(found: Bounds) -> Entry:
    return Entry(found.mean, found.low, found.high)


def _at(curve: Curve, index: int) -> Entry:
    return Entry(curve.mean[index], curve.low[index], curve.high[index])


def _returns(found: Returns | str | None) -> Entry:
    if found is None:
        return Entry(words="–")
    if isinstance(found, str):
        return Entry(words=found)
    return Entry(found.mean, found.low, found.high)


# ------------------------------------------------------------------ the first table


def _kind(e: Evidence) -> Iterator[Row]:
    yield Row("state", e.each(lambda m: Entry(words=m.candidate.kind)))

    def compression(m: Measured) -> Entry:
        own = {n: s for n, s in m.candidate.spec.obs.items() if n != PHYSICS}
        spaces = e.ground.sensors or own
        size = sum(np.dtype(s.dtype).itemsize * s.size for s in spaces.values())
        state = m.speed.state_bytes
        return Entry(size / state if state else math.nan, below=f"{size:,} / {state:,} bytes")

    yield Row("compression, observation / state", e.each(compression))
    if any(m.readout for m in e.measured):
        yield Row(
            "readout, R² of the worst sensor",
            e.each(
                lambda m: Entry(min(m.readout.values())) if m.readout else Entry(words="shows it")
            ),
        )


def _prediction(e: Evidence) -> Iterator[Row]:
    """Rows against horizon, and beside repeating."""
    vectors = _of_kind(e, "vector") if e.ground.kind == "vector" else []
    for words, share in _SHARES.items():
        k = e.repeating.at(share)
        ahead = f"{words} ({amount(e.repeating.steps[k] * e.dt, 2)} s)"
        if vectors:
            yield Row(f"error, {ahead} [sd]", e.each(lambda m, s=share: _pooled(m, s)), "lower")  # type: ignore[misc]
        for name in _of_kind(e, "image"):
            yield Row(
                f"PSNR of {name}, {ahead} [dB]",
                e.each(lambda m, n=name, s=share: _psnr(m, n, s)),  # type: ignore[misc]
                "higher",
            )

    def relative(m: Measured) -> Entry:
        k, own = e.repeating.at(0.5), m.errors
        names = [n for n in vectors if n in own.sensors]
        if not names:
            return Entry(words="shows none")
        return _bounds(
            paired_ratio(own.pooled(names)[:, k], e.repeating.pooled(names)[:, k], own.groups)
        )

    if vectors:
        yield Row("half-way, by that of repeating", e.each(relative), "lower")
    yield Row("reward error, half-way", e.each(lambda m: _rmse(m, REWARD)), "lower")


def _of_kind(e: Evidence, kind: str) -> list[str]:
    return [n for n, s in e.repeating.sensors.items() if s.kind == kind]


def _pooled(m: Measured, share: float) -> Entry:
    errors = m.errors
    if not any(s.kind == "vector" for s in errors.sensors.values()):
        return Entry(words="shows none")
    k = errors.at(share)
    return _at(root(errors.pooled()[:, k : k + 1], errors.groups), 0)


def _psnr(m: Measured, name: str, share: float) -> Entry:
    if name not in m.errors.sensors:
        return Entry(words="shows none")
    k = m.errors.at(share)
    return _at(peak(m.errors.sensors[name].square[:, k : k + 1], m.errors.groups), 0)


def _rmse(m: Measured, name: str) -> Entry:
    """In the sensor's own unit, half-way ahead."""
    if name not in m.errors.sensors:
        return Entry(words="shows none" if name != REWARD else "predicts none")
    k = m.errors.at(0.5)
    return _at(root(m.errors.sensors[name].square[:, k : k + 1], m.errors.groups), 0)


def _compute(e: Evidence) -> Iterator[Row]:
    yield Row("parameters", e.each(lambda m: Entry(float(m.speed.parameters))))

    def operations(m: Measured) -> Entry:
        flops = m.speed.flops_step
        return Entry(flops / 1e6) if flops else Entry(words="not counted", below="outside torch")

    yield Row("MFLOP of an imagined step", e.each(operations))
    for batch in BATCHES:

        def latency(m: Measured, batch: int = batch) -> Entry:
            found = m.speed.latency("step", batch)
            return Entry(found.p50, found.low, found.high)

        yield Row(f"a step at batch {batch}, median [ms]", e.each(latency), "lower")
    for name, label in (("updates", "training updates"), ("seconds", "training [s]")):

        def trained(m: Measured, name: str = name) -> Entry:
            loaded = m.candidate.loaded
            return Entry(float(loaded.counters[name])) if loaded else Entry(words="none")

        yield Row(label, e.each(trained))


def _needed(e: Evidence) -> Row:
    """Episodes from the data curve."""

    def needed(m: Measured) -> Entry:
        name = m.candidate.name
        if name == SIMULATOR:
            return Entry(0.0, below="nothing is learnt")
        if not e.ground.is_shown(m.errors):
            return Entry(words="shows none")
        if name not in e.curves:
            return Entry(words="not measured", below="give --curve")
        found = e.curves[name].needed(least=_NONE if e.ground.kind == "vector" else 0.0)
        if found is None:
            return Entry(words="all failed")
        return Entry(float(found.episodes), below="still falling" if found.falling else "")

    return Row("episodes to 10 % above its best", e.each(needed), "lower")


def _physical(e: Evidence) -> Iterator[Row]:
    for name in _of_kind(e, "vector"):
        unit = e.ground.sensors[name].unit
        label = f"RMSE of {name}" + (f" [{unit}]" if unit else "")
        yield Row(label, e.each(lambda m, n=name: _rmse(m, n)), "lower")  # type: ignore[misc]
    known = [m.physics for m in e.measured if not isinstance(m.physics, str)]
    for measure in {(x.name, x.sensor): x for p in known for x in p.measures}.values():

        def scene(m: Measured, name: str = measure.name, sensor: str = measure.sensor) -> Entry:
            if isinstance(m.physics, str):
                return Entry(words=m.physics)
            found = [x for x in m.physics.measures if (x.name, x.sensor) == (name, sensor)]
            return _bounds(found[0].overall["model"]) if found else Entry(words="shows none")

        label = f"{measure.name.replace('_', ' ')}, from {measure.sensor} [{measure.unit}]"
        yield Row(label, e.each(scene), measure.better)


def _planability(e: Evidence) -> Iterator[Row]:
    yield Row("return of the planner", e.each(lambda m: _returns(m.planned)), "higher")

    def more(m: Measured) -> Entry:
        if isinstance(m.planned, str):
            return Entry(words="–")
        found = compare(m.planned, e.random)
        return Entry(found.difference, found.difference_low, found.difference_high)

    yield Row("more than random actions", e.each(more), "higher")
    yield Row("return of random actions", e.each(lambda m: _returns(e.random)))
    yield Row("return of its own agent", e.each(lambda m: _returns(m.acting)), "higher")


# ------------------------------------------------------------------ the second table


def _accuracy(e: Evidence) -> Iterator[Row]:
    unit = " [sd]" if e.ground.kind == "vector" else ""

    def rows(on: Callable[[Measured], WindowErrors], still: WindowErrors, name: str) -> list[Row]:
        error = e.each(lambda m: _overall(e, on(m)))
        beside = e.each(lambda m: _relative(e, on(m), still))
        return [
            Row(f"{name}{unit}", error, "lower"),
            Row("… by that of repeating", beside, "lower"),
        ]

    yield from rows(lambda m: m.errors, e.repeating, "on the robot that was learnt")
    for change in e.ground.changes:

        def there(m: Measured, change: Change = change) -> WindowErrors:
            return m.changed[change]

        def ratio(m: Measured, change: Change = change) -> Entry:
            if not e.ground.is_shown(m.errors):
                return Entry(words="shows none")
            usual, other = _sample(e, m.errors, e.repeating), m.changed[change]
            if math.sqrt(usual.values.mean()) < _EXACT:
                return Entry(words="exact before")
            return _bounds(apart_ratio(_sample(e, other, e.still[change]), usual))

        yield from rows(there, e.still[change], CHANGES[change])
        yield Row("… times that on the robot learnt", e.each(ratio), "lower")


def _sample(e: Evidence, errors: WindowErrors, still: WindowErrors) -> Sample:
    """Errors over the whole horizon, in units of those of repeating."""
    kind = e.ground.kind
    return Sample(overall(errors, kind), errors.groups, overall(_same(still, errors), kind))


def _relative(e: Evidence, errors: WindowErrors, still: WindowErrors) -> Entry:
    """By those of repeating on the same windows."""
    if not e.ground.is_shown(errors):
        return Entry(words="shows none")
    sample = _sample(e, errors, still)
    assert sample.unit is not None
    return _bounds(paired_ratio(sample.values, sample.unit, errors.groups))


def _same(still: WindowErrors, errors: WindowErrors) -> WindowErrors:
    """Without the sensors that the model does not show."""
    return still._replace(sensors={n: s for n, s in still.sensors.items() if n in errors.sensors})


def _overall(e: Evidence, errors: WindowErrors) -> Entry:
    """Over the whole horizon."""
    if not e.ground.is_shown(errors):
        return Entry(words="shows none")
    return _at(root(overall(errors, e.ground.kind)[:, None], errors.groups), 0)


def _gradient(e: Evidence) -> Iterator[Row]:
    def access(m: Measured) -> Entry:
        grad = m.candidate.spec.grad
        words = ", ".join(sorted(grad - {"params"})) or "none"
        return Entry(words=words, below="and weights" if "params" in grad else "")

    yield Row("step differentiates through", e.each(access))
    for horizon in HORIZONS:
        if horizon > e.ground.horizon:
            continue

        def error(m: Measured, horizon: int = horizon) -> Entry:
            if isinstance(m.gradient, str):
                return Entry(words=m.gradient)
            found = [r for r in m.gradient.rows if r.horizon == horizon]
            if not found:
                return Entry(words="–")
            tolerance = m.gradient.tolerance
            words = "agrees" if found[0].error <= tolerance else "differs"
            if found[0].disagreement > tolerance:
                words = "prediction jumps"
            return Entry(found[0].error, below=words)

        yield Row(f"relative error of it, {_steps(horizon)}", e.each(error))

    def cost(m: Measured) -> Entry:
        words = "no gradient" if isinstance(m.gradient, str) else ""
        return Entry(words=words) if words else _bounds(m.milliseconds)

    longest = max((h for h in HORIZONS if h <= e.ground.horizon), default=1)
    yield Row(f"a gradient through {_steps(longest)} [ms]", e.each(cost), "lower")


def _steps(count: int) -> str:
    return f"{count} step{'s' if count > 1 else ''}"


def _gap(e: Evidence) -> Iterator[Row]:
    for change in e.ground.changes:
        for after in (False, True):

            def entry(m: Measured, change: Change = change, after: bool = after) -> Entry:
                found = e.adapted.get(m.candidate.name, {}).get(change)
                if m.candidate.name == SIMULATOR:
                    return Entry(words="not adapted", below="nothing is fitted")
                if not e.ground.is_shown(m.errors):
                    return Entry(words="shows none")
                if found is None:
                    return Entry(words="not adapted", below="give --adapt")
                if not after:
                    return _overall(e, found)
                return _relative(e, found, m.changed[change])

            unit = " [sd]" if e.ground.kind == "vector" and not after else ""
            name = "… by that before" if after else f"adapted to {CHANGES[change]}{unit}"
            yield Row(name, e.each(entry), "lower")
