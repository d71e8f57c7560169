"""Runs that act nowhere, and episodes that are given, are measured without anybody acting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reverie.learn.run import RunConfig
from reverie.recipes import recorded, study
from reverie.recipes.collecting import Collecting, collect
from reverie.recipes.data import DataConfig
from reverie.recipes.dreamer import DreamerRecipe
from reverie.recipes.run import load, train
from tests.recipes.conftest import ENV_OF_TINY, tiny


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    place = tmp_path_factory.mktemp("data") / "a"
    collect(Collecting(place, ENV_OF_TINY, episodes=6, format="store"))
    return DataConfig(str(place))


@pytest.fixture(scope="module")
def blind(data: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> DreamerRecipe:
    """A run that learnt from recordings alone."""
    place = tmp_path_factory.mktemp("runs") / "a"
    recipe = tiny(place, data=data, training=RunConfig(updates=2))
    train(recipe)
    return recipe


@pytest.fixture
def nobody_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **named: Any) -> None:
        raise AssertionError("somebody acted")

    for module in ("reverie.recipes.study", "reverie.recipes.evidence"):
        monkeypatch.setattr(f"{module}.play", refuse)
    monkeypatch.setattr(study, "shoot", refuse)


def test_who_is_measured_on_recorded_episodes(
    blind: DreamerRecipe, trained: DreamerRecipe, data: DataConfig
) -> None:
    none = DataConfig()
    assert recorded.on_recorded(load(blind.run), none)
    assert recorded.on_recorded(load(trained.run), data)
    assert not recorded.on_recorded(load(trained.run), none)


@pytest.mark.usefixtures("nobody_acts")
def test_predictions_are_of_the_episodes_that_are_given(
    blind: DreamerRecipe, data: DataConfig
) -> None:
    loaded = load(blind.run)
    few = {"episodes": 3, "observed": 5, "horizon": 6, "samples": 2}
    found = recorded.predict(loaded, data, **few)
    assert found.horizon == 6
    assert {s.name for s in found.sensors} == {*loaded.model.spec.obs, "reward", "continues"}
    assert recorded.predict(loaded, DataConfig(), **few) == found  # it learnt from the same
    kept = json.loads((blind.run / "results" / "prediction.json").read_text())
    assert kept["data"] == data.path
    others = recorded.predict(loaded, data, **{**few, "seed": 1})
    assert others != found
    with pytest.raises(ValueError, match="orientation is missing"):
        recorded.predict(loaded, DataConfig(camera(Path(data.path).parent)), **few)


def camera(folder: Path) -> str:
    from dataclasses import replace

    env = replace(ENV_OF_TINY, pixels=True, size=(8, 8), max_decisions=5)
    collect(Collecting(folder / "camera", env, episodes=1, format="store"))
    return str(folder / "camera")


@pytest.mark.usefixtures("nobody_acts")
def test_a_report_on_recordings_earns_no_return(blind: DreamerRecipe, data: DataConfig) -> None:
    page = recorded.report(load(blind.run), DataConfig())
    text = page.read_text()
    assert page == blind.run / "report.html"
    assert "no return was earned" in text and "may know the answers" in text
    assert data.path in text
    given = recorded.report(load(blind.run), data, blind.run / "given.html").read_text()
    assert "may know the answers" not in given


@pytest.mark.usefixtures("nobody_acts")
def test_the_film_is_of_a_recorded_episode(blind: DreamerRecipe, data: DataConfig) -> None:
    shot = recorded.film(load(blind.run), data, observed=5, horizon=10)
    assert (shot.rows, shot.observed, shot.name) == (15, 5, data.path)
