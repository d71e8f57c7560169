"""The UniSim recipe: it trains on recorded pictures, resumes bitwise, is loaded and plans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reverie.core.spec import Space
from reverie.data import ReplayConfig
from reverie.envs import EnvConfig
from reverie.learn.device import DeviceConfig
from reverie.learn.log import LogConfig, read
from reverie.learn.run import PrefillConfig
from reverie.models.unisim import FlowConfig, HeadsConfig, UNetConfig, UniSim, UniSimConfig
from reverie.plan import MPC, MPCConfig
from reverie.recipes.collecting import Collecting, collect
from reverie.recipes.data import DataConfig
from reverie.recipes.run import load, train
from reverie.recipes.unisim import UniSimRecipe

PIXELS = EnvConfig("toy:pendulum", pixels=True, size=(16, 16), max_decisions=20)
SMALL = UniSimConfig(
    frames=2,
    width=16,
    unet=UNetConfig((8, 16)),
    heads=HeadsConfig(features=16, hidden=16, members=2, coarse=4),
    flow=FlowConfig(settle=3),
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pendulum") / "data"
    collect(Collecting(place, PIXELS, episodes=3, format="store"))
    return place


def tiny(run: Path, data: Path | str = "", updates: int = 0) -> UniSimRecipe:
    made = UniSimRecipe()
    training = replace(
        made.training,
        updates=updates,
        frames=0 if updates else 40,
        train_ratio=2.0,
        prefill=PrefillConfig() if updates else PrefillConfig(20),
        device=DeviceConfig(device="cpu", threads=1),
        log=LogConfig(every=1),
    )
    return UniSimRecipe(
        run=run,
        env=PIXELS,
        data=DataConfig(str(data)),
        model=SMALL,
        plan=MPCConfig(horizon=2, discount=0.9),
        replay=ReplayConfig(batch=2, length=5, context=0, online=False),
        training=training,
    )


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read(run / "log.jsonl", "fit")]


def test_a_run_on_recorded_pictures_that_breaks_off_resumes_bitwise(
    recorded: Path, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(tiny(whole, recorded, 8)).counters.updates == 8
    for updates in (2, 5, 8):  # before and after it settles
        result = train(tiny(broken, recorded, updates))
        assert result.counters.updates == updates
    assert losses(broken) == losses(whole)
    assert len({*losses(whole)}) == 8
    one, two = (load(run).learner.state_dict() for run in (whole, broken))
    assert one.keys() == two.keys()
    for name, x in one.items():
        assert torch.equal(x, two[name]), name
    assert int(one["model.updates"]) == 8
    loaded = load(whole)
    assert isinstance(loaded.model, UniSim)
    assert loaded.model.config == SMALL
    fresh = loaded.recipe.build(loaded.model.spec.obs, loaded.model.spec.action, 0.05)
    moved = loaded.model.averaged.unet.output.weight - fresh.model.averaged.unet.output.weight
    assert moved.abs().max() > 0


def test_a_run_may_be_given_motion_later(recorded: Path, tmp_path: Path) -> None:
    recipe = tiny(tmp_path / "run", recorded, updates=2)
    train(recipe)
    moved = replace(
        tiny(tmp_path / "run", recorded, updates=4), replay=replace(recipe.replay, motion=1.5)
    )
    assert train(moved).counters.updates == 4
    with pytest.raises(ValueError, match=r"replay\.batch was"):
        train(replace(moved, replay=replace(moved.replay, batch=recipe.replay.batch + 1)))


def test_it_acts_by_planning_and_learns_from_what_it_did(tmp_path: Path) -> None:
    result = train(tiny(tmp_path / "a"))
    assert result.finished
    assert result.counters.frames == 40
    assert result.counters.updates > 2
    loaded = load(tmp_path / "a")
    assert isinstance(loaded.agent, MPC)
    assert loaded.agent.config.horizon == 2
    assert loaded.agent.cost.discount == loaded.recipe.discount == 0.9


def test_the_run_s_seed_decides_the_weights() -> None:
    obs, action = {"image": Space((3, 16, 16), "uint8")}, Space((1,), low=-1.0, high=1.0)
    recipe = tiny(Path("runs/none"))
    one, two = (recipe.build(obs, action, 0.1).state_dict() for _ in range(2))
    assert all(torch.equal(x, two[name]) for name, x in one.items())
    other = replace(recipe, training=replace(recipe.training, seed=1))
    three = other.build(obs, action, 0.1).state_dict()
    assert not torch.equal(
        one["model.features_of.output.weight"], three["model.features_of.output.weight"]
    )


def test_episodes_without_pictures_are_refused(tmp_path: Path) -> None:
    blind = replace(PIXELS, pixels=False)
    collect(Collecting(tmp_path / "blind", blind, episodes=1, format="store"))
    with pytest.raises(ValueError, match=r"is given .*velocity.*; add an image.*--env\.pixels"):
        train(tiny(tmp_path / "a", tmp_path / "blind", 2))


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"replay\.length is 3 and model\.frames 3; .*more rows"):
        UniSimRecipe(replay=ReplayConfig(batch=4, length=3))
    with pytest.raises(ValueError, match="envs is 0"):
        UniSimRecipe(envs=0)
    with pytest.raises(ValueError, match="workers -1"):
        UniSimRecipe(workers=-1)
    with pytest.raises(ValueError, match="updates"):
        UniSimRecipe(data=DataConfig("episodes"))
