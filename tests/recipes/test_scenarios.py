"""Scenarios as people use them: environments, pictures, exports, and how many are solvable."""

import json

import gymnasium
import numpy as np
import pytest
import torch

from reverie.envs import available, make, parallel
from reverie.models.physics.scenarios import KINDS, draw
from reverie.recipes import scenarios
from reverie.recipes.scenarios import carry_out, find, playground


def test_a_scenario_is_found_by_kind_seed_or_file(tmp_path):
    assert find("reach") == draw("reach", 0, 0.5) and find("reach-12").seed == 12
    path = draw("reach", 5, 0.9).save(tmp_path / "mine.json")
    assert find(path) == find(str(path)) == draw("reach", 5, 0.9)
    with pytest.raises(ValueError, match=r"no scenario; give a file.*Kinds are reach"):
        find("Reach 3")
    with pytest.raises(ValueError, match="no kind of scenario 'fly'"):
        find("fly-3")


def test_it_is_a_gymnasium_environment_alone_and_in_a_vector():
    env = scenarios.environment("reach-1")
    seen, info = env.reset(seed=0)
    assert env.observation_space.contains(seen) and info == {"success": False}
    one = [env.step(env.action_space.low * 0.3)[0] for _ in range(3)]
    assert env.render().shape == (240, 320, 3)
    vector = scenarios.vector("reach-1", 8)
    assert isinstance(vector, gymnasium.vector.VectorEnv)
    vector.reset(seed=0)
    for _ in range(3):
        many, reward, *_ = vector.step(vector.action_space.low * 0.3)
    assert many.shape == (8, len(one[0])) and np.isfinite(reward).all()
    assert len(np.unique(many, axis=0)) == 8  # goals and masses differ


def test_a_procedural_environment_has_a_new_scenario_in_every_episode():
    env = scenarios.procedural("reach", 0.8)
    goals = []
    for seed in (1, 2, 1):
        seen, _ = env.reset(seed=seed)
        goals.append(seen[-3:])
    assert np.array_equal(goals[0], goals[2]) and not np.allclose(goals[0], goals[1], atol=0.02)


def test_learners_find_it_by_its_name():
    env = make("scenario:reach-2", pixels=True, with_state=True, max_decisions=4)
    row = env.reset(3)
    assert row.obs["image"].shape == (3, 64, 64) and "features" in row.obs
    for _ in range(4):
        row = env.step(np.zeros(4))
    assert row.last and not row.terminated
    with parallel("scenario:reach-2", 2, seed=0) as envs:
        assert envs.step(np.zeros((2, 4))).obs["features"].shape[0] == 2
    (family,) = [f for f in available() if f.name == "scenario"]
    assert "scenario:reach" in family.names
    with pytest.raises(ValueError, match=r"unknown; names begin with .*scenario"):
        make("senario:reach")


def test_a_picture_shows_where_the_goal_is():
    made = playground("reach-1")
    state = made.begin(1)
    before = made.picture(state, 64, 64)[0].astype(int)
    moved = state._replace(context={**state.context, "goal": torch.tensor([[0.0, 0.3, 0.4]])})
    after = made.picture(moved, 64, 64)[0].astype(int)
    assert (abs(before - after).max(-1) > 30).sum() >= 2


def test_export_writes_what_other_programs_read(tmp_path):
    files = {path.name for path in scenarios.export("reach-1", tmp_path, size=48)}
    assert {"scenario.json", "start.png", "start.obj", "robot.xml"} <= files
    assert json.loads((tmp_path / "scenario.json").read_text())["kind"] == "reach"
    lines = (tmp_path / "start.obj").read_text().splitlines()
    vertices = [line.split()[1:] for line in lines if line.startswith("v ")]
    faces = np.array([line.split()[1:] for line in lines if line.startswith("f ")], int)
    assert faces.min() == 1 and faces.max() == len(vertices)
    mujoco = pytest.importorskip("mujoco")
    assert mujoco.MjModel.from_xml_path(str(tmp_path / "robot.xml")).nu == 4


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.plan][:1])
def test_check_counts_what_is_solved_and_that_doing_nothing_solves_nothing(kind, tmp_path):
    heard = []
    found = scenarios.check(kind, 0.2, 2, heard.append)
    assert found.solved == 2 and found.idle == 0 and found.failed == () and len(heard) == 2
    path = scenarios.keep([found], tmp_path / "a" / "b.json")
    assert json.loads(path.read_text())["checked"][0]["solved"] == 2


def test_several_scenarios_do_not_fit_into_one_file(tmp_path):
    paths = scenarios.new("reach", range(2, 5), 0.3, tmp_path)
    assert [p.name for p in paths] == ["reach-2.json", "reach-3.json", "reach-4.json"]
    with pytest.raises(ValueError, match="one file for 3"):
        scenarios.new("reach", range(3), 0.3, tmp_path / "a.json")


def test_a_plan_is_carried_out_from_the_start():
    made = playground("reach-1")
    states, reward, solved = carry_out(made, torch.zeros(5, 4))
    assert len(states) == 6 and reward.shape == (5,) and solved is False
