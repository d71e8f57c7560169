"""The Dreamer recipe: what it builds and what it refuses."""

from __future__ import annotations

import pytest
import torch

from reverie.core.spec import Space
from reverie.learn.run import RunConfig
from reverie.recipes.data import DataConfig
from reverie.recipes.dreamer import DreamerRecipe

OBS = {"position": Space((3,))}
ACTION = Space((1,), low=-1.0, high=1.0)


def test_the_same_seed_builds_the_same_weights_and_another_other_ones() -> None:
    def weights(seed: int) -> torch.Tensor:
        recipe = DreamerRecipe(training=RunConfig(seed=seed))
        learner = recipe.build(OBS, ACTION, 0.02)
        return torch.cat([p.flatten() for p in learner.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_a_published_size_sets_the_widths_of_all_networks() -> None:
    learner = DreamerRecipe(size="12m").build(OBS, ACTION, 0.02)
    assert learner.model.config.cell.deter == 2048
    assert learner.actor_critic.config.units == 256


def test_learning_from_recorded_episodes_needs_an_end() -> None:
    with pytest.raises(ValueError, match="updates"):
        DreamerRecipe(data=DataConfig("episodes"))


def test_impossible_numbers_of_environments_are_refused() -> None:
    with pytest.raises(ValueError, match="envs is 0"):
        DreamerRecipe(envs=0)
