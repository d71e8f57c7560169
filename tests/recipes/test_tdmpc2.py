"""The TD-MPC2 recipe: it trains, resumes, is loaded and acts by planning."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reverie.core.spec import Space
from reverie.data import ReplayConfig
from reverie.envs import EnvConfig
from reverie.learn.run import PrefillConfig, RunConfig
from reverie.models.tdmpc2 import NetConfig, TDMPC2Config
from reverie.plan import MPC, MPCConfig, tdmpc2_mppi
from reverie.recipes.run import load, train
from reverie.recipes.study import evaluate, report
from reverie.recipes.tdmpc2 import TDMPC2Recipe


def tiny(run: Path, frames: int = 120) -> TDMPC2Recipe:
    recipe = TDMPC2Recipe(run=run)
    net = NetConfig(encoder=16, encoder_layers=2, width=16, latent=16, heads=3)
    training = replace(
        recipe.training, frames=frames, prefill=PrefillConfig(40, catch_up=True), train_ratio=16.0
    )
    return replace(
        recipe,
        env=EnvConfig("toy:pendulum", max_decisions=30),
        size="custom",
        model=TDMPC2Config(net=net),
        search=replace(tdmpc2_mppi(), samples=16, elites=4, iterations=2),
        plan=MPCConfig(horizon=2, proposals=3),
        replay=ReplayConfig(batch=4, length=4, context=0, online=False),
        training=training,
    )


def test_it_trains_goes_on_and_acts(tmp_path: Path) -> None:
    result = train(tiny(tmp_path / "a", 80))
    assert result.finished
    assert result.counters.updates == 80
    further = train(tiny(tmp_path / "a", 120))
    assert further.counters.updates == 120
    loaded = load(tmp_path / "a")
    assert isinstance(loaded.agent, MPC)
    assert loaded.agent.config.proposals == 3
    first, second = (evaluate(load(tmp_path / "a"), episodes=2) for _ in range(2))
    assert first == second
    page = report(loaded, episodes=2).read_text()
    assert "predicts no observations" in page and "rewards are shown" in page


def test_the_published_size_plans_with_the_discount_of_the_model() -> None:
    recipe = TDMPC2Recipe(model=TDMPC2Config(discount=0.97))
    obs, action = {"position": Space((3,))}, Space((2,), low=-1.0, high=1.0)
    learner = recipe.build(obs, action, 0.02)
    agent = learner.agent
    assert agent.cost.discount == recipe.discount == 0.97
    assert (agent.cost.horizon, agent.config.proposals) == (3, 24)
    assert agent.cost.terminal is not None
    again = recipe.build(obs, action, 0.02)
    for a, b in zip(learner.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="updates"):
        TDMPC2Recipe(data=Path("episodes"))
    with pytest.raises(ValueError, match="envs is 0"):
        TDMPC2Recipe(envs=0)
    with pytest.raises(ValueError, match="at least 2 rows"):
        TDMPC2Recipe(replay=ReplayConfig(batch=4, length=1))
    assert RunConfig().optimiser.kind == "laprop"
    assert TDMPC2Recipe().training.optimiser.kind == "adam"
