"""One-hot variables: what is sampled, how often, and what gradient passes."""

import pytest
import torch

from reverie.nn.categorical import mix_uniform, one_hot_sample, straight_through


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mixing_leaves_every_class_possible() -> None:
    logits = torch.tensor([[0.0, 1000.0, -1000.0, 3.0]], dtype=torch.float64)
    p = mix_uniform(logits, 0.02)
    torch.testing.assert_close(p, 0.98 * logits.softmax(-1) + 0.005)
    assert p.min() >= 0.005
    torch.testing.assert_close(p.sum(-1), torch.ones(1, dtype=torch.float64))


@pytest.mark.parametrize("spread", [0.1, 3.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_are_exactly_one_hot(spread: float, dtype: torch.dtype) -> None:
    logits = torch.randn(500, 7, 11, generator=generator()).to(dtype) * spread
    noise = torch.rand(500, 7, generator=generator(1)).to(dtype)
    sample = one_hot_sample(mix_uniform(logits, 0.01), noise)
    assert sample.dtype == dtype and sample.shape == logits.shape
    assert set(sample.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(sample.sum(-1), torch.ones(500, 7, dtype=dtype))


def test_frequencies_are_the_probabilities() -> None:
    p = torch.tensor([0.02, 0.38, 0.1, 0.2, 0.3])
    count = 20_000
    noise = torch.rand(count, generator=generator(3))
    seen = one_hot_sample(p.expand(count, 5), noise).sum(0)
    chi_square = ((seen - count * p) ** 2 / (count * p)).sum().item()
    assert chi_square < 23.5  # exceeded once in 10,000 at four degrees of freedom


def test_the_class_holds_the_noise_in_its_share() -> None:
    p = torch.tensor([0.25, 0.5, 0.25]).expand(6, 3)
    noise = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 0.999999])
    assert one_hot_sample(p, noise).argmax(-1).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("noise", [0.0, 0.999999])
def test_no_edge_picks_an_impossible_class_in_the_middle(noise: float) -> None:
    p = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.5, 0.0]])
    picked = one_hot_sample(p, torch.full((3,), noise))
    assert torch.equal((picked * p).sum(-1) > 0, torch.ones(3, dtype=torch.bool))


def test_many_classes_stay_one_hot_at_the_edges() -> None:
    p = mix_uniform(torch.randn(64, 96, generator=generator()), 0.01)
    for edge in (0.0, 0.999999, 1 - 2**-24):
        sample = one_hot_sample(p, torch.full((64,), edge))
        assert torch.equal(sample.sum(-1), torch.ones(64))
        assert sample[:, 0 if edge == 0 else -1].all()


def test_a_sample_has_the_gradient_of_its_probabilities() -> None:
    logits = torch.randn(4, 5, generator=generator(), dtype=torch.float64, requires_grad=True)
    p = mix_uniform(logits, 0.01)
    sample = one_hot_sample(p, torch.rand(4, generator=generator(1)).double())
    weight = torch.randn(4, 5, generator=generator(2), dtype=torch.float64)
    through = straight_through(sample, p)
    assert torch.equal(through, sample) and not sample.requires_grad
    (ours,) = torch.autograd.grad((through * weight).sum(), logits, retain_graph=True)
    (expected,) = torch.autograd.grad((p * weight).sum(), logits)
    torch.testing.assert_close(ours, expected)
    assert ours.any()


def test_constant_probabilities_give_a_constant_sample() -> None:
    p = torch.tensor([[0.5, 0.5]])
    assert not straight_through(one_hot_sample(p, torch.tensor([0.1])), p).requires_grad
