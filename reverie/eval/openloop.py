"""Open-loop prediction: how far ahead does the model see, and is it better than guessing?

The model filters the first C rows of a recorded window, then imagines H decisions with the actions
that were really taken; what it imagines is compared with what was really sensed, and so are two
guesses that need no model.

Legend: `N` windows, `K` samples of noise, `H` horizon, `C` observed rows, `n` chunk, `D` entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from reverie.core import tree
from reverie.core.model import Batch, Obs, WorldModel
from reverie.eval.interval import Array
from reverie.eval.predict import Prediction, predict
from reverie.eval.score import Curve, Kind, OpenLoop, SensorError, decibel, slope, summarise
from reverie.eval.similarity import ssim
from reverie.eval.windows import Windows

Model = WorldModel[Any, Any]


def openloop(
    model: Model,
    windows: Windows,
    *,
    observed: int,
    horizon: int,
    samples: int = 1,
    context: Obs | None = None,
    deviation: Mapping[str, Tensor] | None = None,
    at_once: int = 32,
    generator: Generator | None = None,
    seed: int = 0,
) -> OpenLoop:
    """Errors of `predict` against horizon, for every sensor and the reward, beside the baselines.

    Args:
        model: any world model that predicts observations, the reward or both.
        windows: what really happened, `observed + horizon` rows or more each.
        observed: C, rows the model filters first.
        horizon: H, decisions it then imagines.
        samples: K, draws of the noise; with several, the mean of the samples is scored too.
        context: what is constant in an episode, `[N, ...]`, where the windows do not bring it.
        deviation: standard deviation of each entry of a vector sensor, by name, for `nrmse`; by
            default that of the windows themselves.
        at_once: windows predicted together; lower it where images do not fit in memory.
        generator: of the noise.
        seed: of the bootstrap.
    """
    if "reward" not in model.spec.provides:
        model.spec.require("obs")
    scale = {**_deviation(model, windows.batch), **(deviation or {})}
    parts: list[dict[str, _Errors]] = []
    for rows in torch.arange(len(windows.episode)).split(at_once):
        span = slice(int(rows[0]), int(rows[-1]) + 1)
        batch = tree.select(windows.batch, span)
        prediction = predict(
            model,
            batch,
            observed=observed,
            horizon=horizon,
            samples=samples,
            context=None if context is None else tree.select(dict(context), span),
            generator=generator,
        )
        parts.append({e.name: e for e in _score(model, batch, prediction, observed, scale)})
    groups = windows.episode.cpu().numpy()
    return OpenLoop(
        sensors=tuple(
            _summary([part[name] for part in parts], groups, model.spec.dt, seed)
            for name in parts[0]
        ),
        observed=observed,
        horizon=horizon,
        samples=samples,
        windows=len(groups),
        episodes=len(np.unique(groups)),
        dt=model.spec.dt,
    )


class _Errors(NamedTuple):
    """Errors of one sensor in some windows, before averaging over them."""

    name: str
    kind: Kind
    unit: str
    steps: tuple[int, ...]
    weight: Tensor
    """`[N, steps]`, 0 where the sensor was missing."""
    errors: dict[str, dict[str, Tensor]]
    """Predictor, then `absolute`, `square`, `scaled`, `similarity`, each `[N, steps]`."""


def _score(
    model: Model,
    batch: Batch,
    prediction: Prediction,
    observed: int,
    scale: Mapping[str, Tensor],
) -> Iterator[_Errors]:
    """Errors of every sensor that the model decodes, and of the reward."""
    steps = prediction.steps
    rows = [observed - 1 + k for k in steps]
    for name, space in model.spec.obs.items():
        if name not in prediction.obs or space.dtype == "int64":
            continue
        truth = _entries(batch.obs[name], len(space.shape), space.is_image)
        present = batch.obs.get(name + ".present", torch.ones_like(batch.first)).bool()
        weight = present[:, rows] & present[:, observed - 1 : observed]
        guesses = {"repeat": truth[:, observed - 1 : observed].expand(-1, len(steps), -1)[None]}
        if observed > 1 and not space.is_image:
            guesses["linear"] = _extrapolate(truth[:, observed - 2 : observed], steps)
            weight = weight & present[:, observed - 2 : observed - 1]
        imagined = _entries(prediction.obs[name], len(space.shape), False)
        errors = _compare(imagined, guesses, truth[:, rows], scale.get(name))
        kind: Kind = "image" if space.is_image else "vector"
        if space.is_image:
            _add_similarity(errors, {"model": imagined, **guesses}, truth[:, rows], space.shape)
        yield _Errors(name, kind, space.unit, steps, weight.float(), errors)
    if prediction.reward is not None:
        yield _reward(batch, prediction.reward, observed, model.spec.chunk)
    if prediction.continues is not None:
        yield _continues(batch, prediction.continues, observed, model.spec.chunk)


def _reward(batch: Batch, imagined: Tensor, observed: int, chunk: int) -> _Errors:
    """Errors of the reward, summed over each chunk; imagined `[K, N, H / n]`."""
    count = imagined.shape[2]
    real = batch.reward[:, observed : observed + count * chunk].float()
    truth = real.unflatten(1, (count, chunk)).sum(2).unsqueeze(2)
    last = batch.reward[:, observed - 1, None, None].float() * chunk
    guesses = {"repeat": last.expand_as(truth)[None]}
    errors = _compare(imagined.float().unsqueeze(3), guesses, truth, None)
    steps = tuple(chunk * (k + 1) for k in range(count))
    return _Errors("reward", "reward", "", steps, torch.ones_like(truth[..., 0]), errors)


def _continues(batch: Batch, imagined: Tensor, observed: int, chunk: int) -> _Errors:
    """Errors of the probability that the episode goes on; imagined `[K, N, H / n]`."""
    count = imagined.shape[2]
    ends = batch.terminated[:, observed : observed + count * chunk].unflatten(1, (count, chunk))
    truth = 1 - ends.any(2).float().unsqueeze(2)
    errors = _compare(
        imagined.float().unsqueeze(3), {"repeat": torch.ones_like(truth)[None]}, truth, None
    )
    steps = tuple(chunk * (k + 1) for k in range(count))
    return _Errors("continues", "continues", "", steps, torch.ones_like(truth[..., 0]), errors)


def _add_similarity(
    errors: dict[str, dict[str, Tensor]],
    predictors: Mapping[str, Tensor],
    truth: Tensor,
    shape: tuple[int, ...],
) -> None:
    """Structural similarity of pictures `[K, N, steps, D]` with the truth, of each predictor."""
    for who, guess in predictors.items():
        found = [ssim(one.unflatten(-1, shape), truth.unflatten(-1, shape)) for one in guess]
        errors[who]["similarity"] = torch.stack(found).mean(0)


def _entries(values: Tensor, axes: int, image: bool) -> Tensor:
    """Floats with a sensor's entries in one last axis, `[..., D]`; bytes of an image to 0..1."""
    flat = values.reshape(*values.shape[: values.ndim - axes], -1)
    return flat.float() / 255 if image and values.dtype == torch.uint8 else flat.float()


def _extrapolate(last_two: Tensor, steps: Sequence[int]) -> Tensor:
    """`o_C + k (o_C - o_{C-1})`, `[1, N, steps, D]`."""
    ahead = torch.tensor(steps, device=last_two.device).reshape(1, -1, 1)
    return (last_two[:, 1:] + ahead * (last_two[:, 1:] - last_two[:, :1]))[None]


def _compare(
    imagined: Tensor, guesses: Mapping[str, Tensor], truth: Tensor, deviation: Tensor | None
) -> dict[str, dict[str, Tensor]]:
    """Errors of imagined `[K, N, steps, D]` and guesses `[1, N, steps, D]`, each averaged over
    samples and entries; entries that never change have no part in `scaled`."""
    predictors = {"model": imagined}
    if imagined.shape[0] > 1:
        predictors["model_mean"] = imagined.mean(0, keepdim=True)
    errors = {}
    for who, guess in {**predictors, **guesses}.items():
        difference = guess.to(truth.dtype) - truth
        square = difference.square()
        errors[who] = {"absolute": difference.abs().mean((0, 3)), "square": square.mean((0, 3))}
        if deviation is not None:
            moving = deviation > 1e-6
            scaled = square[..., moving] / deviation[moving].square()
            errors[who]["scaled"] = scaled.mean((0, 3))
    return errors


def _deviation(model: Model, batch: Batch) -> dict[str, Tensor]:
    """Standard deviation of each entry `[D]` of the vector sensors over the rows they are in."""
    found = {}
    for name, space in model.spec.obs.items():
        if name in batch.obs and not space.is_image and space.dtype != "int64":
            values = _entries(batch.obs[name], len(space.shape), False)
            present = batch.obs.get(name + ".present", torch.ones_like(batch.first)).bool()
            found[name] = values[present].std(0, correction=0)
    return found


def _summary(
    parts: Sequence[_Errors], groups: NDArray[np.int64], dt: float, seed: int
) -> SensorError:
    """Average over windows, with intervals over episodes."""
    name, kind, unit, steps = parts[0][:4]
    weight = _column([part.weight for part in parts])

    def curves(what: str, transform: Any) -> dict[str, Curve]:
        return {
            who: summarise(
                _column([part.errors[who][what] for part in parts]), weight, groups, transform, seed
            )
            for who in parts[0].errors
            if what in parts[0].errors[who]
        }

    if kind == "image":
        errors = {"mse": curves("square", np.asarray), "psnr": curves("square", decibel)}
        errors["ssim"] = curves("similarity", np.asarray)
    else:
        errors = {"mae": curves("absolute", np.asarray), "rmse": curves("square", np.sqrt)}
        if "scaled" in parts[0].errors["model"]:
            errors["nrmse"] = curves("scaled", np.sqrt)
    seconds = np.array(steps) * dt
    drift = {
        who: slope(
            _column([p.errors[who]["absolute"] for p in parts]), weight, groups, seconds, seed
        )
        for who in parts[0].errors
    }
    return SensorError(name, kind, unit, steps, errors, drift)


def _column(parts: Sequence[Tensor]) -> Array:
    """Windows of all parts, as float64 numpy."""
    joined: Array = torch.cat(list(parts)).double().cpu().numpy()
    return joined
