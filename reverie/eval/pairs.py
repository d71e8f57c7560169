"""What a model predicted beside what happened: what every measure of a distribution reads.

Legend: `K` samples, `N` windows, `H` steps, `D` entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from reverie.core import tree
from reverie.core.model import Batch, Obs, WorldModel
from reverie.core.spec import Spec
from reverie.eval.interval import Array
from reverie.eval.predict import Prediction, predict
from reverie.eval.score import Kind
from reverie.eval.windows import Windows

Model = WorldModel[Any, Any]


class Pairs(NamedTuple):
    """What a model predicted of one sensor, or of the reward, beside what happened."""

    name: str
    kind: Kind
    unit: str
    steps: tuple[int, ...]
    """Decisions after the last observed row."""
    samples: Tensor
    """`[K, N, H, D]`; images in 0..1."""
    truth: Tensor
    """`[N, H, D]`."""
    last: Tensor
    """`[N, 1, D]`, the last observed row: the guess that nothing changes."""
    weight: Tensor
    """`[N, H]`, 0 where the sensor was missing."""


def predicted(
    model: Model,
    windows: Windows,
    observed: int,
    horizon: int,
    samples: int,
    context: Obs | None = None,
    at_once: int = 32,
    generator: Generator | None = None,
) -> Iterator[tuple[slice, list[Pairs]]]:
    """Predictions of a few windows at a time, sensor by sensor, and which windows they are."""
    if "reward" not in model.spec.provides:
        model.spec.require("obs")
    for start in range(0, len(windows.episode), at_once):
        span = slice(start, start + at_once)
        batch = tree.select(windows.batch, span)
        given = None if context is None else tree.select(dict(context), span)
        imagined = predict(
            model,
            batch,
            observed=observed,
            horizon=horizon,
            samples=samples,
            context=given,
            generator=generator,
        )
        yield span, list(pairs(model.spec, batch, imagined, observed))


def pairs(spec: Spec, batch: Batch, prediction: Prediction, observed: int) -> Iterator[Pairs]:
    """Each sensor that the model decodes, and the reward, beside the truth of windows `[N]`."""
    for name, space in spec.obs.items():
        if name not in prediction.obs or space.dtype == "int64":
            continue
        steps = prediction.steps
        there = batch.obs.get(name + ".present", torch.ones_like(batch.first)).bool()
        weight = there[:, [observed - 1 + k for k in steps]] & there[:, observed - 1 : observed]
        shown = prediction.obs[name]
        samples = shown.reshape(*shown.shape[:3], -1).float()
        kind: Kind = "image" if space.is_image else "vector"
        truth, last = real(spec, batch, name, observed, steps)
        yield Pairs(name, kind, space.unit, steps, samples, truth, last, weight.float())
    if prediction.reward is not None:
        steps = tuple(spec.chunk * (k + 1) for k in range(prediction.reward.shape[2]))
        truth, last = real(spec, batch, "reward", observed, steps)
        weight = torch.ones_like(truth[..., 0])
        samples = prediction.reward.float().unsqueeze(3)
        yield Pairs("reward", "reward", "", steps, samples, truth, last, weight)


def real(
    spec: Spec,
    batch: Batch,
    name: str,
    observed: int,
    steps: Sequence[int],
    windows: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What happened `[N, H, D]` after the last observed row, and that row `[N, 1, D]`, in windows
    `[N]` of a batch (all by default); rewards are summed over each chunk."""
    device = batch.action.device
    every = torch.arange(len(batch.action), device=device) if windows is None else windows
    window, ahead = every[:, None], torch.tensor(steps, device=device)
    last = read(spec, batch, name, window, torch.full_like(window, observed - 1))
    if name != "reward":
        return read(spec, batch, name, window, observed - 1 + ahead), last
    row = (ahead[:, None] - torch.arange(spec.chunk, device=device)).flatten() + observed - 1
    truth = read(spec, batch, name, window, row)
    return truth.unflatten(1, (-1, spec.chunk)).sum(2), last * spec.chunk


def read(spec: Spec, batch: Batch, name: str, window: Tensor, row: Tensor) -> Tensor:
    """Entries of a sensor, or of the reward, in some rows: floats `[..., D]`, images in 0..1."""
    if name == "reward":
        return batch.reward[window, row].float().unsqueeze(-1)
    found = batch.obs[name][window, row]
    lead = found.ndim - len(spec.obs[name].shape)
    flat = found.reshape(*found.shape[:lead], -1)
    scale = 255 if spec.obs[name].is_image and flat.dtype == torch.uint8 else 1
    return flat.float() / scale


def deviation(model: Model, windows: Windows, at_once: int = 32) -> dict[str, Tensor]:
    """Standard deviation of each entry `[D]` over the rows of the windows in which the sensor is
    there, and of the reward; exactly 0 for an entry that never changes."""
    batch, found = windows.batch, {}
    names = [k for k, v in model.spec.obs.items() if k in batch.obs and v.dtype != "int64"]
    for name in [*names, "reward"]:
        there = batch.obs.get(name + ".present", torch.ones_like(batch.first)).bool()
        there = ~batch.first if name == "reward" else there
        chosen = there.nonzero()
        if not len(chosen):
            found[name] = torch.zeros(1 if name == "reward" else model.spec.obs[name].size)
            continue
        origin = read(model.spec, batch, name, *chosen[0]).double()
        moments = torch.zeros(2, len(origin), dtype=torch.float64, device=origin.device)
        for some in chosen.split(at_once * there.shape[1]):
            away = read(model.spec, batch, name, *some.T).double() - origin
            moments += torch.stack([away.sum(0), away.square().sum(0)])
        mean, square = moments / len(chosen)
        found[name] = (square - mean.square()).clamp_min(0).sqrt().float()
    return found


def column(parts: Sequence[Tensor]) -> Array:
    """Windows of all parts, as float64 numpy."""
    joined: Array = torch.cat(list(parts)).double().cpu().numpy()
    return joined


def find(sensors: Sequence[Any], name: str) -> Any:
    """The entry of that name."""
    for sensor in sensors:
        if sensor.name == name:
            return sensor
    raise KeyError(f"No sensor {name!r} was evaluated; there are: {[s.name for s in sensors]}.")
