"""World models of several families side by side: two tables and their curves, on one page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Literal

from reverie.eval.nulls import to_null
from reverie.eval.score import Curve
from reverie.viz import page
from reverie.viz.charts import Chart, Line, Role
from reverie.viz.report import title
from reverie.viz.ticks import amount

Kind = Literal["latent", "pixel", "exact", "physics", "baseline"]
KINDS: Mapping[Kind, str] = {
    "latent": "learnt, latent space",
    "pixel": "learnt, pixel space",
    "exact": "the exact simulator",
    "physics": "differentiable physics",
    "baseline": "needs no model",
}
BASELINE = "repeating"
"""Name of the curve of the last observation said again."""

_LEARNT: tuple[Role, ...] = ("model", "linear", "mean")
_ROLES: Mapping[Kind, Role] = {"exact": "real", "physics": "repeat", "baseline": "quiet"}


@dataclass(frozen=True)
class Entry:
    """What a table says of one subject: a number with its interval, or words."""

    value: float = math.nan
    low: float = math.nan
    """Ends of the 95 % interval, where the number is a mean."""
    high: float = math.nan
    words: str = ""
    """Instead of a number."""
    below: str = ""
    """In small letters, where there is no interval."""

    def shown(self) -> tuple[str, str]:
        """The words of the cell, and what stands in small letters under them."""
        if self.words:
            return self.words, self.below
        if math.isfinite(self.low) and math.isfinite(self.high):
            ends = f"{amount(self.low, 2)} to {amount(self.high, 2)}"
            return amount(self.value, 3), self.below or ends
        whole = math.isfinite(self.value) and self.value == round(self.value)
        return f"{self.value:,.0f}" if whole else amount(self.value, 3), self.below


@dataclass(frozen=True)
class Row:
    """One property, of every subject."""

    name: str
    """With its unit in brackets."""
    cells: Mapping[str, Entry]
    """By subject; one that is missing has nothing to say."""
    better: Literal["lower", "higher", ""] = ""
    """Which number stands out; empty for none."""

    def best(self, among: Sequence[str]) -> str:
        """The subject whose number is best; empty where nobody's is, or there is but one."""
        known = {n: self.cells[n].value for n in among if n in self.cells}
        known = {n: v for n, v in known.items() if math.isfinite(v)}
        if not self.better or len(known) < 2:
            return ""
        return (max if self.better == "higher" else min)(known, key=lambda n: known[n])


@dataclass(frozen=True)
class Table:
    """Rows in named groups."""

    title: str
    about: str
    """What is measured, and how."""
    groups: Mapping[str, tuple[Row, ...]]


@dataclass(frozen=True)
class Bundle:
    """One chart with a curve for each subject."""

    title: str
    x_label: str
    y_label: str
    x: Mapping[str, tuple[float, ...]]
    """By subject, as `curves`."""
    curves: Mapping[str, Curve]
    higher: bool = False
    """Whether more is better."""


@dataclass(frozen=True)
class Shown:
    """Everything the page shows."""

    title: str
    """Name of the environment."""
    subjects: Mapping[str, Kind]
    """In the order of the columns."""
    lede: str
    tables: tuple[Table, ...]
    horizons: tuple[Bundle, ...]
    """Errors against horizon; the first is drawn large."""
    curves: tuple[Bundle, ...] = ()
    """Errors against the number of episodes."""
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All of it as a JSON object (NaN as null)."""
        found: dict[str, Any] = to_null(asdict(self))
        return found


def write(shown: Shown, path: Path | str) -> Path:
    """Write the page; it is there whole, or not at all."""
    return page.save(html(shown), path)


def html(shown: Shown) -> str:
    """The page as text."""
    horizons = _horizons(shown)
    parts = [
        f'<header><p class="kicker">Reverie comparison: {len(shown.subjects)} world models</p>'
        f"<h1>{escape(title(shown.title))}</h1>"
        f'<p class="lede">{escape(shown.lede)}</p></header>',
        *(_table(shown, table) for table in shown.tables[:1]),
        horizons,
        *(_table(shown, table) for table in shown.tables[1:]),
        _curves(shown),
        page.section(
            "What was run",
            "",
            page.facts(shown.facts),
            *(page.note(words, plain=True) for words in shown.notes),
            page.details(
                "Configuration",
                f"<pre>{escape(json.dumps(to_null(shown.config), indent=2))}</pre>",
            ),
        ),
    ]
    words = (
        "Written by Reverie. This file is complete in itself: it loads nothing and sends nothing. "
        "Point at a chart, or tap it, to read its numbers. Intervals are 95 %."
    )
    body = ["<main>", *parts, f'<footer class="inner">{words}</footer>', "</main>"]
    return page.page(f"{title(shown.title)}: world models side by side", body)


def judged(shown: Shown) -> list[str]:
    """Subjects among which a best one stands out: all but the exact simulator, whose predictions
    are the truth itself."""
    return [name for name, kind in shown.subjects.items() if kind != "exact"]


def _table(shown: Shown, table: Table) -> str:
    names = list(shown.subjects)
    head = ["", *names]
    groups = {
        group: [_cells(row, names, row.best(judged(shown))) for row in rows]
        for group, rows in table.groups.items()
    }
    return page.section(table.title, table.about, page.table(head, groups))


def _cells(row: Row, names: Sequence[str], best: str) -> list[str | page.Cell]:
    cells: list[str | page.Cell] = [row.name]
    for name in names:
        words, below = row.cells[name].shown() if name in row.cells else ("", "")
        cells.append(page.Cell(words, below, name == best))
    return cells


def _horizons(shown: Shown) -> str:
    if not shown.horizons:
        return ""
    about = (
        "Everyone is given the same rows, and then left alone with the actions that were really "
        "taken. Bands are 95 % intervals over episodes."
    )
    first, *rest = shown.horizons
    body = page.big(_chart(shown, first))
    panels = "".join(page.panel(b.title, "", _chart(shown, b), 230, stacked=True) for b in rest)
    if panels:
        body += f'<div class="grid">{panels}</div>'
    return page.section("How far ahead each sees", about, body)


def _curves(shown: Shown) -> str:
    if not shown.curves:
        return ""
    about = (
        "Fresh models, alike (in their updates, too) but for the number of recorded episodes that "
        "they learnt from, all on the same windows. Bands are 95 % intervals over the episodes of "
        "the windows: one model was fitted for each point."
    )
    body = "".join(page.big(_chart(shown, bundle, band=True)) for bundle in shown.curves)
    return page.section("How much data each needs", about, body)


def _chart(shown: Shown, bundle: Bundle, band: bool = False) -> Chart:
    drawn = roles({**shown.subjects, BASELINE: "baseline"})
    lines = []
    for name, curve in bundle.curves.items():
        role, style = drawn[name]
        x = bundle.x[name]
        known = all(map(math.isfinite, (*curve.low, *curve.high)))
        wide = known and (band or role in ("model", "linear", "repeat"))
        low, high = (curve.low, curve.high) if wide else (None, None)
        lines.append(Line(name, x, curve.mean, low, high, role, style))
    return Chart(
        bundle.title,
        bundle.x_label,
        bundle.y_label,
        tuple(lines),
        origin=True,
        zero=not bundle.higher,
        top=math.inf if bundle.higher else _top(bundle),
    )


def _top(bundle: Bundle) -> float:
    """So that a model that runs away does not flatten the others: twice the worst of repeating, or
    of those that do not exceed thrice the median."""
    if BASELINE in bundle.curves:
        return 2.0 * max((v for v in bundle.curves[BASELINE].mean if math.isfinite(v)), default=0.5)
    ends = sorted(
        max((v for v in c.mean if math.isfinite(v)), default=0.0) for c in bundle.curves.values()
    )
    middle = ends[len(ends) // 2]
    return 1.25 * max((e for e in ends if e <= 3 * middle), default=1.0) if middle else math.inf


def roles(subjects: Mapping[str, Kind]) -> dict[str, tuple[Role, Literal["line", "dots"]]]:
    """How each is drawn: learnt models in three ways as lines, three more as dots."""
    found: dict[str, tuple[Role, Literal["line", "dots"]]] = {}
    learnt = [name for name, kind in subjects.items() if kind not in _ROLES]
    for name, kind in subjects.items():
        if kind in _ROLES:
            found[name] = _ROLES[kind], "line"
        else:
            turn, place = divmod(learnt.index(name), len(_LEARNT))
            found[name] = _LEARNT[place], "dots" if turn % 2 else "line"
    return found
