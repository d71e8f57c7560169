"""What a model imagines, written as a dataset: as the model says, and marked as such."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reverie.core import rollout, tree
from reverie.data.check import check
from reverie.data.datasets import open_dataset
from reverie.learn.run import RunConfig
from reverie.recipes.collecting import Collecting, collect
from reverie.recipes.data import DataConfig
from reverie.recipes.dreamer import DreamerRecipe
from reverie.recipes.generating import Generating, generate
from reverie.recipes.run import Loaded, load, train
from tests.recipes.conftest import ENV_OF_TINY, tiny


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    place = tmp_path_factory.mktemp("data") / "a"
    collect(Collecting(place, ENV_OF_TINY, episodes=4, format="store"))
    return DataConfig(str(place))


@pytest.fixture
def loaded(trained: DreamerRecipe) -> Loaded:
    """A run whose model never thinks that an episode is over."""
    return shown(load(trained.run), continues=lambda rows: torch.ones(len(rows)))


class Shown:
    """A run whose model's heads are replaced."""

    def __init__(self, loaded: Loaded, **heads: Any) -> None:
        self._model, self._heads = loaded.model, heads
        self.spec = replace(loaded.model.spec, provides=loaded.model.spec.provides | heads.keys())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def step(self, state: Any, action: Any, noise: Any) -> Any:
        after = self._model.step(state, action, noise)
        rows = torch.arange(len(action))
        return after._replace(**{name: head(rows) for name, head in self._heads.items()})


def shown(loaded: Loaded, **heads: Any) -> Loaded:
    class Learner:
        model = Shown(loaded, **heads)

    return replace(loaded, learner=Learner())


@pytest.mark.parametrize("form", ["lerobot", "store"])
def test_rows_are_what_the_model_predicts_from_recorded_rows(
    loaded: Loaded, data: DataConfig, tmp_path: Path, form: Any
) -> None:
    config = Generating(tmp_path / "out", data, episodes=3, observed=5, horizon=8, format=form)
    found = generate(loaded, config)
    assert (found.episodes, found.decisions, found.uncertain) == (3, 24, 0)
    made, source = open_dataset(tmp_path / "out"), open_dataset(data.path)
    true = [source.read(e.name) for e in source.episodes()]
    for episode in made.episodes():
        rows = made.read(episode.name)
        start = rows["velocity"][0]
        at = [(t, k) for t in true for k in range(5, 61) if t["velocity"][k - 1] == start]
        ((whole, k),) = at  # the first row was sensed, and the actions after it were taken
        np.testing.assert_array_equal(rows["action"][1:], whole["action"][k : k + 8])
        np.testing.assert_array_equal(rows["orientation"][0], whole["orientation"][k - 1])
        assert not np.array_equal(rows["velocity"][1:], whole["velocity"][k : k + 8])
        assert rows["first"].tolist() == [True] + [False] * 8
        assert rows["last"].tolist() == [False] * 8 + [True]
        assert not rows["terminated"].any()
    again = generate(loaded, replace(config, out=tmp_path / "again"))
    assert again.returns == found.returns


def test_the_model_is_asked_once_more_by_hand(
    loaded: Loaded, data: DataConfig, tmp_path: Path
) -> None:
    """A deterministic stand-in for the Dreamer: zero noise gives the same rows by `rollout`."""
    model, noise = loaded.model, loaded.model.noise

    def zero(rows: int, generator: Any = None) -> Any:
        return tree.map(torch.zeros_like, noise(rows, None))

    model.noise = zero
    config = Generating(tmp_path / "out", data, episodes=1, observed=1, horizon=4, format="store")
    generate(loaded, config)
    made = open_dataset(tmp_path / "out")
    rows = made.read(made.episodes()[0].name)
    obs = {n: torch.from_numpy(rows[n][:1]) for n in model.spec.obs}
    with torch.no_grad():
        blank = model.initial(1)
        none = zero(1)
        begun = torch.ones(1, dtype=torch.bool)
        state = model.observe(blank, torch.zeros(1, 1, 1), obs, begun, none)
        plan = torch.from_numpy(rows["action"][1:])[:, None, None]
        future = rollout.imagine(
            model, state, plan, tree.map(lambda x: x.expand(4, *x.shape), none)
        )
        shows = model.decode(tree.flatten_time(future.states))
    np.testing.assert_allclose(rows["velocity"][1:], shows["velocity"].numpy(), atol=1e-5)
    np.testing.assert_allclose(rows["reward"][1:], future.transition.reward[:, 0], atol=1e-5)


def test_it_says_that_it_is_generated_and_by_what(
    loaded: Loaded, data: DataConfig, tmp_path: Path
) -> None:
    place = tmp_path / "out"
    config = Generating(place, data, episodes=2, horizon=3, task="swing up")
    generate(loaded, config)
    generate(loaded, replace(config, policy="random"))
    made = open_dataset(place)
    assert made.about.source == f"generated: dreamer world model of {loaded.recipe.run}"
    assert made.about.dt == loaded.model.spec.dt
    tasks = [e.task for e in made.episodes()]
    assert len(set(tasks)) == len(tasks) == 4
    for task in tasks:
        assert task.startswith("swing up; generated by the dreamer world model of ")
        assert loaded.checkpoint.name in task and data.path in task and "seed" in task
    assert "actions random" in tasks[2] and "actions recorded" in tasks[0]
    assert not check(made).errors


def test_what_was_imagined_can_be_learnt_from(
    loaded: Loaded, data: DataConfig, tmp_path: Path
) -> None:
    place = tmp_path / "out"
    generate(loaded, Generating(place, data, episodes=3, horizon=12))
    recipe = tiny(tmp_path / "run", data=DataConfig(str(place)), training=RunConfig(updates=2))
    assert train(recipe).counters.updates == 2


def test_actions_are_strayed_random_or_a_runs_own(
    loaded: Loaded, data: DataConfig, tmp_path: Path
) -> None:
    def actions(**changes: Any) -> np.ndarray:
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        given = {"episodes": 2, "observed": 2, "horizon": 20, "format": "store", **changes}
        generate(loaded, Generating(place, data, **given))
        made = open_dataset(place)
        return np.stack([made.read(e.name)["action"][1:] for e in made.episodes()])

    plain, noisy = actions(), actions(noise=0.2)
    assert 0 < np.abs(noisy - plain).mean() < 0.3
    dice = actions(policy="random", hold=5)
    assert np.ptp(dice[:, :5], axis=1).max() == 0 and np.ptp(dice, axis=1).min() > 0.1
    own = actions(policy=str(loaded.recipe.run))
    assert np.isfinite(own).all() and not np.array_equal(own, plain)


def test_resets_of_the_environment_are_starts_too(loaded: Loaded, tmp_path: Path) -> None:
    config = Generating(tmp_path / "out", policy="random", episodes=2, horizon=4, format="store")
    assert generate(loaded, config).decisions == 8
    made = open_dataset(tmp_path / "out")
    first = made.read(made.episodes()[0].name)["orientation"][0]
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)  # sensed, not decoded
    assert "resets of toy:pendulum" in made.about.extra["task"]
    with pytest.raises(ValueError, match="Recorded actions need recorded episodes"):
        generate(loaded, replace(config, policy="recorded"))


def test_an_episode_ends_in_doubt_or_where_the_model_says(
    loaded: Loaded, data: DataConfig, tmp_path: Path
) -> None:
    doubt = {"uncertainty": lambda rows: 1.0 + rows.float()}
    config = Generating(tmp_path / "a", data, episodes=3, horizon=6, limit=2.5, format="store")
    found = generate(shown(loaded, **doubt), config)
    assert (found.episodes, found.decisions, found.uncertain) == (2, 12, 1)
    over = {"continues": lambda rows: torch.where(rows == 1, 0.1, 0.9)}
    found = generate(shown(loaded, **over), replace(config, out=tmp_path / "b", limit=0.0))
    assert (found.episodes, found.decisions, found.uncertain) == (3, 13, 0)
    made = open_dataset(tmp_path / "b")
    short = made.read(made.episodes()[1].name)
    assert short["terminated"].tolist() == short["last"].tolist() == [False, True]


def test_what_cannot_be_done_is_said_before_anything_is_written(
    loaded: Loaded, data: DataConfig, tmp_path: Path
) -> None:
    place = tmp_path / "out"
    for changes, said in (
        ({"limit": 1.0}, "predicts uncertainty"),
        ({"policy": "expert"}, "There is no policy 'expert'"),
        ({"horizon": 500}, "more than 504 rows"),
        ({"episodes": 0}, "at least 1"),
        ({"steps": 2}, "does not denoise"),
    ):
        with pytest.raises(ValueError, match=said):
            generate(loaded, Generating(place, data, **changes))
