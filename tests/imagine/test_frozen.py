"""A policy learns in a model that does not change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from reverie.core.model import Batch, sample_rows
from reverie.imagine import ActorCriticConfig, FrozenLearner, ImaginationLearner
from reverie.learn.device import Device
from reverie.learn.fit import Fitter
from reverie.learn.learner import Learner, latent_spaces
from reverie.learn.optim import OptimiserConfig
from tests.models.dreamer import tiny
from tests.toys import Chunked, Latent

SMALL = ActorCriticConfig(horizon=4, units=8, layers=1)
MODELS = {"dreamer": tiny.model, "toy": Latent}


def rows(model: Any) -> Batch:
    return sample_rows(model.spec, 3, 6, torch.Generator().manual_seed(3))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("gradient", ["reinforce", "dynamics"])
def test_the_policy_moves_and_the_model_does_not(kind: str, gradient: Any) -> None:
    torch.manual_seed(0)
    model = MODELS[kind]()
    learner = FrozenLearner(model, replace(SMALL, gradient=gradient))
    before = {n: p.clone() for n, p in model.state_dict().items()}
    policy = [p.clone() for p in learner.actor_critic.policy.parameters()]
    fitter = Fitter(learner, OptimiserConfig(lr=1e-2, warmup=0), Device(torch.device("cpu")))
    for _ in range(3):
        fitter.fit(rows(model), (), seeded())
    assert all(torch.equal(before[n], p) for n, p in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    moved = zip(policy, learner.actor_critic.policy.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in moved)


@pytest.mark.parametrize("kind", MODELS)
def test_its_losses_are_those_of_learning_both(kind: str) -> None:
    """The same actor-critic in the same states, imagined with the same noise."""
    torch.manual_seed(0)
    model = MODELS[kind]()
    both, alone = ImaginationLearner(model, SMALL), FrozenLearner(model, SMALL)
    alone.load_state_dict(
        {n: v for n, v in both.state_dict().items() if n.startswith("actor_critic.")}
    )
    batch = rows(model)
    first, second = both.update(batch, (), seeded()), alone.update(batch, (), seeded())
    assert second.losses.keys() == second.scales.keys() == {"policy", "value", "replay_value"}
    for name, loss in second.losses.items():
        assert torch.allclose(loss, first.losses[name], atol=1e-6), name


def test_it_is_a_learner_that_keeps_no_model_and_stores_nothing() -> None:
    learner: Learner = FrozenLearner(tiny.model(), SMALL)
    assert all(name.startswith("actor_critic.") for name in learner.state_dict())
    assert all(name.startswith("actor_critic.") for name, _ in learner.named_parameters())
    assert latent_spaces(learner) == {}


def test_a_policy_finds_the_better_action_in_the_model() -> None:
    """A world whose reward is the first action: the policy learns to push it up."""

    class Paying(Latent):
        def step(self, state: Any, action: Any, noise: Any) -> Any:
            return (
                super()
                .step(state, action, noise)
                ._replace(reward=action[:, 0, 0], continues=torch.ones(len(action)))
            )

    torch.manual_seed(0)
    model = Paying()
    learner = FrozenLearner(model, SMALL)
    fitter = Fitter(learner, OptimiserConfig(lr=1e-2, warmup=0), Device(torch.device("cpu")))
    features = torch.randn(16, model.feature_size, generator=seeded())
    before = learner.policy.mode(features)[:, 0].mean()
    generator = seeded()
    for _ in range(60):
        fitter.fit(rows(model), (), generator)
    after = learner.policy.mode(features)[:, 0].mean()
    assert after > before + 0.3 and after > 0.4


def test_models_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="predicts reward"):
        FrozenLearner(Chunked(), SMALL)
    with pytest.raises(ValueError, match="predicts uncertainty"):
        FrozenLearner(Latent(), replace(SMALL, uncertainty=1.0))
    with pytest.raises(ValueError, match=r"uncertainty is -1\.0; give a price of at least 0"):
        replace(SMALL, uncertainty=-1.0)
    blind = Latent()
    blind.spec = replace(blind.spec, grad=frozenset())
    with pytest.raises(ValueError, match="has none to action, state"):
        FrozenLearner(blind, replace(SMALL, gradient="dynamics"))
    chunked = Latent()
    chunked.spec = replace(chunked.spec, chunk=2)
    with pytest.raises(ValueError, match="chunk is 2"):
        FrozenLearner(chunked, SMALL)
