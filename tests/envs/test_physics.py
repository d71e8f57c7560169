"""The state of a simulator: whole, exact, and refused where it is not."""

import numpy as np
import pytest

from reverie.envs import EnvConfig, episode_seed, from_gymnasium, make, parallel
from reverie.envs.dm_control import DmControl
from reverie.envs.physics import Physics, physics_of


def test_it_is_observed_beside_the_rest():
    env = make("dmc:reacher_easy", physics=True)
    plain = make("dmc:reacher_easy")
    assert env.obs.keys() == plain.obs.keys() | {"physics"}
    space = env.obs["physics"]
    assert (space.dtype, space.shape) == ("float64", (env.physics.size,))
    one, two = env.reset(3), plain.reset(3)
    for _ in range(3):
        assert one.obs["physics"].dtype == np.float64
        assert all(np.array_equal(one.obs[name], value) for name, value in two.obs.items())
        one, two = env.step(np.ones(2)), plain.step(np.ones(2))
    assert plain.physics is None


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("dmc:cartpole_swingup", {}),
        ("dmc:reacher_easy", {"model.geom_pos": 30}),
        ("dmc:point_mass_hard", {"model.wrap_prm": 4}),
        ("dmc:finger_turn_easy", {"model.site_pos": 12, "data.sensordata": 22}),
        ("gym:HalfCheetah-v5", {}),
        ("gym:Ant-v5", {"data.cfrc_ext": 84, "data.xpos": 42}),
    ],
)
def test_what_belongs_to_a_state_is_found(name, fields):
    assert make(name, physics=True).physics.fields == fields


def test_a_state_that_was_read_is_written_into_another_copy():
    one, two = (make("dmc:finger_turn_hard", physics=True) for _ in range(2))
    one.reset(0)
    two.reset(1)
    action = np.array([0.3, -0.8], np.float32)
    for _ in range(5):
        row = one.step(action)
    two.physics.write(row.obs["physics"])
    np.testing.assert_array_equal(two.physics.read(), row.obs["physics"])
    sensed = two.physics.sense()
    for name in ("position", "velocity", "touch"):
        np.testing.assert_array_equal(np.float32(sensed[name]).reshape(-1), row.obs[name])
    after, (reward, terminated, cut) = one.step(action), two.physics.advance(two.native(action))
    assert (reward, terminated, cut) == (after.reward, False, False)
    np.testing.assert_array_equal(two.physics.read(), after.obs["physics"])


def test_divergence_is_a_reward_of_nan():
    env = make("dmc:cartpole_swingup", physics=True)
    env.reset(0)
    state = env.physics.read()
    env.physics.inside.data.qvel[0] = 1e30
    assert np.isnan(env.physics.advance(np.zeros(1))[0])
    env.physics.write(state)
    assert np.isfinite(env.physics.advance(np.zeros(1))[0])


def test_environments_side_by_side_give_it_exactly():
    config = EnvConfig("dmc:cartpole_swingup", physics=True)
    env = make(config)
    with parallel(config, 1, seed=0) as envs:
        begun, moved = envs.step(np.zeros((1, 1))), envs.step(np.ones((1, 1)))
    for there, here in ((begun, env.reset(episode_seed(0, 0, 0))), (moved, env.step(np.ones(1)))):
        assert there.obs["physics"].dtype == np.float64
        np.testing.assert_array_equal(there.obs["physics"][0], here.obs["physics"])


@pytest.mark.parametrize("name", ["toy:pendulum", "gym:Pendulum-v1"])
def test_without_mujoco_it_is_refused(name):
    with pytest.raises(ValueError, match=r"leave out physics, or choose"):
        make(name, physics=True)


def test_a_state_too_large_is_refused():
    with pytest.raises(ValueError, match=r"quadruped_escape: its state has 4\d+ entries.*hfield"):
        make("dmc:quadruped_escape", physics=True)


def test_a_task_that_remembers_in_python_is_refused():
    simulator = DmControl("cartpole_swingup")
    task = simulator.env.task
    reward, count = task.get_reward, iter(range(1000))
    task.get_reward = lambda physics: reward(physics) + next(count)
    with pytest.raises(ValueError, match=r"not the whole state .* differs in reward"):
        physics_of(simulator)


def test_your_own_gymnasium_environment_has_it_too():
    import gymnasium

    env = from_gymnasium(gymnasium.make("HalfCheetah-v5"), physics=True)
    assert isinstance(env.physics, Physics)
    assert env.reset(0).obs["physics"].shape == (env.physics.size,)
    env.close()


def test_pixels_leave_it_in():
    env = make("dmc:cartpole_swingup", physics=True, pixels=True)
    assert env.obs.keys() == {"image", "physics"}
    env.close()
