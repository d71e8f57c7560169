"""What a plan optimiser is, and how one is run: ask for candidates, tell their costs.

An optimiser searches in unit coordinates u, in which every bounded action lies in [-1, 1]; `Box`
translates. It knows no world model: costs come from outside, so the same optimiser plans on a
learnt model, on a simulator or on any function.

Legend: `B` problems side by side, `K` candidates, `H` plan steps, `A` action.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from reverie.core.spec import Space


class PlanningError(RuntimeError):
    """No candidate of a problem has a finite cost."""


class Box:
    """The set of actions of one plan step, and the unit coordinates that optimisers search in.

    Continuous: a = c + s u with c the middle and s half the width of the bounds; where a bound is
    missing c = 0 and s = 1, so that u is the action. Discrete: u scores the choices, and the
    action is the one-hot of the highest.
    """

    def __init__(self, space: Space, device: torch.device | str = "cpu") -> None:
        """Raises ValueError where a lower bound is above its upper bound."""
        low, high = (
            torch.tensor(bound, dtype=torch.float32, device=device).expand(space.size)
            for bound in (space.low, space.high)
        )
        crossed = (low > high).nonzero().flatten().tolist()
        if crossed and not space.discrete:
            raise ValueError(
                f"Actions {crossed} have a lower bound above the upper one: "
                f"{[(float(low[i]), float(high[i])) for i in crossed]}; exchange them."
            )
        self.size, self.discrete = space.size, space.discrete
        if space.discrete:
            low, high = -torch.ones_like(low), torch.ones_like(high)
        bounded = (high - low).isfinite()
        self.centre = torch.where(bounded, (low + high) / 2, 0.0)
        self.scale = torch.where(bounded, (high - low) / 2, 1.0)
        self.scale = torch.where(self.scale > 0, self.scale, 1.0)
        self.low, self.high = (low - self.centre) / self.scale, (high - self.centre) / self.scale
        self._unit = bool((self.low == -1).all() and (self.high == 1).all())
        self._free = bool(low.isinf().all() and high.isinf().all())
        self._same = bool((self.centre == 0).all() and (self.scale == 1).all())

    def clip(self, units: Tensor) -> Tensor:
        """The nearest unit coordinates `[..., A]` within the bounds."""
        if self._unit:
            return units.clamp(-1.0, 1.0)
        return units if self._free else units.clamp(self.low, self.high)

    def actions(self, units: Tensor) -> Tensor:
        """Actions `[..., A]`; for discrete ones with the gradient of the softmax."""
        if self.discrete:
            hard = F.one_hot(units.argmax(-1), self.size).to(units.dtype)
            if not units.requires_grad:
                return hard
            soft = units.softmax(-1)
            return hard + soft - soft.detach()
        return units if self._same else self.centre + self.scale * units

    def units(self, actions: Tensor) -> Tensor:
        """The inverse of `actions`, clipped to the bounds; a one-hot becomes scores of -1 and 1."""
        if self.discrete:
            return actions * 2 - 1
        return self.clip(actions if self._same else (actions - self.centre) / self.scale)


class Start(NamedTuple):
    """Where a search begins, in unit coordinates."""

    guess: Tensor
    """`[B, H, A]`: the last plan, moved on."""
    elites: Tensor
    """`[B, E, H, A]`: good plans of the last search, moved on; E = 0 where an optimiser keeps
    none."""


class Optimiser(Protocol):
    """Searches plans `[B, H, A]` of least cost; its searches are immutable trees."""

    @property
    def iterations(self) -> int:
        """Rounds of ask and tell of one search."""
        ...

    @property
    def differentiates(self) -> bool:
        """Whether some candidates require a gradient, and costs must give it."""
        ...

    @property
    def kept(self) -> int:
        """E, how many good plans a search leaves to the next."""
        ...

    @property
    def repeats_proposals(self) -> bool:
        """Whether the first candidates of every `ask` are the proposals, as they are."""
        ...

    @property
    def options(self) -> int:
        """G, from how many plans the one to carry out is drawn; 1 where it is not drawn."""
        ...

    def begin(self, start: Start, box: Box, proposals: Tensor | None) -> Any:
        """A new search; `proposals` `[B, P, H, A]` are candidates in it, too."""
        ...

    def noise(self, search: Any, rows: int, generator: Generator | None) -> Tensor:
        """All randomness of the next `ask` for so many problems, `[rows, ...]`."""
        ...

    def ask(self, search: Any, box: Box, noise: Tensor) -> Tensor:
        """Candidates `[B, K, H, A]` within the bounds."""
        ...

    def tell(self, search: Any, box: Box, candidates: Tensor, costs: Tensor) -> Any:
        """The search after costs `[B, K]`; a candidate of infinite cost is not used."""
        ...

    def choose(self, search: Any, gumbel: Tensor) -> Tensor:
        """The plan `[B, H, A]` to carry out; `gumbel` `[B, G]` decides where it is drawn."""
        ...

    def spread(self, search: Any) -> Tensor:
        """How uncertain the search is about its plan, `[B, H, A]` unit standard deviations."""
        ...

    def leave(self, search: Any) -> Start:
        """What the next search begins with, before it is moved on."""
        ...


class Best(NamedTuple):
    """The best candidate that a search has seen."""

    plan: Tensor
    """`[B, H, A]`."""
    cost: Tensor
    """`[B]`."""

    @staticmethod
    def none(guess: Tensor) -> Best:
        """Nothing seen yet: the guess, of infinite cost."""
        return Best(guess, guess.new_full(guess.shape[:1], torch.inf))

    def seen(self, candidates: Tensor, costs: Tensor) -> Best:
        """The better of this and the candidates `[B, K, H, A]`."""
        cost, index = costs.min(1)
        plan = take(candidates, index.unsqueeze(1)).squeeze(1)
        better = cost < self.cost
        return Best(
            torch.where(better[:, None, None], plan, self.plan),
            torch.where(better, cost, self.cost),
        )


def take(candidates: Tensor, index: Tensor) -> Tensor:
    """Candidates `[B, E, H, A]` by index `[B, E]`."""
    if candidates.shape[0] == 1:
        return candidates[:, index[0]]
    rows = torch.arange(candidates.shape[0], device=index.device).unsqueeze(1)
    return candidates[rows, index]


def shift(start: Start, steps: int) -> Start:
    """The same plans `steps` plan steps later; the last step is repeated at the end."""
    if not steps:
        return start

    def move(plan: Tensor) -> Tensor:
        if not plan.numel():
            return plan
        rest = plan[..., steps:, :]
        end = plan[..., -1:, :].expand(*plan.shape[:-2], min(steps, plan.shape[-2]), -1)
        return torch.cat([rest, end], -2)

    return Start(move(start.guess), move(start.elites))


def nothing_known(optimiser: Optimiser, batch: int, horizon: int, box: Box) -> Start:
    """The start of a first search: the middle of the box."""
    guess = torch.zeros(batch, horizon, box.size, device=box.low.device)
    guess = box.clip(guess)
    return Start(guess, guess.unsqueeze(1).expand(-1, optimiser.kept, -1, -1))


class Solved(NamedTuple):
    """A finished search."""

    plan: Tensor
    """`[B, H, A]`, actions."""
    cost: Tensor
    """`[B]`, the least cost seen; infinite where no iteration was made."""
    iterations: int
    """How many were made."""
    units: Tensor
    """The plan in unit coordinates."""
    spread: Tensor
    """`[B, H, A]`, see `Optimiser.spread`, in unit coordinates."""
    start: Start
    """What the next search can begin with, see `shift`."""


Draw = Callable[[Callable[[int, Generator | None], Any]], Any]
"""Noise for all problems, every leaf `[B, ...]`, from a function of (problems, generator): called
once for all of them, or once for each with a generator of its own."""


def minimise(
    optimiser: Optimiser,
    cost: Callable[[Tensor], Tensor],
    box: Box,
    start: Start,
    *,
    proposals: Tensor | None = None,
    draw: Draw | None = None,
    enough: Callable[[int], bool] | None = None,
) -> Solved:
    """Search for plans of least cost.

    Args:
        optimiser: how.
        cost: from actions `[B, K, H, A]` to costs `[B, K]`; a NaN drops the candidate.
        box: the actions of one step.
        start: where to begin; `nothing_known` without a past.
        proposals: actions `[B, P, H, A]` worth trying.
        draw: makes the noise; by default from torch's own random state.
        enough: asked before each iteration with the number made so far; True ends the search.

    Raises:
        PlanningError: no candidate of some problem has a finite cost.
    """
    draw = draw or (lambda make: make(start.guess.shape[0], None))
    units = None if proposals is None else box.units(proposals)
    search = optimiser.begin(start, box, units)
    judged = _Judged(cost, proposals.shape[1] if proposals is not None else 0, optimiser)
    made, least = 0, torch.full((start.guess.shape[0],), torch.inf, device=start.guess.device)
    for _ in range(optimiser.iterations):
        if enough is not None and enough(made):
            break
        noise = draw(partial(optimiser.noise, search))
        candidates = optimiser.ask(search, box, noise)
        with torch.set_grad_enabled(candidates.requires_grad):
            costs = _checked(judged(box.actions(candidates)), candidates)
        least = torch.minimum(least, costs.detach().amin(1))
        if not made:  # later ones cannot be worse
            _require_finite(least, costs.shape[1])
        search = optimiser.tell(search, box, candidates, costs)
        made += 1
    if optimiser.options > 1:
        gumbel = draw(partial(gumbel_noise, optimiser.options, box.low))
    else:
        gumbel = box.low.new_zeros(())
    plan = optimiser.choose(search, gumbel)
    return Solved(
        box.actions(plan), least, made, plan, optimiser.spread(search), optimiser.leave(search)
    )


class _Judged:
    """A cost that is asked about the proposals once, where every `ask` begins with them."""

    def __init__(
        self, cost: Callable[[Tensor], Tensor], proposals: int, optimiser: Optimiser
    ) -> None:
        self._cost = cost
        self._count = proposals if optimiser.repeats_proposals else 0
        self._known: Tensor | None = None

    def __call__(self, plans: Tensor) -> Tensor:
        if self._known is not None:
            return torch.cat([self._known, self._cost(plans[:, self._count :])], 1)
        costs = self._cost(plans)
        if self._count:
            self._known = costs[:, : self._count]
        return costs


def gumbel_noise(count: int, like: Tensor, rows: int, generator: Generator | None) -> Tensor:
    """`[rows, count]` Gumbel(0, 1): the largest of log-weights plus it is a draw by weight."""
    device = generator.device if generator else like.device
    uniform = torch.rand(rows, count, generator=generator, device=device)
    return -(-uniform.clamp(1e-20, 1 - 1e-7).log()).log().to(like.device)


def _checked(costs: Tensor, candidates: Tensor) -> Tensor:
    """Costs with infinity for NaN."""
    if costs.shape != candidates.shape[:2]:
        raise ValueError(
            f"The cost of candidates {tuple(candidates.shape)} has shape {tuple(costs.shape)}; "
            f"it must be {tuple(candidates.shape[:2])}, one number for each candidate."
        )
    if bool(costs.isfinite().all()):
        return costs
    return torch.nan_to_num(costs, nan=torch.inf, posinf=torch.inf, neginf=torch.inf)


def _require_finite(least: Tensor, count: int) -> None:
    missing = least.isinf()
    if bool(missing.any()):
        rows = missing.nonzero().flatten().tolist()
        raise PlanningError(
            f"No candidate of problems {rows} has a finite cost ({count} candidates each). The "
            "model predicts NaN or infinity from there: look at its state and at the observation "
            "before it, and at the scale of the actions."
        )
