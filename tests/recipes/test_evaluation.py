"""A run is measured, whole, and what is wrong with it stands first."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reverie.envs import EnvConfig
from reverie.learn.run import PrefillConfig, RunConfig
from reverie.recipes.collecting import Collecting, collect
from reverie.recipes.data import DataConfig
from reverie.recipes.dreamer import DreamerRecipe
from reverie.recipes.evaluation import evaluate, measure
from reverie.recipes.evidence import Evaluation
from reverie.recipes.run import load, train
from tests.recipes.conftest import ENV_OF_TINY, tiny
from tests.recipes.test_tdmpc2 import tiny as tiny_tdmpc2

FEW = Evaluation(
    policies=3, episodes=2, windows=12, observed=10, horizon=20, samples=4, judged=2, planned=0
)


def test_everything_is_measured_and_kept(trained: DreamerRecipe, tmp_path: Path) -> None:
    found = evaluate(load(trained.run), replace(FEW, out=str(tmp_path)))
    quality = found.quality
    for name in ("prediction", "calibration", "controllability", "inverse", "usefulness", "speed"):
        assert getattr(quality, name) is not None, name
    assert set(quality.detections) == {"motors half as strong"}
    assert any("scenes alone" in note for note in quality.notes)
    kept = json.loads(found.json.read_text())
    assert kept["counters"]["frames"] == 240
    assert {a["question"] for a in kept["answers"]} >= {"Does it obey the action?"}
    text = found.page.read_text()
    assert "Does it obey the action?" in text
    assert found.page == tmp_path / "evaluation.html"
    with pytest.raises(ValueError, match="does not denoise"):
        evaluate(load(trained.run), replace(FEW, steps=2))


def test_a_copy_that_ignores_the_action_is_told_so_first(trained: DreamerRecipe) -> None:
    loaded = load(trained.run)
    with torch.no_grad():
        for name, weight in loaded.model.named_parameters():
            if "action_in" in name:
                weight.zero_()
    many = replace(FEW, policies=6, windows=48, parts=("prediction", "control"))
    quality = measure(loaded, many)
    first = quality.answers()[0]
    assert (first.question, first.level) == ("Does it obey the action?", "bad")


def test_a_family_that_shows_nothing_is_read_out(tmp_path: Path) -> None:
    recipe = tiny_tdmpc2(tmp_path / "run", 60)
    train(recipe)
    config = replace(FEW, policies=4, observed=5, parts=("prediction", "control", "use"))
    quality = measure(load(recipe.run), config)
    assert quality.readout
    assert quality.prediction is not None
    assert {s.name for s in quality.prediction.sensors} >= {*quality.readout, "reward"}
    assert quality.usefulness is not None
    assert quality.usefulness.ranking is not None


def test_scenes_are_measured_as_physics(tmp_path: Path) -> None:
    env = EnvConfig("scene:projectile")
    training = RunConfig(frames=70, train_ratio=2, prefill=PrefillConfig(60))
    recipe = tiny(tmp_path / "run", env=env, training=training)
    train(recipe)
    quality = measure(load(recipe.run), replace(FEW, parts=("physics",)))
    assert quality.physics is not None
    assert quality.physics.measure("position_error").unit == "m"
    assert quality.physics.plausibility is not None


def test_recorded_data_alone_leaves_out_what_needs_acting(tmp_path: Path) -> None:
    collect(Collecting(tmp_path / "a", ENV_OF_TINY, episodes=6, format="store"))
    data = DataConfig(str(tmp_path / "a"))
    recipe = tiny(tmp_path / "run", data=data, training=RunConfig(updates=3))
    train(recipe)
    quality = measure(load(recipe.run), FEW)
    assert quality.usefulness is None
    assert quality.prediction is not None
    assert sum("not" in note for note in quality.notes) >= 3


@pytest.mark.parametrize("part", ["change", "physics"])
def test_a_part_that_does_not_apply_says_why(trained: DreamerRecipe, part: str) -> None:
    collected = Path(trained.run).parent / "recorded"
    if not collected.exists():
        collect(Collecting(collected, ENV_OF_TINY, episodes=4, format="store"))
    config = replace(FEW, data=DataConfig(str(collected)), parts=(part,))  # type: ignore[arg-type]
    (note,) = measure(load(trained.run), config).notes
    assert "not" in note


def test_short_episodes_and_choices_are_measured_too(tmp_path: Path) -> None:
    recipe = tiny(tmp_path / "run", env=EnvConfig("toy:balance"))
    train(recipe)
    quality = measure(load(recipe.run), replace(FEW, observed=20, horizon=100))
    assert quality.prediction is not None
    assert quality.prediction.horizon < 40
    assert quality.usefulness is not None
    assert not quality.detections
    assert "nan" not in " ".join(answer.why for answer in quality.answers())
