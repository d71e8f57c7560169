"""What a plan should achieve, and what it must not do.

An objective gives each imagined state a cost; a constraint gives a number g that must be at most
zero. Both read a rollout of N = B K futures, and `rows`, which names the problem of each.

Legend: `B` problems, `N` futures, `H` model steps, `D` entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Generator, Tensor
from torch.nn import functional

from reverie.core import tree
from reverie.core.rollout import Rollout
from reverie.core.spec import Output


class Objective(Protocol):
    """A cost for each imagined state."""

    @property
    def needs(self) -> frozenset[Output]:
        """Which of the model's predictions it reads."""
        ...

    @property
    def reads_states(self) -> bool:
        """Whether it reads the imagined states, which then are all kept."""
        ...

    def __call__(self, model: Any, futures: Rollout, rows: Tensor) -> Tensor:
        """Costs `[H, N]` of s_1 .. s_H; lower is better. `rows` `[N]` is the problem of each."""
        ...


class Terminal(Protocol):
    """What a state is worth beyond the horizon; a critic is one."""

    def noise(self, batch: int, generator: Generator | None = None) -> Any:
        """The randomness of one `value`, every leaf `[B, ...]`; `()` if none."""
        ...

    def value(self, features: Tensor, noise: Any) -> Tensor:
        """The expected sum of discounted rewards from features `[B, D]` on, `[B]`."""
        ...


@dataclass(frozen=True)
class Reward:
    """Minus the reward that the model predicts."""

    needs: frozenset[Output] = frozenset({"reward"})
    reads_states = False

    def __call__(self, model: Any, futures: Rollout, rows: Tensor) -> Tensor:
        """`[H, N]`."""
        assert futures.transition.reward is not None
        return -futures.transition.reward


@dataclass(frozen=True)
class Stage:
    """A function of the imagined states: `function(model, futures)` gives costs `[H, N]`.

    The same shape serves constraints: values g `[H, N]`, kept where g <= 0.
    """

    function: Callable[[Any, Rollout], Tensor]
    needs: frozenset[Output] = frozenset()
    reads_states: bool = True

    def __call__(self, model: Any, futures: Rollout, rows: Tensor) -> Tensor:
        """`[H, N]`."""
        cost = self.function(model, futures)
        wanted = futures.actions.shape[:2]
        if cost.shape != wanted:
            raise ValueError(
                f"The function of a Stage gave shape {tuple(cost.shape)}; it must be "
                f"{tuple(wanted)}, one number for each imagined state of each future."
            )
        return cost


@dataclass(frozen=True)
class Goal:
    """Distance to a goal: an observation, an image, or features of one.

        cost = sum_i w_i d(x_i - goal_i)             x_i decoded, or the model's features
        d(e) = mean(e^2)
        d(e) = mean_s s^2 mean(average_s(e)^2)       of pictures, where `blur` has sizes s

    Images are compared in 0..1. A small thing in the wrong place costs the same wherever it is as
    long as it does not touch its place in the goal, so that pixels alone say nothing of the way;
    its averages over squares of s pixels (one every s / 4, zeros around the picture) begin to do so
    from s pixels away. The factor s^2 makes such a thing count about as much at each size.
    """

    target: Mapping[str, Tensor]
    """By name of the observation, `[...]` for all problems or `[B, ...]`; the name "features"
    stands for the model's features (of `encode(model, obs)` of the goal, for example)."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """w of each name; 1 where it is missing."""
    at: Literal["all", "last"] = "all"
    """Every imagined state counts, or the last alone."""
    blur: tuple[int, ...] = ()
    """Sides [pixels], powers of 2, of the squares over which pictures are averaged before they are
    compared, such as (1, 4, 16); 1 stands for the pixels. Without any, pixels are compared."""
    reads_states = True

    def __post_init__(self) -> None:
        if not self.target or self.at not in ("all", "last"):
            raise ValueError(
                f"A Goal needs a target and at='all' or 'last'; got {sorted(self.target)} and "
                f"at={self.at!r}."
            )
        unknown = self.weights.keys() - self.target.keys()
        if unknown:
            raise ValueError(f"Goal weights {sorted(unknown)} have no target of that name.")
        if any(size < 1 or size & (size - 1) for size in self.blur):
            raise ValueError(f"Goal blur is {self.blur}; give powers of 2, such as (1, 4, 16).")
        if self.blur and all(target.ndim < 3 for target in self.target.values()):
            raise ValueError(
                f"Goal blur compares pictures [C, h, w], and none of {sorted(self.target)} is one; "
                "leave blur out."
            )

    @property
    def needs(self) -> frozenset[Output]:
        """Observations, unless the goal is in features."""
        return frozenset() if self.target.keys() == {"features"} else frozenset({"obs"})

    def __call__(self, model: Any, futures: Rollout, rows: Tensor) -> Tensor:
        """`[H, N]`; zero but in the last row where `at` is last."""
        states, steps = futures.states, futures.actions.shape[0]
        if self.at == "last":
            states = tree.map(lambda x: x[-1:], states)
        flat, count = tree.flatten_time(states), futures.actions.shape[1]
        seen = {} if self.target.keys() == {"features"} else dict(model.decode(flat))
        if "features" in self.target:
            seen["features"] = model.features(flat)
        cost: Tensor | float = 0.0
        for name, target in self.target.items():
            if name not in seen:
                raise ValueError(
                    f"The model decodes no {name!r}; it decodes {', '.join(sorted(seen))}."
                )
            away = seen[name].unflatten(0, (-1, count)) - _wanted(target, seen[name], rows)
            cost = cost + self.weights.get(name, 1.0) * self._distance(away)
        assert isinstance(cost, Tensor)
        if self.at == "all" or steps == 1:
            return cost
        return torch.cat([cost.new_zeros(steps - 1, count), cost])

    def _distance(self, away: Tensor) -> Tensor:
        """d `[H, N]` of differences `[H, N, ...]`."""
        if not self.blur or away.ndim != 5:
            return away.square().flatten(2).mean(2)
        pictures, found = away.flatten(0, 1), []
        for size in self.blur:
            if size > min(pictures.shape[-2:]):
                raise ValueError(
                    f"Goal blur averages over squares of {size} pixels, and the pictures are "
                    f"{tuple(pictures.shape[-2:])}; take smaller squares."
                )
            cell = max(1, size // 4)
            side = size // cell
            mean = functional.avg_pool2d(functional.avg_pool2d(pictures, cell), side, 1, side // 2)
            found.append(size**2 * mean.square().flatten(1).mean(1))
        return torch.stack(found).mean(0).unflatten(0, away.shape[:2])


def _wanted(target: Tensor, like: Tensor, rows: Tensor) -> Tensor:
    """The target of each future, `[N or 1, ...]`."""
    wanted = target.to(like.device)
    if not wanted.is_floating_point():
        wanted = wanted.to(like.dtype) / (255 if wanted.dtype == torch.uint8 else 1)
    wanted = wanted.to(like.dtype)
    if wanted.ndim == like.ndim:
        return wanted[rows]
    if wanted.ndim != like.ndim - 1:
        raise ValueError(
            f"A goal of shape {tuple(target.shape)} does not fit what the model predicts, "
            f"{tuple(like.shape[1:])} for each future; give that, or that for each problem."
        )
    return wanted.unsqueeze(0)
