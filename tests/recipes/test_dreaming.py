"""A policy learns in the finished model of a run and is judged in the real environment."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reverie.imagine import ActorCriticConfig
from reverie.learn.checkpoint import CheckpointError
from reverie.learn.optim import OptimiserConfig
from reverie.learn.run import RunConfig
from reverie.recipes.collecting import Collecting, collect
from reverie.recipes.data import DataConfig
from reverie.recipes.dreamer import DreamerRecipe
from reverie.recipes.dreaming import Dreaming, dream, dreamt
from reverie.recipes.run import load, train
from tests.recipes.conftest import ENV_OF_TINY, tiny

SMALL = Dreaming(
    behaviour=ActorCriticConfig(horizon=3, starts=2, units=8),
    training=RunConfig(updates=4, optimiser=OptimiserConfig(lr=1e-3, warmup=0)),
    judged=2,
)


@pytest.mark.parametrize("recorded", [False, True])
def test_it_learns_is_judged_and_can_be_taken_up_again(
    trained: DreamerRecipe, tmp_path: Path, recorded: bool
) -> None:
    data = DataConfig()
    if recorded:
        collect(Collecting(tmp_path / "data", ENV_OF_TINY, episodes=3))
        data = DataConfig(str(tmp_path / "data"))
    loaded = load(trained.run)
    model = {n: p.clone() for n, p in loaded.model.state_dict().items()}
    config = replace(SMALL, out=str(tmp_path / "dream"), data=data)
    found = dream(loaded, config)
    assert found.finished and found.updates == 4
    assert found.returns is not None and found.returns.policy.n == 2
    kept = json.loads((found.place / "result.json").read_text())
    assert kept["returns"]["policy"]["values"] == list(found.returns.policy.values)
    assert all(torch.equal(model[n], p) for n, p in loaded.model.state_dict().items())

    again = load(trained.run)
    features = torch.randn(5, again.model.feature_size, generator=torch.manual_seed(0))
    policy = dreamt(again, found.place).policy
    assert not torch.equal(policy.mode(features), again.learner.policy.mode(features))
    longer = dream(again, replace(config, training=replace(SMALL.training, updates=6), judged=0))
    assert longer.updates == 6 and longer.returns is None
    assert not torch.equal(policy.mode(features), dreamt(again, found.place).policy.mode(features))


def test_a_run_on_recordings_begins_in_those_that_it_learnt_from(tmp_path: Path) -> None:
    collect(Collecting(tmp_path / "data", ENV_OF_TINY, episodes=3))
    data = DataConfig(str(tmp_path / "data"))
    recipe = tiny(tmp_path / "run", data=data, training=RunConfig(updates=2))
    train(recipe)
    found = dream(load(recipe.run), SMALL)
    assert found.place == recipe.run / "dream" and found.returns is not None
    assert not (found.place / "data").exists()  # not copied once more


def test_what_was_trained_otherwise_is_not_gone_on_with(
    trained: DreamerRecipe, tmp_path: Path
) -> None:
    loaded, config = load(trained.run), replace(SMALL, out=str(tmp_path / "dream"), judged=0)
    dream(loaded, config)
    with pytest.raises(ValueError, match="trained otherwise: behaviour"):
        dream(loaded, replace(config, behaviour=ActorCriticConfig(horizon=2, starts=2, units=8)))
    moved = replace(loaded, checkpoint=Path("00000009"))
    with pytest.raises(ValueError, match="trained otherwise: model"):
        dream(moved, config)
    with pytest.raises(CheckpointError, match="learnt in checkpoint"):
        dreamt(moved, config.out)
    with pytest.raises(CheckpointError, match="holds no policy"):
        dreamt(loaded, tmp_path / "nowhere")


def test_a_policy_of_before_an_option_is_gone_on_with(
    trained: DreamerRecipe, tmp_path: Path
) -> None:
    loaded, config = load(trained.run), replace(SMALL, out=str(tmp_path / "dream"), judged=0)
    dream(loaded, config)
    for path in (tmp_path / "dream" / "checkpoints").glob("*/manifest.json"):
        said = json.loads(path.read_text())
        del said["about"]["recipe"]["behaviour"]["uncertainty"]
        path.write_text(json.dumps(said))
    longer = replace(config, training=replace(SMALL.training, updates=6))
    assert dream(loaded, longer).updates == 6
