"""Recipes survive the way through JSON, and what is unknown or impossible is refused by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from reverie.data.serial import from_json, to_json
from reverie.envs import EnvConfig
from reverie.recipes.demo import recipe as demo_recipe
from reverie.recipes.dreamer import DreamerRecipe


@pytest.mark.parametrize(
    "recipe",
    [
        DreamerRecipe(),
        DreamerRecipe(env=EnvConfig("toy:pendulum", size=(48, 64), pixels=True), size="12m"),
        demo_recipe(Path("runs/x")),
    ],
)
def test_a_recipe_comes_back_from_json(recipe: DreamerRecipe) -> None:
    assert from_json(DreamerRecipe, json.loads(json.dumps(to_json(recipe)))) == recipe


@dataclass(frozen=True)
class Place:
    """With a path that may be missing."""

    path: Path | None = None


@pytest.mark.parametrize("place", [Place(), Place(Path("episodes"))])
def test_an_optional_path_comes_back(place: Place) -> None:
    assert from_json(Place, json.loads(json.dumps(to_json(place)))) == place


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sizee": "1m"}, "no option sizee"),
        ({"size": "2m"}, "recipe.size is '2m'"),
        ({"env": {"repeat": "two"}}, "recipe.env.repeat is 'two'"),
        ({"env": {"size": [64]}}, "2 values"),
        ({"training": 3}, "recipe.training is 3"),
        ({"envs": True}, "recipe.envs is True"),
        ({"model": {"units": 3.5}}, "recipe.model.units is 3.5"),
        ({"model": {"loss": {"dynamic": 1.0}}}, "recipe.model.loss has no option dynamic"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        from_json(DreamerRecipe, change, "recipe")


def test_missing_options_take_their_defaults() -> None:
    assert from_json(DreamerRecipe, {}) == DreamerRecipe()
    assert from_json(DreamerRecipe, {"model": {"loss": {"rep": 1}}}).model.loss.rep == 1.0


@dataclass(frozen=True)
class Listed:
    names: tuple[str, ...] = ()
    sizes: tuple[EnvConfig, ...] = ()


def test_a_tuple_of_any_length_comes_back() -> None:
    listed = Listed(("a", "b", "c"), (EnvConfig(repeat=3),))
    assert from_json(Listed, json.loads(json.dumps(to_json(listed)))) == listed
    assert from_json(Listed, {"names": []}) == Listed()
    with pytest.raises(ValueError, match=r"names\[1\] is 3; a value of type str"):
        from_json(Listed, {"names": ["a", 3]})
    with pytest.raises(ValueError, match="names is 'a'"):
        from_json(Listed, {"names": "a"})
