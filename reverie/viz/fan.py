"""A planner at work: the real robot, and beside it the futures it chooses from.

At each moment the plans around the one that is carried out are imagined, and drawn as a fan of
curves that begins where the robot is.

Legend: `T` rows, `F` frames, `K` futures, `H` model steps, `L` curves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from reverie.core import tree
from reverie.envs.env import Env, RenderError, Row
from reverie.learn.device import Device
from reverie.viz.panel import EDGE, GAP, GROUND, HEAD, INK, LINE, MODEL, QUIET, font, pen, scaled
from reverie.viz.video import Frames, pillow

Array = NDArray[np.floating[Any]]

CURVES = 6
DIM = (62, 120, 158)


class Fan(NamedTuple):
    """The futures that a decision chose from."""

    row: int
    """When it was made."""
    values: Array
    """`[K, H + 1, L]`, the chosen plan first; NaN where the model does not say."""


@dataclass(frozen=True)
class PlanFilm:
    """An episode of a planner."""

    name: str
    dt: float
    """World time between rows [s]."""
    step: int
    """Rows of one model step."""
    labels: tuple[str, ...]
    real: Array
    """`[T, L]`."""
    fans: tuple[Fan, ...]
    """One for each search, in order."""
    shown: tuple[int, ...]
    """The row of each frame."""
    frames: Frames | None
    """`[F, h, w, 3]`, or None where nothing can be drawn."""
    notes: tuple[str, ...] = ()


def shoot_plans(
    env: Env,
    planner: Any,
    *,
    device: Device,
    seed: int,
    decisions: int,
    futures: int = 16,
    size: tuple[int, int] = (300, 400),
    fps: float = 25.0,
) -> PlanFilm:
    """Act with a planner (`reverie.plan.MPC`) from a reset, and keep what it chose from."""
    every = max(1, round(1 / (env.dt * fps)))
    sensors = _sensors(planner.model)
    rows, fans, frames, problem = [], [], [], ""
    seen: list[tuple[Any, Any]] = []
    planner.watch = lambda state, solved: seen.append((state, solved))
    row, memory = env.reset(seed), planner.begin(1)
    try:
        while True:
            rows.append(_values(row, sensors))
            if not problem and (len(rows) - 1) % every == 0:
                try:
                    frames.append(env.render(*size))
                except (RenderError, ImportError, NotImplementedError) as error:
                    problem = str(error) or type(error).__name__
            if row.last or len(rows) > decisions:
                break
            obs = {name: np.asarray(value)[None] for name, value in row.obs.items()}
            with torch.no_grad(), device.autocast():
                given, first = device.put((obs, np.array([row.first])))
                action, memory = planner.act(memory, given, first, None)
                if seen:
                    values = _imagined(planner, *seen.pop(), sensors, futures, rows[-1])
                    fans.append(Fan(len(rows) - 1, values))
            row = env.step(action[0].float().cpu().numpy())
    finally:
        planner.watch = None
    labels = (*(label for _, _, label in sensors), "reward")
    notes = (f"The robot could not be drawn. {problem}",) if problem else ()
    drawn = None if problem else np.stack(frames)
    shown = tuple(range(0, len(rows), every))
    real = np.stack(rows)
    chunk = planner.model.spec.chunk
    return PlanFilm(env.name, env.dt, chunk, labels, real, tuple(fans), shown, drawn, notes)


def _sensors(model: Any) -> list[tuple[str, int, str]]:
    """Sensor, entry and label of what is drawn: entries of vector sensors that it decodes."""
    found = []
    for name, space in model.spec.obs.items():
        if "obs" not in model.spec.provides or space.is_image or space.dtype == "int64":
            continue
        if name == "physics":  # the simulator's whole state, of which the others tell
            continue
        many = space.size > 1
        found += [(name, k, f"{name} {k + 1}" if many else name) for k in range(space.size)]
    picked = np.linspace(0, len(found) - 1, min(CURVES - 1, len(found))).round().astype(int)
    return [found[i] for i in picked]


def _values(row: Row, sensors: list[tuple[str, int, str]]) -> Array:
    values = [float(np.asarray(row.obs[name]).reshape(-1)[k]) for name, k, _ in sensors]
    return np.array([*values, row.reward])


def _imagined(
    planner: Any,
    state: Any,
    solved: Any,
    sensors: list[tuple[str, int, str]],
    count: int,
    now: Array,
) -> Array:
    """`[K, H + 1, L]`."""
    plans = planner.around(solved, count - 1, torch.Generator().manual_seed(0))
    rolled = planner.futures(state, plans)
    steps, many = rolled.actions.shape[0], plans.shape[1]
    columns = []
    if sensors:
        decoded = planner.model.decode(tree.flatten_time(rolled.states))
        for name, k, _ in sensors:
            entries = decoded[name].flatten(1)
            columns.append(entries[:, k].reshape(steps, many, -1))
    reward = rolled.transition.reward
    chunk = planner.model.spec.chunk
    if reward is None:
        columns.append(torch.full((steps, many, 1), torch.nan))
    else:
        columns.append(reward.reshape(steps, many, -1) / chunk)
    # several draws of the model's noise stand beside each other: the first is drawn
    ahead = torch.stack([c.float().cpu()[:, :, 0] for c in columns], -1).transpose(0, 1)
    begin = torch.from_numpy(now).float().expand(many, 1, -1)
    values: Array = torch.cat([begin, ahead], 1).double().numpy()
    return values


def compose(film: PlanFilm, height: int = 300) -> tuple[Frames, float]:
    """Frames `[F, h, w, 3]` and frames per second."""
    every = film.shown[1] - film.shown[0] if len(film.shown) > 1 else 1
    limits = _limits(film)
    frames = [_frame(film, index, height, limits) for index in range(len(film.shown))]
    return np.stack(frames), 1 / (every * film.dt)


def _limits(film: PlanFilm) -> Array:
    """Least and greatest value of each curve `[2, L]`; of what is imagined all but extremes."""
    parts = [film.real]
    if film.fans:
        fans = np.concatenate([f.values.reshape(-1, len(film.labels)) for f in film.fans])
        parts.append(np.nanquantile(fans, [0.01, 0.99], axis=0))
    both = np.concatenate(parts)
    low, high = np.nanmin(both, 0), np.nanmax(both, 0)
    return np.stack([low, np.maximum(high, low + 1e-6)])


def _frame(film: PlanFilm, index: int, height: int, limits: Array) -> NDArray[np.uint8]:
    left = None if film.frames is None else scaled(film.frames[index], height)
    wide = height + 140
    width = (left.width + GAP if left is not None else 0) + wide + 2 * EDGE
    canvas = pillow().new("RGB", (width, HEAD + height + EDGE), GROUND)
    draw = pen(canvas)
    x = EDGE
    if left is not None:
        draw.text((x, 10), "the real robot", fill=INK, font=font(19))
        canvas.paste(left, (x, HEAD))
        x += left.width + GAP
    draw.text((x, 10), "the futures it chooses from", fill=MODEL, font=font(19))
    canvas.paste(fan_picture(film, film.shown[index], (wide, height), limits), (x, HEAD))
    return np.asarray(canvas)


def fan_picture(film: PlanFilm, row: int, size: tuple[int, int], limits: Array) -> Any:
    """The curves at a row: what was in white, what may be in colour, the chosen plan bold."""
    width, height = size
    canvas = pillow().new("RGB", (2 * width, 2 * height), GROUND)  # halved below: smooth edges
    draw = pen(canvas)
    count = len(film.labels)
    columns = 2 if count > 3 else 1
    lines = -(-count // columns)
    fan = next((f for f in reversed(film.fans) if f.row <= row), None)
    ahead = 1 if fan is None else (fan.values.shape[1] - 1) * film.step
    for k, label in enumerate(film.labels):
        wide, high = 2 * width // columns, 2 * height // lines
        left, top = k % columns * wide + 8, k // columns * high + 4
        right, bottom = left + wide - 24, top + high - 18
        draw.text((left, top), label, fill=QUIET, font=font(28))
        top += 40
        draw.line((left, bottom, right, bottom), fill=LINE, width=2)
        start, stop = row - 2 * ahead, row + ahead

        def place(
            t: float,
            value: float,
            box: tuple[int, int, int, int] = (left, top, right, bottom),
            span: tuple[int, int] = (start, stop),
            ends: tuple[float, float] = (limits[0, k], limits[1, k]),
        ) -> tuple[float, float]:
            share = min(max((value - ends[0]) / (ends[1] - ends[0]), -0.05), 1.05)
            across = (t - span[0]) / (span[1] - span[0])
            return box[0] + (box[2] - box[0]) * across, box[3] - (box[3] - box[1]) * share

        if fan is not None:
            times = [fan.row + film.step * h for h in range(fan.values.shape[1])]
            for values in fan.values[:0:-1, :, k]:
                _line(draw, times, values, place, DIM, 3)
            _line(draw, times, fan.values[0, :, k], place, MODEL, 6)
        past = list(range(max(start, 0), row + 1))
        _line(draw, past, film.real[past, k], place, INK, 4)
    return canvas.resize(size, pillow().Resampling.BOX)


def _line(
    draw: Any,
    times: list[int],
    values: Array,
    place: Callable[[float, float], tuple[float, float]],
    colour: tuple[int, int, int],
    width: int,
) -> None:
    points = [place(t, v) for t, v in zip(times, values, strict=True) if np.isfinite(v)]
    if len(points) > 1:
        draw.line(points, fill=colour, width=width, joint="curve")
