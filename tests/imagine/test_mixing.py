"""Both estimates have the means and variances of their closed forms, and the mix keeps its word."""

from functools import partial
from math import exp, pi, sqrt

import pytest
import torch

from reverie.core import rollout
from reverie.imagine.mixing import (
    EstimatorVariance,
    future_cost,
    gradient_estimates,
    mixed_gradient,
    mixing_weight,
)
from tests.imagine.worlds import Glide

Q = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 0.7]], dtype=torch.float64)
C = torch.tensor([0.4, -1.0, 0.2], dtype=torch.float64)
X = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
ZERO = torch.zeros(1, dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def quadratic(x):
    """f = x' Q x / 2 + c' x."""
    return ((x @ Q) * x).sum(-1) / 2 + x @ C


def step(x):
    """1 where the first entry is positive, whose derivative is zero."""
    return (x[..., 0].sign() + 1) / 2


def smooth_step(stiffness):
    return lambda x: torch.sigmoid(stiffness * x[..., 0])


def bell(x, sigma):
    """The slope of Phi(x / sigma): of the smoothed step."""
    return exp(-0.5 * (x / sigma) ** 2) / sqrt(2 * pi) / sigma


def test_means_and_variances_of_a_quadratic():
    """g1 = Q (x + s w) + c; g0 = (g' w) w + s (w' Q w) w / 2, with the moments of a normal w:
    E (g'w)^2 |w|^2 = (d + 2) |g|^2 and E (w'Qw)^2 |w|^2 = (d + 4) ((tr Q)^2 + 2 tr Q^2)."""
    sigma, count, d = 0.5, 60000, 3
    found = gradient_estimates(quadratic, X, sigma, count, seeded(), at_once=8192)
    g, square = Q @ X + C, (Q @ Q).trace()
    v1 = sigma**2 * square
    fourth = (d + 4) * (Q.trace() ** 2 + 2 * square)
    v0 = (d + 1) * g.square().sum() + sigma**2 / 4 * fourth
    assert found.first_variance.item() == pytest.approx(v1.item(), rel=0.03)
    assert found.zeroth_variance.item() == pytest.approx(v0.item(), rel=0.05)
    assert torch.allclose(found.first, g, atol=4 * sqrt(v1 / count))
    assert torch.allclose(found.zeroth, g, atol=4 * sqrt(v0 / count))
    assert found.gap < 3 * found.gap_error
    value = quadratic(X) + sigma**2 / 2 * Q.trace()
    assert found.value.item() == pytest.approx(value.item(), abs=0.02)
    mixed = mixed_gradient(quadratic, X, sigma, count, generator=seeded(), at_once=8192)
    assert mixed.alpha.item() == pytest.approx((v0 / (v0 + v1)).item(), rel=0.01)
    assert torch.equal(mixed.gradient, mixed.alpha * mixed.first + (1 - mixed.alpha) * mixed.zeroth)


def test_the_variance_of_the_mix_is_that_of_repetitions():
    runs = [mixed_gradient(quadratic, X, 2.0, 40, generator=seeded(s)) for s in range(1500)]
    alpha = torch.stack([r.alpha for r in runs]).mean()
    spread = torch.stack([r.gradient for r in runs]).var(0).sum()
    said = torch.stack([r.variance for r in runs]).mean()
    assert 0.5 < alpha < 0.99
    assert said.item() == pytest.approx(spread.item(), rel=0.12)


def test_the_first_order_does_not_see_a_step_and_the_mix_with_gamma_does():
    at, sigma, count = ZERO + 0.1, 0.3, 4000
    truth = bell(0.1, sigma)
    trap = mixed_gradient(step, at, sigma, count, generator=seeded())
    assert trap.first.item() == 0.0
    assert trap.gradient.item() == 0.0  # no variance, all of the weight: what gamma is for
    assert trap.alpha.item() == 1.0
    assert trap.zeroth.item() == pytest.approx(truth, abs=1.5 * trap.radius.item())
    tight = mixed_gradient(step, at, sigma, count, 1.001 * trap.radius.item(), seeded())
    assert tight.alpha < 0.01
    assert tight.free_alpha == 1.0
    assert tight.gradient.item() == pytest.approx(truth, abs=1.5 * trap.radius.item())
    # between the two, alpha uses up what gamma leaves: e + alpha b = gamma
    loose = mixed_gradient(step, at, sigma, count, 3 * trap.radius.item(), seeded())
    assert (loose.radius + loose.alpha * loose.gap).item() == pytest.approx(3 * trap.radius.item())
    assert 0 < loose.alpha < 1
    few = mixed_gradient(step, at, sigma, count, 0.5 * trap.radius.item(), seeded())
    assert not few.reachable
    assert few.alpha == 0
    assert torch.equal(few.gradient, few.zeroth)


@pytest.mark.parametrize("axes", [1, 6])
def test_gamma_is_kept_and_the_radius_holds_as_often_as_it_says(axes):
    at, sigma = torch.zeros(axes, dtype=torch.float64), 0.5
    truth = torch.zeros_like(at)
    truth[0] = bell(0.0, sigma)
    right, kept = [], []
    for seed in range(400):
        found = mixed_gradient(step, at, sigma, 200, 0.5, seeded(seed), confidence=0.9)
        right.append((found.zeroth - truth).norm() <= found.radius)
        if found.reachable:
            kept.append((found.gradient - truth).norm() <= 0.5)
    covered = sum(right) / len(right)
    assert len(kept) > 200
    assert sum(kept) / len(kept) > 0.87
    assert 0.86 < covered < 0.94 if axes == 1 else covered > 0.86


def test_a_steep_step_takes_weight_from_the_first_order():
    """v1 -> k p(0) / 6 for f = sigmoid(k x), p the density of what is added: it has no bound."""
    sigma, variances, alphas = 1.0, {}, []
    for k in (2.0, 100.0, 400.0):
        found = mixed_gradient(smooth_step(k), ZERO, sigma, 40000, None, seeded(), at_once=10000)
        variances[k] = gradient_estimates(smooth_step(k), ZERO, sigma, 40000, seeded())[2].item()
        alphas.append(found.alpha.item())
        assert found.gradient.item() == pytest.approx(
            bell(0.0, sqrt(sigma**2 + 1.7**2 / k**2)), rel=0.05
        )
    assert variances[400.0] == pytest.approx(400 * bell(0.0, sigma) / 6, rel=0.15)
    assert variances[400.0] / variances[100.0] == pytest.approx(4.0, rel=0.2)
    assert alphas[0] > 0.8
    assert alphas[2] < 0.02


def test_the_weight_is_the_minimum_of_what_it_minimises():
    v1, v0, gap, radius = (torch.tensor(x) for x in (2.0, 3.0, 0.8, 0.1))
    grid = torch.linspace(0, 1, 10001)
    for gamma in (None, 0.6, 0.3, 0.1, 0.05):
        weight = mixing_weight(v1, v0, gap, radius, gamma)
        allowed = grid[radius + grid * gap <= (torch.inf if gamma is None else gamma) + 1e-6]
        cost = allowed**2 * v1 + (1 - allowed) ** 2 * v0
        best = allowed[cost.argmin()] if len(allowed) else 0.0
        assert weight.item() == pytest.approx(float(best), abs=2e-4)


def test_descent_crosses_a_cliff_that_the_first_order_cannot_see():
    def cliff(x):  # 1 before x = 1, then 0, on a slope that rises towards it
        return (1 - step(x - 1)) + 0.05 * x[..., 0]

    ends = {}
    for gamma in (None, 0.0):
        x, generator = ZERO.clone(), seeded()
        for _ in range(60):
            found = mixed_gradient(cliff, x, 0.7, 100, gamma, generator)
            x = x - 0.1 * found.gradient
        ends[gamma] = cliff(x).item()
    assert ends[None] > 0.6
    assert ends[0.0] < 0.2


def test_problems_side_by_side_are_those_one_by_one_and_parts_make_no_difference():
    ends = torch.stack([X, -2 * X])
    scale = torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)
    both = mixed_gradient(quadratic, ends, scale, 50, 0.5, seeded(), batch_axes=1)
    parts = mixed_gradient(quadratic, ends, scale, 50, 0.5, seeded(), batch_axes=1, at_once=7)
    for name, one, two in zip(both._fields, both, parts, strict=True):
        assert torch.allclose(one, two), name
    assert both.alpha.shape == (2,)
    drawn = torch.stack([torch.randn(2, 3, generator=g, dtype=X.dtype) for g in [seeded()] * 50])
    for b in range(2):
        slopes = (ends[b] + scale * drawn[:, b]) @ Q + C
        rises = quadratic(ends[b] + scale * drawn[:, b]) - quadratic(ends[b])
        zeroth = rises[:, None] * drawn[:, b] / scale
        assert torch.allclose(both.first[b], slopes.mean(0))
        assert torch.allclose(both.zeroth[b], zeroth.mean(0))
        v1, v0 = slopes.var(0).sum(), zeroth.var(0).sum()
        assert torch.allclose(both.free_alpha[b], v0 / (v0 + v1))


def test_what_is_not_finite_gives_way_and_what_is_constant_has_no_slope():
    def kink(x):  # its derivative is 0 * inf where x < 0
        return torch.where(x > 0, x, 0 * x)[..., 0].sqrt()

    found = mixed_gradient(kink, ZERO, 1.0, 200, None, seeded())
    assert found.first.isnan().all()
    assert found.alpha == 0
    assert torch.equal(found.gradient, found.zeroth)
    assert found.variance.isfinite()
    flat = mixed_gradient(lambda x: 0 * x.sum(-1) + 3, X, 1.0, 10, 0.1, seeded())
    assert torch.equal(flat.gradient, torch.zeros_like(X))
    assert flat.value == 3


def test_the_cost_of_futures_is_that_of_a_loop():
    model, steps = Glide(endings=False), 4
    state = torch.randn(2, 3, dtype=torch.float64)
    plan = torch.rand(steps, 2, 1, 2, dtype=torch.float64)
    noise = rollout.draw(model, steps, 2, seeded())
    offset = torch.randn(3, 2, steps, 1, 2, dtype=torch.float64)
    shift = {"": torch.randn(3, 2, 3, dtype=torch.float64)}
    problem = []

    def objective(model, futures, rows):
        problem.append(rows)
        return -futures.transition.reward

    def policy(s, k):
        return torch.tanh(s[:, None, :2])

    for act in (plan, policy):
        costs = future_cost(model, objective, state, act, noise, offset, shift)
        for m in range(3):
            s, total = state + shift[""][m], 0.0
            for k in range(steps):
                action = (plan[k] if act is plan else policy(s, k)) + offset[m, :, k]
                s, reward, _, _, _ = model.step(s, action, noise[k])
                total = total - reward
            assert torch.allclose(costs[m], total)
    assert problem[0].tolist() == [0, 1, 0, 1, 0, 1]
    cost = partial(future_cost, model, objective, state, plan, noise)
    found = mixed_gradient(cost, 0 * offset[0], 1e-4, 20, None, seeded(), batch_axes=1)
    at = torch.zeros_like(offset[:1]).requires_grad_()
    (slope,) = torch.autograd.grad(cost(at).sum(), at)
    assert torch.allclose(found.first, slope[0], atol=1e-2)
    table = EstimatorVariance((steps,), (gradient_estimates(cost, at[0], 0.1, 9, batch_axes=1),))
    assert len(str(table).splitlines()) == 2


def test_bad_input_is_refused():
    run = partial(mixed_gradient, quadratic, X)
    with pytest.raises(ValueError, match="wider than 0"):
        run(0.0, 10)
    with pytest.raises(ValueError, match="does not broadcast"):
        run(torch.ones(2, dtype=torch.float64), 10)
    with pytest.raises(ValueError, match="at least 2 samples"):
        run(1.0, 1)
    with pytest.raises(ValueError, match="gamma is -1"):
        run(1.0, 10, -1.0)
    with pytest.raises(ValueError, match="the radius of the zeroth-order"):
        run(1.0, 10, confidence=0.5)
    with pytest.raises(ValueError, match="batch_axes is 2"):
        run(1.0, 10, batch_axes=2)
    with pytest.raises(ValueError, match="one number for each sample"):
        mixed_gradient(lambda x: x, X, 1.0, 10)
    with pytest.raises(ValueError, match="has no gradient"):
        mixed_gradient(lambda x: x.detach().sum(-1), X, 1.0, 10)
