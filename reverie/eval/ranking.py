"""Does a world model rank policies as the real world does, and can so few policies tell?

Every policy has a score in each world, the mean over its episodes: I_i imagined, R_i real.

    pearson, spearman, kendall (tau-b)
    mmrv   = mean_i max_j |R_i - R_j| [sign(I_i - I_j) != sign(R_i - R_j)]
    bias   = mean_i (I_i - R_i)                        above 0: the model is optimistic
    slope  = cov(I, R) / var(I)                        1: differences are foretold in full
    regret = max_i R_i - R_(argmax I)                  the price of trusting the model's choice

The mean maximum rank violation is that of Li et al. 2024 (SIMPLER, arXiv 2405.05941), used for
video models in arXiv 2512.10675. Two policies with equal imagined scores and different real ones
violate each other here; the authors' code holds it against the better one alone.

Legend: `R` draws, `k` policies, `P` permutations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reverie.eval.interval import LEVEL, RESAMPLES, Array, bootstrap, student
from reverie.eval.nulls import from_null, to_null

Verdict = Literal["ranks policies", "cannot be told", "misleads"]
Scores = Mapping[str, Sequence[float]]
Flags = Mapping[str, Sequence[bool]]

ALPHA = 0.05
"""Largest p of a verdict."""
ENUMERATED = 8
"""Up to so many policies every permutation is tried."""
PERMUTATIONS = 9_999
"""Random ones, for more policies."""
FEW = 20
"""Fewer policies than these draw a warning."""
STATISTICS = ("pearson", "spearman", "kendall", "mmrv", "bias", "slope", "regret")


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; NaN where it could not be measured."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PolicyScore:
    """One policy in both worlds, with intervals over its episodes."""

    name: str
    imagined: Estimate
    real: Estimate
    imagined_episodes: int
    real_episodes: int


@dataclass(frozen=True)
class Agreement:
    """Imagined and real success of the same episodes: same policy, same start."""

    precision: Estimate
    """Of the episodes that succeed in the model, the share that succeed really."""
    recall: Estimate
    """Of the episodes that succeed really, the share that succeed in the model."""
    balanced_accuracy: Estimate
    """Mean of the shares foretold of successes and of failures; 0.5 is chance. NaN where all
    episodes end alike."""
    both: int
    """Episodes that succeed in both worlds."""
    imagined_only: int
    real_only: int
    neither: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same (NaN as null)."""
        result: dict[str, Any] = to_null(asdict(self))
        return result

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Agreement:
        """The inverse of `to_json`."""
        return Agreement(**_revived(value))


@dataclass(frozen=True)
class Ranking:
    """How a model ranks policies; intervals are over policies and episodes."""

    policies: tuple[PolicyScore, ...]
    pearson: Estimate
    spearman: Estimate
    kendall: Estimate
    """Tau-b."""
    mmrv: Estimate
    """In units of the real score; 0 is best."""
    bias: Estimate
    """Imagined less real score; above 0 is optimism."""
    slope: Estimate
    """Real score gained with each unit of imagined score."""
    regret: Estimate
    """Real score lost by taking the policy that the model likes best; 0 is best."""
    mmrv_chance: float
    """Mean of `mmrv` over permutations of the policies: what a model that knows nothing gets."""
    regret_chance: float
    p_ranks: float
    """Share of permutations whose Spearman correlation is as high or higher."""
    p_misleads: float
    """Share of permutations whose Spearman correlation is as low or lower."""
    permutations: int
    exact: bool
    """Whether these are all of them."""
    verdict: Verdict
    warnings: tuple[str, ...]
    """Why the verdict is weak or refused, in sentences."""
    success: Agreement | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same (NaN as null)."""
        result: dict[str, Any] = to_null(asdict(self))
        return result

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Ranking:
        """The inverse of `to_json`."""
        success = value["success"]
        return Ranking(
            **{
                **_revived(value),
                **{name: from_null(value[name]) for name in ("p_ranks", "p_misleads")},
                "policies": tuple(PolicyScore(**_revived(p)) for p in value["policies"]),
                "warnings": tuple(value["warnings"]),
                "success": None if success is None else Agreement.from_json(success),
            }
        )


def ranking(
    imagined: Scores,
    real: Scores,
    *,
    paired: bool = False,
    success: Agreement | None = None,
    seed: int = 0,
) -> Ranking:
    r"""Compare the scores of policies in a model with their real ones.

    The test is of Spearman's correlation against all permutations of the policies (up to 8), or
    against seeded random ones with `p = (1 + hits) / (1 + P)`, so that it is never 0. The model
    "ranks policies" where `p_ranks <= 0.05` and the interval lies above 0, and "misleads" where
    `p_misleads <= 0.05` and it lies below. Each claim is wrong for one model in twenty that knows
    nothing. With 3 policies or fewer p cannot fall below 1/6, and no verdict is given.

    The interval draws episodes anew for every policy, then policies; a policy drawn twice is tied
    with itself. Episodes drawn anew are noisier than those played, which lowers correlations, so
    with few episodes it leans to the low side; it is widened to hold the estimate.

    Args:
        imagined: by policy, the value of each episode in the model: a return, or success as 0 or 1.
        real: likewise in the real world, over as many decisions; not necessarily as many episodes.
        paired: episode e of a policy begins alike in both worlds; the two are then drawn together.
        success: from `agreement`, carried along.
        seed: of all draws.

    Raises:
        ValueError: the policies differ, fewer than 2, without episodes, or values not finite.
    """
    ours, theirs = _checked(imagined, real, paired)
    first, second = (np.array([[v.mean() for v in values]]) for values in (ours, theirs))
    rng = np.random.default_rng(seed)
    point = _statistics(first, second)
    drawn = _statistics(*_resample(ours, theirs, paired, rng))
    found = {n: _interval(float(point[n][0]), drawn[n], len(ours)) for n in STATISTICS}
    orders, exact = _orders(len(ours), rng)
    shuffled = _statistics(first[0][orders], np.broadcast_to(second, orders.shape))
    p_ranks, p_misleads = _p_values(float(point["spearman"][0]), shuffled["spearman"], exact)
    return Ranking(
        policies=tuple(
            PolicyScore(name, _mean(a, seed), _mean(b, seed), len(a), len(b))
            for name, a, b in zip(imagined, ours, theirs, strict=True)
        ),
        **found,
        mmrv_chance=float(shuffled["mmrv"].mean()),
        regret_chance=float(shuffled["regret"].mean()),
        p_ranks=p_ranks,
        p_misleads=p_misleads,
        permutations=len(orders),
        exact=exact,
        verdict=_verdict(len(ours), found["spearman"], p_ranks, p_misleads),
        warnings=tuple(_warnings(ours, theirs, found["spearman"])),
        success=success,
    )


def agreement(imagined: Flags, real: Flags, *, seed: int = 0) -> Agreement:
    """Does an episode succeed in the model when it succeeds really?

    Both give by policy whether each episode succeeded; episode e of a policy is the same in both.
    `seed` is that of the draws, over policies and episodes.

    Raises:
        ValueError: policies or their numbers of episodes differ.
    """
    if imagined.keys() != real.keys() or not imagined:
        raise ValueError(
            f"Success needs the same policies in both worlds; got {sorted(imagined)} imagined and "
            f"{sorted(real)} real."
        )
    counts = np.array([_outcomes(name, imagined[name], real[name]) for name in imagined])
    rng, size = np.random.default_rng(seed), len(counts)
    drawn = np.stack([rng.multinomial(c.sum(), c / c.sum(), size=RESAMPLES) for c in counts], 1)
    index = rng.integers(size, size=(RESAMPLES, size))
    rates = _rates(np.take_along_axis(drawn, index[:, :, None], 1).sum(1))
    values = _rates(counts.sum(0))
    precision, recall, balanced = (_interval(float(values[i]), rates[:, i], size) for i in range(3))
    return Agreement(precision, recall, balanced, *counts.sum(0).tolist())


def _outcomes(name: str, imagined: Sequence[bool], real: Sequence[bool]) -> list[int]:
    """Episodes that succeed in both worlds, in the model only, really only, in neither."""
    one, other = np.asarray(imagined, bool), np.asarray(real, bool)
    if one.shape != other.shape or one.ndim != 1 or not one.size:
        raise ValueError(
            f"{name}: success is compared episode by episode; got {one.shape} imagined and "
            f"{other.shape} real flags."
        )
    return [int(x.sum()) for x in (one & other, one & ~other, ~one & other, ~one & ~other)]


def _rates(counts: NDArray[np.int64]) -> Array:
    """Precision, recall and balanced accuracy `[..., 3]` of counts `[..., 4]`."""
    both, imagined, real, neither = np.moveaxis(counts.astype(np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = both / (both + imagined), both / (both + real)
        failures = neither / (neither + imagined)
    return np.stack([precision, recall, (recall + failures) / 2], -1)


def _checked(imagined: Scores, real: Scores, paired: bool) -> tuple[list[Array], list[Array]]:
    """The values of each policy, in one order."""
    if imagined.keys() != real.keys() or len(imagined) < 2:
        raise ValueError(
            f"A ranking compares at least 2 policies that were scored in both worlds; got "
            f"{sorted(imagined)} imagined and {sorted(real)} real."
        )
    worlds = []
    for word, scores in (("imagined", imagined), ("real", real)):
        values = [np.asarray(scores[name], np.float64) for name in imagined]
        for name, v in zip(imagined, values, strict=True):
            if v.ndim != 1 or not v.size or not np.isfinite(v).all():
                raise ValueError(
                    f"{name}: {word} scores must be finite, one for each episode; got {v!r}."
                )
        worlds.append(values)
    uneven = [n for n, a, b in zip(imagined, *worlds, strict=True) if len(a) != len(b)]
    if paired and uneven:
        raise ValueError(f"Paired episodes come in equal numbers; those of {uneven} do not.")
    return worlds[0], worlds[1]


def _statistics(imagined: Array, real: Array) -> dict[str, Array]:
    """The seven statistics, each `[R]`, of scores `[R, k]`; a few draws at a time."""
    rows, count = imagined.shape
    size = max(1, 1_000_000 // count**2)
    parts = [_some(imagined[i : i + size], real[i : i + size]) for i in range(0, rows, size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in STATISTICS}


def _some(imagined: Array, real: Array) -> dict[str, Array]:
    """The statistics where pairs `[R, k, k]` fit in memory."""
    gap = real[:, :, None] - real[:, None, :]
    ours, theirs = np.sign(imagined[:, :, None] - imagined[:, None, :]), np.sign(gap)
    differ = ours.any((1, 2)) & theirs.any((1, 2))
    best = imagined == imagined.max(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = np.sqrt(np.abs(ours).sum((1, 2)) * np.abs(theirs).sum((1, 2)))
        found = {
            "pearson": _correlation(imagined, real),
            # a sum of signs is twice the mid-rank, less k + 1
            "spearman": _correlation(ours.sum(2), theirs.sum(2)),
            "kendall": (ours * theirs).sum((1, 2)) / pairs,
            "slope": _covariance(imagined, real) / _covariance(imagined, imagined),
        }
    return {
        **{name: np.where(differ, value, np.nan) for name, value in found.items()},
        "mmrv": np.where(ours != theirs, np.abs(gap), 0.0).max(2).mean(1),
        "bias": (imagined - real).mean(1),
        "regret": np.maximum(real.max(1) - np.where(best, real, 0.0).sum(1) / best.sum(1), 0.0),
    }


def _covariance(one: Array, other: Array) -> Array:
    centred = one - one.mean(1, keepdims=True), other - other.mean(1, keepdims=True)
    return np.asarray((centred[0] * centred[1]).mean(1))


def _correlation(one: Array, other: Array) -> Array:
    scale = np.sqrt(_covariance(one, one)) * np.sqrt(_covariance(other, other))
    return np.clip(_covariance(one, other) / scale, -1, 1)


def _resample(
    imagined: Sequence[Array], real: Sequence[Array], paired: bool, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Scores `[R, k]` of policies and episodes drawn with replacement."""
    pairs = []
    for one, other in zip(imagined, real, strict=True):
        draw = rng.integers(len(one), size=(RESAMPLES, len(one)))
        again = draw if paired else rng.integers(len(other), size=(RESAMPLES, len(other)))
        pairs.append((_spread(one, draw), _spread(other, again)))
    index = rng.integers(len(pairs), size=(RESAMPLES, len(pairs)))
    ours, theirs = (np.stack(means, 1) for means in zip(*pairs, strict=True))
    return np.take_along_axis(ours, index, 1), np.take_along_axis(theirs, index, 1)


def _spread(values: Array, draw: NDArray[np.int64]) -> Array:
    """Means `[R]` of drawn episodes, spread by `sqrt(n / (n - 1))` around the mean, so that a few
    episodes do not seem surer than they are."""
    mean, count = values.mean(), len(values)
    return np.asarray(mean + (values[draw].mean(1) - mean) * math.sqrt(count / max(count - 1, 1)))


def _interval(value: float, draws: Array, policies: int) -> Estimate:
    """The interval at the levels of `interval.bootstrap` for k groups; NaN where a tenth of the
    draws have no value, as of correlations of 3 policies or fewer."""
    finite = draws[np.isfinite(draws)]
    if not math.isfinite(value) or len(finite) < 0.9 * len(draws):
        return Estimate(value, math.nan, math.nan)
    tail = (1 - LEVEL) / 2
    if policies > 1:
        normal = NormalDist()
        width = student(normal.inv_cdf(0.5 + LEVEL / 2), policies - 1)
        tail = normal.cdf(-math.sqrt(policies / (policies - 1)) * width)
    low, high = np.quantile(finite, [tail, 1 - tail]).tolist()
    return Estimate(value, min(low, value), max(high, value))


def _mean(values: Array, seed: int) -> Estimate:
    return Estimate(float(values.mean()), *map(float, bootstrap(values, seed=seed)))


def _orders(count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], bool]:
    """Permutations `[P, k]`, and whether they are all."""
    if count <= ENUMERATED:
        return np.array(list(itertools.permutations(range(count))), np.int64), True
    return rng.permuted(np.tile(np.arange(count), (PERMUTATIONS, 1)), axis=1), False


def _p_values(observed: float, drawn: Array, exact: bool) -> tuple[float, float]:
    """Shares of permutations that are at least as high, and at most as high."""
    if math.isnan(observed):
        return math.nan, math.nan
    hits = np.array([(drawn >= observed - 1e-9).sum(), (drawn <= observed + 1e-9).sum()])
    ranks, misleads = ((hits + (not exact)) / (len(drawn) + (not exact))).tolist()
    return ranks, misleads


def _verdict(count: int, spearman: Estimate, p_ranks: float, p_misleads: float) -> Verdict:
    if math.factorial(count) < 1 / ALPHA:
        return "cannot be told"
    if p_ranks <= ALPHA and spearman.low > 0:
        return "ranks policies"
    return "misleads" if p_misleads <= ALPHA and spearman.high < 0 else "cannot be told"


def _warnings(imagined: Sequence[Array], real: Sequence[Array], spearman: Estimate) -> list[str]:
    """What weakens the verdict."""
    count, said = len(imagined), []
    if 1 / math.factorial(count) > ALPHA:
        said.append(
            f"With {count} policies no permutation test can reach p = {ALPHA}; score at least 4, "
            f"better {FEW}."
        )
    elif count < FEW:
        said.append(f"{count} policies tell little; score {FEW} or more.")
    if math.isnan(spearman.value):
        said.append("All policies score alike in one of the worlds: there is no order to foretell.")
    if min(len(v) for v in (*imagined, *real)) < 2:
        said.append("A policy has a single episode: how much it varies is not in the intervals.")
    return said


def _revived(value: Mapping[str, Any]) -> dict[str, Any]:
    """The same entries, with those that were estimates as such again."""
    return {
        key: Estimate(*(from_null(v[end]) for end in ("value", "low", "high")))
        if isinstance(v, Mapping) and "value" in v
        else v
        for key, v in value.items()
    }
