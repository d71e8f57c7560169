"""Model-predictive path integral control: candidates weighted by the exponential of their cost.

    u_i = m + d e_i                                  i = 1 .. K
    w_i = exp(-(J_i - min J) / l) / sum_j ...        l the temperature, over the elites
    m  <- sum_i w_i u_i
    d  <- sqrt(sum_i w_i (u_i - m)^2)                within [low, high], where it adapts

Williams et al. 2017 (one iteration, all candidates, fixed d); Hansen et al. 2024 (elites, several
iterations, adapted d, the plan drawn from the elites by weight).

Legend: `B` problems, `K` candidates, `E` elites, `H` plan steps, `A` action, `P` proposals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from reverie.plan import cem
from reverie.plan.cem import Search
from reverie.plan.search import Box, Start, take
from reverie.plan.shape import shaped_noise


@dataclass(frozen=True)
class MPPI:
    """Path-integral control."""

    samples: int = 512
    """K, candidates of an iteration; the proposals are among them."""
    elites: int = 0
    """Only so many of the best are weighted; 0: all."""
    iterations: int = 1
    deviation: float = 0.5
    """d at the start, in units of half the width of the bounds; where it adapts its upper end."""
    floor: float = 0.0
    """The smallest deviation; above 0 the deviation adapts to the weighted candidates."""
    temperature: float = 1.0
    """l, in units of the cost."""
    exponent: float = 0.0
    """Colour of the noise."""
    knots: int = 0
    """Noise along a spline through so many knots; 0: none."""
    execute: Literal["mean", "best", "draw"] = "mean"
    """Carry out the mean, the best candidate seen, or an elite drawn by its weight."""

    def __post_init__(self) -> None:
        cem.require(
            "MPPI",
            samples=self.samples,
            iterations=self.iterations,
            deviation=self.deviation,
            temperature=self.temperature,
        )
        if not 0 <= self.elites <= self.samples:
            raise ValueError(
                f"MPPI has {self.samples} samples and {self.elites} elites; give 0 for all, or at "
                "most as many as samples."
            )
        if not 0 <= self.floor <= self.deviation:
            raise ValueError(
                f"MPPI floor is {self.floor} and deviation {self.deviation}; the floor lies "
                "between 0 and the deviation."
            )
        if self.execute not in ("mean", "best", "draw"):
            raise ValueError(f"MPPI execute is {self.execute!r}; choose mean, best or draw.")
        if self.execute == "draw" and not self.elites:
            raise ValueError("MPPI execute='draw' draws one of the elites; set elites.")

    differentiates = False
    repeats_proposals = True
    kept = 0

    @property
    def options(self) -> int:
        """The elites, where one is drawn."""
        return self.elites if self.execute == "draw" else 1

    def begin(self, start: Start, box: Box, proposals: Tensor | None) -> Search:
        """A normal distribution around the guess."""
        if proposals is not None and proposals.shape[1] >= self.samples:
            raise ValueError(
                f"MPPI was given {proposals.shape[1]} proposals and has {self.samples} samples in "
                "all; give fewer proposals."
            )
        return cem.begin(start, proposals, self.deviation)

    def noise(self, search: Search, rows: int, generator: Generator | None) -> Tensor:
        """`[rows, K - P, H, A]` of unit variance."""
        count = self.samples - search.proposals.shape[1]
        return shaped_noise(
            (rows, count, *search.mean.shape[1:]),
            generator,
            search.mean.device,
            exponent=self.exponent,
            knots=self.knots,
        )

    def ask(self, search: Search, box: Box, noise: Tensor) -> Tensor:
        """Proposals and draws."""
        drawn = torch.addcmul(search.mean.unsqueeze(1), search.deviation.unsqueeze(1), noise)
        drawn = box.clip(drawn)
        return torch.cat([search.proposals, drawn], 1) if search.proposals.shape[1] else drawn

    def tell(self, search: Search, box: Box, candidates: Tensor, costs: Tensor) -> Search:
        """The distribution of the weighted elites."""
        if self.elites:
            costs, index = costs.topk(self.elites, largest=False)
            candidates = take(candidates, index)
        log_weights = (costs / -self.temperature).log_softmax(1)
        weights = log_weights.exp()
        mean = _mix(weights, candidates)
        lost = bool(mean.isnan().any())  # where no candidate has a finite cost
        if lost:
            mean = cem.or_before(costs, mean, search.mean)
        deviation = search.deviation
        if self.floor:
            away = (candidates - mean.unsqueeze(1)).square()
            deviation = _mix(weights, away).sqrt().clamp(self.floor, self.deviation)
            if lost:
                deviation = cem.or_before(costs, deviation, search.deviation)
        best = search.best
        if self.execute == "best":
            best = best.seen(candidates, costs)
        return Search(
            mean, deviation, candidates, log_weights, best, search.proposals, search.done + 1
        )

    def choose(self, search: Search, gumbel: Tensor) -> Tensor:
        """The mean, the best, or an elite by weight."""
        if not search.done or self.execute == "mean":
            return search.mean
        if self.execute == "best":
            return search.best.plan
        index = (search.weights + gumbel).argmax(1, keepdim=True)
        return take(search.elites, index).squeeze(1)

    def spread(self, search: Search) -> Tensor:
        """d."""
        return search.deviation

    def leave(self, search: Search) -> Start:
        """The mean."""
        return Start(
            search.mean, search.mean.new_zeros(search.mean.shape[0], 0, *search.mean.shape[1:])
        )


def _mix(weights: Tensor, values: Tensor) -> Tensor:
    """Weighted sums `[B, H, A]` of values `[B, E, H, A]`."""
    flat = values.flatten(2)
    return torch.bmm(weights.unsqueeze(1), flat).reshape(values.shape[0], *values.shape[2:])


def tdmpc2_mppi(action_size: int = 0) -> MPPI:
    """MPPI with the constants of TD-MPC2 (Hansen et al. 2024): 512 candidates, 64 elites, 6
    iterations (8 for 20 actions or more), deviation from 2 to 0.05, temperature 1 / 0.5."""
    return MPPI(
        samples=512,
        elites=64,
        iterations=8 if action_size >= 20 else 6,
        deviation=2.0,
        floor=0.05,
        temperature=2.0,
        execute="draw",
    )
