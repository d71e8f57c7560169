"""The measures of `physics`, window by window, from predicted states and frames.

Legend: `N` windows, `K` samples, `S` predicted rows, `C` observed rows, `n` objects, `W` entries of
an object's state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reverie.core.model import Batch
from reverie.envs.scenes import (
    DT,
    Constants,
    Task,
    Truth,
    background,
    colours,
    describe,
    places,
    retake,
)
from reverie.eval.interval import Array
from reverie.eval.physics_motion import SCORES, motion_masks, motion_scores
from reverie.eval.physics_track import Tracks, held, track, velocities
from reverie.eval.predict import Prediction

Values = dict[str, dict[str, Array]]
"""Measure, then predictor, to `[N, S]`."""
_LOST = 0.25  # of the true area: below it the place of an object is not believed
_FACTOR = 2.0


class Scales(NamedTuple):
    """What energy and momentum are divided by, summed over rows, and the number of rows."""

    energy: float
    momentum: float
    rows: int


class Recorded(NamedTuple):
    """What is known of some windows."""

    name: str
    task: Task
    steps: tuple[int, ...]
    times: Array
    """`[S]` [s] after the last observed row."""
    constants: Array
    """`[N, 1, 3 n + 5]`."""
    last: Array
    """State of the last observed row, `[N, 1, n W]`."""
    state: Array
    """Of the rows that are predicted, `[N, S, n W]`."""

    def truth(self, state: Array) -> Truth:
        """Of states `[..., N, S, n W]`."""
        return describe(self.name, {"state": state, "constants": self.constants})


def recorded(
    name: str, task: Task, batch: Batch, steps: tuple[int, ...], observed: int, dt: float
) -> Recorded:
    """What windows of a scene say about the rows `steps` after the C observed ones, dt [s] each."""
    rows = [observed - 1 + k for k in steps]
    state, constants = array(batch.obs["state"]), array(batch.obs["constants"])
    last = slice(observed - 1, observed)
    times = dt * np.array(steps, np.float64)
    return Recorded(name, task, steps, times, constants[:, last], state[:, last], state[:, rows])


def from_state(known: Recorded, imagined: Array) -> tuple[Values, Scales]:
    """Measures of states `[K, N, S, n W]`."""
    width = known.task.width
    ahead = np.zeros((*known.state.shape[:2], known.last.shape[-1] // width, width))
    lines = known.last.reshape(len(known.last), 1, -1, width)
    ahead[..., :2] = lines[..., 2:4] * known.times[:, None, None]
    if known.task.turning:
        ahead[..., 4] = lines[..., 5] * known.times[:, None]
    guesses = {
        "model": imagined,
        "repeat": np.broadcast_to(known.last, known.state.shape)[None],
        "linear": (known.last + ahead.reshape(known.state.shape))[None],
    }
    return _compare(known, guesses, known.state)


def _compare(
    known: Recorded, guesses: Mapping[str, Array], state: Array, overlap: bool = True
) -> tuple[Values, Scales]:
    """Measures `[N, S]` of guessed states `[K, N, S, n W]`; energies in J, momenta in kg m/s."""
    real = known.truth(state)
    values: Values = {}
    for who, guess in guesses.items():
        made = known.truth(guess)
        found = {
            "position_error": _length(made.position - real.position).mean(-1),
            "velocity_error": _length(made.velocity - real.velocity).mean(-1),
            "energy_error": np.abs(made.energy - real.energy),
            "energy_gain": made.energy - real.energy,
            "momentum_error": _length(made.momentum - real.momentum),
        }
        if overlap and known.task.turning:
            turned = made.angle - real.angle
            found["angle_error"] = np.abs((turned + math.pi) % math.tau - math.pi).mean(-1)
        if overlap:
            found["penetration"] = np.maximum(-made.gap.min(-1), 0)
        for name, value in found.items():
            values.setdefault(name, {})[who] = value.mean(0)
    pace = (real.masses * _length(real.velocity)).sum(-1)
    return values, Scales(float(real.energy.sum()), float(pace.sum()), pace.size)


def from_images(
    known: Recorded, batch: Batch, prediction: Prediction, observed: int, takes: Array
) -> tuple[Values, Scales]:
    """Measures of the objects in frames `[K, N, S, 3, h, w]`, and of their motion."""
    rows = [observed - 1 + k for k in known.steps]
    film = _frames(batch.obs["image"])
    imagined, real = _frames(prediction.obs["image"]), film[:, rows]
    last = film[:, observed - 1 : observed]
    look = _tracker(known, *film.shape[-2:])
    seen, now = look(real), look(last)
    start = now.position[:, 0]
    tracks = [look(frames) for frames in imagined]
    there = seen.area > 1e-9

    def line(position: Array, area: Array) -> Array:
        lost = (area < _LOST * seen.area) | np.isnan(position).any(-1)
        places = held(position, lost, start)
        return _state(known, places, velocities(places, start, known.times))

    still = np.broadcast_to(now.position, seen.position.shape)
    guesses = {
        "model": np.stack([line(*made) for made in tracks]),
        "repeat": line(still, seen.area)[None],
        "real": line(*seen)[None],
    }
    if observed > 1:
        pace = (now.position - look(film[:, observed - 2 : observed - 1]).position)[:, :1]
        ahead = now.position + pace * np.array(known.steps)[:, None, None]
        guesses["linear"] = line(ahead, seen.area)[None]
    true = known.truth(known.state).position
    begun = known.truth(known.last).position[:, 0]
    state = _state(known, true, velocities(true, begun, known.times))
    values, scales = _compare(known, guesses, state, overlap=not known.task.turning)
    values["permanence"] = {
        "model": np.mean([_permanent(made.area, seen.area, there) for made in tracks], 0),
    }
    values.update(_motion(last, imagined, real, takes))
    return values, scales


def _tracker(known: Recorded, height: int, width: int) -> Callable[[Array], Tracks]:
    """Finds the objects of the windows in frames `[N, ..., 3, h, w]`."""
    x, y = places(height, width)
    behind = np.stack(
        [background(Constants.unpack(c), height, width) / 255 for c in known.constants[:, 0]]
    )
    behind = np.moveaxis(behind, -1, 1)[:, None]
    return lambda frames: track(frames, colours(known.task), behind, x, y)


def _state(known: Recorded, position: Array, velocity: Array) -> Array:
    """States `[..., n W]` without angle."""
    parts = [position, velocity]
    if known.task.turning:
        parts.append(np.zeros_like(position))
    lines = np.concatenate(parts, -1)
    return lines.reshape(*lines.shape[:-2], -1)


def _permanent(area: Array, expected: Array, there: NDArray[np.bool_]) -> Array:
    """Share of the objects that should be seen and are, `[N, S]`; NaN where none should."""
    found = (area * _FACTOR >= expected) & (area <= expected * _FACTOR) & there
    count = there.sum(-1).astype(np.float64)
    return np.divide(found.sum(-1), count, out=np.full_like(count, np.nan), where=count > 0)


def _motion(last: Array, imagined: Array, real: Array, takes: Array) -> Values:
    """Scores of motion masks, `[N, 1]`."""
    true = motion_masks(np.concatenate([last, real], 1))
    made = [motion_scores(motion_masks(np.concatenate([last, f], 1)), true) for f in imagined]
    repeat = motion_scores(np.zeros_like(true), true)
    again = motion_scores(motion_masks(np.concatenate([last, takes], 1)), true)
    return {
        name: {
            "model": np.mean([m[name] for m in made], 0)[:, None],
            "repeat": repeat[name][:, None],
            "take": again[name][:, None],
        }
        for name in SCORES
    }


def second_takes(
    known: Recorded, batch: Batch, observed: int, horizon: int, spread: float, seed: int
) -> Array:
    """Frames `[N, S, 3, h, w]` of a second take of every window."""
    repeat = round(known.times[0] / known.steps[0] / DT)
    if abs(repeat * DT * known.steps[0] - known.times[0]) > 1e-6:
        raise ValueError(
            f"A decision of scene {known.name!r} takes a multiple of {DT} s; the model's takes "
            f"{known.times[0] / known.steps[0]:g} s."
        )
    actions = array(batch.action)[:, observed : observed + horizon]
    size = batch.obs["image"].shape[-2:]
    films = [
        retake(
            known.name,
            known.constants[k, 0],
            known.last[k, 0],
            actions[k].repeat(repeat, 0),
            spread=spread,
            seed=seed + k,
            size=(size[0], size[1]),
        )["image"]
        for k in range(len(actions))
    ]
    return np.stack([film[[repeat * k for k in known.steps]] for film in films]) / 255


def _length(vectors: Array) -> Array:
    return np.asarray(np.sqrt(np.square(vectors).sum(-1)))


def array(values: Tensor) -> Array:
    """As float64 numpy."""
    found: Array = values.double().cpu().numpy()
    return found


def _frames(values: Tensor) -> Array:
    """Images in 0..1, float32."""
    frames = values.float() / (255 if values.dtype == torch.uint8 else 1)
    found: Array = frames.cpu().numpy()
    return found
