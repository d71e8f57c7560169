"""What an evaluation is measured on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reverie.envs import EnvConfig
from reverie.learn.run import RunConfig
from reverie.recipes.collecting import Collecting, collect
from reverie.recipes.data import DataConfig
from reverie.recipes.dreamer import DreamerRecipe
from reverie.recipes.evidence import Evaluation, Subject
from reverie.recipes.run import load, train
from tests.recipes.conftest import ENV_OF_TINY, tiny

FEW = Evaluation(policies=3, episodes=1, windows=6, observed=10, horizon=100)


def test_it_plays_policies_of_all_grades(trained: DreamerRecipe) -> None:
    subject = Subject(load(trained.run), FEW)
    assert len(subject.played) == len(subject.grades) == 7
    actions = [rows["action"][1:] for each in subject.played for rows in each]
    assert not any(np.array_equal(actions[0], other) for other in actions[1:])
    assert subject.horizon == 60 + 1 - 10
    assert subject.windows.batch.action.shape[:2] == (6, 61)
    again = Subject(load(trained.run), FEW)
    assert torch.equal(again.windows.batch.action, subject.windows.batch.action)


def test_recorded_episodes_are_used_where_they_are_given(
    trained: DreamerRecipe, tmp_path: Path
) -> None:
    collect(Collecting(tmp_path / "a", ENV_OF_TINY, episodes=3, format="store"))
    config = replace(FEW, data=DataConfig(str(tmp_path / "a")))
    subject = Subject(load(trained.run), config)
    assert subject.played == []
    assert len(subject.episodes) == 3
    env = EnvConfig("toy:pendulum", pixels=True, max_decisions=20)
    collect(Collecting(tmp_path / "b", env, episodes=3, format="store"))
    with pytest.raises(ValueError, match="lacks orientation, velocity"):
        Subject(load(trained.run), replace(FEW, data=DataConfig(str(tmp_path / "b"))))


def test_a_run_that_acts_nowhere_is_measured_on_what_it_learnt_and_says_so(
    tmp_path: Path,
) -> None:
    collect(Collecting(tmp_path / "a", ENV_OF_TINY, episodes=3, format="store"))
    data = DataConfig(str(tmp_path / "a"))
    recipe = tiny(tmp_path / "run", data=data, training=RunConfig(updates=3))
    train(recipe)
    subject = Subject(load(recipe.run), FEW)
    assert not subject.acts
    assert "learnt from" in subject.notes[0]
