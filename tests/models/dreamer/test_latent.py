"""The latents against torch.distributions."""

import pytest
import torch
from torch import Tensor, distributions
from torch.distributions import Independent, Normal, OneHotCategorical, kl_divergence

from reverie.models.dreamer.config import LatentConfig
from reverie.models.dreamer.latent import Categorical, Gaussian, Latent, latent

CLASSES = LatentConfig(variables=4, classes=5, unimix=0.02)
NORMALS = LatentConfig(kind="gaussian", variables=4, min_std=0.3)
KINDS = [CLASSES, NORMALS]


def parameters(config: LatentConfig, *lead: int) -> Tensor:
    raw = 2 * torch.randn(*lead, config.outputs, dtype=torch.float64)
    return latent(config).parameters(raw)


def as_torch(config: LatentConfig, p: Tensor) -> distributions.Distribution:
    if config.kind == "categorical":
        return Independent(OneHotCategorical(probs=p), 1)
    return Independent(Normal(*p.unbind(-2)), 1)


@pytest.mark.parametrize("config", KINDS, ids=lambda c: c.kind)
def test_kl_and_entropy_are_those_of_torch(config: LatentConfig) -> None:
    kind, p, q = latent(config), parameters(config, 3, 6), parameters(config, 3, 6)
    expected = kl_divergence(as_torch(config, p), as_torch(config, q))
    torch.testing.assert_close(kind.kl(p, q), expected)
    torch.testing.assert_close(kind.entropy(p), as_torch(config, p).entropy())
    torch.testing.assert_close(kind.kl(p, p), torch.zeros(3, 6, dtype=torch.float64))


@pytest.mark.parametrize("config", KINDS, ids=lambda c: c.kind)
def test_kl_has_the_gradient_of_finite_differences(config: LatentConfig) -> None:
    kind = latent(config)
    raw = [torch.randn(2, config.outputs, dtype=torch.float64, requires_grad=True) for _ in "pq"]
    assert torch.autograd.gradcheck(
        lambda a, b: kind.kl(kind.parameters(a), kind.parameters(b)), raw
    )


@pytest.mark.parametrize("config", KINDS, ids=lambda c: c.kind)
def test_samples_are_flat_and_a_function_of_their_noise(config: LatentConfig) -> None:
    kind, p = latent(config), parameters(config, 6)
    noise = kind.noise(6, p, torch.Generator().manual_seed(3))
    assert noise.shape == (6, 4) and noise.dtype == p.dtype
    sample = kind.sample(p, noise)
    assert sample.shape == (6, config.size)
    assert torch.equal(sample, kind.sample(p, noise))
    assert not torch.equal(noise, kind.noise(6, p, torch.Generator().manual_seed(4)))


def test_probabilities_have_a_floor_and_the_samples_are_one_hot() -> None:
    p = parameters(CLASSES, 50)
    assert p.shape == (50, 4, 5)
    assert p.min() >= 0.02 / 5
    torch.testing.assert_close(p.sum(-1), torch.ones(50, 4, dtype=torch.float64))
    sample = Categorical(CLASSES).sample(p, torch.rand(50, 4).double()).unflatten(-1, (4, 5))
    assert torch.equal(sample.sum(-1), torch.ones(50, 4, dtype=torch.float64))
    assert set(sample.unique().tolist()) == {0.0, 1.0}


def test_each_number_of_the_raw_outputs_moves_one_variable_alone() -> None:
    raw = torch.randn(CLASSES.outputs, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(Categorical(CLASSES).parameters, raw)
    moved = jacobian.abs().sum(1) > 0  # [S, outputs]
    assert moved.sum(1).tolist() == [5] * 4 and moved.sum(0).tolist() == [1] * 20


def test_a_gaussian_sample_has_the_mean_and_deviation_of_its_parameters() -> None:
    p = parameters(NORMALS)
    mean, std = p.unbind(-2)
    assert p.shape == (2, 4) and (std > 0.3).all()
    noise = torch.randn(40_000, 4, generator=torch.Generator().manual_seed(1)).double()
    sample = Gaussian(NORMALS).sample(p.expand(40_000, 2, 4), noise)
    torch.testing.assert_close(sample.mean(0), mean, rtol=0, atol=0.05)
    torch.testing.assert_close(sample.std(0), std, rtol=0.02, atol=0)


@pytest.mark.parametrize(("config", "made"), [(CLASSES, Categorical), (NORMALS, Gaussian)])
def test_a_config_names_its_latent(config: LatentConfig, made: type[Latent]) -> None:
    assert isinstance(latent(config), made)
