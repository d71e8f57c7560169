"""What a policy earns, how sure that is, and how it compares with acting at random."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from reverie.core.model import Obs
from reverie.core.spec import Bound, Space
from reverie.eval.interval import LEVEL, RESAMPLES, bootstrap, student
from reverie.eval.nulls import from_null, to_null


@dataclass(frozen=True)
class Returns:
    """Returns of n episodes: the sum of the reward of each, without discount."""

    values: tuple[float, ...]
    """One for each episode, in the order played."""
    mean: float
    std: float
    """Over episodes, with n - 1 in the denominator; NaN for one episode."""
    low: float
    """Lower end of the 95 % interval of the mean; NaN for one episode."""
    high: float
    deterministic: bool
    """Whether the policy acted by its mode; else its actions were sampled."""
    seed: int
    """Of the episodes: episode k is the same task start in every evaluation with this seed."""

    @property
    def n(self) -> int:
        """Number of episodes."""
        return len(self.values)

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same (NaN as null)."""
        result: dict[str, Any] = to_null(asdict(self) | {"n": self.n})
        return result

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Returns:
        """The inverse of `to_json`."""
        return Returns(
            values=tuple(value["values"]),
            mean=value["mean"],
            std=from_null(value["std"]),
            low=from_null(value["low"]),
            high=from_null(value["high"]),
            deterministic=value["deterministic"],
            seed=value["seed"],
        )


def summarise(values: Sequence[float], *, deterministic: bool = True, seed: int = 0) -> Returns:
    """Mean, spread and bootstrap interval of the returns of played episodes (`learn.collect.play`,
    which acts by the mode unless asked for samples)."""
    found = np.asarray(values, np.float64)
    if found.ndim != 1 or not found.size:
        raise ValueError(f"Returns are one number for each episode played; got {values!r}.")
    if not np.isfinite(found).all():
        raise ValueError(f"Returns must be finite; got {values!r}. The environment is at fault.")
    low, high = bootstrap(found, seed=seed)
    return Returns(
        values=tuple(found.tolist()),
        mean=float(found.mean()),
        std=float(found.std(ddof=1)) if found.size > 1 else math.nan,
        low=float(low),
        high=float(high),
        deterministic=deterministic,
        seed=seed,
    )


@dataclass(frozen=True)
class Comparison:
    """A policy against a baseline, usually random actions, each with its own episodes."""

    policy: Returns
    baseline: Returns
    difference: float
    """Mean of the policy less mean of the baseline."""
    difference_low: float
    difference_high: float
    ratio: float
    """Mean of the policy over mean of the baseline; NaN where the baseline's mean is not
    positive, because then the ratio says nothing."""
    ratio_low: float
    ratio_high: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same (NaN as null)."""
        numbers = {name: to_null(getattr(self, name)) for name in _NUMBERS}
        return {"policy": self.policy.to_json(), "baseline": self.baseline.to_json(), **numbers}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Comparison:
        """The inverse of `to_json`."""
        policy, baseline = (Returns.from_json(value[name]) for name in ("policy", "baseline"))
        return Comparison(policy, baseline, **{name: from_null(value[name]) for name in _NUMBERS})


_NUMBERS = tuple(f.name for f in fields(Comparison) if f.name not in ("policy", "baseline"))


def compare(policy: Returns, baseline: Returns, *, seed: int = 0) -> Comparison:
    """Difference and ratio of two mean returns, with 95 % bootstrap intervals.

    The two may have different numbers of episodes, n and m: each mean is resampled from its own.
    With errors `e = std / sqrt(n)` of the means, the ends are the quantiles `Phi(+- t_d)` of the
    draws, of Student's t with the degrees of freedom of Welch (1947),

    `d = (e_1^2 + e_2^2)^2 / (e_1^4 / (n - 1) + e_2^4 / (m - 1))`,

    which are those of the few episodes where these make most of the error. For the ratio, e is
    relative to its mean, as in the linearised error of a ratio.
    """
    rng = np.random.default_rng(seed)
    ours, theirs = (_resampled(r, rng) for r in (policy, baseline))
    nan = math.nan
    several = policy.n > 1 and baseline.n > 1
    gap = ends = (nan, nan)
    if several:
        gap = _ends(ours - theirs, policy, baseline, (1.0, 1.0))
    if several and (theirs > 0).all():
        ends = _ends(ours / theirs, policy, baseline, (policy.mean, baseline.mean))
    return Comparison(
        policy=policy,
        baseline=baseline,
        difference=policy.mean - baseline.mean,
        difference_low=gap[0],
        difference_high=gap[1],
        ratio=policy.mean / baseline.mean if baseline.mean > 0 else nan,
        ratio_low=ends[0],
        ratio_high=ends[1],
    )


def _ends(
    draws: np.ndarray, policy: Returns, baseline: Returns, scales: tuple[float, float]
) -> tuple[float, float]:
    """The ends of the interval, from resampled values; errors of the means are per `scales`."""
    normal = NormalDist()
    t = student(normal.inv_cdf(0.5 + LEVEL / 2), _degrees(policy, baseline, scales))
    low, high = np.quantile(draws, [normal.cdf(-t), normal.cdf(t)])
    return float(low), float(high)


def _degrees(policy: Returns, baseline: Returns, scales: tuple[float, float]) -> int:
    """Welch's degrees of freedom, rounded down; of the fewer episodes where nothing varies."""
    both, few = (policy, baseline), min(policy.n, baseline.n) - 1
    # scaled by both means: a factor common to both leaves d as it is, and no mean of 0 divides
    errors = [(r.std * other) ** 2 / r.n for r, other in zip(both, reversed(scales), strict=True)]
    below = sum(e**2 / (r.n - 1) for e, r in zip(errors, both, strict=True))
    return max(few, math.floor(sum(errors) ** 2 / below)) if below > 0 else few


def _resampled(returns: Returns, rng: np.random.Generator) -> np.ndarray:
    """Means of episodes drawn with replacement, spread by `sqrt(n / (n - 1))` around the mean, so
    that a few episodes do not seem surer than they are."""
    values = np.asarray(returns.values)
    means = values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(1)
    spread = math.sqrt(len(values) / max(len(values) - 1, 1))
    return np.asarray(returns.mean + (means - returns.mean) * spread)


class RandomAgent:
    """Uniform random actions within the bounds of the action space; the floor of every table.

    With a generator the actions are drawn from it. Without one they come from the agent's own
    seed: the memory counts the actions of each row, and action k of row b is a function of
    (seed, b, k), so that also a deterministic evaluation acts at random, and repeatably. The
    count goes on over episode ends, else every episode would repeat the same actions.
    """

    def __init__(self, action: Space, seed: int = 0) -> None:
        self.action = action
        self.seed = seed
        self.low, self.high = (
            torch.as_tensor(_bound(bound, action.size)).reshape(action.shape)
            for bound in (action.low, action.high)
        )
        if not action.discrete and not bool((self.low.isfinite() & self.high.isfinite()).all()):
            raise ValueError(
                f"Random actions need finite bounds; the action space has {action.low} to "
                f"{action.high}. Scale the actions, usually to -1..1."
            )

    def begin(self, batch: int, obs: Obs | None = None) -> Tensor:
        """`[B, 2]`: the row, and how many actions were chosen in it."""
        return torch.stack([torch.arange(batch), torch.zeros(batch, dtype=torch.int64)], 1)

    def act(
        self, memory: Tensor, obs: Obs, first: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """A random action `[B, A]` for each row, whatever was sensed."""
        size = (len(memory), *self.action.shape)
        if generator is not None:
            uniform = torch.rand(size, generator=generator, device=generator.device).cpu()
        else:
            draws = [_uniform((self.seed, *row), self.action.size) for row in memory.tolist()]
            uniform = torch.from_numpy(np.stack(draws)).reshape(size)
        memory = torch.stack([memory[:, 0], memory[:, 1] + 1], 1)
        if self.action.discrete:
            return torch.nn.functional.one_hot(uniform.argmax(1), size[1]).float(), memory
        return self.low + uniform * (self.high - self.low), memory


def _bound(bound: Bound, size: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(bound, np.float32), (size,)).copy()


def _uniform(key: tuple[int, ...], size: int) -> np.ndarray:
    return np.random.default_rng(key).random(size, dtype=np.float32)
