"""Two estimates of one gradient, by derivatives and by values alone, and the mix of both.

    F(x)  = E f(x + s w),  w ~ N(0, I)                      the smoothed objective
    g1    = mean_i grad f(x + s w_i)                        first order
    g0    = mean_i (f(x + s w_i) - f(x)) w_i / s            zeroth order
    g     = a g1 + (1 - a) g0                               the mix

The mean of g0 is grad F for every f. That of g1 is grad F where f is continuous; at a jump it
misses what the jump adds, and at a steep but smooth step its variance grows with the steepness. The
weight solves

    min over 0 <= a <= 1 of  a^2 v1 + (1 - a)^2 v0   subject to   e + a b <= gamma

with v1, v0 the traces of the covariance of one sample, b = |g1 - g0|, and e the radius of a ball
around g0 that holds grad F with the asked confidence. The constraint is the triangle inequality,
|g - grad F| <= |g0 - grad F| + a |g1 - g0| <= e + a b: with that confidence g is off by gamma at
most. The parabola has its minimum at v0 / (v0 + v1) and rises from there on, so

    a = min(v0 / (v0 + v1), (gamma - e) / b),    and a = 0 where e > gamma

in which case not even g0 is as sure as gamma asks: take more samples. Suh et al. 2022, "Do
Differentiable Simulators Give Better Policy Gradients?", section 4. Two things differ from there.
The radius is e = z sqrt(v0 / N), with z the two-sided quantile of the normal law, where the paper
has a Bernstein bound that needs the largest |f|: for large N, and a confidence of at least 0.785,
this holds in every number of dimensions, because one dimension is the worst case (Szekely and
Bakirov 2003). And both estimates use the same w, as one run of f gives its value and its
derivative; the covariance that this brings is counted in the variance that is reported, not in a.

Legend: `n` samples run together, `N` samples in all, `*B` problems side by side (none by default),
`*D` what is differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import Any, NamedTuple

import torch
from torch import Generator, Size, Tensor

from reverie.core import rollout, tree
from reverie.core.model import Obs

Function = Callable[[Tensor], Tensor]
"""A batched scalar function f, `[n, *B, *D] -> [n, *B]`; a sample never sees another one."""

Act = Tensor | Callable[[Any, int], Tensor]
"""What is done: a plan, or a policy of (state, k)."""

LEAST_CONFIDENCE = 0.785
"""Below it, one dimension is no longer the worst case for the radius."""


class Estimates(NamedTuple):
    """Both estimates of grad F from the same N samples."""

    first: Tensor
    """g1, `[*B, *D]`."""
    zeroth: Tensor
    """g0, `[*B, *D]`."""
    first_variance: Tensor
    """v1 `[*B]`, the variance of one sample of g1, summed over its entries."""
    zeroth_variance: Tensor
    """v0 `[*B]`."""
    difference_variance: Tensor
    """`[*B]`, that of one sample of g1 - g0."""
    value: Tensor
    """The estimate of F(x), `[*B]`."""
    samples: int
    """N."""

    @property
    def free_alpha(self) -> Tensor:
        """v0 / (v0 + v1), `[*B]`."""
        return mixing_weight(self.first_variance, self.zeroth_variance, self.gap, self.gap)

    @property
    def gap(self) -> Tensor:
        """b = |g1 - g0|, `[*B]`."""
        difference = self.first - self.zeroth
        return difference.reshape(*self.value.shape, -1).norm(dim=-1)

    @property
    def gap_error(self) -> Tensor:
        """The root mean square of the gap that chance alone gives, `[*B]`: a gap above twice as
        much says that g1 is biased."""
        return (self.difference_variance / self.samples).sqrt()


class EstimatorVariance(NamedTuple):
    """Both estimates of the gradient of J_H against H; `str` prints means over problems."""

    horizons: tuple[int, ...]
    estimates: tuple[Estimates, ...]
    """At each horizon, of every problem."""

    @property
    def biased_at(self) -> int | None:
        """The first horizon at which the two differ by more than chance, at 95 %; None: at none."""
        for horizon, e in zip(self.horizons, self.estimates, strict=True):
            if _rms(e.gap) > NormalDist().inv_cdf(0.975) * _rms(e.gap_error):
                return horizon
        return None

    def __str__(self) -> str:
        lines = ["horizon   v first  v zeroth       gap by chance     alpha"]
        for horizon, e in zip(self.horizons, self.estimates, strict=True):
            one, two, alpha = e.first_variance.mean(), e.zeroth_variance.mean(), e.free_alpha.mean()
            row = float(one), float(two), _rms(e.gap), _rms(e.gap_error), float(alpha)
            lines.append(f"{horizon:>7}" + "".join(f" {x:>9.2e}" for x in row))
        return "\n".join(lines)


class Mixed(NamedTuple):
    """The mix, and what it was made of."""

    gradient: Tensor
    """g, `[*B, *D]`."""
    first: Tensor
    """g1."""
    zeroth: Tensor
    """g0."""
    alpha: Tensor
    """a, `[*B]`: 1 is g1 alone, 0 is g0 alone."""
    free_alpha: Tensor
    """v0 / (v0 + v1), `[*B]`: what a would be without gamma."""
    gap: Tensor
    """b, `[*B]`."""
    radius: Tensor
    """e, `[*B]`."""
    reachable: Tensor
    """`[*B]` bool, e <= gamma; where it is false a is 0 and more samples are needed."""
    variance: Tensor
    """Of g, summed over its entries, `[*B]`: for given a, the covariance of g1 and g0 included."""
    value: Tensor
    """The estimate of F(x), `[*B]`."""


def mixed_gradient(
    objective: Function,
    at: Tensor,
    sigma: float | Tensor,
    samples: int,
    gamma: float | None = None,
    generator: Generator | None = None,
    *,
    confidence: float = 0.95,
    at_once: int = 256,
    batch_axes: int = 0,
) -> Mixed:
    """The gradient of the smoothed objective, estimated by the mix with least variance.

    Without `gamma` a biased g1 of small variance wins: where f is a step, every derivative is zero,
    v1 = 0 and a = 1. Models with contacts need it. It is in units of the gradient; a few times
    `Mixed.radius` lets the estimates differ by as much as they are uncertain.

    Where derivatives are not finite a is 0; where values are not finite, so is the gradient.

    Args:
        objective: f, `[n, *B, *D] -> [n, *B]`, with a gradient.
        at: x, `[*B, *D]`.
        sigma: s > 0, one for all entries or a tensor that broadcasts to `at`.
        samples: N, at least 2; each runs f and its derivative once.
        gamma: the largest error allowed; None: any.
        generator: of w.
        confidence: of the radius e.
        at_once: samples run together; memory grows with it, the result does not depend on it
            beyond rounding.
        batch_axes: how many leading axes of `at` are problems of their own, each with its own a.
    """
    if not LEAST_CONFIDENCE <= confidence < 1:
        raise ValueError(
            f"The confidence is {confidence}; the radius of the zeroth-order estimate holds for "
            f"{LEAST_CONFIDENCE} <= confidence < 1."
        )
    if gamma is not None and not gamma >= 0:
        raise ValueError(
            f"gamma is {gamma}; it bounds the error of the gradient, so give at least 0, or None."
        )
    found = gradient_estimates(
        objective, at, sigma, samples, generator, at_once=at_once, batch_axes=batch_axes
    )
    first, zeroth, v1, v0, vd, value, _ = found
    radius = NormalDist().inv_cdf(0.5 + confidence / 2) * (v0 / samples).sqrt()
    alpha = mixing_weight(v1, v0, found.gap, radius, gamma)
    share = alpha.reshape(*alpha.shape, *[1] * (at.ndim - batch_axes))
    mix = torch.where(share > 0, share * first, 0.0) + (1 - share) * zeroth
    # a^2 v1 + (1 - a)^2 v0 + 2 a (1 - a) c, with the covariance c = (v1 + v0 - vd) / 2
    both = alpha * v1 + (1 - alpha) * v0 - alpha * (1 - alpha) * vd
    return Mixed(
        gradient=mix,
        first=first,
        zeroth=zeroth,
        alpha=alpha,
        free_alpha=found.free_alpha,
        gap=found.gap,
        radius=radius,
        reachable=radius <= (torch.inf if gamma is None else gamma),
        variance=torch.where(alpha > 0, both, v0) / samples,
        value=value,
    )


def future_cost(
    model: Any,
    objective: Any,
    state: Any,
    act: Act,
    noise: Any,
    offset: Tensor,
    shift: Obs | None = None,
) -> Tensor:
    """The objective of futures in a model as a function of what is added to their actions.

        J = sum_{k=1}^{H} cost_k,  s_k = step(s_{k-1}, a_{k-1} + offset_{k-1}),  s_0 = state + shift

    Of `offset`, from zero, it is a function for `mixed_gradient` with `batch_axes=1`.

    Args:
        model: any world model.
        objective: of (model, futures, rows), costs `[H, N]`, as planners minimise them.
        state: `[B, ...]`.
        act: a plan `[H, B, n, A]` or longer, or a policy of (state, k) that gives `[N, n, A]`.
        noise: `[H, B, ...]` or longer, the same for every future of a problem.
        offset: `[M, B, H, n, A]`.
        shift: by name of a leaf of the state, `[M, B, ...]`.

    Returns:
        J `[M, B]`, of N = M B futures.
    """
    many, batch, steps = offset.shape[:3]
    state = tree.map(lambda x: torch.cat([x] * many), state)
    if shift:
        leaves = tree.named(state)
        moved = {name: leaves[name] + x.flatten(0, 1) for name, x in shift.items()}
        state = tree.from_named(leaves | moved, state)
    noise = tree.map(lambda x: torch.cat([x[:steps]] * many, 1), noise)
    added = offset.flatten(0, 1).transpose(0, 1)
    if isinstance(act, Tensor):
        futures = rollout.imagine(model, state, torch.cat([act[:steps]] * many, 1) + added, noise)
    else:
        futures = rollout.imagine(model, state, lambda s, k: act(s, k) + added[k], noise, steps)
    rows = torch.arange(batch, device=offset.device).repeat(many)
    total: Tensor = objective(model, futures, rows).sum(0)
    return total.unflatten(0, (many, batch))


def mixing_weight(
    first_variance: Tensor,
    zeroth_variance: Tensor,
    gap: Tensor,
    radius: Tensor,
    gamma: float | None = None,
) -> Tensor:
    """a = min(v0 / (v0 + v1), max(gamma - e, 0) / b), all `[*B]`; see the top of this module.

    0 where v0 = 0, for then g0 is exact, and where v1 or b are not finite.
    """
    total = first_variance + zeroth_variance
    weight = torch.where(zeroth_variance > 0, zeroth_variance / total, 0.0)
    if gamma is not None:
        room = (gamma - radius).clamp_min(0)
        weight = torch.where(weight * gap > room, room / gap, weight)
    return torch.where(first_variance.isfinite() & gap.isfinite(), weight, 0.0)


def gradient_estimates(
    objective: Function,
    at: Tensor,
    sigma: float | Tensor,
    samples: int,
    generator: Generator | None = None,
    *,
    at_once: int = 256,
    batch_axes: int = 0,
) -> Estimates:
    """Both estimates and their variances, from N + 1 runs of the objective.

    The arguments are those of `mixed_gradient`.

    Raises:
        ValueError: the objective has no gradient, or gives another shape than `[n, *B]`.
    """
    at = at.detach()
    scale = torch.as_tensor(sigma, dtype=at.dtype, device=at.device)
    _require(at, scale, samples, at_once, batch_axes)
    lead = at.shape[:batch_axes]
    with torch.no_grad():
        before = _values(objective, at.unsqueeze(0), lead)
    total: list[_Sum] = []
    for start in range(0, samples, at_once):
        w = _perturbation_noise(min(at_once, samples - start), at, generator)
        values, first = _differentiate(objective, at + scale * w, lead)
        rise = (values - before).reshape(*values.shape, *[1] * (at.ndim - batch_axes))
        zeroth = rise * w / scale
        parts = [
            _summed(x.reshape(*values.shape, -1)) for x in (first, zeroth, first - zeroth, values)
        ]
        total = [_merged(*pair) for pair in zip(total, parts, strict=True)] if total else parts
    g1, g0, difference, value = total
    v1, v0, vd = (x.spread / (samples - 1) for x in (g1, g0, difference))
    first, zeroth = (x.mean.reshape(at.shape) for x in (g1, g0))
    return Estimates(first, zeroth, v1, v0, vd, value.mean.squeeze(-1), samples)


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


class _Sum(NamedTuple):
    """Mean and spread of some samples, so that no more than a part of them is in memory."""

    number: int
    mean: Tensor
    """`[*B, D]`, D all entries in one axis."""
    spread: Tensor
    """`[*B]`, squared distances from the mean, summed over samples and entries."""


def _summed(samples: Tensor) -> _Sum:
    """Of samples `[n, *B, D]`."""
    mean = samples.mean(0)
    return _Sum(len(samples), mean, (samples - mean).square().sum((0, -1)))


def _merged(one: _Sum, two: _Sum) -> _Sum:
    """Of both parts: S = S_1 + S_2 + n_1 n_2 / (n_1 + n_2) |m_2 - m_1|^2 (Chan et al. 1983)."""
    total, apart = one.number + two.number, two.mean - one.mean
    between = apart.square().sum(-1) * (one.number * two.number / total)
    return _Sum(total, one.mean + apart * (two.number / total), one.spread + two.spread + between)


def _perturbation_noise(rows: int, like: Tensor, generator: Generator | None) -> Tensor:
    """w `[rows, *B, *D]`, one draw for each row, so that parts of any size hold the same draws."""

    def noise() -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)

    return torch.stack([noise() for _ in range(rows)])


def _differentiate(objective: Function, x: Tensor, lead: Size) -> tuple[Tensor, Tensor]:
    """Values `[n, *B]` and their gradients, as `x`."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        values = _values(objective, x, lead)
        slope = None
        if values.requires_grad:
            (slope,) = torch.autograd.grad(values.sum(), x, allow_unused=True)
    if slope is None:
        raise ValueError(
            "The objective has no gradient to what it was given; use an objective whose every part "
            "is differentiable (a model whose spec.grad names state and action)."
        )
    return values.detach(), slope


def _values(objective: Function, x: Tensor, lead: Size) -> Tensor:
    values = objective(x)
    wanted = (len(x), *lead)
    if tuple(values.shape) != wanted:
        raise ValueError(
            f"The objective gave shape {tuple(values.shape)} for samples {tuple(x.shape)}; it must "
            f"be {wanted}, one number for each sample of each problem."
        )
    return values


def _require(at: Tensor, scale: Tensor, samples: int, at_once: int, batch_axes: int) -> None:
    if not bool((scale > 0).all()):
        raise ValueError(f"sigma is {scale.tolist()}; the smoothing must be wider than 0.")
    axes = list(zip(reversed(scale.shape), reversed(at.shape), strict=False))
    if scale.ndim > at.ndim or any(given not in (1, wanted) for given, wanted in axes):
        raise ValueError(
            f"sigma has shape {tuple(scale.shape)}, which does not broadcast to {tuple(at.shape)}."
        )
    if samples < 2 or at_once < 1:
        raise ValueError(
            f"samples is {samples} and at_once {at_once}; a variance needs at least 2 samples, run "
            "at least 1 at a time."
        )
    if not 0 <= batch_axes <= at.ndim:
        raise ValueError(f"batch_axes is {batch_axes}, and x has {at.ndim} axes; give 0 to that.")
