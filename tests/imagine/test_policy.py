"""Policies against torch.distributions."""

import math

import pytest
import torch
from torch import Tensor, distributions

from reverie.core.spec import Space
from reverie.imagine.policy import Choice, Normal, PolicyNet

DRIVE = Space((3,), low=-1.0, high=1.0)
BUTTONS = Space((4,), discrete=True)


def normal() -> tuple[Normal, distributions.Distribution]:
    mean, std = torch.randn(5, 6, 3).double(), 0.1 + torch.rand(5, 6, 3).double()
    return Normal(mean, std), distributions.Independent(distributions.Normal(mean, std), 1)


def choice() -> tuple[Choice, distributions.Distribution]:
    probs = torch.randn(5, 6, 4).double().softmax(-1)
    return Choice(probs), distributions.OneHotCategorical(probs=probs)


@pytest.mark.parametrize("make", [normal, choice])
def test_density_entropy_and_mode_are_those_of_torch(make: object) -> None:
    ours, theirs = make()  # type: ignore[operator]
    action = theirs.sample()
    torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    assert torch.equal(ours.mode(), theirs.mode)
    assert (ours.log_prob(ours.mode()) >= ours.log_prob(action) - 1e-12).all()


def test_a_normal_sample_is_mean_plus_deviation_times_noise_with_its_gradient() -> None:
    ours, _ = normal()
    noise = torch.randn(5, 6, 3).double()
    assert torch.autograd.gradcheck(
        lambda m, s: Normal(m, s).sample(noise), [x.requires_grad_() for x in ours]
    )
    torch.testing.assert_close(ours.sample(noise), ours.mean + ours.std * noise)


def test_choices_are_one_hot_and_as_frequent_as_their_probabilities() -> None:
    probs = torch.tensor([0.1, 0.2, 0.3, 0.4])
    count = 20_000
    noise = torch.rand(count, 1, generator=torch.Generator().manual_seed(2))
    seen = Choice(probs.expand(count, 4)).sample(noise)
    assert torch.equal(seen.sum(-1), torch.ones(count)) and set(seen.unique().tolist()) == {0, 1}
    chi_square = ((seen.sum(0) - count * probs) ** 2 / (count * probs)).sum().item()
    assert chi_square < 21.1  # exceeded once in 10,000 at three degrees of freedom


def test_a_choice_passes_the_gradient_of_its_probabilities() -> None:
    probs = torch.randn(3, 4).double().softmax(-1).requires_grad_()
    weight = torch.randn(3, 4).double()
    (Choice(probs).sample(torch.rand(3, 1).double()) * weight).sum().backward()
    torch.testing.assert_close(probs.grad, weight)


def net(action: Space, scale: float = 30.0) -> PolicyNet:
    made = PolicyNet(7, action, units=8, layers=2)
    with torch.no_grad():
        made.net.output.weight.mul_(scale)
    return made


def test_continuous_actions_have_bounded_mean_and_deviation() -> None:
    policy = net(DRIVE, 1e4)(torch.randn(200, 7))
    assert isinstance(policy, Normal)
    assert policy.mean.abs().max() <= 1 and (policy.mean.abs() > 0.9).any()
    assert 0.1 <= policy.std.min() < 0.2 and 0.9 < policy.std.max() <= 1.0


def test_a_fresh_policy_is_almost_the_same_everywhere() -> None:
    features = torch.randn(50, 7)
    policy = PolicyNet(7, DRIVE, units=8, layers=2)(features)
    start = 0.9 / (1 + math.exp(-2)) + 0.1
    assert policy.mean.abs().max() < 0.1
    torch.testing.assert_close(policy.std, torch.full((50, 3), start), rtol=0, atol=0.05)
    torch.testing.assert_close(
        PolicyNet(7, BUTTONS, units=8, layers=2)(features).probs,
        torch.full((50, 4), 0.25),
        rtol=0,
        atol=0.02,
    )


def test_no_choice_is_impossible() -> None:
    policy = net(BUTTONS, 1e6)(torch.randn(200, 7))
    assert isinstance(policy, Choice)
    assert policy.probs.min() >= 0.01 / 4 - 1e-7
    torch.testing.assert_close(policy.probs.sum(-1), torch.ones(200))
    assert torch.isfinite(policy.entropy()).all()


@pytest.mark.parametrize("action", [DRIVE, BUTTONS], ids=["continuous", "discrete"])
def test_actions_are_a_function_of_features_and_noise(action: Space) -> None:
    policy, features = net(action), torch.randn(9, 7)
    noise = policy.noise(9, torch.Generator().manual_seed(0))
    assert torch.equal(noise, policy.noise(9, torch.Generator().manual_seed(0)))
    acted = policy.act(features, noise)
    assert acted.shape == (9, action.size)
    assert torch.equal(acted, policy.act(features, noise))
    assert torch.equal(policy.mode(features), policy(features).mode())
    alone = [policy.act(features[i : i + 1], noise[i : i + 1]) for i in range(9)]
    torch.testing.assert_close(torch.cat(alone), acted)


@pytest.mark.parametrize("action", [DRIVE, BUTTONS], ids=["continuous", "discrete"])
def test_what_is_sampled_from_noise_has_the_distribution_that_is_scored(action: Space) -> None:
    """The mean of -log p(a) over samples is the entropy."""
    policy = net(action)
    features = torch.randn(1, 7).expand(20_000, 7)
    with torch.no_grad():
        there = policy(features)
        surprise = -there.log_prob(
            policy.act(features, policy.noise(20_000, torch.Generator().manual_seed(1)))
        )
    error = 4 * surprise.std() / math.sqrt(20_000)
    assert abs(surprise.mean() - there.entropy()[0]) < error


def test_under_autocast_distributions_stay_in_float32() -> None:
    features = torch.randn(4, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        drive, buttons = net(DRIVE)(features), net(BUTTONS)(features)
    kinds: list[Tensor] = [drive.mean, drive.std, buttons.probs, drive.entropy()]
    assert {x.dtype for x in kinds} == {torch.float32}
