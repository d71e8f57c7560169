"""The cross-entropy method, and iCEM: fit a normal distribution to the best candidates, repeat.

    u_i = m + d e_i            i = 1 .. K, e_i of unit variance
    m  <- a m + (1 - a) mean of the elites
    d  <- a d + (1 - a) deviation of the elites

CEM: Rubinstein 1999. iCEM (Pinneri et al. 2020): coloured noise, fewer candidates in each
iteration, elites kept between iterations and between decisions, the mean tried at the end, the
best candidate seen carried out.

Legend: `B` problems, `K` candidates, `E` elites, `H` plan steps, `A` action, `P` proposals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from reverie.plan.search import Best, Box, Start, take
from reverie.plan.shape import shaped_noise


class Search(NamedTuple):
    """Where a search stands."""

    mean: Tensor
    """m `[B, H, A]`."""
    deviation: Tensor
    """d `[B, H, A]`."""
    elites: Tensor
    """The best of the last iteration, the best first, `[B, E, H, A]`."""
    weights: Tensor
    """Log-weights of the elites, `[B, E]`."""
    best: Best
    proposals: Tensor
    """`[B, P, H, A]`."""
    done: int
    """Iterations made."""


def begin(start: Start, proposals: Tensor | None, deviation: float) -> Search:
    """A search around the guess."""
    guess, elites = start
    none = guess.new_zeros(guess.shape[0], 0, *guess.shape[1:])
    return Search(
        mean=guess,
        deviation=torch.full_like(guess, deviation),
        elites=elites,
        weights=guess.new_zeros(elites.shape[:2]),
        best=Best.none(guess),
        proposals=none if proposals is None else proposals,
        done=0,
    )


def require(name: str, **values: float) -> None:
    """Raise ValueError for the first of these numbers that is not positive."""
    for field, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} {field} is {value}; it must be positive.")


def moments(elites: Tensor, costs: Tensor, before: Search) -> tuple[Tensor, Tensor]:
    """Mean and deviation `[B, H, A]` of elites whose cost `[B, E]` is finite, best first; where
    there is none, those of the search before."""
    if not bool(costs[:, -1].isinf().any()):
        deviation, mean = torch.std_mean(elites, 1, correction=0)
        return mean, deviation
    weight = costs.isfinite().to(elites.dtype)
    weight = (weight / weight.sum(1, keepdim=True).clamp_min(1))[:, :, None, None]
    mean = (weight * elites).sum(1)
    deviation = (weight * (elites - mean.unsqueeze(1)).square()).sum(1).sqrt()
    return or_before(costs, mean, before.mean), or_before(costs, deviation, before.deviation)


def or_before(costs: Tensor, now: Tensor, before: Tensor) -> Tensor:
    """`now` `[B, H, A]` where some cost `[B, E]` is finite, else `before`."""
    return torch.where(costs.isfinite().any(1)[:, None, None], now, before)


@dataclass(frozen=True)
class CEM:
    """The cross-entropy method; with other than the defaults of the last six fields, iCEM."""

    samples: int = 500
    """K, candidates of the first iteration."""
    elites: int = 50
    """E, how many of the best the distribution is fitted to."""
    iterations: int = 8
    deviation: float = 1.0
    """Standard deviation at the start, in units of half the width of the bounds."""
    floor: float = 0.0
    """The smallest deviation, so that a search does not end early."""
    momentum: float = 0.1
    """a, how much of the last distribution stays."""
    exponent: float = 0.0
    """Colour of the noise: 0 white, 2 red (Brownian)."""
    decay: float = 1.0
    """Each iteration has so many times fewer candidates, at least 2 E."""
    reuse: float = 0.0
    """Share of the elites that stay candidates, in the next iteration and the next decision."""
    execute: Literal["mean", "best"] = "mean"
    """Carry out the mean, or the best candidate seen; with best the mean is tried at the end."""

    def __post_init__(self) -> None:
        require("CEM", elites=self.elites, iterations=self.iterations, deviation=self.deviation)
        if not self.elites <= self.samples:
            raise ValueError(
                f"CEM has {self.samples} samples and {self.elites} elites; give more samples."
            )
        if not (0 <= self.momentum < 1 and 0 <= self.reuse <= 1 and self.decay >= 1):
            raise ValueError(
                f"CEM momentum is {self.momentum}, reuse {self.reuse} and decay {self.decay}; they "
                "lie in [0, 1), in [0, 1] and from 1 up."
            )
        if self.floor < 0 or self.exponent < 0:
            raise ValueError(
                f"CEM floor is {self.floor} and exponent {self.exponent}; give at least 0."
            )
        if self.execute not in ("mean", "best"):
            raise ValueError(f"CEM execute is {self.execute!r}; choose mean or best.")

    differentiates = False
    repeats_proposals = False
    options = 1

    @property
    def kept(self) -> int:
        """Elites that stay candidates."""
        return round(self.reuse * self.elites)

    def begin(self, start: Start, box: Box, proposals: Tensor | None) -> Search:
        """A normal distribution around the guess."""
        return begin(start, proposals, self.deviation)

    def noise(self, search: Search, rows: int, generator: Generator | None) -> Tensor:
        """`[rows, K, H, A]` of unit variance, coloured along H."""
        count = max(
            int(self.samples * self.decay**-search.done), min(2 * self.elites, self.samples)
        )
        shape = (rows, count, *search.mean.shape[1:])
        return shaped_noise(shape, generator, search.mean.device, exponent=self.exponent)

    def ask(self, search: Search, box: Box, noise: Tensor) -> Tensor:
        """Draws, kept elites, proposals, and at the end the mean."""
        drawn = search.mean.unsqueeze(1) + search.deviation.unsqueeze(1) * noise
        parts = [box.clip(drawn)]
        if self.kept:
            parts.append(search.elites[:, : self.kept])
        if search.proposals.shape[1]:
            parts.append(search.proposals)
        if self.execute == "best" and search.done in (0, self.iterations - 1):
            parts.append(search.mean.unsqueeze(1))
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def tell(self, search: Search, box: Box, candidates: Tensor, costs: Tensor) -> Search:
        """The distribution of the elites."""
        values, index = costs.topk(min(self.elites, costs.shape[1]), largest=False)
        elites = take(candidates, index)
        mean, deviation = moments(elites, values, search)
        if self.momentum and search.done:
            mean = torch.lerp(mean, search.mean, self.momentum)
            deviation = torch.lerp(deviation, search.deviation, self.momentum)
        if self.floor:
            deviation = deviation.clamp_min(self.floor)
        return search._replace(
            mean=mean,
            deviation=deviation,
            elites=elites,
            best=search.best.seen(elites[:, :1], values[:, :1]),
            done=search.done + 1,
        )

    def choose(self, search: Search, gumbel: Tensor) -> Tensor:
        """The mean, or the best candidate seen."""
        return search.best.plan if self.execute == "best" and search.done else search.mean

    def spread(self, search: Search) -> Tensor:
        """d."""
        return search.deviation

    def leave(self, search: Search) -> Start:
        """The mean and the kept elites."""
        return Start(search.mean, search.elites[:, : self.kept])


def icem(samples: int = 300, elites: int = 30, iterations: int = 4, exponent: float = 2.0) -> CEM:
    """iCEM with the constants of Pinneri et al. 2020: decay 1.25, a third of the elites kept,
    momentum 0.1, half of the bounds as deviation."""
    return CEM(
        samples=samples,
        elites=elites,
        iterations=iterations,
        deviation=0.5,
        exponent=exponent,
        decay=1.25,
        reuse=0.3,
        execute="best",
    )
