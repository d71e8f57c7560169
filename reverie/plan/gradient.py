"""Plans improved by the gradient of their cost, and by sampling first.

    g = dJ/du,   u <- clip(u - r Adam(g))

from several starts at once: the guess, the proposals, and the guess with noise. Adam: Kingma and
Ba 2015. The best candidate seen is carried out.

Legend: `B` problems, `K` starts, `H` plan steps, `A` action.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from reverie.plan import cem
from reverie.plan.cem import Search
from reverie.plan.mppi import MPPI
from reverie.plan.search import Best, Box, Start
from reverie.plan.shape import shaped_noise

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


class Descent(NamedTuple):
    """Where a search stands."""

    plans: Tensor
    """`[B, K, H, A]`; without the noise of the starts before the first iteration."""
    mu: Tensor
    nu: Tensor
    """Adam's moments, as `plans`."""
    best: Best
    spread: Tensor
    """`[B, H, A]`, how far the starts lie apart."""
    given: int
    """How many of the plans are the guess or proposals, and get no noise."""
    done: int


@dataclass(frozen=True)
class Gradient:
    """Adam through the model."""

    starts: int = 8
    """K."""
    iterations: int = 30
    rate: float = 0.1
    """r, in units of half the width of the bounds."""
    decay: float = 0.1
    """The rate falls to so much of itself by the last iteration."""
    deviation: float = 0.5
    """Of the noise in the starts beyond the guess and the proposals."""
    exponent: float = 1.0
    """Colour of that noise."""
    clip: float = 0.0
    """Largest norm of a plan's gradient; 0 for none."""

    def __post_init__(self) -> None:
        cem.require("Gradient", starts=self.starts, iterations=self.iterations, rate=self.rate)
        if self.deviation < 0 or self.exponent < 0 or self.clip < 0 or not 0 < self.decay <= 1:
            raise ValueError(
                f"Gradient deviation is {self.deviation}, exponent {self.exponent}, clip "
                f"{self.clip} and decay {self.decay}; give at least 0, and a decay in (0, 1]."
            )

    differentiates = True
    repeats_proposals = False
    options = 1

    @property
    def kept(self) -> int:
        """Only the best plan goes on."""
        return 0

    def begin(self, start: Start, box: Box, proposals: Tensor | None) -> Descent:
        """The guess, then proposals, then copies of the guess to which noise is added."""
        guess = start.guess.unsqueeze(1)
        given = guess if proposals is None else torch.cat([guess, proposals], 1)
        given = given[:, : self.starts]
        plans = torch.cat([given, guess.expand(-1, self.starts - given.shape[1], -1, -1)], 1)
        zeros = torch.zeros_like(plans)
        spread = torch.full_like(start.guess, self.deviation)
        return Descent(plans, zeros, zeros, Best.none(start.guess), spread, given.shape[1], 0)

    def noise(self, search: Descent, rows: int, generator: Generator | None) -> Tensor:
        """Of the starts; empty afterwards."""
        fresh = 0 if search.done else search.plans.shape[1] - search.given
        shape = (rows, fresh, *search.plans.shape[2:])
        return shaped_noise(shape, generator, search.plans.device, exponent=self.exponent)

    def ask(self, search: Descent, box: Box, noise: Tensor) -> Tensor:
        """The plans, to be differentiated."""
        plans = search.plans
        if noise.shape[1]:
            noisy = plans[:, search.given :] + self.deviation * noise
            plans = torch.cat([plans[:, : search.given], box.clip(noisy)], 1)
        return plans.detach().requires_grad_()

    def tell(self, search: Descent, box: Box, candidates: Tensor, costs: Tensor) -> Descent:
        """One step of Adam for every plan; a plan without a finite gradient stays."""
        slope = self._slope(candidates, costs)
        with torch.no_grad():
            plans = candidates.detach()
            best = search.best.seen(plans, costs.detach())
            t = search.done + 1
            mu = torch.lerp(slope, search.mu, BETA1)
            nu = torch.lerp(slope.square(), search.nu, BETA2)
            rate = self.rate * self.decay ** (search.done / max(self.iterations - 1, 1))
            step = (mu / (1 - BETA1**t)) / ((nu / (1 - BETA2**t)).sqrt() + EPS)
            return Descent(
                box.clip(plans - rate * step), mu, nu, best, search.spread, search.given, t
            )

    def _slope(self, candidates: Tensor, costs: Tensor) -> Tensor:
        finite = costs.isfinite()
        if not costs.requires_grad:
            raise ValueError(
                "The cost has no gradient to the actions; plan with a sampling optimiser "
                "(cem, icem, mppi), or with a model whose spec.grad names state and action."
            )
        with torch.enable_grad():
            total = torch.where(finite, costs, 0.0).sum()
        (slope,) = torch.autograd.grad(total, candidates)
        good = finite & slope.isfinite().flatten(2).all(2)
        slope = torch.where(good[:, :, None, None], slope, 0.0)
        if self.clip:
            norm = slope.flatten(2).norm(dim=2)[:, :, None, None]
            slope = slope * (self.clip / norm.clamp_min(self.clip))
        return slope

    def choose(self, search: Descent, gumbel: Tensor) -> Tensor:
        """The best plan seen."""
        return search.best.plan

    def spread(self, search: Descent) -> Tensor:
        """The deviation of the starts."""
        return search.spread

    def leave(self, search: Descent) -> Start:
        """The best plan seen."""
        plan = search.best.plan
        return Start(plan, plan.new_zeros(plan.shape[0], 0, *plan.shape[1:]))


class Two(NamedTuple):
    """A search by sampling, then one by gradient."""

    sampling: Search
    descent: Descent | None
    proposals: Tensor | None


@dataclass(frozen=True)
class Hybrid:
    """Sampling finds the valley, the gradient its floor."""

    sampling: cem.CEM | MPPI = field(
        default_factory=lambda: cem.CEM(samples=200, elites=20, iterations=4)
    )
    """How the search begins."""
    gradient: Gradient = field(default_factory=lambda: Gradient(starts=4, iterations=10, rate=0.05))
    """How it ends; it starts from the plan that sampling chose and from its elites."""

    differentiates = True
    repeats_proposals = False
    options = 1

    @property
    def iterations(self) -> int:
        """Of both."""
        return self.sampling.iterations + self.gradient.iterations

    @property
    def kept(self) -> int:
        """As many as sampling keeps."""
        return self.sampling.kept

    def begin(self, start: Start, box: Box, proposals: Tensor | None) -> Two:
        """Sampling begins."""
        return Two(self.sampling.begin(start, box, proposals), None, proposals)

    def noise(self, search: Two, rows: int, generator: Generator | None) -> Tensor:
        """Of the search that goes on."""
        if search.descent is None:
            return self.sampling.noise(search.sampling, rows, generator)
        return self.gradient.noise(search.descent, rows, generator)

    def ask(self, search: Two, box: Box, noise: Tensor) -> Tensor:
        """Candidates of the search that goes on."""
        if search.descent is None:
            return self.sampling.ask(search.sampling, box, noise)
        return self.gradient.ask(search.descent, box, noise)

    def tell(self, search: Two, box: Box, candidates: Tensor, costs: Tensor) -> Two:
        """The search that goes on; after the last round of sampling the gradient takes over."""
        if search.descent is not None:
            descent = self.gradient.tell(search.descent, box, candidates, costs)
            return search._replace(descent=descent)
        sampling = self.sampling.tell(search.sampling, box, candidates, costs)
        if sampling.done < self.sampling.iterations:
            return search._replace(sampling=sampling)
        best = Best.none(sampling.mean).seen(candidates, costs)
        better = sampling.best.cost < best.cost
        plan = torch.where(better[:, None, None], sampling.best.plan, best.plan)
        others = torch.cat([sampling.mean.unsqueeze(1), sampling.elites], 1)
        start = Start(plan, plan.new_zeros(plan.shape[0], 0, *plan.shape[1:]))
        return Two(sampling, self.gradient.begin(start, box, others), search.proposals)

    def choose(self, search: Two, gumbel: Tensor) -> Tensor:
        """The best of the gradient's, or sampling's where it did not come to that."""
        if search.descent is None or not search.descent.done:
            return self.sampling.choose(search.sampling, gumbel)
        return self.gradient.choose(search.descent, gumbel)

    def spread(self, search: Two) -> Tensor:
        """Of sampling."""
        return self.sampling.spread(search.sampling)

    def leave(self, search: Two) -> Start:
        """The plan that was chosen, and the elites that sampling keeps."""
        left = self.sampling.leave(search.sampling)
        if search.descent is None or not search.descent.done:
            return left
        return Start(search.descent.best.plan, left.elites)
