"""A recipe carried out in a run directory, gone on with, and loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reverie.envs import EnvConfig
from reverie.learn.checkpoint import CheckpointError
from reverie.learn.run import RunConfig
from reverie.recipes.data import DataConfig
from reverie.recipes.dreamer import DreamerRecipe
from reverie.recipes.run import load, recipe_class, train
from tests.recipes.conftest import tiny


def test_the_same_command_goes_on_and_another_budget_is_allowed(
    trained: DreamerRecipe, tmp_path: Path
) -> None:
    recipe = tiny(tmp_path / "b")
    first = train(recipe)
    longer = replace(recipe, training=replace(recipe.training, frames=300))
    assert train(longer).counters.frames == 300
    assert first.counters.frames == 240


def test_a_run_may_be_given_a_cool_down_later(tmp_path: Path) -> None:
    recipe = tiny(tmp_path / "c")
    before = train(recipe).counters.updates
    optimiser = replace(recipe.training.optimiser, cooldown=0.5)
    training = replace(recipe.training, frames=400, updates=before + 3, optimiser=optimiser)
    assert before and train(replace(recipe, training=training)).counters.updates == before + 3


def test_other_options_in_the_same_directory_are_refused(trained: DreamerRecipe) -> None:
    other = replace(trained, behaviour=replace(trained.behaviour, horizon=5))
    with pytest.raises(ValueError, match=r"behaviour\.horizon was 3 and is 5"):
        train(other)


def test_an_option_that_a_run_had_not_yet_has_its_default(tmp_path: Path) -> None:
    recipe = tiny(tmp_path / "old", training=RunConfig(frames=30))
    train(recipe)
    path = recipe.run / "config.json"
    stored = json.loads(path.read_text())
    del stored["recipe"]["envs"], stored["recipe"]["training"]["prefill"]["catch_up"]
    stored["recipe"]["training"]["optimiser"]["pmin"] = 1e-3  # an option once
    path.write_text(json.dumps(stored))
    assert train(recipe).counters.frames == 30
    path.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="envs was 1 and is 2"):
        train(replace(recipe, envs=2))


def test_a_changed_observation_space_is_refused(trained: DreamerRecipe) -> None:
    other = replace(trained, env=replace(trained.env, name="toy:balance"))
    with pytest.raises(ValueError, match=r"env\.name was 'toy:pendulum'"):
        train(other)


def test_an_unknown_environment_leaves_nothing_behind(tmp_path: Path) -> None:
    recipe = tiny(tmp_path / "c", env=EnvConfig("toy:pendulm"))
    with pytest.raises(ValueError, match="toy:pendulum"):
        train(recipe)
    assert not (tmp_path / "c").exists()


def test_a_loaded_run_acts_and_imagines_as_it_was_trained(trained: DreamerRecipe) -> None:
    loaded = load(trained.run)
    assert loaded.recipe == trained
    assert loaded.counters["frames"] == 240
    again = load(trained.run)
    state = loaded.model.initial(2)
    noise = loaded.model.noise(2, torch.Generator().manual_seed(0))
    action = torch.zeros(2, 1, 1)
    one, two = (m.step(state, action, noise) for m in (loaded.model, again.model))
    assert torch.equal(one.reward, two.reward)


def test_a_directory_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load(tmp_path)


def test_a_family_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="dreamer"):
        recipe_class("dremer")


def test_a_family_that_is_not_trained_says_so() -> None:
    with pytest.raises(ValueError, match=r"'oracle' is not trained.*use its model as it is"):
        recipe_class("oracle")


def test_learning_from_recorded_episodes_only(trained: DreamerRecipe, tmp_path: Path) -> None:
    recorded = tiny(
        tmp_path / "offline",
        data=DataConfig(str(trained.run / "episodes")),
        training=RunConfig(updates=5),
    )
    result = train(recorded)
    assert result.counters.updates == 5
    assert result.counters.frames == 0
    assert load(recorded.run).counters["updates"] == 5
    log = [json.loads(line) for line in (recorded.run / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(v) for line in log for v in line.values() if isinstance(v, float))
