"""The Control Suite: faithful to dm_control, repeatable, and clear about what is missing."""

import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from reverie.envs import make
from reverie.envs.dm_control import load_suite, tasks

ROOT = Path(__file__).parents[2]

# One of each way in which a task draws at a reset: joints, targets, gains, models, masses, sizes.
DRAWN_DIFFERENTLY = (
    *("cartpole_swingup", "walker_walk", "point_mass_hard", "reacher_hard", "finger_turn_hard"),
    *("fish_swim", "manipulator_insert_peg", "lqr_lqr_2_1", "swimmer_swimmer6"),
)


def python(code, **environment):
    """Run a script in a fresh interpreter."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for name, value in environment.items():
        env.pop(name, None)
        if value is not None:
            env[name] = value
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False
    )


@pytest.fixture(scope="module")
def walker():
    env = make("dmc:walker_walk", repeat=2)
    yield env
    env.close()


def test_spaces_are_typed(walker):
    assert {key: (space.shape, space.dtype, space.unit) for key, space in walker.obs.items()} == {
        "orientations": ((14,), "float32", ""),
        "height": ((1,), "float32", "m"),
        "velocity": ((9,), "float32", ""),
    }
    assert walker.action.shape == (6,)
    assert (walker.action.low, walker.action.high) == (-1.0, 1.0)
    assert walker.dt == pytest.approx(0.05)
    assert walker.repeatable


def test_rows_are_those_of_dm_control():
    env = make("dmc:cheetah_run")
    theirs = load_suite().load("cheetah", "run", task_kwargs={"random": 0})
    theirs.task.random.seed(4)
    moment, row = theirs.reset(), env.reset(4)
    actions = np.random.default_rng(0).uniform(-1, 1, (30, 6)).astype(np.float32)
    for action in actions:
        for key, value in moment.observation.items():
            np.testing.assert_array_equal(row.obs[key], np.asarray(value, np.float32).reshape(-1))
        moment, row = theirs.step(action), env.step(action)
        assert row.reward == moment.reward


def test_repeat_is_two_control_steps(walker):
    once = make("dmc:walker_walk")
    action = np.linspace(-1, 1, 6)
    walker.reset(3)
    once.reset(3)
    double, singles = walker.step(action), [once.step(action) for _ in range(2)]
    assert double.reward == singles[0].reward + singles[1].reward
    np.testing.assert_array_equal(double.obs["velocity"], singles[1].obs["velocity"])


@pytest.mark.parametrize("task", DRAWN_DIFFERENTLY)
def test_a_seed_gives_the_same_episode_bit_by_bit_whatever_came_before(task):
    fresh, used = make(f"dmc:{task}"), make(f"dmc:{task}")
    actions = np.random.default_rng(0).uniform(-1, 1, (12, *fresh.action.shape))
    before = used.reset(1)
    for action in actions:
        used.step(action)
    for one, two in zip(play(fresh, 7, actions), play(used, 7, actions), strict=True):
        assert one.reward == two.reward
        for key, value in one.obs.items():
            np.testing.assert_array_equal(value, two.obs[key])
    again = fresh.reset(1)
    assert all(np.array_equal(again.obs[key], value) for key, value in before.obs.items())
    other = fresh.reset(2)
    assert any(not np.array_equal(other.obs[key], value) for key, value in before.obs.items())


def play(env, seed, actions):
    return [env.reset(seed), *(env.step(action) for action in actions)]


def test_a_reset_builds_nothing_anew(walker):
    walker.reset(0)
    physics, model = walker.simulator.env.physics, walker.simulator.env.physics.model.ptr
    walker.reset(1)
    assert walker.simulator.env.physics is physics
    assert walker.simulator.env.physics.model.ptr is model


def test_a_time_limit_truncates():
    env = make("dmc:cartpole_balance", repeat=10)
    row, decisions = env.reset(0), 0
    while not row.last:
        row, decisions = env.step(np.zeros(1)), decisions + 1
    assert decisions == env.decisions == 100
    assert not row.terminated


@pytest.mark.parametrize(("discount", "terminated"), [(0.0, True), (1.0, False), (0.5, False)])
def test_a_final_discount_of_zero_terminates_and_any_other_truncates(discount, terminated):
    env = make("dmc:cartpole_balance")
    env.simulator.env.task.get_termination = lambda physics: discount
    env.reset(0)
    row = env.step(np.zeros(1))
    assert row.last
    assert row.terminated is terminated


def test_divergence_says_where(walker, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes MUJOCO_LOG.TXT where it is run
    walker.reset(0)
    walker.simulator.env.physics.data.qvel[0] = 1e30
    with pytest.raises(Exception, match="Physics state is invalid") as error:
        walker.step(np.zeros(6))
    assert "dmc:walker_walk, at decision 1" in error.value.__notes__[0]


def test_a_task_without_a_time_limit_has_no_clock():
    assert make("dmc:lqr_lqr_2_1").decisions == 0
    assert make("dmc:lqr_lqr_2_1", max_decisions=7).decisions == 7


def test_tasks_are_listed():
    assert {"walker_walk", "ball_in_cup_catch", "humanoid_CMU_run"} <= set(tasks())


@pytest.mark.parametrize(
    ("wrong", "right"), [("dmc:walker_wlak", "walker_walk"), ("dmc:cup_catch", "ball_in_cup_catch")]
)
def test_an_unknown_task_names_its_neighbours(wrong, right):
    with pytest.raises(ValueError, match=right):
        make(wrong)


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "dm_control", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "reverie\[dmc\]"'):
        make("dmc:walker_walk")


def test_a_mujoco_that_does_not_fit_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", types.SimpleNamespace(__version__="4.0.0"))
    with pytest.raises(ImportError, match=r"does not work with mujoco 4\.0\.0") as error:
        make("dmc:walker_walk")
    assert 'pip install "reverie[dmc]"' in str(error.value)
