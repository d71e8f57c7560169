"""Line charts as SVG text: axes, bands, reference lines, and what lies under the pointer.

Colours are CSS classes (`report.css` gives each role one, with a dash of its own so that no two
lines differ by colour alone), so one chart serves a light and a dark page. No script is needed:
the pointer's column lights up by `:hover`, and its `<title>` says the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

from reverie.viz.ticks import Axis, amount

Role = Literal["model", "mean", "repeat", "linear", "real", "quiet"]


@dataclass(frozen=True)
class Line:
    """One curve; y may hold NaN, where it is interrupted."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    """Lower edge of a band around the curve."""
    high: Sequence[float] | None = None
    role: Role = "model"
    style: Literal["line", "dots"] = "line"

    def __post_init__(self) -> None:
        lengths = {len(v) for v in (self.x, self.y, self.low, self.high) if v is not None}
        if len(lengths) != 1:
            raise ValueError(f"The parts of line {self.label!r} differ in length: {lengths}.")


@dataclass(frozen=True)
class Level:
    """A horizontal reference: a value with its name, and perhaps an interval."""

    label: str
    y: float
    low: float = math.nan
    high: float = math.nan
    role: Role = "repeat"


@dataclass(frozen=True)
class Chart:
    """What is drawn; `svg` draws it at a size, `legend` names the lines."""

    title: str
    """For those who hear the page, and for tests."""
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    levels: tuple[Level, ...] = ()
    shade: tuple[float, float, str] | None = None
    """A stretch of the x axis with a name: (from, to, name)."""
    log: bool = False
    """Logarithmic y."""
    zero: bool = True
    """Whether a linear y axis includes 0."""
    origin: bool = False
    """Whether the x axis includes 0."""
    top: float = math.inf
    """Curves above leave the frame, so that one bad baseline does not flatten the others."""
    columns: int = 60
    """At most so many places answer to the pointer."""

    def svg(self, width: int, height: int, kind: str = "") -> str:
        """The chart as one `<svg>` of this size in px, which may be scaled by the page."""
        frame = _Frame.around(self, width, height)
        body = [
            *_shade(self, frame),
            *_axes(self, frame),
            *(part for level in self.levels for part in _level(level, frame)),
            _window(frame),
            *(part for line in self.lines for part in _band(line, frame)),
            *(part for line in self.lines for part in _curve(line, frame)),
            "</svg>",
            *_names(self, frame),
            *_pointer(self, frame),
        ]
        return (
            f'<svg class="chart {kind}" viewBox="0 0 {width} {height}" role="img" '
            f'aria-label="{escape(self.title)}">{"".join(body)}</svg>'
        )

    def legend(self) -> str:
        """The lines by name, as one HTML list; empty where there is but one."""
        named = [(line.label, line.role, line.style) for line in self.lines if line.label]
        if len(named) < 2:
            return ""
        items = (
            f'<li><svg class="key" viewBox="0 0 26 10" aria-hidden="true">{_key(role, style)}'
            f"</svg>{escape(label)}</li>"
            for label, role, style in named
        )
        return f'<ul class="legend">{"".join(items)}</ul>'


@dataclass(frozen=True)
class _Frame:
    """Where the axes stand."""

    x: Axis
    y: Axis
    width: int
    height: int

    @classmethod
    def around(cls, chart: Chart, width: int, height: int) -> _Frame:
        xs = [v for line in chart.lines for v in line.x]
        xs += list(chart.shade[:2]) if chart.shade else []
        xs += [0.0] if chart.origin else []
        ys = [
            v for line in chart.lines for part in (line.y, line.low, line.high) for v in part or ()
        ]
        ys += [v for level in chart.levels for v in (level.y, level.low, level.high)]
        ys = [min(v, chart.top) for v in ys]
        head = 24.0 if chart.y_label or chart.shade else 10.0
        y = Axis.fit(
            ys, height - 40.0, head, count=max(2, height // 52), log=chart.log, zero=chart.zero
        )
        left = 14 + 6.4 * max(len(label) for label in y.labels)
        x = Axis.fit(xs, left, width - 14.0, count=max(2, round(width / 95)), snug=True)
        return cls(x, y, width, height)


def _shade(chart: Chart, frame: _Frame) -> Iterable[str]:
    if chart.shade:
        start, stop = (frame.x(v) for v in chart.shade[:2])
        top, bottom = frame.y.stop, frame.y.start
        yield (
            f'<rect class="shade" x="{start:.1f}" y="{top:.1f}" width="{stop - start:.1f}" '
            f'height="{bottom - top:.1f}"/>'
        )


def _names(chart: Chart, frame: _Frame) -> Iterable[str]:
    """Words upon the plot, drawn late so that no line crosses them."""
    if chart.shade:
        left = frame.x(chart.shade[0])
        yield (
            f'<text class="tick" x="{left:.1f}" y="{frame.y.stop - 6:.1f}">'
            f"{escape(chart.shade[2])}</text>"
        )
    for level in chart.levels:
        y = frame.y(level.y)
        above = y - 6 if y - frame.y.stop > 22 else y + 14
        yield (
            f'<text class="name {level.role}" text-anchor="end" x="{frame.x.stop:.1f}" '
            f'y="{above:.1f}">{escape(level.label)}</text>'
        )


def _axes(chart: Chart, frame: _Frame) -> Iterable[str]:
    x, y = frame.x, frame.y
    for value, label in zip(y.ticks, y.labels, strict=True):
        at = y(value)
        kind = "base" if at >= y.start - 0.5 else "guide"
        ends = f'x1="{x.start:.1f}" x2="{x.stop:.1f}" y1="{at:.1f}" y2="{at:.1f}"'
        yield f'<line class="{kind}" {ends}/>'
        yield (
            f'<text class="tick" data-y="{value!r}" text-anchor="end" x="{x.start - 7:.1f}" '
            f'y="{at + 4:.1f}">{escape(label)}</text>'
        )
    for value, label in zip(x.ticks, x.labels, strict=True):
        yield (
            f'<text class="tick" data-x="{value!r}" text-anchor="middle" x="{x(value):.1f}" '
            f'y="{y.start + 16:.1f}">{escape(label)}</text>'
        )
    yield f'<text class="label" x="2" y="11">{escape(chart.y_label)}</text>'
    yield (
        f'<text class="label" text-anchor="end" x="{x.stop:.1f}" y="{frame.height - 6}">'
        f"{escape(chart.x_label)}</text>"
    )


def _window(frame: _Frame) -> str:
    """Opens an inner picture with the same coordinates, which cuts off what leaves the frame."""
    left, top = frame.x.start, frame.y.stop - 3
    size = frame.x.stop - left + 4, frame.y.start - top + 3
    return (
        f'<svg x="{left:.1f}" y="{top:.1f}" width="{size[0]:.1f}" height="{size[1]:.1f}" '
        f'viewBox="{left:.1f} {top:.1f} {size[0]:.1f} {size[1]:.1f}">'
    )


def _level(level: Level, frame: _Frame) -> Iterable[str]:
    start, stop, at = frame.x.start, frame.x.stop, frame.y(level.y)
    if math.isfinite(level.low) and math.isfinite(level.high):
        top, bottom = frame.y(level.high), frame.y(level.low)
        yield (
            f'<rect class="band {level.role}" x="{start:.1f}" y="{top:.1f}" '
            f'width="{stop - start:.1f}" height="{max(bottom - top, 1):.1f}"/>'
        )
    yield (
        f'<line class="level {level.role}" x1="{start:.1f}" x2="{stop:.1f}" '
        f'y1="{at:.1f}" y2="{at:.1f}"/>'
    )


def _runs(frame: _Frame, xs: Sequence[float], *ys: Sequence[float]) -> list[list[int]]:
    """Indices of neighbours that can be drawn; a log axis cannot show what is not positive."""
    runs: list[list[int]] = [[]]
    for i, x in enumerate(xs):
        shown = all(math.isfinite(y[i]) and (y[i] > 0 or not frame.y.log) for y in ys)
        if math.isfinite(x) and shown:
            runs[-1].append(i)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _points(frame: _Frame, xs: Iterable[float], ys: Iterable[float]) -> str:
    return "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in zip(xs, ys, strict=True))


def _band(line: Line, frame: _Frame) -> Iterable[str]:
    low, high = line.low, line.high
    if low is None or high is None:
        return
    for run in _runs(frame, line.x, low, high):
        xs = [line.x[i] for i in run]
        there = _points(frame, xs, [high[i] for i in run])
        back = _points(frame, reversed(xs), [low[i] for i in reversed(run)])
        yield f'<path class="band {line.role}" d="M{there}L{back}Z"/>'


def _curve(line: Line, frame: _Frame) -> Iterable[str]:
    name = escape(line.label)
    for run in _runs(frame, line.x, line.y):
        xs, ys = [line.x[i] for i in run], [line.y[i] for i in run]
        if line.style == "dots" or len(run) == 1:
            for x, y in zip(xs, ys, strict=True):
                yield (
                    f'<circle class="dot {line.role}" data-line="{name}" cx="{frame.x(x):.1f}" '
                    f'cy="{frame.y(y):.1f}" r="{2 if line.style == "dots" else 3}"/>'
                )
        else:
            path = _points(frame, xs, ys)
            yield f'<path class="line {line.role}" data-line="{name}" d="M{path}"/>'


def _pointer(chart: Chart, frame: _Frame) -> Iterable[str]:
    """Columns that light up under the pointer and tell the values there."""
    lines = [line for line in chart.lines if line.style == "line"]
    xs = sorted({x for line in lines for x in line.x if math.isfinite(x)})
    every = max(1, math.ceil(len(xs) / chart.columns))
    xs = xs[every // 2 :: every]
    edges = [
        frame.x.start,
        *((frame.x(a) + frame.x(b)) / 2 for a, b in pairwise(xs)),
    ]
    edges.append(frame.x.stop)
    top, bottom = frame.y.stop, frame.y.start
    for i, x in enumerate(xs):
        at, words, dots = frame.x(x), [f"{chart.x_label}: {amount(x)}"], []
        for line in lines:
            value = _value(line, x)
            if math.isfinite(value) and (value > 0 or not frame.y.log):
                words.append(f"{line.label or chart.y_label}: {amount(value)}")
                y = frame.y(value)
                if y >= top - 1:
                    place = f'cx="{at:.1f}" cy="{y:.1f}" r="3.5"'
                    dots.append(f'<circle class="dot {line.role}" {place}/>')
        yield (
            f'<g class="column"><title>{escape(chr(10).join(words))}</title>'
            f'<rect x="{edges[i]:.1f}" y="{top:.1f}" width="{edges[i + 1] - edges[i]:.1f}" '
            f'height="{bottom - top:.1f}"/><line x1="{at:.1f}" x2="{at:.1f}" y1="{top:.1f}" '
            f'y2="{bottom:.1f}"/>{"".join(dots)}</g>'
        )


def _value(line: Line, x: float) -> float:
    """The value of a line at one of the chart's x, or NaN."""
    try:
        return float(line.y[list(line.x).index(x)])
    except ValueError:
        return math.nan


def _key(role: Role, style: str) -> str:
    if style == "dots":
        return "".join(f'<circle class="dot {role}" cx="{x}" cy="5" r="2"/>' for x in (5, 13, 21))
    return f'<path class="line {role}" d="M0 5H26"/>'


def thin(
    x: Sequence[float], y: Sequence[float], points: int = 160
) -> tuple[list[float], list[float]]:
    """Means of equal shares of a long series, so that a chart stays small; NaN is left out."""
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    share = max(1, math.ceil(len(pairs) / points))
    groups = [pairs[i : i + share] for i in range(0, len(pairs), share)]
    return (
        [sum(a for a, _ in g) / len(g) for g in groups],
        [sum(b for _, b in g) / len(g) for g in groups],
    )
