"""LaProp against its equations, one number at a time in float64."""

import math
import time

import pytest
import torch

from reverie.learn.optim import LaProp, OptimiserConfig


def reference(start, gradients, c):
    """The weights after each update; lists of lists of floats, tensor by tensor."""
    params = [list(p) for p in start]
    nu = [[0.0] * len(p) for p in start]
    mu = [[0.0] * len(p) for p in start]
    history = []
    for t, grads in enumerate(gradients, 1):
        for k, grad in enumerate(grads):
            size = math.sqrt(sum(g * g for g in grad))
            weight = math.sqrt(sum(p * p for p in params[k]))
            shrink = max(1.0, size / (c.agc * max(c.pmin, weight))) if c.agc else 1.0
            rate = c.lr * min(1.0, (t - 1) / c.warmup) if c.warmup else c.lr
            for i, g in enumerate(grad):
                short = g / shrink
                nu[k][i] = c.beta2 * nu[k][i] + (1 - c.beta2) * short**2
                scaled = short / (math.sqrt(nu[k][i] / (1 - c.beta2**t)) + c.eps)
                mu[k][i] = c.beta1 * mu[k][i] + (1 - c.beta1) * scaled
                params[k][i] -= rate * mu[k][i] / (1 - c.beta1**t)
        history.append([list(p) for p in params])
    return history


@pytest.mark.parametrize(
    "config",
    [
        OptimiserConfig(),
        OptimiserConfig(lr=1e-2, warmup=5),
        OptimiserConfig(lr=1e-2, warmup=0, agc=0.0),
        OptimiserConfig(lr=1e-2, warmup=0, eps=1e-3, beta1=0.5, beta2=0.9, pmin=0.1),
    ],
)
def test_equals_the_scalar_equations(config):
    torch.manual_seed(0)
    start = [torch.randn(3, 2).double(), torch.zeros(4).double(), 10 * torch.randn(5).double()]
    # of every size, so that clipping is active for some tensors and not for others
    gradients = [[torch.randn_like(p) * 10.0 ** (k - 2) for p in start] for k in range(4)] * 3
    params = [torch.nn.Parameter(p.clone()) for p in start]
    optimiser = LaProp(params, config)
    expected = reference(
        [p.flatten().tolist() for p in start],
        [[g.flatten().tolist() for g in grads] for grads in gradients],
        config,
    )
    for grads, wanted in zip(gradients, expected, strict=True):
        for p, g in zip(params, grads, strict=True):
            p.grad = g.clone()
        optimiser.step()
        for p, w in zip(params, wanted, strict=True):
            torch.testing.assert_close(
                p.detach().flatten(), torch.tensor(w, dtype=torch.float64), rtol=1e-10, atol=1e-14
            )


def test_the_gradient_is_not_changed_by_clipping():
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.full((3,), 100.0)
    LaProp([p], OptimiserConfig()).step()
    assert p.grad.tolist() == [100.0] * 3


def test_a_zero_gradient_moves_nothing_and_stays_finite():
    p = torch.nn.Parameter(torch.ones(3))
    optimiser = LaProp([p], OptimiserConfig(warmup=0))
    for _ in range(3):
        p.grad = torch.zeros(3)
        optimiser.step()
    assert p.tolist() == [1.0] * 3


def test_parameters_without_a_gradient_are_left_alone():
    used, unused = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimiser = LaProp([used, unused], OptimiserConfig(warmup=0))
    used.grad = torch.ones(2)
    optimiser.step()
    assert unused.tolist() == [1.0, 1.0]
    assert used.tolist() != [1.0, 1.0]


def test_decay_shrinks_matrices_only():
    matrix, bias = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    optimiser = LaProp([matrix, bias], OptimiserConfig(lr=0.1, warmup=0, decay=0.5))
    matrix.grad, bias.grad = torch.zeros(2, 2), torch.zeros(2)
    optimiser.step()
    torch.testing.assert_close(matrix.detach(), torch.full((2, 2), 0.95))
    assert bias.tolist() == [1.0, 1.0]


def test_minimises_a_badly_scaled_quadratic():
    p = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    optimiser = LaProp([p], OptimiserConfig(lr=1e-2, warmup=0))
    for _ in range(400):
        optimiser.zero_grad()
        (1e4 * p[0] ** 2 + 1e-4 * p[1] ** 2).backward()
        optimiser.step()
    assert p.abs().max() < 0.05


@pytest.mark.parametrize(
    "wrong", [{"lr": -1.0}, {"beta2": 1.0}, {"warmup": -1}, {"eps": float("nan")}]
)
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OptimiserConfig(**wrong)


@pytest.mark.slow
def test_is_fast():
    shapes = [(64, 64)] * 26 + [(512, 64)] * 8 + [(512, 192)] * 2 + [(255, 64)] * 3 + [(64,)] * 21
    params = [torch.nn.Parameter(torch.randn(s)) for s in shapes]
    optimiser = LaProp(params, OptimiserConfig())
    times = []
    for _ in range(50):
        for p in params:
            p.grad = torch.randn_like(p)
        start = time.perf_counter()
        optimiser.step()
        times.append(time.perf_counter() - start)
    assert sorted(times)[25] < 5e-3
