"""One stretch of an episode as it was, beside the same stretch as the model imagined it.

The robot acts; the model watches the first rows, is then left alone, and imagines what the same
actions lead to. Both are drawn from the same start.

Legend: `T` rows, `F` frames, `C` observed rows, `H` imagined ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from reverie.core.model import Agent, Batch, WorldModel
from reverie.core.spec import Space
from reverie.envs.env import Env, RenderError, Row
from reverie.eval.predict import Prediction, predict
from reverie.learn.device import Device
from reverie.viz.pose import Puppet, can_pose, recover
from reverie.viz.video import Frames

Array = NDArray[np.floating[Any]]


class Trace(NamedTuple):
    """One entry of one sensor over time."""

    label: str
    unit: str
    real: Array
    """`[T]`, NaN where the sensor was missing."""
    imagined: Array
    """`[T]`; in the observed rows what the model decodes from its filtered state."""


@dataclass(frozen=True)
class Film:
    """What `shoot` brings back."""

    name: str
    """Of the environment."""
    dt: float
    """World time between rows [s]."""
    observed: int
    """C, rows the model watched."""
    traces: tuple[Trace, ...]
    """Entries of the vector sensors that move, and the reward; `T = C + H` values each."""
    shown: tuple[int, ...]
    """The row of each of the F frames."""
    real: Frames | None
    """`[F, h, w, 3]`, or None where nothing can be drawn."""
    imagined: Frames | None
    """`[F, h', w', 3]`, or None where what was imagined is no picture and tells no pose."""
    notes: tuple[str, ...] = ()
    """What is lacking or was assumed, as sentences."""

    @property
    def rows(self) -> int:
        """T."""
        return len(self.traces[0].real) if self.traces else self.shown[-1] + 1


def shoot(
    env: Env,
    agent: Agent,
    model: WorldModel[Any, Any],
    *,
    device: Device,
    seed: int,
    observed: int,
    horizon: int,
    generator: Generator | None = None,
    size: tuple[int, int] = (300, 400),
    fps: float = 25.0,
) -> Film:
    """Act from a reset with `agent` (by its mode), then imagine the same stretch.

    Args:
        env: one environment; quality "full" gives the better pictures.
        agent: who acts.
        model: who imagines, from the first `observed` rows and all actions.
        device: where agent and model are.
        seed: of the episode.
        observed: C, rows the model watches.
        horizon: H, decisions it imagines; fewer, if the episode ends before.
        generator: of the model's noise.
        size: height and width of drawn frames [pixels]; camera pictures keep their own.
        fps: at most so many frames per second of world time are drawn.
    """
    every = max(1, round(1 / (env.dt * fps)))
    take = _act(env, agent, device, seed, observed + horizon, every, size)
    ahead = _ahead(model, len(take.rows), observed, horizon, f"The episode of seed {seed}")
    batch = _batch(take, observed + ahead)
    real, imagined, traces = _beside(model, batch, device, observed, ahead, generator)
    shown = tuple(range(0, observed + ahead, every))
    frames = _frames(env, model.spec.obs, take, real, imagined, observed, shown, size)
    return Film(env.name, env.dt, observed, tuple(traces), shown, *frames)


def replay(
    rows: Mapping[str, NDArray[Any]],
    model: WorldModel[Any, Any],
    *,
    name: str,
    device: Device,
    observed: int,
    horizon: int,
    generator: Generator | None = None,
    fps: float = 25.0,
) -> Film:
    """A recorded episode instead of an acted one: nobody acts, and only its cameras are drawn.

    Args:
        rows: `[T, ...]` of the sensors, `action`, `reward`, `first`, `last` and `terminated`.
        model: who imagines, from the first `observed` rows and all actions.
        name: of the dataset or the episode.
        device: where the model is.
        observed: C, rows the model watches.
        horizon: H, decisions it imagines; fewer, if the episode ends before.
        generator: of the model's noise.
        fps: at most so many frames per second of world time are drawn.
    """
    ahead = _ahead(model, len(rows["reward"]), observed, horizon, f"The episode {name}")
    cut = {n: torch.from_numpy(np.asarray(v)[None, : observed + ahead]) for n, v in rows.items()}
    action, reward = cut.pop("action").float(), cut.pop("reward").float()
    flags = (cut.pop(n).bool() for n in ("first", "last", "terminated"))
    batch = Batch(cut, action, reward, *flags)
    real, imagined, traces = _beside(model, batch, device, observed, ahead, generator)
    shown = tuple(range(0, observed + ahead, max(1, round(1 / (model.spec.dt * fps)))))
    nothing = None, None, ("No camera was recorded that it imagines: curves are shown.",)
    frames = _camera(model.spec.obs, real, imagined, shown) or nothing
    return Film(name, model.spec.dt, observed, tuple(traces), shown, *frames)


def _ahead(model: WorldModel[Any, Any], rows: int, observed: int, horizon: int, what: str) -> int:
    """Decisions that can be imagined."""
    chunk = model.spec.chunk
    ahead = min(rows - observed, horizon) // chunk * chunk
    if ahead < 1:
        raise ValueError(
            f"{what} has {rows} rows, too few to watch {observed} of them and imagine {chunk} or "
            "more; watch fewer, or choose another."
        )
    return ahead


def _beside(
    model: WorldModel[Any, Any],
    batch: Batch,
    device: Device,
    observed: int,
    ahead: int,
    generator: Generator | None,
) -> tuple[dict[str, Array], dict[str, Array], list[Trace]]:
    """What was sensed `[T, ...]`, what was imagined, and the entries of both that move."""
    with device.autocast():
        prediction = predict(
            model, device.put(batch), observed=observed, horizon=ahead, generator=generator
        )
    imagined = _imagined(prediction, observed, ahead, model.spec.chunk)
    real = {name: values[0].numpy() for name, values in batch.obs.items()}
    traces = _traces(model.spec.obs, real, imagined)
    if prediction.reward is not None and model.spec.chunk == 1:
        guess = np.full(observed + ahead, np.nan)
        guess[observed:] = prediction.reward[0, 0].float().cpu().numpy()
        traces.append(Trace("reward", "", batch.reward[0].double().numpy(), guess))
    return real, imagined, traces


class _Take(NamedTuple):
    """What really happened."""

    rows: list[Row]
    actions: list[NDArray[np.float32]]
    """The action that led to each row."""
    poses: list[Array]
    """Of each row, where the simulator shows them."""
    frames: list[NDArray[np.uint8]]
    """Of every so many rows; empty where nothing can be drawn."""
    problem: str
    """Why nothing can be drawn."""


def _act(
    env: Env,
    agent: Agent,
    device: Device,
    seed: int,
    count: int,
    every: int,
    size: tuple[int, int],
) -> _Take:
    """Up to `count` rows of one episode, drawn as they happen."""
    take = _Take([], [], [], [], "")
    puppet = Puppet(env) if can_pose(env) else None
    row, action = env.reset(seed), np.zeros(env.action.shape, np.float32)
    memory = agent.begin(1)
    while True:
        take.rows.append(row)
        take.actions.append(action)
        if puppet:
            take.poses.append(puppet.qpos)
        if not take.problem and (len(take.rows) - 1) % every == 0:
            try:
                take.frames.append(env.render(*size))
            except (RenderError, ImportError, NotImplementedError) as problem:
                take = take._replace(frames=[], problem=str(problem) or type(problem).__name__)
        if row.last or len(take.rows) == count:
            return take
        obs = {name: np.asarray(value)[None] for name, value in row.obs.items()}
        with torch.no_grad(), device.autocast():
            seen, first = device.put((obs, np.array([row.first])))
            chosen, memory = agent.act(memory, seen, first, None)
        action = chosen[0].float().cpu().numpy()
        row = env.step(action)


def _batch(take: _Take, count: int) -> Batch:
    rows = take.rows[:count]

    def column(values: list[Any]) -> torch.Tensor:
        return torch.from_numpy(np.stack([np.asarray(v) for v in values]))[None]

    names = {name for row in rows for name in row.obs}
    obs = {
        name: column([row.obs.get(name, np.array(True)) for row in rows]) for name in sorted(names)
    }
    flags = (column([getattr(row, f) for row in rows]) for f in ("first", "last", "terminated"))
    reward = column([row.reward for row in rows]).float()
    return Batch(obs, column(take.actions[:count]).float(), reward, *flags)


def _imagined(prediction: Prediction, observed: int, ahead: int, chunk: int) -> dict[str, Array]:
    """All rows of each sensor `[T, ...]`; what the model knows only every so many rows is held
    until it knows the next."""
    known = [*range(0, observed, chunk), *(observed - 1 + k for k in prediction.steps)]
    latest = np.searchsorted(known, np.arange(observed + ahead), side="right") - 1
    return {
        name: torch.cat([prediction.seen[name], values], 2)[0, 0].float().cpu().numpy()[latest]
        for name, values in prediction.obs.items()
    }


def _traces(
    spaces: Mapping[str, Space], real: Mapping[str, Array], imagined: Mapping[str, Array]
) -> list[Trace]:
    """The entries that move, sensor by sensor."""
    found = []
    for name, space in spaces.items():
        if space.is_image or name not in imagined or space.dtype == "int64":
            continue
        truth = real[name].reshape(len(real[name]), -1).astype(np.float64)
        guess = imagined[name].reshape(len(truth), -1).astype(np.float64)
        if name + ".present" in real:
            truth[~real[name + ".present"].astype(bool)] = np.nan
        for k in range(truth.shape[1]):
            label = f"{name} {k + 1}" if truth.shape[1] > 1 else name
            if np.nanstd(truth[:, k]) > 1e-6 or np.std(guess[:, k]) > 1e-6:
                found.append(Trace(label, space.unit, truth[:, k], guess[:, k]))
    return found


def _frames(
    env: Env,
    spaces: Mapping[str, Space],
    take: _Take,
    real: Mapping[str, Array],
    imagined: Mapping[str, Array],
    observed: int,
    shown: tuple[int, ...],
    size: tuple[int, int],
) -> tuple[Frames | None, Frames | None, tuple[str, ...]]:
    """Frames of both sides, and what to say about them."""
    pictures = _camera(spaces, real, imagined, shown)
    if pictures is not None:
        return pictures
    if take.problem:
        return None, None, (f"The robot could not be drawn. {take.problem}",)
    frames = np.stack(take.frames[: len(shown)])
    if not imagined:
        return frames, None, ("This model predicts no observations: its rewards are shown.",)
    if not take.poses:
        return frames, None, ("What was imagined is shown as curves: this robot cannot be posed.",)
    found = recover(env.name, imagined, np.stack(take.poses[:observed]), env.dt)
    if found is None:
        return frames, None, ("What was imagined is shown as curves: the sensors tell no pose.",)
    puppet = Puppet(env)
    drawn = np.stack([puppet.draw(found.qpos[row], *size) for row in shown])
    return frames, drawn, (found.assumed,) if found.assumed else ()


def _camera(
    spaces: Mapping[str, Space],
    real: Mapping[str, Array],
    imagined: Mapping[str, Array],
    shown: tuple[int, ...],
) -> tuple[Frames, Frames, tuple[str, ...]] | None:
    """Both sides of the first camera, and a note on the others; None without any."""
    rows = list(shown)
    cameras = [name for name, space in spaces.items() if space.is_image and name in imagined]
    if not cameras:
        return None
    name = cameras[0]
    note = (f"Of {len(cameras)} cameras, {name} is shown.",) if len(cameras) > 1 else ()
    return _pictures(real[name][rows]), _pictures(imagined[name][rows]), note


def _pictures(images: Array) -> Frames:
    """Images `[F, C, h, w]`, bytes or 0..1, as bytes `[F, h, w, 3]`."""
    if images.dtype != np.uint8:
        images = (np.clip(images, 0, 1) * 255).round().astype(np.uint8)
    channels = [0, 0, 0] if images.shape[1] < 3 else [0, 1, 2]
    frames: Frames = np.ascontiguousarray(np.moveaxis(images[:, channels], 1, -1)).astype(np.uint8)
    return frames
