r"""Does the model know how sure it may be? Its samples of the future against what really happened.

    rank      how many of the K samples lie below the truth: 0 .. K, uniform if calibrated
    coverage  how often the truth lies in the central interval of probability q: q if calibrated
    crps      E|X - y| - 1/2 E|X - X'|, the second mean over the K (K - 1) pairs ("fair")
    spread    sqrt((K + 1) / K  mean variance / mean (mean - y)^2): 1 if calibrated

The truth is one more draw of a calibrated law, so its rank r among K samples is uniform on K + 1
cells; with u = (r + V) / (K + 1), V uniform in (0, 1), the central interval of probability q holds
the truth where |u - 1/2| <= q / 2. Averaged over V this is q exactly, for every K and q, so that
few samples are no excuse and no penalty. Samples equal to the truth share their ranks evenly.

Ranks and intervals: Gneiting, Balabdaoui and Raftery 2007; fair CRPS: Ferro 2014; spread: Fortin et
al. 2014. Legend: `K` samples, `N` windows, `H` steps, `D` entries, `M` members, `L` levels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from reverie.core.model import Obs, WorldModel
from reverie.eval.interval import Array, Groups, bootstrap
from reverie.eval.nulls import to_null
from reverie.eval.pairs import Pairs, column, deviation, find, predicted, read
from reverie.eval.score import Curve, Kind, Verdict, ratio, summarise
from reverie.eval.windows import Windows

Model = WorldModel[Any, Any]
Answer = Literal[
    "calibrated", "over-confident", "under-confident", "says nothing", "cannot be told"
]

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
TOLERANCE = 0.05
"""A coverage that is off by no more than this, on average over the levels, is called calibrated."""
MEMBERS = 32
"""Rows of the data that stand for its marginal law."""


@dataclass(frozen=True)
class SensorCalibration:
    """How well the samples of one sensor, or of the reward, tell what may happen."""

    name: str
    kind: Kind
    unit: str
    """Of `crps`."""
    steps: tuple[int, ...]
    """Decisions after the last observed row."""
    levels: tuple[float, ...]
    reliability: Curve
    """Coverage at each of the levels, over all steps."""
    coverage: tuple[tuple[float, ...], ...]
    """Coverage at each step (outer) and level (inner)."""
    gap: Curve
    """Mean over the levels of coverage minus level at each step; below 0: over-confident."""
    ranks: tuple[float, ...]
    """Share of each rank 0 .. K, over all steps."""
    crps: Mapping[str, Curve]
    """Against step, of `model`, of `repeat` (the last observation again, so its mean absolute
    error) and of `climatology` (rows of other episodes, whatever was done)."""
    crps_ratio: Mapping[str, Curve]
    """CRPS of the model by that of each baseline; below 1 the model is the better one."""
    spread: Curve
    """Spread by error at each step: 1 if calibrated, below if over-confident."""
    verdict: Verdict


@dataclass(frozen=True)
class Calibration:
    """The result of `calibration`."""

    sensors: tuple[SensorCalibration, ...]
    observed: int
    horizon: int
    samples: int
    windows: int
    episodes: int
    dt: float
    """World time per decision [s]."""

    def sensor(self, name: str) -> SensorCalibration:
        """One sensor by name."""
        return find(self.sensors, name)

    def to_json(self) -> dict[str, Any]:
        """A JSON object (NaN as null)."""
        result: dict[str, Any] = to_null(asdict(self))
        return result


class Evidence(NamedTuple):
    """What some windows say, before any average over them."""

    weight: Tensor
    """`[N, H]`, 0 where the sensor was missing."""
    ranks: Tensor
    """`[N, H, K + 1]`, share of the entries that have each rank."""
    variance: Tensor
    """`[N, H]`, of the samples, mean over entries; so are the following."""
    square: Tensor
    """`[N, H]`, squared error of the mean of the samples."""
    power: Tensor
    """`[N, H]`, square of the truth."""
    crps: Mapping[str, Tensor]
    """`[N, H]`, of `model` and of each baseline."""


def calibration(
    model: Model,
    windows: Windows,
    *,
    observed: int,
    horizon: int,
    samples: int = 16,
    context: Obs | None = None,
    at_once: int = 32,
    generator: Generator | None = None,
    seed: int = 0,
) -> Calibration:
    """Hold samples of the future to what happened, for every sensor and the reward.

    Entries that never change in the windows have no part in it, nor have sensors of only such.

    Args:
        model: any world model that predicts observations, the reward or both.
        windows: what really happened, `observed + horizon` rows or more each.
        observed: C, rows the model filters first.
        horizon: H, decisions it then imagines.
        samples: K, draws of the noise, at least 2.
        context: what is constant in an episode, `[N, ...]`, where the windows do not bring it.
        at_once: windows predicted together; lower it where images do not fit in memory.
        generator: of the noise.
        seed: of the rows of the climatology and of the bootstrap.
    """
    if samples < 2:
        raise ValueError(
            f"Calibration was given {samples} sample; a spread needs at least 2, and 10 or more "
            "tell much more."
        )
    moving = {k: v > 0 for k, v in deviation(model, windows, at_once).items()}
    groups = windows.episode.cpu().numpy()
    drawn = {k: _climatology(windows, k, groups, seed) for k in moving}
    parts: dict[str, list[Evidence]] = {}
    heads: dict[str, Pairs] = {}
    chunks = predicted(model, windows, observed, horizon, samples, context, at_once, generator)
    for span, found in chunks:
        for pair in found:
            keep = moving[pair.name]
            if not keep.any():
                continue
            baselines = {"repeat": pair.last[None][..., keep]}
            if pair.kind != "reward" or model.spec.chunk == 1:
                window, row = drawn[pair.name][span].transpose(0, 1).unbind(2)
                members = read(model.spec, windows.batch, pair.name, window, row)
                baselines["climatology"] = members[..., None, keep]
            made = evidence(pair.samples[..., keep], pair.truth[..., keep], pair.weight, baselines)
            parts.setdefault(pair.name, []).append(made)
            heads[pair.name] = pair
    return Calibration(
        tuple(summary(heads[k], parts[k], groups, seed=seed) for k in parts),
        observed,
        horizon,
        samples,
        len(groups),
        len(np.unique(groups)),
        model.spec.dt,
    )


def evidence(
    samples: Tensor, truth: Tensor, weight: Tensor, baselines: Mapping[str, Tensor] | None = None
) -> Evidence:
    """What samples `[K, N, H, D]` say about truth `[N, H, D]` where weight `[N, H]` is not 0.

    Baselines are samples too, each `[M, N, H or 1, D]`; one member stands for a certain guess.
    """
    error = samples.mean(0) - truth
    scores = {"model": crps(samples, truth)}
    for name, members in (baselines or {}).items():
        scores[name] = crps(members, truth)
    return Evidence(
        weight,
        rank_shares(samples, truth),
        samples.var(0).mean(-1),
        error.square().mean(-1),
        truth.square().mean(-1),
        scores,
    )


def crps(samples: Tensor, truth: Tensor) -> Tensor:
    """Fair CRPS `[N, H]` of samples `[K, N, H or 1, D]`, mean over the entries, in their unit; of a
    single sample, its absolute error. It may fall below 0 where K is small; its mean does not."""
    count = samples.shape[0]
    far = torch.zeros_like(truth)
    for member in samples:  # One at a time: all differences at once may not fit in memory.
        far += (member - truth).abs()
    if count == 1:
        return far.mean(-1)
    # sum_{i<j} |x_i - x_j| = sum_i (2 i - K - 1) x_(i) over the sorted samples, i from 1
    rank = torch.arange(1, count + 1, device=samples.device, dtype=samples.dtype)
    pairs = torch.einsum("k,k...->...", 2 * rank - count - 1, samples.sort(0).values)
    return (far / count - pairs / (count * (count - 1))).mean(-1)


def rank_shares(samples: Tensor, truth: Tensor) -> Tensor:
    """Share of the entries of truth `[N, H, D]` that has each rank among samples `[K, N, H, D]`,
    `[N, H, K + 1]`; an entry equal to m samples gives 1 / (m + 1) to each rank that it may have."""
    below, equal = (samples < truth).sum(0), (samples == truth).sum(0)
    share = 1.0 / (equal + 1)
    steps = truth.new_zeros(*truth.shape[:-1], samples.shape[0] + 2)
    steps.scatter_add_(-1, below, share.to(steps.dtype))
    steps.scatter_add_(-1, below + equal + 1, -share.to(steps.dtype))
    return steps.cumsum(-1)[..., :-1] / truth.shape[-1]


def central(samples: int, levels: Sequence[float]) -> Array:
    """Which share of each rank's cell `[r, r + 1] / (K + 1)` lies in the central interval of each
    level, `[L, K + 1]`: coverage is this times the shares of the ranks."""
    edges = np.linspace(0, 1, samples + 2)
    half = np.asarray(levels)[:, None] / 2
    inside = np.minimum(edges[1:], 0.5 + half) - np.maximum(edges[:-1], 0.5 - half)
    shares: Array = np.maximum(inside, 0) * (samples + 1)
    return shares


def summary(
    pair: Pairs,
    parts: Sequence[Evidence],
    groups: Groups,
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
) -> SensorCalibration:
    """Average the evidence of all windows, with intervals over their episodes; `pair` names them.

    `parts` follow each other in the order of `groups` `[N]`.
    """
    weight = column([p.weight for p in parts])
    ranks = column([p.ranks for p in parts])
    covered = ranks @ central(ranks.shape[2] - 1, levels).T
    gap = (covered - np.asarray(levels)).mean(2)
    scores = {k: column([p.crps[k] for p in parts]) for k in parts[0].crps}
    square, variance = column([p.square for p in parts]), column([p.variance for p in parts])
    flat = np.repeat(weight.reshape(-1, 1), len(levels), 1), groups.repeat(weight.shape[1])
    mass = np.maximum(weight.sum(), 1e-300)
    members = ranks.shape[2] - 1
    shares = (ranks * weight[..., None]).sum((0, 1)) / mass
    at_step = (covered * weight[..., None]).sum(0) / np.maximum(weight.sum(0), 1e-300)[:, None]
    power = float((column([p.power for p in parts]) * weight).sum())
    deterministic = _deterministic(variance * weight, square * weight, power)
    return SensorCalibration(
        name=pair.name,
        kind=pair.kind,
        unit=pair.unit,
        steps=pair.steps,
        levels=tuple(levels),
        reliability=summarise(covered.reshape(-1, len(levels)), flat[0], flat[1], np.asarray, seed),
        coverage=tuple(map(tuple, at_step.tolist())),
        gap=summarise(gap, weight, groups, np.asarray, seed),
        ranks=tuple(shares.tolist()),
        crps={k: summarise(v, weight, groups, np.asarray, seed) for k, v in scores.items()},
        crps_ratio={
            k: ratio(scores["model"] * weight, v * weight, groups, seed=seed)
            for k, v in scores.items()
            if k != "model"
        },
        spread=ratio(
            (members + 1) / members * variance * weight, square * weight, groups, np.sqrt, seed
        ),
        verdict=_verdict(gap, weight, groups, deterministic, seed),
    )


def _climatology(windows: Windows, name: str, groups: Groups, seed: int) -> Tensor:
    """Window and row of `MEMBERS` rows of other episodes for each window, `[N, M, 2]`; of all where
    there is but one episode."""
    batch, rng = windows.batch, np.random.default_rng(seed)
    there = ~batch.first if name == "reward" else batch.obs.get(f"{name}.present", batch.first >= 0)
    usable = there.bool().cpu().numpy()
    chosen = np.zeros((len(groups), MEMBERS, 2), np.int64)
    for episode in np.unique(groups):
        others = np.argwhere(usable & (groups != episode)[:, None])
        others = others if len(others) else np.argwhere(usable)
        if len(others):
            chosen[groups == episode] = others[rng.integers(len(others), size=MEMBERS)]
    return torch.from_numpy(chosen).to(batch.first.device)


def _deterministic(variance: Array, square: Array, power: float) -> bool:
    """Whether the samples differ by no more than rounding does."""
    return math.sqrt(variance.sum()) <= max(1e-4 * math.sqrt(square.sum()), 1e-6 * math.sqrt(power))


def _verdict(gap: Array, weight: Array, groups: Groups, deterministic: bool, seed: int) -> Verdict:
    """Calibrated where the whole interval of the gap is within the tolerance; if not, one of the
    others where 0 is outside; else there are too few episodes to tell. A model whose samples are
    all alike makes no claim, and says nothing."""
    flat = gap.reshape(-1), weight.reshape(-1), groups.repeat(gap.shape[1])
    low, high = (float(end) for end in bootstrap(*flat, seed=seed))
    mean = float((gap * weight).sum() / max(weight.sum(), 1e-300))
    answer: Answer = "cannot be told"
    if deterministic:
        answer = "says nothing"
    elif low >= -TOLERANCE and high <= TOLERANCE:
        answer = "calibrated"
    elif high < 0:
        answer = "over-confident"
    elif low > 0:
        answer = "under-confident"
    return Verdict(answer, "mean coverage minus level", mean, low, high)
