"""Scenarios as files: drawn from a seed, kept, read again, and refused where they are damaged."""

import json

import pytest
import torch

from reverie.core.check import check_world_model
from reverie.models.physics import scenarios
from reverie.models.physics.scenarios import KINDS, Draw
from reverie.models.physics.scenarios.scenario import POSITIVE, around, end_of, require


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_always_draws_the_same_and_another_seed_something_else(kind):
    one, same = (scenarios.draw(kind, 3, 0.5) for _ in range(2))
    assert one == same
    assert scenarios.draw(kind, 4, 0.5).numbers != one.numbers
    assert scenarios.draw(kind, 3, 1.0).numbers != one.numbers


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_holds_all_of_it(kind, tmp_path):
    one = scenarios.draw(kind, 7, 0.8)
    assert scenarios.load(one.save(tmp_path / "deep" / "a.json")) == one
    assert "\n" in (tmp_path / "deep" / "a.json").read_text()


def test_a_file_is_read_as_it_is_not_drawn_anew(tmp_path):
    path = scenarios.draw("reach", 1).save(tmp_path / "a.json")
    given = json.loads(path.read_text())
    given["numbers"]["goal"][2] = 0.123
    path.write_text(json.dumps(given))
    assert scenarios.scene(scenarios.load(path)).task.goal()["goal"][2] == 0.123


DAMAGE = {
    "holds no JSON": lambda d: "{",
    "entries format, kind": lambda d: json.dumps({**d, "extra": 1}),
    "'seed' is 'x'": lambda d: json.dumps({**d, "seed": "x"}),
    "format 9": lambda d: json.dumps({**d, "format": 9}),
    "no kind of scenario 'fly'": lambda d: json.dumps({**d, "kind": "fly"}),
    "difficulty in": lambda d: json.dumps({**d, "difficulty": 3}),
    "entries goal, near": lambda d: json.dumps({**d, "numbers": {}}),
    r"goal is to be a list of 3": lambda d: json.dumps(
        {**d, "numbers": {**d["numbers"], "goal": [1.0]}}
    ),
    r"goal\[1\] is to be a finite number": lambda d: json.dumps(
        {**d, "numbers": {**d["numbers"], "goal": [0.1, None, 0.1]}}
    ),
    "near is to be a finite number, not nan": lambda d: json.dumps(
        {**d, "numbers": {**d["numbers"], "near": float("nan")}}
    ),
}


@pytest.mark.parametrize("words", DAMAGE)
def test_damaged_files_are_refused_with_what_is_wrong(words, tmp_path):
    path = scenarios.draw("reach", 1).save(tmp_path / "a.json")
    path.write_text(DAMAGE[words](json.loads(path.read_text())))
    with pytest.raises(ValueError, match=words):
        scenarios.load(path)


def test_ranges_grow_with_the_difficulty():
    easy, hard = Draw(0, 0.0), Draw(0, 1.0)
    assert easy.harder(1, 3) == 1 and hard.harder(1, 3) == 3
    spread = [
        max(abs(Draw(seed, level).around(10.0, 0.1, 0.5) - 10.0) for seed in range(50))
        for level in (0.0, 1.0)
    ]
    assert spread[0] <= 1.0 and 3.0 < spread[1] <= 5.0
    assert {Draw(seed, 0.5).one_of("a", "b") for seed in range(20)} == {"a", "b"}


def test_episodes_differ_in_goals_and_factors_within_what_the_scene_says():
    scene = scenarios.scene(scenarios.draw("reach", 2, 0.5))
    model = scenarios.world_model(scene)
    fixed = scenarios.begin(model, scene, 3)
    assert bool((fixed.context["robot_mass"] == 1).all())
    assert torch.allclose(fixed.context["goal"], torch.tensor(scene.task.goal()["goal"]))
    noise = scenarios.noise(scene, 200, torch.Generator().manual_seed(0))
    drawn = scenarios.begin(model, scene, 200, noise).context
    low, high = (torch.tensor(bound) for bound in scene.goals["goal"])
    assert bool(((drawn["goal"] >= low) & (drawn["goal"] <= high)).all())
    assert float(drawn["goal"].std(0).min()) > 0.01
    factors = drawn["robot_mass"].log() / torch.tensor(scene.spread).log()
    assert float(factors.min()) < -0.9 and float(factors.max()) > 0.9


def test_the_world_of_a_scenario_is_a_world_model_like_others():
    check_world_model(scenarios.world_model(scenarios.scene(scenarios.draw("reach", 0))))


def test_what_is_out_of_bounds_is_named_with_what_is_wanted():
    bounds = {"side": POSITIVE, "half": (0.1, 0.3)}
    require({"side": 0.1, "half": [0.1, 0.3]}, bounds)
    with pytest.raises(ValueError, match=r"'side' is 0.0; give more than 0"):
        require({"side": 0.0, "half": [0.1]}, bounds)
    with pytest.raises(ValueError, match=r"'half' is \[0.1, 0.4\]; give 0.1 to 0.3"):
        require({"side": 1.0, "half": [0.1, 0.4]}, bounds)


def test_goals_wander_alike_or_each_by_its_own():
    assert around((1.0, 2.0), 0.5) == ((0.5, 1.5), (1.5, 2.5))
    assert around((1.0, 2.0), 0.5, 0.0) == ((0.5, 2.0), (1.5, 2.0))


def test_the_end_of_plans_is_where_single_steps_lead():
    scene = scenarios.scene(scenarios.draw("reach", 0))
    model = scenarios.world_model(scene)
    plans = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.4
    ends, state = end_of(model, plans), model.initial(3)
    for k in range(4):
        state = model.step(state, plans[:, k, None], ()).state
    assert torch.allclose(ends.robot.position, state.world.robot.position, atol=1e-6)
