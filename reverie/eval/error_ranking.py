r"""Are the predictions that a model is unsure of the wrong ones?

The rank correlation of uncertainty and error, and the area under the sparsification curve, the
mean error of what is kept while the most uncertain predictions are taken away,

    S(f) = mean error of the 1 - f least uncertain / mean error of all,   AUSE = int S - S_oracle df

where the oracle takes away the largest errors first (Ilg et al. 2018) and chance has S = 1.

Legend: `K` samples, `N` windows, `H` steps, `D` entries.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Generator, Tensor

from reverie.core import tree
from reverie.core.model import Obs, Transition, WorldModel
from reverie.eval.interval import Array, Groups, Resampling
from reverie.eval.nulls import to_null
from reverie.eval.pairs import column, find, pairs
from reverie.eval.predict import predict
from reverie.eval.score import Curve, Kind
from reverie.eval.windows import Windows

Model = WorldModel[Any, Any]
Source = Literal["spread", "uncertainty"]
HEAD = "the model's uncertainty"


@dataclass(frozen=True)
class SensorRanking:
    """Whether one sensor's errors are where the model is unsure."""

    name: str
    kind: Kind
    source: Source
    """The spread of the samples, or the model's own uncertainty."""
    steps: tuple[int, ...]
    spearman: Curve
    """Rank correlation of uncertainty and error over the windows; 1 best, 0 by chance."""
    ause: Curve
    """0 best."""
    ause_chance: tuple[float, ...]
    """That of an uncertainty that knows nothing."""


@dataclass(frozen=True)
class ErrorRanking:
    """The result of `error_ranking`."""

    sensors: tuple[SensorRanking, ...]
    """For each sensor an entry by spread, by uncertainty, or one of each."""
    observed: int
    horizon: int
    samples: int
    windows: int
    episodes: int

    def sensor(self, name: str, source: Source = "spread") -> SensorRanking:
        """One sensor by name, ranked by one source."""
        found: SensorRanking = find([s for s in self.sensors if s.source == source], name)
        return found

    def to_json(self) -> dict[str, Any]:
        """A JSON object (NaN as null)."""
        result: dict[str, Any] = to_null(asdict(self))
        return result


def error_ranking(
    model: Model,
    windows: Windows,
    *,
    observed: int,
    horizon: int,
    samples: int = 8,
    context: Obs | None = None,
    at_once: int = 32,
    generator: Generator | None = None,
    seed: int = 0,
) -> ErrorRanking:
    """Are the uncertain predictions the wrong ones, at each step and for each sensor?

    The uncertainty of a window is the spread of its samples (two or more), and the model's own, at
    that step, if it provides one. The error is the root mean square of the mean of the samples;
    entries of a vector count in the sensor's unit. The arguments are those of `calibration`.
    """
    teller = _Teller(model) if "uncertainty" in model.spec.provides else model
    parts: dict[str, list[dict[str, Tensor]]] = {}
    heads: dict[str, Any] = {}
    for start in range(0, len(windows.episode), at_once):
        span = slice(start, start + at_once)
        batch = tree.select(windows.batch, span)
        given = None if context is None else tree.select(dict(context), span)
        wanted: Any = {"context": given, "samples": samples, "generator": generator}
        imagined = predict(teller, batch, observed=observed, horizon=horizon, **wanted)
        own = imagined.obs.get(HEAD)
        for pair in pairs(model.spec, batch, imagined, observed):
            error = (pair.samples.mean(0) - pair.truth).square().mean(-1).sqrt()
            found = {"weight": pair.weight, "error": error}
            if samples > 1:
                found["spread"] = pair.samples.var(0).mean(-1).sqrt()
            if own is not None and own.shape[2] == error.shape[1]:
                found["uncertainty"] = own[..., 0].mean(0)
            parts.setdefault(pair.name, []).append(found)
            heads[pair.name] = pair
    groups, rankings = windows.episode.cpu().numpy(), []
    for name, some in parts.items():
        lines = {k: column([p[k] for p in some]) for k in some[0]}
        for source in sorted(lines.keys() - {"weight", "error"}):
            told = lines[source], lines["error"], lines["weight"], groups, seed
            rankings.append(_ranking(heads[name], source, *told))
    episodes = len(np.unique(groups))
    return ErrorRanking(tuple(rankings), observed, horizon, samples, len(groups), episodes)


def _ranking(
    pair: Any, source: Any, told: Array, error: Array, weight: Array, groups: Groups, seed: int
) -> SensorRanking:
    """One sensor at every step; windows that lack it there have no part."""
    lines = []
    for h in range(error.shape[1]):
        there = weight[:, h] > 0
        if there.sum() < 3:
            lines.append([math.nan] * 7)
            continue
        drawn, u, e = Resampling(groups[there], seed), told[there, h], error[there, h]
        oracle = sparsification(e, e, drawn.counts)
        area = sparsification(u, e, drawn.counts) - oracle
        ranks = drawn.interval(spearman(u, e, drawn.counts))
        lines.append([float(x) for x in (*ranks, *drawn.interval(area), 1 - oracle[0])])
    columns = [tuple(line) for line in zip(*lines, strict=True)]
    curves = Curve(*columns[:3]), Curve(*columns[3:6])
    return SensorRanking(pair.name, pair.kind, source, pair.steps, *curves, columns[6])


def spearman(one: Array, two: Array, counts: Array) -> Array:
    """Rank correlation `[R]` of two columns `[N]` for counts `[R, N]` of each window, ties at their
    middle rank; NaN where a column is constant."""
    ranks = []
    for values in (one, two):
        levels, index = np.unique(values, return_inverse=True)
        mass = _by_level(counts, index, len(levels))
        ranks.append((mass.cumsum(1) - mass / 2)[:, index])
    total = counts.sum(1, keepdims=True)
    x, y = (r - (r * counts).sum(1, keepdims=True) / total for r in ranks)
    both, own, other = ((a * b * counts).sum(1) for a, b in ((x, y), (x, x), (y, y)))
    with np.errstate(all="ignore"):
        found: Array = np.where((own > 1e-9) & (other > 1e-9), both / np.sqrt(own * other), np.nan)
    return found


def sparsification(uncertainty: Array, error: Array, counts: Array) -> Array:
    """Area `[R]` under S(f) of errors `[N]`, the most uncertain taken away first, for counts
    `[R, N]`; predictions of one uncertainty go together. NaN where there is no error."""
    levels, index = np.unique(uncertainty, return_inverse=True)
    mass = _by_level(counts, index, len(levels))
    sums = _by_level(counts * error, index, len(levels))
    with np.errstate(all="ignore"):
        kept = sums.cumsum(1) / mass.cumsum(1)
        area = (np.where(mass > 0, kept * mass, 0)).sum(1) / mass.sum(1)
        found: Array = area / (sums.sum(1) / mass.sum(1))
    return found


class _Teller:
    """A world model that shows the uncertainty of its last step beside what it decodes."""

    def __init__(self, model: Model) -> None:
        self.model, self.spec = model, model.spec

    def initial(self, batch: int, context: Obs | None = None) -> Any:
        return self._certain(self.model.initial(batch, context))

    def noise(self, batch: int, generator: Generator | None = None) -> Any:
        return self.model.noise(batch, generator)

    def observe(self, state: Any, action: Tensor, obs: Obs, first: Tensor, noise: Any) -> Any:
        return self._certain(self.model.observe(state[0], action, obs, first, noise))

    def step(self, state: Any, action: Tensor, noise: Any) -> Transition[Any]:
        made = self.model.step(state[0], action, noise)
        return made._replace(state=(made.state, tree.map(lambda x: x[:, None], made.uncertainty)))

    def decode(self, state: Any) -> Obs:
        return {**self.model.decode(state[0]), HEAD: state[1]}

    def _certain(self, state: Any) -> Any:
        some = tree.leaves(state)[0]
        return state, torch.zeros(len(some), 1, device=some.device)


def _by_level(weights: Array, index: Any, levels: int) -> Array:
    """Sums `[R, U]` of weights `[R, N]` over windows of one level."""
    order = np.argsort(index, kind="stable")
    edges = np.searchsorted(index[order], np.arange(levels))
    sums: Array = np.add.reduceat(weights[:, order], edges, axis=1)
    return sums
