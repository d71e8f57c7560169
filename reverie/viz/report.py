"""A run as one HTML file that needs nothing else: no script, no request, no library."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from reverie.eval.nulls import to_null
from reverie.eval.returns import Comparison
from reverie.eval.score import OpenLoop
from reverie.viz import page
from reverie.viz.film import Film
from reverie.viz.horizon import horizon, lead
from reverie.viz.imagination import imagination
from reverie.viz.learning import learning, losses
from reverie.viz.ticks import amount, duration


@dataclass(frozen=True)
class Report:
    """Everything the page shows; what is None is left out, and the page says so."""

    task: str
    """Of the environment: "dmc:cartpole_swingup"."""
    family: str
    """Of the world model, as a person calls it: "DreamerV3, size 1m"."""
    returns: Comparison | None = None
    """The learned policy against random actions."""
    log: Sequence[Mapping[str, Any]] = ()
    """The lines of `log.jsonl` (`reverie.learn.log.read`)."""
    openloop: OpenLoop | None = None
    """Prediction error against horizon."""
    film: Film | None = None
    """The real robot beside the imagined one."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What was run and on what, in order (`provenance` gives the second half); a value between
    backquotes is set as code."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The whole configuration, as JSON."""
    notes: tuple[str, ...] = ()
    """What is lacking, as sentences."""
    counters: Mapping[str, float] | None = None
    """Frames, decisions, updates and seconds at the end; by default those of the last line of the
    log, after which a run may have gone on a little."""

    @property
    def counted(self) -> Mapping[str, float]:
        """How far the run was; empty if nobody counted."""
        last = self.counters or (self.log[-1] if self.log else {})
        return {k: last[k] for k in ("frames", "decisions", "updates", "seconds") if k in last}


def write(report: Report, path: Path | str) -> Path:
    """Write the page; it is there whole, or not at all."""
    return page.save(html(report), path)


def html(report: Report) -> str:
    """The page as text."""
    parts = [
        _head(report),
        *(page.note(words) for words in report.notes),
        imagination(report.film) if report.film else "",
        learning(report.log, report.returns),
        horizon(report.openloop) if report.openloop else "",
        losses(report.log),
        _run(report),
    ]
    words = (
        "Written by Reverie. This file is complete in itself: it loads nothing and sends nothing. "
        "Point at a chart, or tap it, to read its numbers. Intervals are 95 % bootstrap intervals "
        "over episodes."
    )
    body = ["<main>", *parts, f'<footer class="inner">{words}</footer>', "</main>"]
    return page.page(f"{title(report.task)}: a Reverie run", body)


def title(task: str) -> str:
    """A task's name for people: "dmc:cartpole_swingup" is "Cartpole swingup"."""
    words = task.partition(":")[2] or task
    return words.replace("_", " ").strip().capitalize()


def _head(report: Report) -> str:
    tiles = "".join(_tiles(report))
    return (
        f'<header><p class="kicker">Reverie run report: {escape(report.family)}</p>'
        f"<h1>{escape(title(report.task))}</h1>"
        f'<p class="lede">{escape(_lede(report))}</p>'
        + (f'<dl class="tiles">{tiles}</dl>' if tiles else "")
        + "</header>"
    )


def _lede(report: Report) -> str:
    """What happened, in a sentence or two made of measured numbers."""
    counted = report.counted
    words = []
    if counted.get("frames"):
        words.append(
            f"A world model learned this task from {counted['frames']:,} frames of the robot's own "
            "experience, and the robot learned to act by imagining in it."
        )
    elif counted.get("updates"):
        words.append(f"A world model learned from recorded data in {counted['updates']:,} updates.")
    compared = report.returns
    if compared:
        words.append(
            f"The policy earns {amount(compared.policy.mean)} per episode; "
            f"random actions earn {amount(compared.baseline.mean)}."
        )
    return " ".join(words)


def _tiles(report: Report) -> list[str]:
    found = []
    compared = report.returns
    if compared:
        ours, theirs = compared.policy, compared.baseline
        manner = "acting by its mode" if ours.deterministic else "sampling its actions"
        found = [
            page.tile(
                "Learned policy, return",
                amount(ours.mean),
                f"{_interval(ours.low, ours.high)}; {ours.n} episodes, {manner}",
                first=True,
            ),
            page.tile(
                "Random actions, return",
                amount(theirs.mean),
                f"{_interval(theirs.low, theirs.high)}; {theirs.n} episodes",
            ),
        ]
        if not math.isnan(compared.ratio):
            interval = _interval(compared.ratio_low, compared.ratio_high, "\u00d7")
            found.append(page.tile("Times random", f"{amount(compared.ratio)}\u00d7", interval))
        else:
            interval = _interval(compared.difference_low, compared.difference_high)
            found.append(page.tile("Above random", amount(compared.difference), interval))
    ahead = lead(report.openloop) if report.openloop else None
    if ahead:
        found.append(page.tile(*ahead))
    elif report.counted:
        counted = report.counted
        words = f"{counted['updates']:,} updates"
        found.append(page.tile("Time", duration(counted["seconds"]), words))
    return found


def _interval(low: float, high: float, unit: str = "") -> str:
    if math.isnan(low) or math.isnan(high):
        return "no interval"
    return f"95 %: {amount(low)}{unit} to {amount(high)}{unit}"


def _run(report: Report) -> str:
    counted, entries = report.counted, dict(report.facts)
    if counted:
        steps = [f"{value:,} {name}" for name, value in counted.items() if name != "seconds"]
        entries["Counted"] = ", ".join(steps)
        entries["Duration"] = duration(counted["seconds"])
    told = [str(line["text"]) for line in report.log if line.get("kind") == "note"]
    text = json.dumps(to_null(report.config), indent=2)
    return page.section(
        "What was run",
        "",
        page.facts(entries),
        *(page.note(words, plain=True) for words in told[:20]),
        page.details("Configuration", f"<pre>{escape(text)}</pre>") if report.config else "",
    )
