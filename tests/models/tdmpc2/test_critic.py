"""Numbers from bins, and the value with which a plan ends."""

import pytest
import torch

from reverie.core.returns import symlog, twohot
from reverie.models.tdmpc2.critic import cross_entropy, even_bins, number
from tests.models.tdmpc2 import tiny


def published_two_hot(value: float, count: int, limit: float) -> torch.Tensor:
    """Weights by counting bins from the lowest, as the published code does."""
    width = 2 * limit / (count - 1)
    place = (float(symlog(torch.tensor(value))) + limit) / width
    place = min(max(place, 0.0), count - 1.0)
    weights = torch.zeros(count)
    weights[int(place)] = 1 - (place - int(place))
    weights[(int(place) + 1) % count] += place - int(place)
    return weights


@pytest.mark.parametrize("value", [0.0, 0.3, -7.5, 1000.0, -1e9, 1e9])
def test_two_hot_is_linear_in_symlog_space(value: float) -> None:
    bins, logits = even_bins(101, 10.0), torch.randn(101)
    expected = published_two_hot(value, 101, 10.0)
    target = symlog(torch.tensor(value))
    torch.testing.assert_close(twohot(target, bins), expected, atol=2e-5, rtol=0)
    loss = cross_entropy(logits, torch.tensor(value), bins)
    torch.testing.assert_close(loss, -(expected * logits.log_softmax(-1)).sum(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("value", [0.0, 0.3, -7.5, 1000.0])
def test_a_number_comes_back_from_its_two_hot(value: float) -> None:
    bins = even_bins(101, 10.0)
    logits = (twohot(symlog(torch.tensor(value)), bins) + 1e-30).log()
    torch.testing.assert_close(number(logits, bins), torch.tensor(value), rtol=1e-4, atol=1e-5)


def test_equal_logits_are_exactly_zero() -> None:
    assert number(torch.full((3, 101), 0.7), even_bins(101, 10.0)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("several", [False, True])
def test_a_plan_ends_with_the_mean_of_two_at_the_policys_action(several: bool) -> None:
    net = tiny.model(tasks=tiny.TASKS if several else ()).double()
    context = tiny.some_tasks(6) if several else None
    state = net.initial(6, context)._replace(z=torch.rand(6, 16).double())
    features = net.features(state)
    noise = net.critic.noise(6, torch.Generator().manual_seed(0))
    action = net.policy.act(features, noise.action)
    every = number(net.q(torch.cat([features[:, : net.policy.read], action], -1)), net.bins)
    value = net.critic.value(features, noise)
    torch.testing.assert_close(value, every[noise.pair[0]].mean(0))
    assert value.shape == (6,)
    assert (noise.pair == noise.pair[0]).all()  # one pair for the whole call


def test_bins_are_even_and_antisymmetric() -> None:
    bins = even_bins(101, 10.0)
    torch.testing.assert_close(bins, torch.linspace(-10, 10, 101), atol=1e-6, rtol=0)
    assert torch.equal(bins, -bins.flip(0))


def test_each_pair_of_different_heads_is_as_likely() -> None:
    critic, generator = tiny.model().critic, torch.Generator().manual_seed(0)
    pairs = [tuple(sorted(critic.pair_noise(generator).tolist())) for _ in range(600)]
    counts = {pair: pairs.count(pair) for pair in set(pairs)}
    assert counts.keys() == {(0, 1), (0, 2), (1, 2)} and min(counts.values()) > 150
