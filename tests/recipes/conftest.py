"""A recipe so small that it is carried out in a second, and a run of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reverie.data import ReplayConfig
from reverie.envs import EnvConfig
from reverie.imagine import ActorCriticConfig
from reverie.learn.run import PrefillConfig, RunConfig
from reverie.models.dreamer import CellConfig, DreamerConfig, LatentConfig
from reverie.recipes.dreamer import DreamerRecipe
from reverie.recipes.run import train

ENV_OF_TINY = EnvConfig("toy:pendulum", max_decisions=60)


def tiny(run: Path, **changes: object) -> DreamerRecipe:
    recipe = DreamerRecipe(
        run=run,
        env=ENV_OF_TINY,
        size="custom",
        model=DreamerConfig(
            latent=LatentConfig(variables=4, classes=4),
            cell=CellConfig(deter=16, hidden=8, blocks=4),
            units=8,
            depth=4,
        ),
        behaviour=ActorCriticConfig(horizon=3, starts=2, units=8),
        replay=ReplayConfig(batch=2, length=8),
        training=RunConfig(frames=240, train_ratio=2, prefill=PrefillConfig(80)),
    )
    return replace(recipe, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> DreamerRecipe:
    recipe = tiny(tmp_path_factory.mktemp("runs") / "a")
    result = train(recipe)
    assert result.finished
    assert result.counters.frames == 240
    assert result.counters.updates == int((240 - 80) * 2 / 16)
    return recipe
