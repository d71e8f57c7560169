"""Does the model know when the world is no longer the one it learned?

`surprise` scores windows by the error of one-step predictions along filtered states, so that a
changed mass, colour or camera shows; `detect` says how well scores tell episodes of one world from
those of another: the area under the ROC curve, P(outside > inside) + 1/2 P(equal) (Mann and Whitney
1947), and which share of the strange episodes is taken for usual where 95 % of the usual ones are
(FPR at 95 % TPR, usual being positive; Hendrycks and Gimpel 2017).

Legend: `K` samples, `N` windows, `H` steps, `D` entries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from reverie.core import tree
from reverie.core.model import Batch, Obs, Transition, WorldModel
from reverie.eval.interval import LEVEL, Array, Resampling
from reverie.eval.nulls import to_null
from reverie.eval.pairs import read
from reverie.eval.predict import predict
from reverie.eval.score import Verdict
from reverie.eval.windows import Windows

Model = WorldModel[Any, Any]


@dataclass(frozen=True)
class Detection:
    """How well scores tell episodes of another world from usual ones."""

    verdict: Verdict
    """AUROC with its interval: "detects" or "misleads" where it excludes 1/2, "no better than
    chance" where it is below 0.7. Else, and where even a perfect separation could be chance at 5 %
    (3 episodes against 3: the interval is then a point), it "cannot be told"."""
    missed: float
    """Share of the strange episodes below the score that 95 % of the usual ones stay below."""
    missed_low: float
    missed_high: float
    inside: int
    outside: int
    """Usual episodes, and strange ones."""

    def to_json(self) -> dict[str, Any]:
        """A JSON object (NaN as null)."""
        result: dict[str, Any] = to_null(asdict(self))
        return result


def detect(
    inside: Tensor | Sequence[float],
    outside: Tensor | Sequence[float],
    inside_episode: Tensor | None = None,
    outside_episode: Tensor | None = None,
    *,
    seed: int = 0,
) -> Detection:
    """How well scores (higher: stranger) tell strange episodes from usual ones.

    Args:
        inside: scores of windows or episodes of the usual world.
        outside: scores of the other world.
        inside_episode: episode of each score; those of one are averaged. By default each is one.
        outside_episode: likewise.
        seed: of the bootstrap, which resamples the episodes of both.
    """
    usual = _episode_means(inside, inside_episode)
    strange = _episode_means(outside, outside_episode)
    drawn = [Resampling(np.arange(len(x)), seed + k) for k, x in enumerate((usual, strange))]
    beaten = (strange[None] > usual[:, None]) + 0.5 * (strange[None] == usual[:, None])
    shares = [d.counts / d.counts.sum(1, keepdims=True) for d in drawn]
    auroc = ((shares[0] @ beaten) * shares[1]).sum(1).clip(0, 1)
    order = np.argsort(usual)
    edge = (shares[0][:, order].cumsum(1) < 0.95 - 1e-9).sum(1)
    missed = (shares[1] * (strange[None] <= usual[order][edge][:, None])).sum(1).clip(0, 1)
    fewest = min(drawn, key=lambda d: d.episodes)
    (area, low, high), (miss, *ends) = fewest.interval(auroc), fewest.interval(missed)
    by_chance = 2 / math.comb(len(usual) + len(strange), len(usual))
    answer = "no better than chance"
    if by_chance > 1 - LEVEL or not math.isfinite(low) or (low <= 0.5 and high >= 0.7):
        answer = "cannot be told"
    elif not low <= 0.5 <= high:
        answer = "detects" if low > 0.5 else "misleads"
    numbers = [float(x) for x in (area, low, high, miss, *ends)]
    verdict = Verdict(answer, "AUROC", *numbers[:3])
    return Detection(verdict, numbers[3], numbers[4], numbers[5], len(usual), len(strange))


def detection(
    model: Model,
    reference: Windows,
    inside: Windows,
    outside: Windows,
    *,
    names: Sequence[str] | None = None,
    at_once: int = 32,
    generator: Generator | None = None,
    seed: int = 0,
) -> Detection:
    """Does the model's surprise tell windows of another world from usual ones?

    What is usual is measured on `reference`, whose episodes must not be those of `inside`.
    """
    wanted: dict[str, Any] = {"at_once": at_once, "generator": generator}
    usual = usual_error(model, reference, **wanted)
    if names is not None:
        usual = {k: usual[k] for k in names}
    one, two = (surprise(model, windows, usual, **wanted) for windows in (inside, outside))
    return detect(one, two, inside.episode, outside.episode, seed=seed)


def usual_error(
    model: Model, windows: Windows, *, at_once: int = 32, generator: Generator | None = None
) -> dict[str, Tensor]:
    """Mean square one-step error `[D]` of each sensor's entries in windows of the usual world; that
    of all pixels of an image is one, because the error of a pixel is mostly 0 and seldom large."""
    total: dict[str, Tensor] = {}
    count: dict[str, Tensor] = {}
    for batch in _parts(windows, at_once):
        for name, (samples, truth, weight) in _one_step(model, batch, 1, generator).items():
            square = ((samples[0] - truth).square() * weight).double().sum((0, 1))
            total[name] = total.get(name, 0) + square
            count[name] = count.get(name, 0) + weight.sum()
    mean = {k: (total[k] / count[k].clamp_min(1)).float() for k in total}
    spaces = model.spec.obs
    return {k: v.mean().expand_as(v) if spaces[k].is_image else v for k, v in mean.items()}


@torch.no_grad()
def surprise(
    model: Model,
    windows: Windows,
    usual: Mapping[str, Tensor] | None = None,
    *,
    samples: int = 1,
    at_once: int = 32,
    generator: Generator | None = None,
) -> Tensor:
    """How strange each window is to the model, `[N]`: 1 for a usual one, or in nats.

    With `usual`, the mean over rows, entries and sensors of e^2 / e_usual^2, where e is the error
    of one-step predictions from filtered states: it needs no claim of uncertainty. Without, twice
    the negative log-likelihood, up to a constant, of a normal law with mean and variance of 8
    samples or more: e^2 / v + log v,
    one v for all pixels of an image. Sensors count alike, whatever their size. An entry that is
    foretold exactly is given a thousandth of its sensor's largest usual error.

    Args:
        model: any world model that predicts observations.
        windows: two chunks of rows or more.
        usual: from `usual_error`; sensors that it lacks have no part.
        samples: K.
        at_once: windows predicted together.
        generator: of the noise.
    """
    if usual is None and samples < 8:
        raise ValueError(
            f"surprise without `usual` reads the model's own spread, and {samples} samples tell "
            "none; give the errors that are usual (usual_error) or samples=8 or more."
        )
    found = []
    for batch in _parts(windows, at_once):
        scores = []
        for name, (made, truth, weight) in _one_step(model, batch, samples, generator).items():
            square = (made.mean(0) - truth).square()
            if usual is None:
                variance = made.var(0) * (samples + 1) / samples
                if model.spec.obs[name].is_image:
                    variance = variance.mean(-1, keepdim=True)
                variance = variance.clamp_min(1e-12)
                score = square / variance + variance.log()
            elif name in usual:
                least = max(1e-6 * float(usual[name].max()), 1e-12)
                score = square / usual[name].to(square).clamp_min(least)
            else:
                continue
            scores.append((score * weight).mean(-1).sum(1) / weight.sum((1, 2)).clamp_min(1))
        if not scores:
            raise ValueError("No sensor was left to be surprised by; see `usual` and the model.")
        found.append(torch.stack(scores).mean(0))
    return torch.cat(found)


class _Foreseer:
    """A world model that shows what it foresaw of each row one step before it came."""

    def __init__(self, model: Model) -> None:
        self.model, self.spec = model, model.spec

    def initial(self, batch: int, context: Obs | None = None) -> Any:
        state = self.model.initial(batch, context)
        return state, dict(self.model.decode(state))

    def noise(self, batch: int, generator: Generator | None = None) -> Any:
        return self.model.noise(batch, generator), self.model.noise(batch, generator)

    def observe(self, state: Any, action: Tensor, obs: Obs, first: Tensor, noise: Any) -> Any:
        ahead = self.model.step(state[0], action, noise[0]).state
        seen = self.model.observe(state[0], action, obs, first, noise[1])
        return seen, dict(self.model.decode(ahead))

    def step(self, state: Any, action: Tensor, noise: Any) -> Transition[Any]:
        made = self.model.step(state[0], action, noise[0])
        return made._replace(state=(made.state, dict(self.model.decode(made.state))))

    def decode(self, state: Any) -> Obs:
        foreseen: Obs = state[1]
        return foreseen


def _one_step(
    model: Model, batch: Batch, samples: int, generator: Generator | None
) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """One-step predictions `[K, N, T', D]` of each sensor in rows n, 2n, ..., what came
    `[N, T', D]`, and whether it was there `[N, T', 1]`."""
    model.spec.require("obs")
    n, rows = model.spec.chunk, batch.action.shape[1]
    last = (rows - 1) // n * n
    if not last:
        raise ValueError(f"Windows of {rows} rows hold no step of {n} actions; cut longer ones.")
    wanted: dict[str, Any] = {"horizon": n, "samples": samples, "generator": generator}
    seen = predict(_Foreseer(model), batch, observed=last + 1 - n, **wanted)
    window = torch.arange(len(batch.action), device=batch.action.device)[:, None]
    found = {}
    for name, space in model.spec.obs.items():
        if name in seen.obs and space.dtype != "int64":
            made = torch.cat([seen.seen[name][:, :, 1:], seen.obs[name]], 2).float()
            row = torch.arange(n, last + 1, n, device=window.device)
            there = batch.obs.get(name + ".present", torch.ones_like(batch.first)).bool()
            there = there[:, row] & there[:, row - n]
            truth = read(model.spec, batch, name, window, row)
            found[name] = made.reshape(*made.shape[:3], -1), truth, there.float().unsqueeze(2)
    return found


def _parts(windows: Windows, at_once: int) -> Iterator[Batch]:
    spans = (slice(k, k + at_once) for k in range(0, len(windows.episode), at_once))
    return (tree.select(windows.batch, span) for span in spans)


def _episode_means(scores: Tensor | Sequence[float], episode: Tensor | None) -> Array:
    values = torch.as_tensor(scores).double().cpu().numpy().reshape(-1)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"Scores must be finite numbers, one or more; got {values}.")
    if episode is None:
        return values
    groups = episode.cpu().numpy()
    return np.array([values[groups == g].mean() for g in np.unique(groups)])
