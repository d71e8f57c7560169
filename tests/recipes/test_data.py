"""Recorded episodes in a run: alone, before acting, in other units, and after a stop."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reverie.core.spec import Space
from reverie.data import EpisodeStore
from reverie.data.datasets import DatasetError
from reverie.envs import EnvConfig, make
from reverie.envs.scripts import Scripted
from reverie.learn.log import LogConfig
from reverie.learn.run import PrefillConfig, RunConfig
from reverie.recipes.collecting import Collecting, collect
from reverie.recipes.data import (
    STREAM,
    DataConfig,
    closing,
    for_environment,
    native_scaling,
    opened,
    require_alike,
)
from reverie.recipes.run import load, train
from tests.recipes.conftest import tiny

ENV = EnvConfig("toy:pendulum", max_decisions=60)


def record(place: Path, episodes: int = 4, native: bool = False, dt: float = 0.05) -> str:
    """Episodes of the scripted pendulum; `native` in N m, as a robot would tell its actions."""
    env = make(ENV)
    agent = Scripted(env.name, env.obs)
    action = Space((1,), low=-1.5, high=1.5, unit="N m") if native else env.action
    with EpisodeStore(place, env.obs, action, meta={"dt": dt, "env": env.name}) as store:
        for seed in range(episodes):
            row, taken = env.reset(seed), np.zeros(1, np.float32)
            while True:
                told = taken * np.float32(1.5 if native else 1.0)
                flags = {n: getattr(row, n) for n in ("reward", "first", "last", "terminated")}
                store.append(0, {**row.obs, **flags, "action": told})
                if row.last:
                    break
                obs = {n: torch.from_numpy(np.asarray(v))[None] for n, v in row.obs.items()}
                chosen, _ = agent.act(torch.zeros(1, 0), obs, torch.tensor([row.first]))
                taken = chosen[0].numpy()
                row = env.step(taken)
    return str(place)


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "fit"]


def before_acting(run: Path, data: str, updates: int = 6) -> Any:
    training = RunConfig(
        frames=60, train_ratio=2, prefill=PrefillConfig(updates=updates), log=LogConfig(every=1)
    )
    return tiny(run, data=DataConfig(data), training=training)


def test_it_learns_from_recorded_episodes_and_then_acts(tmp_path: Path) -> None:
    recipe = before_acting(tmp_path / "run", record(tmp_path / "data"))
    result = train(recipe)
    assert (result.counters.frames, result.counters.updates) == (60, 6 + 60 * 2 // 16)
    episodes = EpisodeStore.open(recipe.run / "episodes").episodes()
    taken = [e for e in episodes if e.stream == STREAM]
    assert [e.rows for e in taken] == [61] * 4
    assert sum(e.rows for e in episodes if e.stream == 0) == 61
    lines = [json.loads(line) for line in (recipe.run / "log.jsonl").read_text().splitlines()]
    first_episode = next(line for line in lines if line["kind"] == "episode")
    assert first_episode["updates"] >= 6
    loaded = load(recipe.run)
    assert loaded.known is not None
    assert loaded.known.episodes == 4
    assert loaded.known.statistics.obs["velocity"].count == 4 * 61


def test_stopped_and_gone_on_with_it_is_the_same_run(tmp_path: Path) -> None:
    data = record(tmp_path / "data")
    whole, parts = (before_acting(tmp_path / name, data) for name in ("whole", "parts"))
    train(whole)
    for updates in (3, 0):
        train(replace(parts, training=replace(parts.training, updates=updates)))
    assert losses(parts.run) == losses(whole.run)
    one, two = (load(recipe.run).learner.state_dict() for recipe in (whole, parts))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_copy_cut_off_is_made_anew(tmp_path: Path) -> None:
    data = record(tmp_path / "data")
    config = DataConfig(data, sensors=("velocity",))
    recipe = tiny(tmp_path / "run", data=config, training=RunConfig(updates=2))
    train(recipe)
    store = EpisodeStore.open(recipe.run / "data")
    assert set(store.schema.obs) == {"velocity"}
    assert sum(e.rows for e in store.episodes()) == 4 * 61
    (recipe.run / "data.json").unlink()
    for part in sorted((recipe.run / "data").glob("*0000-*"))[2:]:
        part.unlink()
    again = train(replace(recipe, training=RunConfig(updates=4)))
    assert again.counters.updates == 4
    assert sum(e.rows for e in EpisodeStore.open(recipe.run / "data").episodes()) == 4 * 61


def test_actions_in_the_robots_units_are_scaled_as_its_environment_scales_them(
    tmp_path: Path,
) -> None:
    scaling = native_scaling(ENV)
    assert scaling is not None
    assert scaling.high == pytest.approx((1.5,))
    native, unit = record(tmp_path / "a", native=True), record(tmp_path / "b")
    found, expected = (for_environment(DataConfig(path), ENV) for path in (native, unit))
    name = found.episodes()[0].name
    assert np.allclose(found.read(name)["action"], expected.read(name)["action"], atol=1e-6)
    recipe = before_acting(tmp_path / "run", native, updates=2)
    train(recipe)
    known = load(recipe.run).known
    assert known is not None
    assert known.scaling == scaling
    again = opened(DataConfig(native), known.scaling)
    assert np.abs(again.read(name)["action"]).max() <= 1


def test_data_of_another_scaling_is_not_used_with_a_model(tmp_path: Path) -> None:
    native = record(tmp_path / "a", native=True)
    recipe = tiny(tmp_path / "run", data=DataConfig(native), training=RunConfig(updates=2))
    train(recipe)
    known = load(recipe.run).known
    assert known is not None
    other = replace(known.scaling, high=(3.0,))
    scaled = tmp_path / "scaled"
    with EpisodeStore(
        scaled,
        {"velocity": Space((1,))},
        Space((1,), low=-1.0, high=1.0),
        meta={"dt": 0.05, "action": {"low": [-1.5], "high": [3.0]}},
    ):
        pass
    with pytest.raises(ValueError, match=r"learnt with -1 for \(-1.5,\) and 1 for \(1.5,\)"):
        opened(DataConfig(str(scaled)), known.scaling)
    assert opened(DataConfig(str(scaled)), other).where == str(scaled)


def test_sensors_in_other_units_are_told_apart(tmp_path: Path) -> None:
    one = opened(DataConfig(record(tmp_path / "a")))

    class Degrees:
        """The same pendulum, its rate in degrees per second."""

        where, obs, action, about = one.where, one.obs, one.action, one.about
        episodes, close = one.episodes, one.close

        def read(self, *given: Any) -> dict[str, Any]:
            rows = one.read(*given)
            return {**rows, "velocity": rows["velocity"] * np.float32(57.29578)}

    recipe = tiny(tmp_path / "run", data=DataConfig(one.where), training=RunConfig(updates=2))
    train(recipe)
    known = load(recipe.run).known
    assert known is not None
    require_alike(known, one, "itself")
    with pytest.raises(ValueError, match=r"velocity.*degrees where the first has radians"):
        require_alike(known, Degrees(), "the other")


def test_what_does_not_fit_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    data = record(tmp_path / "data", dt=0.1)
    recipe = before_acting(tmp_path / "run", data)
    with pytest.raises(ValueError, match=r"lasts 0.1 s in .* and 0.05 s in toy:pendulum"):
        train(recipe)
    with pytest.raises(ValueError, match="no sensor speed; it has orientation, velocity"):
        opened(DataConfig(data, sensors=("speed",)))
    with pytest.raises(DatasetError, match="nothing is there"):
        train(tiny(tmp_path / "b", data=DataConfig("nowhere"), training=RunConfig(updates=2)))
    assert not (tmp_path / "b").exists()
    with pytest.raises(ValueError, match="need recorded episodes; set --data"):
        tiny(tmp_path / "c", training=RunConfig(prefill=PrefillConfig(updates=3)))


def test_sensors_that_an_environment_lacks_are_named(tmp_path: Path) -> None:
    recipe = before_acting(tmp_path / "run", record(tmp_path / "data"))
    other = replace(recipe, data=replace(recipe.data, sensors=("velocity",)))
    with pytest.raises(ValueError, match="'orientation'"):
        train(other)


def test_films_of_a_lerobot_dataset_are_learnt_from_and_judged_on(tmp_path: Path) -> None:
    pytest.importorskip("av")
    env = EnvConfig("toy:pendulum", pixels=True, with_state=True, size=(32, 32), max_decisions=12)
    collect(Collecting(tmp_path / "a", env, episodes=3, task="swing it up"))
    config = DataConfig(str(tmp_path / "a"), sensors=("image", "velocity"), size=(16, 16))
    recipe = tiny(tmp_path / "run", data=config, training=RunConfig(updates=1))
    train(recipe)
    store = EpisodeStore.open(recipe.run / "data")
    assert store.schema.obs["image"].shape == (3, 16, 16)
    assert set(store.meta["episode_tasks"].values()) == {"swing it up"}
    known = load(recipe.run).known
    assert known is not None
    with closing(opened(config, known.scaling)) as dataset:
        require_alike(known, dataset, "itself")
