"""The page about a planner: what it earned, how fast it was, and a film of what it chose from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from reverie.eval.nulls import to_null
from reverie.eval.returns import Returns
from reverie.viz import fan, page, video
from reverie.viz.report import title
from reverie.viz.ticks import amount


@dataclass(frozen=True)
class PlanPage:
    """Everything the page shows."""

    task: str
    planner: str
    """Its name: "icem"."""
    model: str
    """What it planned in."""
    returns: Returns
    random: Returns
    actor: Returns | None
    timing: Mapping[str, float]
    """See `reverie.plan.Timing`."""
    budget: float
    """[ms]; 0 for none."""
    film: fan.PlanFilm | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


def write(content: PlanPage, path: Path) -> Path:
    """Write the page; it is there whole, or not at all."""
    return page.save(html(content), path)


def html(content: PlanPage) -> str:
    """The page as text."""
    timing = content.timing
    lede = (
        f"Planning with {content.planner} in {content.model} earns "
        f"{amount(content.returns.mean)} per episode; random actions earn "
        f"{amount(content.random.mean)}"
        + (f", the run's own agent {amount(content.actor.mean)}" if content.actor else "")
        + f". A decision takes {amount(timing['p50'])} ms."
    )
    head = (
        f'<header><p class="kicker">Reverie plan report: {escape(content.planner)}</p>'
        f"<h1>{escape(title(content.task))}</h1>"
        f'<p class="lede">{escape(lede)}</p><dl class="tiles">{"".join(_tiles(content))}</dl>'
        "</header>"
    )
    text = json.dumps(to_null(dict(content.config)), indent=2)
    run = page.section(
        "What was run",
        "",
        page.facts(content.facts),
        page.details("Configuration", f"<pre>{escape(text)}</pre>"),
    )
    words = "Written by Reverie. This file is complete in itself. Intervals are 95 % bootstrap."
    foot = f'<footer class="inner">{words}</footer>'
    body = ["<main>", head, _film(content.film), _speed(content), run, foot, "</main>"]
    return page.page(f"{title(content.task)}: planning with {content.planner}", body)


def _tiles(content: PlanPage) -> list[str]:
    named = [("Planner, return", content.returns), ("Random actions, return", content.random)]
    if content.actor:
        named.insert(1, ("The run's own agent, return", content.actor))
    tiles = [
        page.tile(name, amount(r.mean), _interval(r), first=not i)
        for i, (name, r) in enumerate(named)
    ]
    timing = content.timing
    below = f"95 % within {amount(timing['p95'])} ms, 99 % within {amount(timing['p99'])} ms"
    return [*tiles, page.tile("Decision, median", f"{amount(timing['p50'])} ms", below)]


def _interval(returns: Returns) -> str:
    many = f"{returns.n} episode{'s' if returns.n > 1 else ''}"
    if returns.n < 2:
        return many
    return f"95 %: {amount(returns.low)} to {amount(returns.high)}; {many}"


def _speed(content: PlanPage) -> str:
    timing = content.timing
    entries = {
        "Decisions planned": f"{timing['decisions']:,}",
        "Iterations of a search, mean": f"{timing['iterations']:.1f}",
        "Control frequency": f"{timing['frequency']:.1f} Hz",
        "Slowest decision": f"{timing['worst']:.1f} ms",
    }
    if content.budget:
        entries |= {
            "Budget": f"{content.budget:g} ms",
            "Decisions beyond the budget": f"{timing['late']:,}",
            "Decisions in which no iteration fitted": f"{timing['fallbacks']:,}",
        }
    return page.section("How fast it was", "", page.facts(entries))


def _film(film: fan.PlanFilm | None) -> str:
    if film is None:
        return ""
    about = (
        "White is what the robot sensed; the bold curve is what the model expects of the plan that "
        "is carried out, the dim ones of the plans around it."
    )
    try:
        frames, fps = fan.compose(film)
        height, width = frames.shape[1:3]
        shape = f'width="{width}" height="{height}"'
        moving = page.picture(
            video.encode(frames, fps), "the robot, and the futures it chooses from", "", shape
        )
        shown = f'<figure class="screen">{moving}</figure>'
    except ImportError as missing:
        shown = page.note(f"There is no moving picture here. {missing}")
    notes = "".join(page.note(words) for words in film.notes)
    return page.section("The planner at work", about, shown, notes)
