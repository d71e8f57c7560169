"""World models of several families side by side, on one task and the same data."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reverie.data.container import write_json
from reverie.data.serial import to_json
from reverie.envs.changed import Change
from reverie.eval.datacurve import DataCurve
from reverie.eval.sidebyside import WindowErrors, repeating
from reverie.eval.windows import Windows
from reverie.recipes.comparison_charts import curve_bundles, horizon_bundles
from reverie.recipes.comparison_learning import (
    adapted,
    data_curve,
    identified,
    training_episodes,
    twin_curve,
)
from reverie.recipes.comparison_measure import Measured, measure, random_returns
from reverie.recipes.comparison_subjects import (
    SIMULATOR,
    TWIN,
    Comparing,
    Ground,
    candidates,
    ground,
    loaded_runs,
    shared_env,
)
from reverie.recipes.comparison_tables import (
    Evidence,
    physics_table,
    spaces_table,
)
from reverie.recipes.run import Loaded
from reverie.viz.comparison import Shown, write
from reverie.viz.provenance import provenance
from reverie.viz.ticks import amount, duration


class Compared(NamedTuple):
    """What came of it."""

    shown: Shown
    evidence: Evidence
    json: Path
    page: Path


def compare(
    paths: Sequence[Path | str], config: Comparing, say: Callable[[str], None] = lambda words: None
) -> Compared:
    """Measure runs, and what needs no run, side by side; write `comparison.json` and `.html`.

    Args:
        paths: directories of runs that act in one environment.
        config: how.
        say: told what is being measured.

    Raises:
        ValueError: the runs cannot be compared; the message says in what they differ.
    """
    begun = time.monotonic()
    evidence, notes = gather(paths, config, say)
    took = duration(time.monotonic() - begun)
    shown = _shown(evidence, config, {"Measured in": took}, notes)
    config.out.mkdir(parents=True, exist_ok=True)
    where = config.out / "comparison.json"
    curves = {name: curve.to_json() for name, curve in evidence.curves.items()}
    write_json(where, {**shown.to_json(), "data_curves": curves})
    return Compared(shown, evidence, where, write(shown, config.out / "comparison.html"))


def gather(
    paths: Sequence[Path | str], config: Comparing, say: Callable[[str], None]
) -> tuple[Evidence, list[str]]:
    """Everything that is measured, and remarks."""
    runs = loaded_runs(paths)
    subjects, env, notes = candidates(runs, shared_env(runs))
    say(f"Recording episodes of {env.name} by the policies of {len(runs)} runs.")
    common = ground(runs, env, config)
    measured: list[Measured] = []
    for one in subjects:
        say(f"Measuring {one.name}.")
        measured.append(measure(one, common, config))
    baseline, still = _still(common, common.windows), {}
    for change, windows in common.changes.items():
        still[change] = _still(common, windows)
    dice = random_returns(common, subjects[0].spec.action, subjects[0].device, config)
    curves = _curves(runs, measured, common, config, say) if config.curve else {}
    after = _adapted(measured, common, config, say)
    for one in subjects:
        if one.loaded is None:
            one.model.close()
    return Evidence(common, tuple(measured), baseline, still, dice, curves, after), notes


def _still(common: Ground, windows: Windows) -> WindowErrors:
    """The errors of repeating."""
    return repeating(windows, common.sensors, common.deviation, **common.ahead)


def _curves(
    runs: Sequence[Loaded],
    measured: Sequence[Measured],
    common: Ground,
    config: Comparing,
    say: Callable[[str], None],
) -> dict[str, DataCurve]:
    """Of everyone but the simulator."""
    data, found = training_episodes(runs, common.env, config), {}
    for m in measured:
        one = m.candidate
        if one.name == SIMULATOR or not common.is_shown(m.errors):
            continue
        say(f"Learning {one.name} from {', '.join(map(str, config.curve))} episodes.")
        if one.name == TWIN:
            found[TWIN] = twin_curve(one, data, m.errors, common, config)
        elif one.loaded is not None:
            found[one.name] = data_curve(one, data, common, config)
    return found


def _adapted(
    measured: Sequence[Measured], common: Ground, config: Comparing, say: Callable[[str], None]
) -> dict[str, dict[Change, WindowErrors]]:
    """The twin always, runs where they are asked for."""
    found: dict[str, dict[Change, WindowErrors]] = {}
    for m in measured:
        one = m.candidate
        if not common.is_shown(m.errors):
            continue
        if one.name == TWIN:
            say(f"Identifying the {TWIN} of changed robots.")
            found[TWIN] = {
                change: identified(one, common.adaptation[change], common, windows)
                for change, windows in common.changes.items()
            }
        elif one.loaded is not None and config.adapt:
            say(f"Adapting {one.name} to changed robots.")
            found[one.name] = {c: adapted(one, c, common, config) for c in common.changes}
    return found


def _shown(
    evidence: Evidence, config: Comparing, facts: dict[str, str], notes: Sequence[str]
) -> Shown:
    subjects = [m.candidate for m in evidence.measured]
    tables = spaces_table(evidence), physics_table(evidence)
    env = evidence.ground.env
    return Shown(
        title=env.name,
        subjects={one.name: one.kind for one in subjects},
        lede=_lede(evidence),
        tables=tables,
        horizons=horizon_bundles(evidence),
        curves=curve_bundles(evidence),
        notes=tuple(notes),
        facts={
            "Environment": f"{env.name}, action repeat {env.repeat}",
            **{one.name: _about(one) for one in subjects},
            **facts,
            **provenance(),
        },
        config={"comparing": to_json(config), "env": to_json(env)},
    )


def _about(one: Any) -> str:
    """Where a subject comes from."""
    if one.loaded is None:
        return "the environment's own engine" if one.kind == "exact" else "differentiable physics"
    counters = one.loaded.counters
    trained = ", ".join(f"{counters[k]:,} {k}" for k in ("frames", "updates"))
    return f"{one.loaded.recipe.run}, {trained}"


def _lede(evidence: Evidence) -> str:
    """What the tables come to, in two sentences."""
    learnt = {m.candidate.name for m in evidence.measured if m.candidate.loaded is not None}
    rows = {r.name: r for t in (spaces_table(evidence),) for g in t.groups.values() for r in g}
    found = []
    near = rows.get("half-way, by that of repeating")
    if near and (best := near.best(sorted(learnt)) or _only(learnt, near.cells)):
        cell = near.cells[best]
        if cell.shown()[1]:
            found.append(
                f"Half-way ahead the best learnt model, {best}, makes {amount(cell.value, 2)} "
                f"times the error of repeating the last observation ({cell.shown()[1]})."
            )
    earned, more = rows["return of the planner"], rows["more than random actions"]
    sure = [name for name, cell in more.cells.items() if cell.low > 0]
    dice = amount(evidence.random.mean)
    if best := earned.best(sure) or (sure[0] if len(sure) == 1 else ""):
        cell = earned.cells[best]
        found.append(
            f"The same small planner earns most in {best}: {amount(cell.value)} "
            f"({cell.shown()[1]}), random actions {dice}."
        )
    elif earned.best(list(earned.cells)):
        found.append("In no model does the small planner certainly earn more than random actions.")
    return " ".join(found) or "What was measured is in the tables."


def _only(names: set[str], cells: Any) -> str:
    """The one learnt model, where there is one with a number."""
    known = [n for n in names if n in cells and not cells[n].words]
    return known[0] if len(known) == 1 else ""
