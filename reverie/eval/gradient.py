"""Is the gradient through a model worth following, and how far ahead?

Three questions, for any world model whose `step` differentiates through state and action:
`finite_difference_check`, is it the slope of the objective at all? `gradient_norms`, does it
explode or vanish? `estimator_variance`, would values alone estimate it as well or better?

The objective is a sum of costs over the first H steps, J_H = sum_{k=1}^{H} cost_k, as planners
minimise it. Legend: `B` problems, `H` model steps, `n` actions of a step, `A` action,
`V` directions, `S` sizes of the difference, `K` horizons.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn

from reverie.core import rollout, tree
from reverie.core.model import WorldModel
from reverie.eval.interval import Array, bootstrap
from reverie.imagine.mixing import Act, EstimatorVariance, future_cost, gradient_estimates
from reverie.plan.objective import Objective, Reward

Model = WorldModel[Any, Any]
Wrt = Literal["action", "state"]
Horizons = Sequence[int] | None
STEPS = {
    torch.float64: (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7),
    torch.float32: (0.1, 0.03, 0.01, 3e-3, 1e-3),
}
TOLERANCE = {torch.float64: 1e-3, torch.float32: 1e-2}


class _Case(NamedTuple):
    """A model, where it starts `[B, ...]`, what it does `[H, B, n, A]`, and what that costs."""

    model: Any
    objective: Any
    state: Any
    plan: Tensor
    noise: Any

    def origin(self, wrt: Wrt, horizon: int) -> list[Tensor]:
        """Zeros to add, each `[B, ...]`: to the plan, or to the floating leaves of the state."""
        if wrt == "action":
            return [torch.zeros_like(self.plan[:horizon].transpose(0, 1))]
        return [torch.zeros_like(x) for x in _floats(self.state).values()]

    def cost(self, wrt: Wrt, horizon: int, added: Sequence[Tensor]) -> Tensor:
        """J_H `[M, B]` where `added`, each `[M, B, ...]`, moves what `wrt` names."""
        given = self.model, self.objective, self.state, self.plan, self.noise
        if wrt == "action":
            return future_cost(*given, added[0])
        still = self.origin("action", horizon)[0].expand(len(added[0]), -1, -1, -1, -1)
        return future_cost(*given, still, dict(zip(_floats(self.state), added, strict=True)))

    def slopes(self, wrt: Wrt, horizon: int) -> list[Tensor]:
        """dJ_H to each of the inputs, `[B, ...]`, by autograd; zeros where nothing leads there."""
        with torch.enable_grad():
            added = [x.requires_grad_() for x in self.origin(wrt, horizon)]
            cost = self.cost(wrt, horizon, [x.unsqueeze(0) for x in added]).sum()
            if not cost.requires_grad:
                return [torch.zeros_like(x) for x in added]
            return list(torch.autograd.grad(cost, added, materialize_grads=True))


class Difference(NamedTuple):
    """The gradient against central differences at one horizon, in the worst of all directions."""

    horizon: int
    wrt: Wrt
    error: float
    """|central - autograd| by the larger of both, at the best size of the step."""
    step: float
    """That size, a norm over all entries of a problem."""
    autograd: float
    central: float
    disagreement: float
    """Between central differences of two neighbouring sizes, relative, where they agree best; above
    the tolerance no slope was found: the objective jumps at or next to the point."""
    radius: float
    """Up to this size all central differences agree; beyond, the objective bends or jumps."""
    corner: float = 0.0
    """Between the differences to either side, relative, at best. Above the tolerance the point is a
    corner: central differences agree there, and are no slope."""


class GradientCheck(NamedTuple):
    """The table of `finite_difference_check`; `str` prints it with its verdict."""

    rows: tuple[Difference, ...]
    tolerance: float
    precision: str
    """In which the model ran: float64 or float32."""

    @property
    def breaks_at(self) -> int | None:
        """The first horizon at which the error exceeds the tolerance; None: at none."""
        return min((r.horizon for r in self.rows if not r.error <= self.tolerance), default=None)

    @property
    def jumps_at(self) -> int | None:
        """The first horizon at which the central differences are themselves not to be trusted."""
        found = (r.horizon for r in self.rows if not r.disagreement <= self.tolerance)
        return min(found, default=None)

    @property
    def verdict(self) -> str:
        """One or two sentences."""
        words = "agree" if self.breaks_at is None else f"disagree from horizon {self.breaks_at} on"
        said = f"Gradient and central differences {words} ({self.precision}, {self.tolerance:g})."
        if self.jumps_at is not None:
            said += f" From horizon {self.jumps_at} on differences of two sizes disagree: the "
            said += "objective jumps at or next to this point, and no gradient fits."
        if any(r.error > self.tolerance < r.corner for r in self.rows):
            said += " The point is a corner of the objective, with a slope to either side."
        return said

    def __str__(self) -> str:
        head = "horizon     to    error  at step    autograd     central disagree smooth to"
        lines = [
            f"{r.horizon:>7} {r.wrt:>6} {r.error:>8.1e} {r.step:>8.0e} {r.autograd:>11.3e}"
            f" {r.central:>11.3e} {r.disagreement:>8.1e} {r.radius:>9.0e}"
            for r in self.rows
        ]
        return "\n".join([head, *lines, self.verdict])


@torch.no_grad()
def finite_difference_check(
    model: Model,
    state: Any,
    plan: Tensor,
    objective: Objective | None = None,
    horizons: Horizons = None,
    *,
    wrt: Sequence[Wrt] = ("action",),
    steps: Sequence[float] | None = None,
    directions: int = 4,
    tolerance: float | None = None,
    generator: Generator | None = None,
) -> GradientCheck:
    """Hold the gradient of J_H to central differences, horizon by horizon.

        g . v   against   (J(x + h v) - J(x - h v)) / 2h        v random, |v| = 1 in each problem

    in float64 where the model runs in it (a module is copied for that). A gradient that the model
    cuts counts as zero. Keep the plan within the bounds: a model that clips has a corner there.

    Args:
        model: any world model whose `spec.grad` names state and action.
        state: where it starts, `[B, ...]`.
        plan: `[H, B, n, A]`.
        objective: the costs; by default minus the model's reward.
        horizons: each at most H; by default all.
        wrt: the gradient to the plan ("action"), to the state at the start ("state"), or both.
        steps: sizes h, at least 2; by default 1e-2 to 1e-7 in float64, 1e-1 to 1e-3 in float32.
        directions: V.
        tolerance: of error and disagreement; by default 1e-3 in float64 and 1e-2 in float32.
        generator: of the directions and of the model's noise, which all futures share.
    """
    case, found = _begin(model, state, plan, objective or Reward(), horizons, generator)
    case, kind = _in_double(case)
    sizes = sorted(STEPS[kind] if steps is None else steps, reverse=True)
    tolerance = TOLERANCE[kind] if tolerance is None else tolerance
    if len(sizes) < 2 or sizes[-1] <= 0 or directions < 1 or not wrt:
        raise ValueError(
            f"The check was given step sizes {sizes}, {directions} directions and wrt={wrt}; give "
            "at least two positive sizes to compare, 1 direction, and one of action and state."
        )
    rows = []
    for name in wrt:
        wide = (x.expand(directions, *x.shape) for x in case.origin(name, len(plan)))
        drawn = [_normal(x, generator) for x in wide]
        for horizon in found:
            v = [x[:, :, :horizon] for x in drawn] if name == "action" else drawn
            rows.append(_compare(case, name, horizon, v, sizes, tolerance))
    return GradientCheck(tuple(rows), tolerance, str(kind).removeprefix("torch."))


def _in_double(case: _Case) -> tuple[_Case, torch.dtype]:
    """The case in float64, or as it is where the model does not run in that; and the precision."""
    with contextlib.suppress(Exception):  # Whatever the model raises says that it does not.
        module = isinstance(case.model, nn.Module)
        model = copy.deepcopy(case.model).double() if module else case.model
        wide = tree.map(lambda x: x.double() if x.is_floating_point() else x, case[2:])
        other = _Case(model, case.objective, *wide)
        if other.cost("action", 1, [other.origin("action", 1)[0][None]]).dtype == torch.float64:
            return other, torch.float64
    return case, torch.float32


def _compare(
    case: _Case, wrt: Wrt, horizon: int, v: list[Tensor], steps: list[float], tolerance: float
) -> Difference:
    """The worst of the directions `v`, each `[V, B, ...]`, and of the problems.

    Slopes are judged by the larger of both, by the root mean square over directions (one of them
    may lie along a contour), and by what rounding alone can make at the largest step: of values,
    eps J / h, and of inputs of size 1 where the slope changes along the step, eps range(J) / h^2.
    """
    norm = torch.stack([_sums(x.square(), 2) for x in v]).sum(0).sqrt()
    v = [x / norm.reshape(*norm.shape, *[1] * (x.ndim - 2)) for x in v]
    pairs = zip(v, case.slopes(wrt, horizon), strict=True)
    autograd = torch.stack([_sums(x * g, 2) for x, g in pairs]).sum(0)  # [V, B]
    sides = [case.cost(wrt, horizon, [torch.cat([h * x, -h * x]) for x in v]) for h in steps]
    values = torch.stack(sides).unflatten(1, (2, -1))  # [S, 2, V, B]
    sizes = autograd.new_tensor(steps)
    central = (values[:, 0] - values[:, 1]) / (2 * sizes[:, None, None])
    known = values.nan_to_num(0.0, 0.0, 0.0).flatten(0, 2)
    level, range_ = known.abs().amax(0), known.amax(0) - known.amin(0)  # [B]
    kind, h = torch.finfo(central.dtype), steps[0]
    least = (8 * kind.eps / tolerance * (level + range_ / h) / h).clamp_min(kind.tiny)
    typical = central.square().mean(1, keepdim=True).sqrt().maximum(least)  # [S, 1, B]
    scale = autograd.abs().maximum(central.abs()).maximum(typical)
    error, best = ((central - autograd).abs() / scale).nan_to_num(torch.inf).min(0)
    scale = central.abs().maximum(typical)
    apart = (central.diff(dim=0).abs() / scale[1:].maximum(scale[:-1])).nan_to_num(torch.inf)
    disagreement, top = apart.min(0)
    for s in reversed(range(len(apart))):  # grow from the best pair to larger steps
        top = torch.where((top == s + 1) & (apart[s] <= tolerance), s, top)
    radius = torch.where(disagreement <= tolerance, sizes[top], 0.0)
    bend = (values.sum(1) - 2 * case.cost(wrt, horizon, [0 * x[:1] for x in v])).abs() / typical
    corner = (bend / sizes[:, None, None]).nan_to_num(torch.inf).amin(0)
    worst = divmod(int(error.argmax()), error.shape[1])
    slopes = float(autograd[worst]), float(central[best[worst], *worst])
    ends = float(disagreement.max()), float(radius.min()), float(corner.max())
    return Difference(horizon, wrt, float(error[worst]), steps[int(best[worst])], *slopes, *ends)


class GradientNorms(NamedTuple):
    """How the gradient grows with the horizon; `str` prints it."""

    horizons: tuple[int, ...]
    norms: Array
    """`[B, K]`."""
    rate: float
    """Mean over problems of the slope of log(norm) against the horizon, per model step: above 0 the
    gradient explodes, below 0 it vanishes."""
    low: float
    high: float
    """Its 95 % interval over problems; NaN for one problem."""
    seconds: float
    """World time of a model step [s]."""

    def __str__(self) -> str:
        middle = np.median(self.norms, 0)
        lines = [f"{h:>7} {m:>11.3e}" for h, m in zip(self.horizons, middle, strict=True)]
        ends = f"{self.rate:.3g} [{self.low:.3g}, {self.high:.3g}]"
        last = f"It grows by exp({ends}) a step, {self.rate / self.seconds:.3g} per second."
        return "\n".join([f"{'horizon':>7} {'median norm':>11}", *lines, last])


def gradient_norms(
    model: Model,
    state: Any,
    plan: Tensor,
    objective: Objective | None = None,
    horizons: Horizons = None,
    *,
    of: Literal["objective", "state"] = "objective",
    probes: int = 4,
    generator: Generator | None = None,
    seed: int = 0,
) -> GradientNorms:
    """The norm of dJ_H/da_0, or of ds_H/ds_0, against the horizon, and its rate of growth.

    The model, state, plan, objective and horizons are those of `finite_difference_check`. With
    `of="state"` it is the Frobenius norm, |J|^2 = E |J^T u|^2 with u ~ N(0, I), by some `probes` u
    that all horizons share: its rate estimates the largest Lyapunov exponent. Leaves that `step`
    hands on untouched (the context) are no part of the state there. `seed` is of the bootstrap.
    """
    given = None if of == "state" else objective or Reward()
    case, found = _begin(model, state, plan, given, horizons, generator)
    if of == "state":
        columns = _jacobian_norms(case, found, probes, generator)
    else:
        columns = [case.slopes("action", h)[0][:, 0].flatten(1).norm(dim=1) for h in found]
    norms = torch.stack(columns, 1).double().cpu().numpy()
    rates = [
        np.polyfit(np.array(found)[usable], np.log(row[usable]), 1)[0]
        for row, usable in zip(norms, np.isfinite(norms) & (norms > 0), strict=True)
        if usable.sum() > 1
    ]
    low, high = bootstrap(np.array(rates), seed=seed) if rates else (np.nan, np.nan)
    mean, seconds = (float(np.mean(rates)) if rates else np.nan), model.spec.dt * model.spec.chunk
    return GradientNorms(found, norms, mean, float(low), float(high), seconds)


def _jacobian_norms(
    case: _Case, horizons: Sequence[int], probes: int, generator: Generator | None
) -> list[Tensor]:
    """Frobenius norms `[B]` of ds_H/ds_0, for each horizon."""
    before = _floats(case.state)
    with torch.no_grad():
        moved = case.model.step(case.state, case.plan[0], tree.select(case.noise, 0)).state
    after = _floats(moved)
    moving = [name for name in before if after[name] is not before[name]]
    if not moving or probes < 1:
        raise ValueError(
            f"Of the floating leaves {list(before)} of the state, step changes {moving}, and "
            f"{probes} probes were asked for; at least 1 of each is needed."
        )
    drawn = [{name: _normal(before[name], generator) for name in moving} for _ in range(probes)]

    def square(horizon: int, u: dict[str, Tensor]) -> Tensor:
        def pull(model: Any, futures: rollout.Rollout, rows: Tensor) -> Tensor:
            last = _floats(tree.select(futures.states, -1))
            return torch.stack([_sums(x * last[k], 1) for k, x in u.items()])

        slopes = case._replace(objective=pull).slopes("state", horizon)
        named = dict(zip(before, slopes, strict=True))
        return torch.stack([_sums(named[k].square(), 1) for k in u]).sum(0)

    return [torch.stack([square(h, u) for u in drawn]).mean(0).sqrt() for h in horizons]


def estimator_variance(
    model: Model,
    states: Any,
    act: Act,
    sigma: float | Tensor,
    samples: int,
    objective: Objective | None = None,
    horizons: Horizons = None,
    *,
    at_once: int = 64,
    generator: Generator | None = None,
) -> EstimatorVariance:
    """First- and zeroth-order estimates of the gradient of E J_H(plan + sigma w), w ~ N(0, I).

    Both use the same w, and every sample of a problem the same noise of the model. Under a policy,
    sigma w is added to its actions and the gradient is to what is added, through the policy's
    answer to the states that follow. The estimators: `reverie.imagine.mixing`.

    `act` is a plan `[H, B, n, A]`, or a policy of (state, k) that gives `[N, n, A]`; a policy needs
    `horizons`, which are else that of the plan. `sigma` is one for all actions, or a tensor `[A]`;
    `samples` are for each problem and horizon, `at_once` of them run together. `generator` makes w
    and the model's noise. Model, states and objective: as in `finite_difference_check`.
    """
    if isinstance(act, Tensor):
        plan = act
    elif horizons:
        plan = act(states, 0).expand(max(horizons), -1, -1, -1)
    else:
        raise ValueError("How far is a policy to be followed? Pass horizons.")
    horizons = horizons or [len(plan)]
    case, found = _begin(model, states, plan, objective or Reward(), horizons, generator)
    cost = partial(future_cost, model, case.objective, case.state, act, case.noise)
    estimates = []
    for horizon in found:
        at = case.origin("action", horizon)[0]
        e = gradient_estimates(cost, at, sigma, samples, generator, at_once=at_once, batch_axes=1)
        estimates.append(e)
    return EstimatorVariance(found, tuple(estimates))


def _begin(
    model: Model, state: Any, plan: Tensor, objective: Any, horizons: Horizons, generator: Any
) -> tuple[_Case, tuple[int, ...]]:
    """The case and its horizons in order, once that everything fits together."""
    lacking = {"action", "state"} - model.spec.grad
    if lacking:
        raise ValueError(
            "A gradient through a plan needs a model whose spec.grad names action and state; this "
            f"one lacks {', '.join(sorted(lacking))}. Plan by sampling with it."
        )
    model.spec.require(*sorted(objective.needs if objective else ()))
    wanted = (tree.batch_size(state), model.spec.chunk, *model.spec.action.shape)
    if plan.ndim != 4 or tuple(plan.shape[1:]) != wanted:
        raise ValueError(
            f"The plan has shape {tuple(plan.shape)}; it must be [H, B, n, A], with B, n, A = "
            f"{wanted} for this state and model."
        )
    found = tuple(sorted(set(range(1, len(plan) + 1) if horizons is None else horizons)))
    if not found or found[0] < 1 or found[-1] > len(plan):
        raise ValueError(
            f"The horizons are {list(found)}; the plan has {len(plan)} steps, give 1 to that."
        )
    noise = rollout.draw(model, len(plan), plan.shape[1], generator)
    return _Case(model, objective, tree.detach(state), plan.detach(), noise), found


def _floats(state: Any) -> dict[str, Tensor]:
    """The floating leaves of a state by name."""
    return {k: x for k, x in tree.named(state).items() if x.is_floating_point()}


def _sums(x: Tensor, lead: int) -> Tensor:
    return x.reshape(*x.shape[:lead], -1).sum(-1)


def _normal(like: Tensor, generator: Generator | None) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
