"""The page about an optimisation: how the cost fell, what it took, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reverie.eval.nulls import to_null
from reverie.viz import page, video
from reverie.viz.charts import Chart, Level, Line


@dataclass(frozen=True)
class OptimisationPage:
    """Everything the page shows."""

    title: str
    about: str
    """What is to be done."""
    method: str
    curve: tuple[Sequence[float], Sequence[float]]
    """Simulated steps, and the cost (of a policy: the return) by then."""
    measure: str
    """What the curve shows: "cost of the best plan", "return of an episode"."""
    idle: float
    """The same of doing nothing."""
    tiles: Mapping[str, tuple[str, str]]
    """Headline numbers: by name, the value and what stands under it."""
    film: tuple[NDArray[np.uint8], float] | None = None
    """Frames `[T, h, w, 3]`, and how many a second."""
    config: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


def write(content: OptimisationPage, path: Path) -> Path:
    """Write the page; it is there whole, or not at all."""
    return page.save(html(content), path)


def html(content: OptimisationPage) -> str:
    """The page as text."""
    tiles = "".join(
        page.tile(name, *words, first=not i)
        for i, (name, words) in enumerate(content.tiles.items())
    )
    head = (
        f'<header><p class="kicker">Reverie optimisation report: {escape(content.method)}</p>'
        f"<h1>{escape(content.title)}</h1>"
        f'<p class="lede">{escape(content.about)}</p><dl class="tiles">{tiles}</dl></header>'
    )
    steps, values = content.curve
    chart = Chart(
        f"{content.measure} against simulated steps",
        "simulated steps",
        content.measure,
        (Line("", list(steps), list(values)),),
        (Level("doing nothing", content.idle),),
        zero=False,
        origin=True,
    )
    course = page.section("What it took", "Each candidate's steps are counted.", page.big(chart))
    text = json.dumps(to_null(dict(content.config)), indent=2)
    run = page.section(
        "What was run",
        "",
        page.facts(content.facts),
        page.details("Configuration", f"<pre>{escape(text)}</pre>"),
    )
    foot = '<footer class="inner">Written by Reverie. This file is complete in itself.</footer>'
    body = ["<main>", head, _film(content.film), course, run, foot, "</main>"]
    return page.page(f"{content.title}: {content.method}", body)


def _film(film: tuple[NDArray[np.uint8], float] | None) -> str:
    if film is None:
        return ""
    try:
        height, width = film[0].shape[1:3]
        shape = f'width="{width}" height="{height}"'
        moving = page.picture(video.encode(*film), "the course of the best plan", "", shape)
        shown = f'<figure class="screen" style="max-width:{2 * width}px">{moving}</figure>'
    except ImportError as missing:
        shown = page.note(f"There is no moving picture here. {missing}")
    return page.section("What came of it", "", shown)
