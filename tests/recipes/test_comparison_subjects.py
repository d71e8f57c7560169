"""Who can be compared with whom, and what they are compared on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from reverie.core.spec import Space, Spec
from reverie.envs import EnvConfig
from reverie.recipes.comparison_subjects import (
    candidates,
    fitting,
    ground,
    kind_of,
    loaded_runs,
    names,
    record,
    shared_env,
    shared_sensors,
)
from reverie.recipes.dreamer import DreamerRecipe
from tests.recipes.compared import FEW, cartpole, pendulums

CAMERA = Space((3, 8, 8), dtype="uint8")


def run(**changes: Any) -> Any:
    """What is asked of a loaded run, without its weights."""
    env = changes.pop("env", EnvConfig("toy:pendulum"))
    family, where = changes.pop("family", "dreamer"), changes.pop("run", "runs/a")
    obs = changes.pop("obs", {"velocity": Space((1,))})
    spec = Spec(obs, changes.pop("action", Space((1,), low=-1, high=1)), 0.05)
    recipe = SimpleNamespace(run=Path(where), family=family)
    return SimpleNamespace(env=env, recipe=recipe, model=SimpleNamespace(spec=spec))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"env": EnvConfig("toy:pendulum", repeat=2)}, "the action repeat is 1 and 2"),
        ({"env": EnvConfig("dmc:cartpole_swingup")}, "environment is toy:pendulum and dmc:"),
        ({"action": Space((3,), discrete=True)}, "the action is 1 entries and 3 choices"),
    ],
)
def test_runs_that_differ_are_refused_by_what_differs(
    change: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"a": run(), "b": run(run="runs/b", **change)}
    monkeypatch.setattr("reverie.recipes.comparison_subjects.load", lambda path: made[path])
    with pytest.raises(ValueError, match=said):
        loaded_runs(["a", "b"])


def test_runs_that_fit_are_loaded() -> None:
    assert [found.recipe.family for found in loaded_runs(pendulums())] == ["dreamer", "tdmpc2"]


def test_names_are_as_long_as_they_must_be() -> None:
    assert names([run(), run(family="tdmpc2")]) == ["dreamer", "tdmpc2"]
    some = [run(run="x/seeds/0"), run(run="x/seeds/1"), run(family="tdmpc2")]
    assert names(some) == ["dreamer 0", "dreamer 1", "tdmpc2"]
    assert names([run(run="a/0"), run(run="b/0")]) == ["dreamer a/0", "dreamer b/0"]


def test_one_environment_senses_what_each_reads() -> None:
    state, pixels = EnvConfig("toy:pendulum"), EnvConfig("toy:pendulum", pixels=True)
    assert shared_env([run(env=state)]) == state
    assert shared_env([run(env=pixels)]) == pixels
    both = shared_env([run(env=state), run(env=pixels)])
    assert both.pixels and both.with_state
    scene = shared_env([run(env=replace(pixels, name="scene:projectile"))])
    assert scene.with_state, "the truth of a scene is its state"


def test_only_sensors_that_all_have_are_compared() -> None:
    first = {"velocity": Space((1,)), "image": CAMERA, "physics": Space((9,), "float64")}
    second = {"velocity": Space((1,)), "touch": Space((2,)), "physics": Space((9,), "float64")}
    assert list(shared_sensors([run(obs=first), run(obs=second)])) == ["velocity"]
    wider = {"velocity": Space((2,))}
    assert shared_sensors([run(obs=first), run(obs=wider)]) == {}


@pytest.mark.parametrize(
    ("provides", "state", "kind"),
    [
        (frozenset({"obs"}), {"frames": torch.zeros(1, 2, 3, 8, 8)}, "pixel"),
        (frozenset({"obs"}), {"z": torch.zeros(1, 32)}, "latent"),
        (frozenset({"obs"}), {"z": torch.zeros(1, 16, 4, 4)}, "latent"),
        (
            frozenset({"reward"}),
            {"z": torch.zeros(1, 8), "seen": torch.zeros(1, 3, 8, 8)},
            "latent",
        ),
    ],
)
def test_a_state_of_pictures_is_pixel_space(provides: Any, state: Any, kind: str) -> None:
    spec = Spec({"image": CAMERA}, Space((1,)), 0.1, provides=provides)
    assert kind_of(SimpleNamespace(spec=spec, initial=lambda batch: state)) == kind


def test_the_simulator_and_the_twin_come_by_themselves() -> None:
    runs = loaded_runs([cartpole()])
    found, env, notes = candidates(runs, shared_env(runs))
    assert [(one.name, one.kind) for one in found] == [
        ("dreamer", "latent"),
        ("simulator", "exact"),
        ("twin", "physics"),
    ]
    assert env.physics and notes == []
    assert found[2].silent.spec.provides == {"obs"}
    for one in found[1:]:
        one.model.close()


def test_what_has_no_twin_is_told(trained: DreamerRecipe) -> None:
    runs = loaded_runs([trained.run])
    found, env, notes = candidates(runs, shared_env(runs))
    assert [one.name for one in found] == ["dreamer"] and not env.physics
    assert "no exact simulator" in notes[0]
    assert fitting(env, ("mass", "motor")) == ["motor"]


def test_policies_go_from_the_run_s_own_to_random_ones(trained: DreamerRecipe) -> None:
    runs = loaded_runs([trained.run])
    short = replace(trained.env, max_decisions=12)
    played = record(runs, short, 3, 2, seed=1)
    assert [len(episodes) for episodes in played] == [2, 2, 2]
    assert all(len(rows["reward"]) == 13 for episodes in played for rows in episodes)
    again = record(runs, short, 3, 2, seed=1)
    other = record(runs, short, 3, 2, seed=2)
    assert (played[2][1]["action"] == again[2][1]["action"]).all()
    assert (played[2][1]["action"] != other[2][1]["action"]).any()
    assert (played[0][0]["velocity"][0] != played[0][1]["velocity"][0]).any(), "other starts"


def test_everyone_is_asked_about_the_same_windows() -> None:
    runs = loaded_runs([cartpole()])
    found = ground(runs, replace(shared_env(runs), physics=True), FEW)
    batch = found.windows.batch
    assert (found.observed, found.horizon) == (5, 12)
    assert batch.action.shape[1] == 17 and "physics" in batch.obs
    assert list(found.sensors) == ["position", "velocity"]
    assert set(found.changes) == {"mass", "motor"} == set(found.adaptation)
    assert all(len(rows) == 2 for rows in found.adaptation.values())
    sets = [found.windows, found.aside, *found.changes.values()]
    start = {np.asarray(w.batch.obs["physics"][0, 0]).tobytes() for w in sets}
    assert len(start) == len(sets), "sets of episodes have nothing in common"
