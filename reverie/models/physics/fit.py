"""Finding a world's factors in a noisy recording: system identification over whole rollouts.

    min over theta, d of  C = 1/2 sum_{t, i} r_ti^2,   r_ti = (h_i(s_t) - o_ti) / sigma_i
    s_{t+1} = step(s_t, a_{t+1}; exp theta),  s_0 = start + d,  h = decode

The losses of one step (`loss.py`) compare a step from an observed state with the next one: where
what is observed is noisy, the noise enters the step, and the factors come out biased (an error in
variables). Here noise enters nothing: the start is known, or estimated, and all else follows.

The minimum is found by Levenberg and Marquardt's method. Its gradient is that through the rollout,
exact; only its matrix J^T J, J = dr / d(theta, d), is made of central differences, whose futures
run side by side. (Where corners leave no way down, wider differences stand in: see `_descend`.)
Errors are those of nonlinear least squares (Seber and Wild 1989, ch. 2): covariance s^2 (J^T J)^-1,
s^2 = 2 C / (number of observations - number of unknowns).

Legend: `B` rows, `T` times, `M` numbers sensed, `K` learnt factors, `D` unknown numbers of a start,
V = K + D, `R` futures of a row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from reverie.core import rollout, tree
from reverie.core.model import Batch

if TYPE_CHECKING:
    from reverie.models.physics.model import Physics

TRIES = 10
"""Times that a step is made shorter before it is given up."""
WIDER = (1, 10, 100)
"""Central differences that are tried, in `FitConfig.difference`; the first with the exact slope."""


@dataclass(frozen=True)
class FitConfig:
    """How the minimum is looked for."""

    stages: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Shares of the recording that are fitted one after the other: a short future bends less, and
    leads to where a long one has its minimum."""
    iterations: int = 30
    """The most steps in each stage."""
    tolerance: float = 1e-6
    """A stage is over where a step lowers C by less than this share."""
    damping: float = 1e-3
    """Of the first step."""
    reach: float = 0.5
    """The most by which a step may change the logarithm of a factor."""
    difference: float = 1e-3
    """Half the step of the central differences: of a factor's logarithm, and of a start in the unit
    of its leaf."""

    def __post_init__(self) -> None:
        if not self.stages or not all(0 < share <= 1 for share in self.stages):
            raise ValueError(f"FitConfig stages are {self.stages}; give shares in (0, 1].")
        if min(self.iterations, self.tolerance, self.damping, self.reach, self.difference) <= 0:
            raise ValueError(f"Every number of FitConfig must be positive; got {self}.")


class Fit(NamedTuple):
    """What a recording says of a world."""

    factors: dict[str, float]
    """exp(theta)."""
    errors: dict[str, float]
    """One standard error of each factor."""
    correlation: Tensor
    """`[K, K]` between the errors of log factors: near 1 or -1, the two cannot be told apart."""
    start: Any
    """s_0 `[B, ...]`."""
    residuals: dict[str, Tensor]
    """r of each sensor `[B, T, ...]`: without structure, if the model is right."""
    misfit: float
    """s: 1 where the residuals are as large as the noise that was named; above, the model lacks
    something or the noise was larger."""
    costs: tuple[float, ...]
    """C after each step of the last stage."""


def identify(
    model: Physics,
    batch: Batch,
    noise: Mapping[str, float | Tensor],
    start: Any = None,
    free: Sequence[str] = (),
    config: FitConfig | None = None,
) -> Fit:
    """Fit the factors that `model` learns to whole recorded episodes, and leave them in it.

    Args:
        model: with `PhysicsConfig(learn=...)`; it begins where its factors are.
        batch: `[B, T]`, each row one episode from its beginning; `action[:, t]` led to
            `obs[:, t]`. All rows share the factors.
        noise: sigma of each sensor that is to be matched, in its unit, of a shape that fits the
            sensor's; 0: that number is not looked at. Only ratios matter to the factors.
        start: s_0 `[B, ...]` as far as it is known; by default how the world begins.
        free: the leaves of the state (as in `tree.named`: "world.robot.velocity",
            "world.matter.position", ...) of which `start` is a guess. Each row's gets its own
            unknowns: an entry's for a robot, one common shift for all particles or vertices. Not
            for the places of free and ball joints, which hold quaternions.
        config: how.

    Raises:
        ValueError: nothing is learnt or matched, a name is unknown, a row holds two episodes, or
            the recording does not depend on a factor.
        FloatingPointError: the gradient is not finite.
    """
    config = config or FitConfig()
    problem = _Problem(model, batch, dict(noise), start, tuple(free))
    x = problem.guess()
    costs: list[float] = []
    for share in config.stages:
        times = max(2, math.ceil(share * batch.first.shape[1]))
        x, costs = _descend(problem, x, times, config)
    return _report(problem, x, costs, config)


class _Problem(nn.Module):
    """The residuals as a function of x `[R, B, V]`: K log factors, D numbers to add to s_0."""

    def __init__(
        self,
        model: Physics,
        batch: Batch,
        noise: dict[str, float | Tensor],
        start: Any,
        free: tuple[str, ...],
    ) -> None:
        super().__init__()
        _require(model, batch, noise)
        self.model, self.free, self.names = model, free, tuple(model.factors)
        self.rows, self.times = batch.first.shape
        now = {name: x[:, 0] for name, x in batch.obs.items()}
        given = rollout.context_of(model.spec, now)
        self.start = tree.detach(model.initial(self.rows, given) if start is None else start)
        leaves = tree.named(self.start)
        if missing := sorted(set(free) - set(leaves)):
            raise ValueError(f"The state has the leaves {sorted(leaves)}, not {missing}.")
        self.sizes = [leaves[name].shape[-1] for name in free]
        self.plan = batch.action[:, 1:, None].transpose(0, 1).to(model.like)
        self.seen = {name: batch.obs[name].to(model.like).transpose(0, 1) for name in noise}
        self.weight = {}
        for name, sigma in noise.items():
            scale = torch.as_tensor(sigma).to(model.like).expand(model.spec.obs[name].shape)
            self.weight[name] = torch.where(scale > 0, 1 / scale.clamp_min(1e-30), 0.0)

    def guess(self) -> Tensor:
        """x `[B, V]` to begin with."""
        theta = [self.model.factors[name].detach() for name in self.names]
        some = torch.stack([*theta, *theta[:1] * sum(self.sizes)]).expand(self.rows, -1).clone()
        some[:, len(theta) :] = 0
        return some

    def begin(self, offset: Tensor) -> Any:
        """s_0 `[R * B, ...]` for offsets `[R, B, D]`."""
        many = len(offset)
        start = tree.map(lambda x: torch.cat([x] * many), self.start)
        leaves, moved = tree.named(start), {}
        for name, x in zip(self.free, offset.flatten(0, 1).split(self.sizes, -1), strict=True):
            like = leaves[name]
            moved[name] = like + x.reshape(len(x), *[1] * (like.ndim - 2), x.shape[-1])
        return tree.from_named(leaves | moved, start)

    def forward(self, offset: Tensor, times: int) -> dict[str, Tensor]:
        """r of each sensor `[T, R * B, ...]`; the factors are those of the model."""
        start = self.begin(offset)
        states = rollout.imagine(
            self.model, start, self.plan[: times - 1].repeat(1, len(offset), 1, 1), ()
        ).states
        states = tree.map(lambda s, x: torch.cat([s[None], x]), start, states)
        sensed = self.model.decode(tree.flatten_time(states))
        found = {}
        for name, seen in self.seen.items():
            guess = sensed[name].unflatten(0, (times, -1))
            found[name] = (
                guess - seen[:times].repeat(1, len(offset), *[1] * (seen.ndim - 2))
            ) * self.weight[name]
        return found

    def sensors(self, x: Tensor, times: int) -> dict[str, Tensor]:
        """r of each sensor `[T, R * B, ...]` at x `[R, B, V]`."""
        flat, count = x.flatten(0, 1), len(self.names)
        factors = {f"model.factors.{name}": flat[:, k] for k, name in enumerate(self.names)}
        found: dict[str, Tensor] = torch.func.functional_call(
            self, factors, (x[..., count:], times)
        )
        return found

    def residuals(self, x: Tensor, times: int) -> Tensor:
        """r `[R, B, M]` at x `[R, B, V]`."""
        found = self.sensors(x, times).values()
        flat = torch.cat([r.transpose(0, 1).flatten(1) for r in found], -1)
        return flat.unflatten(0, (len(x), -1))

    def cost(self, x: Tensor, times: int) -> float:
        """C at x `[B, V]`; infinite where the world breaks."""
        try:
            return float(self.residuals(x[None], times).double().square().sum() / 2)
        except (FloatingPointError, ValueError):  # what a solver says of what is not finite
            return math.inf

    def slope(self, x: Tensor, times: int) -> Tensor:
        """dC/dx `[K + B D]`, through the rollout."""
        with torch.enable_grad():
            at = x.detach().clone().requires_grad_()
            cost = self.residuals(at[None], times).double().square().sum() / 2
            (found,) = torch.autograd.grad(cost, at)
        return self.joined(found)

    def joined(self, x: Tensor) -> Tensor:
        """The sum of the rows' factors, then each row's start: `[B, V] -> [K + B D]`."""
        count = len(self.names)
        return torch.cat([x[:, :count].sum(0), x[:, count:].flatten()]).double()

    def moved(self, x: Tensor, step: Tensor) -> Tensor:
        """x + a step `[K + B D]`."""
        count = len(self.names)
        factors = step[:count].expand(self.rows, -1)
        return x + torch.cat([factors, step[count:].reshape(self.rows, -1)], -1).to(x)

    def normal(self, x: Tensor, times: int, h: float) -> tuple[Tensor, Tensor]:
        """J^T J `[K + B D, K + B D]` and J^T r, J by central differences that run side by side."""
        size, count = x.shape[1], len(self.names)
        off = h * torch.eye(size).to(x)[:, None]
        every = self.residuals(torch.cat([x + off, x - off, x[None]]), times).double()
        slopes = (every[:size] - every[size:-1]) / (2 * h)  # [V, B, M]
        slope = self.joined(torch.einsum("vbm,bm->bv", slopes, every[-1]))
        factors, starts = slopes[:count], slopes[count:]
        within = torch.einsum("dbm,ebm->bde", starts, starts)
        across = torch.einsum("kbm,dbm->kbd", factors, starts).flatten(1)
        top = torch.cat([torch.einsum("kbm,lbm->kl", factors, factors), across], 1)
        return torch.cat([top, torch.cat([across.T, torch.block_diag(*within)], 1)]), slope


def _descend(
    problem: _Problem, x: Tensor, times: int, config: FitConfig
) -> tuple[Tensor, list[float]]:
    """Steps that lower C; x, and C after each.

    Where no step along the exact gradient does, as on the many small corners that a body makes that
    sticks and slips, the slope over wider differences is tried: it looks past them.
    """
    cost, damping = problem.cost(x, times), config.damping
    if not math.isfinite(cost):
        raise ValueError(
            "The world breaks at the factors with which the fit begins: see what its step says, "
            "and begin closer or take smaller substeps."
        )
    costs = [cost]
    for _ in range(config.iterations):
        slope = problem.slope(x, times)
        if not bool(torch.isfinite(slope).all()):
            raise FloatingPointError(
                f"The gradient through {times} times is not finite: fit in float64 (model.double())"
                ", or a shorter recording."
            )
        if not bool(slope.any()):
            break
        for wider in WIDER:
            matrix, wide = problem.normal(x, times, wider * config.difference)
            along = slope if wider == 1 else wide
            trial, cost, damping = _lower(problem, x, times, matrix, along, damping, config)
            if cost < costs[-1]:
                break
            damping = config.damping
        else:
            break
        costs.append(cost)
        x = trial
        if costs[-2] - cost < config.tolerance * costs[-2]:
            break
    return x, costs


def _lower(
    problem: _Problem,
    x: Tensor,
    times: int,
    matrix: Tensor,
    slope: Tensor,
    damping: float,
    config: FitConfig,
) -> tuple[Tensor, float, float]:
    """The step of (J^T J + damping diag) dx = -slope, made shorter until C falls: x, C, damping."""
    count, least = len(problem.names), problem.cost(x, times)
    scale = matrix.diagonal().clamp_min(1e-12 * float(matrix.diagonal().max()) + 1e-300)
    for _ in range(TRIES):
        step = -torch.linalg.solve(matrix + torch.diag(damping * scale), slope)
        most = float(step[:count].abs().max())
        trial = problem.moved(x, step * min(1.0, config.reach / max(most, 1e-30)))
        found = problem.cost(trial, times)
        if found < least:
            return trial, found, damping / 4
        damping *= 4
    return x, math.inf, damping


@torch.no_grad()
def _report(problem: _Problem, x: Tensor, costs: list[float], config: FitConfig) -> Fit:
    """Write the factors into the model, and say how sure they are."""
    names, count = problem.names, len(problem.names)
    matrix, _ = problem.normal(x, problem.times, config.difference)
    silent = [name for k, name in enumerate(names) if float(matrix[k, k]) <= 0]
    if silent:
        raise ValueError(
            f"Nothing that was matched depends on {silent}: learn less, or sense more."
        )
    scale = matrix.diagonal().clamp_min(1e-300).sqrt()
    covariance = torch.linalg.pinv(matrix / scale / scale[:, None], hermitian=True)
    covariance = covariance / scale / scale[:, None]
    looked = sum(int((w > 0).sum()) for w in problem.weight.values())
    freedom = max(1, looked * problem.times * problem.rows - len(matrix))
    misfit = math.sqrt(2 * costs[-1] / freedom)
    errors = covariance.diagonal()[:count].sqrt()
    for k, name in enumerate(names):
        problem.model.factors[name].fill_(float(x[0, k]))
    factors = {name: math.exp(float(x[0, k])) for k, name in enumerate(names)}
    sensed = problem.sensors(x[None], problem.times)
    return Fit(
        factors,
        {name: factors[name] * misfit * float(errors[k]) for k, name in enumerate(names)},
        covariance[:count, :count] / errors / errors[:, None],
        problem.begin(x[None, :, count:]),
        {name: r.transpose(0, 1) for name, r in sensed.items()},
        misfit,
        tuple(costs),
    )


def _require(model: Physics, batch: Batch, noise: Mapping[str, float | Tensor]) -> None:
    """Whether there is something to fit, and something to fit it to."""
    if not len(model.factors):
        raise ValueError("This model learns nothing: make it with PhysicsConfig(learn=(...)).")
    known = {name for name, x in batch.obs.items() if name in model.spec.obs}
    if not noise or not set(noise) <= known:
        raise ValueError(
            f"Give the noise of sensors that are both recorded and the model's, {sorted(known)}; "
            f"got {sorted(noise)}."
        )
    if bool(batch.first[:, 1:].any()) or batch.first.shape[1] < 2:
        raise ValueError(
            "identify follows each row from its beginning; cut the recording so that a row is one "
            f"episode of at least 2 times. Episodes begin at {batch.first.nonzero().tolist()[:8]}."
        )
