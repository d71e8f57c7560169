"""Pieces of an HTML page that needs nothing from outside itself."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from reverie.viz.charts import Chart

_CODE = re.compile(r"`([^`]+)`")


def page(title: str, body: Iterable[str]) -> str:
    """A whole document; its security policy forbids the browser to load anything."""
    style = files("reverie.viz").joinpath("report.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"{''.join(body)}\n</body>\n</html>\n"
    )


def save(text: str, path: Path | str) -> Path:
    """Write a page; it is there whole, or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return path


def section(title: str, about: str, *body: str) -> str:
    """A titled part of the page; `about` is plain text."""
    words = f'<p class="about">{text(about)}</p>' if about else ""
    return f"\n<section>\n<h2>{escape(title)}</h2>\n{words}{''.join(body)}\n</section>\n"


def text(words: str) -> str:
    """Plain text as HTML; `code` between backquotes."""
    return _CODE.sub(r"<code>\1</code>", escape(words))


def note(words: str, plain: bool = False) -> str:
    """A remark that must not be overlooked; a plain one may be."""
    return f'<p class="note{" plain" if plain else ""}">{text(words)}</p>'


def tile(name: str, value: str, below: str, first: bool = False) -> str:
    """One headline number."""
    return (
        f'<div><dt>{escape(name)}</dt><dd><span class="figure{" first" if first else ""}">'
        f'{escape(value)}</span><span class="small">{escape(below)}</span></dd></div>'
    )


def facts(entries: Mapping[str, str]) -> str:
    """Names and values; a value between backquotes is set as code."""
    rows = (
        f"<dt>{escape(name)}</dt><dd"
        + (f' class="code">{escape(value.strip("`"))}' if value[:1] == "`" else f">{escape(value)}")
        + "</dd>"
        for name, value in entries.items()
        if value
    )
    return f'<dl class="facts">{"".join(rows)}</dl>'


def panel(title: str, beside: str, chart: Chart, height: int = 200, stacked: bool = False) -> str:
    """A small chart in a box, at most as wide as a third of the page; `beside` stands next to the
    title, or below it."""
    caption = f"<h3>{escape(title)}</h3>"
    caption += f'<span class="small">{escape(beside)}</span>' if beside else ""
    return (
        f'<figure class="panel{" stacked" if stacked else ""}"><figcaption>{caption}</figcaption>'
        f"{chart.svg(320, height)}</figure>"
    )


def big(chart: Chart) -> str:
    """A chart as wide as the page, in one shape for screens and another for phones."""
    both = chart.svg(980, 360, "wide") + chart.svg(340, 270, "narrow")
    return f'<figure class="panel big">{chart.legend()}{both}</figure>'


def details(summary: str, body: str) -> str:
    """What only some want to see."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


class Cell(NamedTuple):
    """One entry of a table."""

    words: str
    below: str = ""
    """In small letters under it."""
    best: bool = False
    """Stands out among its kind."""


def table(head: Sequence[str], groups: Mapping[str, Sequence[Sequence[str | Cell]]]) -> str:
    """A table of rows in named groups."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = []
    for name, rows in groups.items():
        body.append(f'<tr><th class="group" colspan="{len(head)}">{escape(name)}</th></tr>')
        body += [f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows]
    return f'<div class="scroll"><table><tr>{top}</tr>{"".join(body)}</table></div>'


def _cell(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return f"<td>{escape(cell)}</td>"
    kind = ' class="best"' if cell.best else ""
    below = f'<span class="small">{escape(cell.below)}</span>' if cell.below else ""
    return f"<td{kind}>{escape(cell.words)}{below}</td>"


def picture(content: bytes, alt: str, kind: str = "", shape: str = "") -> str:
    """A WebP image within the page; `shape` holds attributes such as width."""
    data = base64.b64encode(content).decode()
    return f'<img class="{kind}" {shape} alt="{escape(alt)}" src="data:image/webp;base64,{data}">'
