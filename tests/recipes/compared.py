"""Small runs that are compared, made once for all tests of a process."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

from reverie.envs import EnvConfig
from reverie.learn.run import PrefillConfig, RunConfig
from reverie.recipes.comparison import Compared, compare
from reverie.recipes.comparison_subjects import Comparing
from reverie.recipes.run import train
from tests.recipes.conftest import ENV_OF_TINY, tiny
from tests.recipes.test_tdmpc2 import tiny as tiny_tdmpc2

_PLACES: list[tempfile.TemporaryDirectory[str]] = []

CARTPOLE = EnvConfig("dmc:cartpole_swingup", repeat=2, max_decisions=40)
FEW = Comparing(observed=5, horizon=12, policies=4, planned=2, decisions=2, seed=3)
PLAIN = RunConfig(frames=160, train_ratio=2, prefill=PrefillConfig(30))


def place() -> Path:
    """A directory that lasts as long as the tests."""
    _PLACES.append(tempfile.TemporaryDirectory())
    return Path(_PLACES[-1].name)


@cache
def pendulums() -> tuple[Path, Path]:
    """A Dreamer and a TD-MPC2 on the toy pendulum, in which there is no simulator to set."""
    where = place()
    dreamer = tiny(where / "dreamer", env=replace(ENV_OF_TINY, max_decisions=30))
    dreamer = replace(dreamer, training=replace(dreamer.training, frames=120))
    train(dreamer)
    train(tiny_tdmpc2(where / "tdmpc2", 60))
    return dreamer.run, where / "tdmpc2"


@cache
def cartpole() -> Path:
    """A Dreamer on a task of MuJoCo."""
    recipe = tiny(place() / "dreamer", env=CARTPOLE, training=PLAIN)
    train(recipe)
    return recipe.run


@cache
def without_simulator() -> Compared:
    """With data curves and adaptation."""
    config = replace(FEW, out=place(), curve=(2, 3), updates=4, adapt=3)
    return compare(pendulums(), config)


@cache
def with_simulator() -> Compared:
    """One run, the simulator and the twin."""
    return compare([cartpole()], replace(FEW, out=place()))
