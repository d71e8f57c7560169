"""What a world model is worth, on one page: the answers first, what they rest on below."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from reverie.eval.nulls import to_null
from reverie.eval.quality import Answer, Quality
from reverie.viz import measures, page
from reverie.viz.horizon import horizon
from reverie.viz.report import title

_WORDS = {"good": "yes", "doubt": "partly", "bad": "no", "unknown": "unknown"}


@dataclass(frozen=True)
class Page:
    """Everything the page shows."""

    title: str
    """Name of the environment, or of the data."""
    model: str
    """Family and size."""
    quality: Quality
    facts: Mapping[str, str] = field(default_factory=dict)
    """What was run and on what, in order."""
    config: Mapping[str, Any] = field(default_factory=dict)


def write(shown: Page, path: Path | str) -> Path:
    """Write the page; it is there whole, or not at all."""
    return page.save(html(shown), path)


def html(shown: Page) -> str:
    """The page as text."""
    quality = shown.quality
    parts = [
        _head(shown),
        horizon(quality.prediction) + measures.drift(quality.prediction)
        if quality.prediction
        else "",
        measures.control(quality),
        measures.calibration(quality.calibration, quality.conformal) if quality.calibration else "",
        measures.unsure(quality),
        measures.physics(quality),
        measures.use(quality.usefulness) if quality.usefulness else "",
        measures.speed(quality.speed) if quality.speed else "",
        page.section(
            "What was run",
            "",
            page.facts(shown.facts),
            *(page.note(words, plain=True) for words in quality.notes),
            page.details(
                "Configuration",
                f"<pre>{escape(json.dumps(to_null(shown.config), indent=2))}</pre>",
            ),
        ),
    ]
    words = (
        "Written by Reverie. This file is complete in itself: it loads nothing and sends nothing. "
        "Point at a chart, or tap it, to read its numbers. Intervals are 95 %, over episodes."
    )
    body = ["<main>", *parts, f'<footer class="inner">{words}</footer>', "</main>"]
    return page.page(f"{title(shown.title)}: a world model, measured", body)


def _head(shown: Page) -> str:
    answers = "".join(_answer(one) for one in shown.quality.answers())
    bad = sum(one.level == "bad" for one in shown.quality.answers())
    say = "says" if bad == 1 else "say"
    lede = (
        f"{bad} of {len(shown.quality.answers())} answers {say} no."
        if bad
        else "Nothing speaks against this model in what was measured."
    )
    return (
        f'<header><p class="kicker">Reverie evaluation: {escape(shown.model)}</p>'
        f"<h1>{escape(title(shown.title))}</h1>"
        f'<p class="lede">{escape(lede)}</p><ul class="answers">{answers}</ul></header>'
    )


def _answer(one: Answer) -> str:
    return (
        f'<li class="{one.level}"><span class="mark">{_WORDS[one.level]}</span>'
        f"<div><h3>{escape(one.question)}</h3>"
        f"<p>{escape(one.answer[:1].upper() + one.answer[1:])}. {escape(one.why)}</p></div></li>"
    )
