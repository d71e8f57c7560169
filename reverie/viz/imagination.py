"""The real robot beside the imagined one, on the page."""

from __future__ import annotations

import numpy as np

from reverie.viz import page, panel, video
from reverie.viz.charts import Chart, Line
from reverie.viz.film import Film, Trace
from reverie.viz.ticks import amount

_TRACES = 6


def imagination(film: Film) -> str:
    """The section: a moving picture, a strip of moments, and the sensors as curves."""
    watched = amount((film.observed - 1) * film.dt, 2)
    ahead = amount((film.rows - film.observed) * film.dt, 2)
    about = (
        f"Same start, same actions. The model watches the sensors for {watched} s; then it is left "
        f"alone and imagines the next {ahead} s, knowing only which actions the robot takes."
    )
    try:
        pictures = _pictures(film)
    except ImportError as missing:
        pictures = page.note(f"There is no moving picture here. {missing}")
    notes = "".join(page.note(words, plain=film.real is not None) for words in film.notes)
    return page.section("Imagination beside reality", about, pictures, notes, _sensors(film))


def _pictures(film: Film) -> str:
    frames, fps = panel.compose(film)
    moving = video.encode(frames, fps)
    middle = np.searchsorted(film.shown, film.observed + (film.rows - film.observed) // 3)
    held = video.still(frames[min(int(middle), len(frames) - 1)])
    height, width = frames.shape[1:3]
    alt = "the real robot on the left, what the model imagines on the right"
    shape = f'width="{width}" height="{height}"'
    screen = (
        '<figure class="screen"><input type="checkbox" id="hold" aria-label="pause the film">'
        f"{page.picture(moving, alt, 'moving', shape)}{page.picture(held, alt, 'held', shape)}"
        '<label for="hold"></label></figure>'
    )
    return screen + _strip(film)


def _strip(film: Film) -> str:
    pairs = panel.moments(film)
    if not pairs:
        return ""
    cells = []
    for pair in pairs:
        alone = pair.seconds > 0
        words = f"{pair.seconds:.2f} s ahead" if alone else "last row watched"
        real = page.picture(video.still(pair.real, 70), f"real robot, {words}")
        dreamt = page.picture(video.still(pair.imagined, 70), f"imagined, {words}")
        kind = ' class="alone"' if alone else ""
        cells.append(f"<figure{kind}>{real}{dreamt}<figcaption>{words}</figcaption></figure>")
    return (
        f'<div class="strip">{"".join(cells)}</div>'
        '<p class="small">Above: the real robot. Below: as the model imagines it.</p>'
    )


def _sensors(film: Film) -> str:
    """Real and imagined sensor values over the film."""
    traces = panel.choose(film.traces, _TRACES)
    if not traces:
        return ""
    charts = [_trace(film, trace) for trace in traces]
    legend = charts[0].legend()
    panels = "".join(
        page.panel(trace.label, trace.unit and f"[{trace.unit}]", chart, height=180)
        for trace, chart in zip(traces, charts, strict=True)
    )
    left_out = len(film.traces) - len(traces)
    more = f'<p class="small">{left_out} more sensor entries are not drawn.</p>' if left_out else ""
    return (
        f'<div class="grid-legend" style="margin-top: 26px">{legend}</div>'
        f'<div class="grid">{panels}</div>{more}'
    )


def _trace(film: Film, trace: Trace) -> Chart:
    last = film.observed - 1
    seconds = [(t - last) * film.dt for t in range(len(trace.real))]
    return Chart(
        f"{trace.label}, real and imagined",
        "seconds ahead",
        "",
        (
            Line("what the sensors said", seconds, trace.real.tolist(), role="real"),
            Line("what the model imagined", seconds[last:], trace.imagined[last:].tolist()),
        ),
        shade=(seconds[0], 0.0, "watched"),
        zero=False,
    )
