"""LaProp against its equations, one number at a time in float64."""

import math
import time

import pytest
import torch

from reverie.learn.optim import PMIN, Group, LaProp, Optimiser, OptimiserConfig


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
            shrink = max(1.0, size / (c.agc * max(PMIN, weight))) if c.agc else 1.0
            rise = (t - 1) / c.warmup if c.warmup else 1.0
            fall = (len(gradients) - t + 1) / (c.cooldown * len(gradients)) if c.cooldown else 1.0
            rate = c.lr * min(1.0, rise, fall)
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
        OptimiserConfig(lr=1e-2, warmup=3, cooldown=0.5),
        OptimiserConfig(lr=1e-2, warmup=0, agc=0.0),
        OptimiserConfig(lr=1e-2, warmup=0, eps=1e-3, beta1=0.5, beta2=0.9),
    ],
)
def test_equals_the_scalar_equations(config):
    torch.manual_seed(0)
    start = [torch.randn(3, 2).double(), torch.zeros(4).double(), 10 * torch.randn(5).double()]
    # of every size, so that clipping is active for some tensors and not for others
    gradients = [[torch.randn_like(p) * 10.0 ** (k - 2) for p in start] for k in range(4)] * 3
    params = [torch.nn.Parameter(p.clone()) for p in start]
    named = {str(k): p for k, p in enumerate(params)}
    optimiser = Optimiser(named, config, last=len(gradients))
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
    "wrong",
    [{"lr": -1.0}, {"beta2": 1.0}, {"warmup": -1}, {"cooldown": 1.0}, {"eps": float("nan")}],
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


def weights():
    generator = torch.Generator().manual_seed(0)
    names = ("encoder.a", "encoder.b", "policy.a", "other")
    return {n: torch.nn.Parameter(torch.randn(3, generator=generator)) for n in names}


def push(optimiser, named, times=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(times):
        optimiser.zero_grad()
        for p in named.values():
            p.grad = 10 * torch.randn(3, generator=generator)
        optimiser.step()


def test_adam_is_that_of_torch_with_a_warm_up_and_a_cool_down():
    ours, theirs = weights(), weights()
    config = OptimiserConfig(kind="adam", lr=1e-2, warmup=2, cooldown=2 / 3, eps=1e-8)
    push(Optimiser(ours, config, last=6), ours, 7)
    reference = torch.optim.Adam(theirs.values(), lr=0.0, eps=1e-8)
    generator = torch.Generator().manual_seed(1)
    for share in (0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0):
        for p in theirs.values():
            p.grad = 10 * torch.randn(3, generator=generator)
        reference.param_groups[0]["lr"] = 1e-2 * share
        reference.step()
    for name in ours:
        assert torch.allclose(ours[name], theirs[name], atol=1e-7)


def test_where_nobody_knows_the_last_update_no_rate_falls():
    named = weights()
    optimiser = Optimiser(named, OptimiserConfig(kind="adam", lr=1e-2, warmup=0, cooldown=0.9))
    before = {n: p.detach().clone() for n, p in named.items()}
    push(optimiser, named, 1)
    for name, start in before.items():
        moved = (named[name] - start).abs()
        torch.testing.assert_close(moved, torch.full((3,), 1e-2), rtol=1e-4, atol=0)


def test_groups_have_their_own_rates_and_share_norms_as_they_say():
    groups = {
        "encoder.": Group(0.1, 1e-8, 2.0, "model"),
        "policy.": Group(0.2, 1e-8, 1.0, "policy"),
        "": Group(0.5, 1e-8, 2.0, "model"),
    }
    named = weights()
    optimiser = Optimiser(named, OptimiserConfig(kind="adam", warmup=0, lr=9.0), groups)
    before = {n: p.detach().clone() for n, p in named.items()}
    push(optimiser, named, 1)
    for name, rate in (("encoder.a", 0.1), ("encoder.b", 0.1), ("policy.a", 0.2), ("other", 0.5)):
        assert torch.allclose((named[name] - before[name]).abs(), torch.full((3,), rate), rtol=1e-3)
    model = torch.cat([named[n].grad for n in ("encoder.a", "encoder.b", "other")])
    assert model.norm().item() == pytest.approx(2.0, rel=1e-4)
    assert named["policy.a"].grad.norm().item() == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("kind", ["adam", "laprop"])
def test_one_norm_bounds_the_gradient_of_all(kind):
    named = weights()
    push(Optimiser(named, OptimiserConfig(kind=kind, clip=3.0)), named, 1)
    assert torch.cat([p.grad for p in named.values()]).norm().item() == pytest.approx(3, rel=1e-4)


@pytest.mark.parametrize("kind", ["adam", "laprop"])
def test_a_loaded_state_goes_on_bitwise(kind):
    config = OptimiserConfig(kind=kind, lr=1e-2, warmup=6, cooldown=0.375)
    whole, parts = weights(), weights()
    first = Optimiser(whole, config, last=8)
    push(first, whole, 4, seed=1)
    push(first, whole, 4, seed=2)
    second = Optimiser(parts, config, last=8)
    push(second, parts, 4, seed=1)
    third = Optimiser(parts, config, last=8)
    third.load_state_dict(second.state_dict())
    assert third.updates == 4
    push(third, parts, 4, seed=2)
    assert all(torch.equal(whole[n], parts[n]) for n in whole)


def test_kinds_that_do_not_exist_or_know_no_decay_are_refused():
    with pytest.raises(ValueError, match="choose laprop or adam"):
        OptimiserConfig(kind="sgd")
    with pytest.raises(ValueError, match="decay is for laprop alone"):
        OptimiserConfig(kind="adam", decay=0.1)
