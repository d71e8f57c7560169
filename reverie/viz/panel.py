"""A film as one moving picture: the real robot on the left, what the model imagines on the right.

Below them a bar: grey while the model watches, coloured from the moment it is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reverie.viz.film import Film, Trace
from reverie.viz.video import Frames, pillow

GROUND = (17, 20, 26)
LINE = (52, 58, 70)
SHADE = (28, 32, 41)
INK = (232, 235, 240)
QUIET = (146, 154, 168)
MODEL = (86, 180, 233)  # sky blue of Okabe and Ito's palette for all kinds of colour vision
HEAD, FOOT, GAP, EDGE = 42, 56, 10, 12
FRAME = 3

Picture = NDArray[np.uint8]


class Pair(NamedTuple):
    """One moment of a film."""

    seconds: float
    """After the model was left alone; negative while it watches [s]."""
    real: Picture
    imagined: Picture


def compose(film: Film, height: int = 300) -> tuple[Frames, float]:
    """Frames `[F, h, w, 3]` with both sides, labels and the bar; and frames per second.

    Where one side cannot be drawn, its sensors are drawn as curves that grow with time; where
    neither can, real and imagined curves share the picture.
    """
    every = film.shown[1] - film.shown[0] if len(film.shown) > 1 else 1
    frames = [_frame(film, index, height) for index in range(len(film.shown))]
    return np.stack(frames), 1 / (every * film.dt)


def moments(film: Film, count: int = 6) -> list[Pair]:
    """A few moments to print side by side: one while the model watches, the others spread over
    what it imagined; none if a side has no pictures."""
    if film.real is None or film.imagined is None:
        return []
    last = film.observed - 1
    alone = [i for i, row in enumerate(film.shown) if row > last]
    watching = [i for i, row in enumerate(film.shown) if row <= last]
    picked = np.linspace(-1, len(alone) - 1, min(count, len(alone) + 1)).round().astype(int)[1:]
    chosen = [watching[-1], *(alone[k] for k in picked.tolist())]
    return [Pair((film.shown[i] - last) * film.dt, film.real[i], film.imagined[i]) for i in chosen]


def _frame(film: Film, index: int, height: int) -> Picture:
    row = film.shown[index]
    alone = row >= film.observed
    tiles = list(_tiles(film, index, height))
    width = sum(tile.picture.width for tile in tiles) + GAP * (len(tiles) - 1) + 2 * EDGE
    canvas = pillow().new("RGB", (width, HEAD + height + FOOT), GROUND)
    draw = pen(canvas)
    x = EDGE
    for tile in tiles:
        marked = alone and tile.dreamt
        draw.text((x, 10), tile.name, fill=MODEL if marked else INK, font=font(19))
        if marked:
            right, bottom = x + tile.picture.width + FRAME - 1, HEAD + height + FRAME - 1
            draw.rectangle((x - FRAME, HEAD - FRAME, right, bottom), outline=MODEL, width=FRAME)
        canvas.paste(tile.picture, (x, HEAD))
        x += tile.picture.width + GAP
    _bar(film, row, draw, (EDGE, width - EDGE), HEAD + height)
    return np.asarray(canvas)


class _Tile(NamedTuple):
    name: str
    picture: Any
    dreamt: bool


def _tiles(film: Film, index: int, height: int) -> Iterator[_Tile]:
    row, width = film.shown[index], 2 * height + GAP
    name = "the model imagines" if row >= film.observed else "the model watches"
    if film.real is not None:
        real = scaled(film.real[index], height)
        width = max(real.width, height)
        yield _Tile("the real robot", real, False)
    if film.imagined is not None:
        yield _Tile(name, scaled(film.imagined[index], height), True)
    else:
        words = f"{name}: sensors in blue, the real ones in white"
        words = words if film.real is None else name + " (blue)"
        yield _Tile(words, curves(film, row, (width, height)), True)


def _bar(film: Film, row: int, draw: Any, ends: tuple[int, int], top: int) -> None:
    """How far the film is, and where the model was left alone."""
    start, stop = ends
    span = stop - start
    last = film.observed - 1
    border = start + span * last / (film.rows - 1)
    now = start + span * row / (film.rows - 1)
    y = top + 14
    draw.rectangle((start, y, stop, y + 5), fill=LINE)
    draw.rectangle((start, y, min(now, border), y + 5), fill=QUIET)
    if now > border:
        draw.rectangle((border, y, now, y + 5), fill=MODEL)
    draw.rectangle((border - 1, y - 4, border + 1, y + 9), fill=INK)
    seconds = (row - last) * film.dt
    words = f"imagined {seconds:.2f} s ahead" if seconds > 0 else "watching the sensors"
    small = font(17)
    draw.text((start, y + 13), words, fill=MODEL if seconds > 0 else QUIET, font=small)
    total = f"of {(film.rows - 1 - last) * film.dt:.2f} s, with the real actions"
    draw.text((stop - draw.textlength(total, font=small), y + 13), total, fill=QUIET, font=small)


def curves(film: Film, row: int, size: tuple[int, int]) -> Any:
    """The sensors up to a row: real in white, imagined in colour, as a Pillow image (w, h)."""
    width, height = size
    canvas = pillow().new("RGB", (2 * width, 2 * height), GROUND)  # halved below: smooth edges
    draw = pen(canvas)
    columns = 2 if width > 480 else 1
    traces = choose(film.traces, columns * max(1, height // 76))
    lines = -(-len(traces) // columns) or 1
    for k, trace in enumerate(traces):
        wide, high = 2 * width // columns, 2 * height // lines
        x, y = k % columns * wide, k // columns * high
        box = (x + 8, y + 4, x + wide - 16, y + high - 14)
        _cell(draw, trace, film.observed, row, box)
    return canvas.resize(size, pillow().Resampling.BOX)


def choose(traces: tuple[Trace, ...], count: int) -> list[Trace]:
    """Some of the traces in their order, spread evenly; the reward among them if it is there."""
    if len(traces) <= count:
        return list(traces)
    picked = np.linspace(0, len(traces) - 1, count).round().astype(int)
    return [traces[i] for i in picked]


def _cell(draw: Any, trace: Trace, observed: int, row: int, box: tuple[int, int, int, int]) -> None:
    """One small chart at double size: its box is (left, top, right, bottom)."""
    left, top, right, bottom = box
    draw.text((left, top), trace.label, fill=QUIET, font=font(28))
    top += 40
    both = np.concatenate([trace.real, trace.imagined])
    known = both[np.isfinite(both)]
    low, span = float(known.min()), max(float(np.ptp(known)), 1e-6)
    border = left + (right - left) * (observed - 1) / (len(trace.real) - 1)
    draw.rectangle((left, top, border, bottom), fill=SHADE)
    draw.line((left, bottom, right, bottom), fill=LINE, width=2)
    for values, colour, start in ((trace.real, INK, 0), (trace.imagined, MODEL, observed - 1)):
        points = [
            (
                left + (right - left) * t / (len(values) - 1),
                bottom - 4 - (bottom - top - 8) * (values[t] - low) / span,
            )
            for t in range(start, row + 1)
            if np.isfinite(values[t])
        ]
        if len(points) > 1:
            draw.line(points, fill=colour, width=4, joint="curve")
        if points:
            x, y = points[-1]
            draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill=colour)


def scaled(picture: Picture, height: int) -> Any:
    """A picture as a Pillow image of this height."""
    image = pillow().fromarray(picture)
    if image.height == height:
        return image
    width = max(1, round(image.width * height / image.height))
    return image.resize((width, height), pillow().Resampling.BICUBIC)


def pen(canvas: Any) -> Any:
    """What draws on a Pillow image."""
    from PIL import ImageDraw

    return ImageDraw.Draw(canvas)


def font(size: int) -> Any:
    """Pillow's own font [px]."""
    from PIL import ImageFont

    return ImageFont.load_default(size)
