"""The squashed normal: its actions, its entropy, and the entries that a task does not use."""

import math

import pytest
import torch
from torch.distributions import Normal

from reverie.models.tdmpc2.config import PolicyConfig
from reverie.models.tdmpc2.policy import Policy, Squashed


def policy(masked: bool = False) -> Policy:
    net = Policy(5, 3, 8, masked, PolicyConfig()).double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p))
    return net


def features(batch: int, mask: list[float] | None = None) -> torch.Tensor:
    x = torch.randn(batch, 5, dtype=torch.float64)
    return x if mask is None else torch.cat([x, torch.tensor([mask] * batch).double()], -1)


def test_actions_are_squashed_and_the_mode_has_no_noise() -> None:
    net, x = policy(), features(4)
    made, eps = net(x), torch.randn(4, 3, dtype=torch.float64)
    mean, spread = net.net(x).chunk(2, -1)
    torch.testing.assert_close(made.log_std, -10 + 6 * (torch.tanh(spread) + 1))
    torch.testing.assert_close(net.act(x, eps), torch.tanh(mean + made.log_std.exp() * eps))
    torch.testing.assert_close(net.mode(x), torch.tanh(mean))
    torch.testing.assert_close(net.act(x, torch.zeros_like(eps)), net.mode(x))
    assert (made.log_std >= -10).all() and (made.log_std <= 2).all()


def test_noise_is_repeatable_and_normal() -> None:
    net = policy()
    one, two = (net.noise(3000, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, two) and one.shape == (3000, 3) and one.dtype == torch.float64
    assert one.std().item() == pytest.approx(1, rel=0.05)


def test_entropy_is_that_of_the_normal_times_the_entries() -> None:
    made, eps = policy()(features(4)), torch.randn(4, 3, dtype=torch.float64)
    normal = Normal(made.mean, made.log_std.exp())
    density = normal.log_prob(made.mean + made.log_std.exp() * eps).sum(-1)
    torch.testing.assert_close(made.scaled_entropy(eps), -3 * density)


def test_the_published_formula_gives_the_same() -> None:
    """-l (A l' / (l + 1e-8)), with l after tanh and l' before."""
    made, eps = policy()(features(50)), torch.randn(50, 3, dtype=torch.float64)
    before = (-0.5 * eps.square() - made.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)
    after = before - torch.log(torch.relu(1 - made.sample(eps).square()) + 1e-6).sum(-1)
    published = -after * (3 * before / (after + 1e-8))
    torch.testing.assert_close(made.scaled_entropy(eps), published, rtol=1e-5, atol=1e-6)


def test_unused_entries_are_zero_and_count_for_nothing() -> None:
    net, x = policy(masked=True), features(4, [1.0, 0.0, 1.0])
    eps = torch.randn(4, 3, dtype=torch.float64)
    assert not net.act(x, eps)[:, 1].any() and not net.mode(x)[:, 1].any()
    assert net.act(x, eps)[:, [0, 2]].all()
    made = net(x)
    other = made.scaled_entropy(eps.index_fill(1, torch.tensor([1]), 9.0))
    torch.testing.assert_close(made.scaled_entropy(eps), other)
    used = Squashed(made.mean[:, [0, 2]], made.log_std[:, [0, 2]])
    constant = 2 * 0.5 * math.log(2 * math.pi)  # of the entry that is not used, as published
    torch.testing.assert_close(
        made.scaled_entropy(eps), used.scaled_entropy(eps[:, [0, 2]]) + constant
    )
