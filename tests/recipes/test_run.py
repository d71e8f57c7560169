"""A recipe carried out in a run directory, gone on with, loaded, judged and reported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reverie.data import ReplayConfig
from reverie.envs import EnvConfig
from reverie.imagine import ActorCriticConfig
from reverie.learn.checkpoint import CheckpointError
from reverie.learn.run import RunConfig
from reverie.models.dreamer import CellConfig, DreamerConfig, LatentConfig
from reverie.recipes.dreamer import DreamerRecipe
from reverie.recipes.run import load, recipe_class, train
from reverie.recipes.study import evaluate, predict, report, results


def tiny(run: Path, **changes: object) -> DreamerRecipe:
    recipe = DreamerRecipe(
        run=run,
        env=EnvConfig("toy:pendulum", max_decisions=60),
        size="custom",
        model=DreamerConfig(
            latent=LatentConfig(variables=4, classes=4),
            cell=CellConfig(deter=16, hidden=8, blocks=4),
            units=8,
            depth=4,
        ),
        behaviour=ActorCriticConfig(horizon=3, starts=2, units=8),
        replay=ReplayConfig(batch=2, length=8),
        training=RunConfig(frames=240, train_ratio=2, prefill=80),
    )
    return replace(recipe, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> DreamerRecipe:
    recipe = tiny(tmp_path_factory.mktemp("runs") / "a")
    result = train(recipe)
    assert result.finished
    assert result.counters.frames == 240
    assert result.counters.updates == int((240 - 80) * 2 / 16)
    return recipe


def test_the_same_command_goes_on_and_another_budget_is_allowed(
    trained: DreamerRecipe, tmp_path: Path
) -> None:
    recipe = tiny(tmp_path / "b")
    first = train(recipe)
    longer = replace(recipe, training=replace(recipe.training, frames=300))
    assert train(longer).counters.frames == 300
    assert first.counters.frames == 240


def test_other_options_in_the_same_directory_are_refused(trained: DreamerRecipe) -> None:
    other = replace(trained, behaviour=replace(trained.behaviour, horizon=5))
    with pytest.raises(ValueError, match=r"behaviour\.horizon was 3 and is 5"):
        train(other)


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


def test_evaluation_is_deterministic_and_kept(trained: DreamerRecipe) -> None:
    loaded = load(trained.run)
    first, second = evaluate(loaded, episodes=2), evaluate(load(trained.run), episodes=2)
    assert first == second
    assert results(trained.run)["evaluation"]["policy"]["values"] == list(first.policy.values)


def test_prediction_and_report(trained: DreamerRecipe) -> None:
    loaded = load(trained.run)
    errors = predict(loaded, episodes=2, horizon=10, samples=2)
    assert {s.name for s in errors.sensors} == {*loaded.model.spec.obs, "reward"}
    page = report(loaded, episodes=2)
    text = page.read_text()
    assert page == trained.run / "report.html"
    assert "toy:pendulum" in text
    assert 'src="http' not in text


def test_learning_from_recorded_episodes_only(trained: DreamerRecipe, tmp_path: Path) -> None:
    recorded = tiny(
        tmp_path / "offline",
        data=trained.run / "episodes",
        training=RunConfig(updates=5),
    )
    result = train(recorded)
    assert result.counters.updates == 5
    assert result.counters.frames == 0
    assert load(recorded.run).counters["updates"] == 5
    log = [json.loads(line) for line in (recorded.run / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(v) for line in log for v in line.values() if isinstance(v, float))
