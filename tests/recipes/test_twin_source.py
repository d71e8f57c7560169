"""What a twin takes from an environment is what the environment does."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest

from reverie.envs import EnvConfig, make
from reverie.recipes.twin_source import PHYSICS, Source

pytest.importorskip("dm_control")


@pytest.fixture(scope="module")
def cartpole() -> Iterator[Source]:
    source = Source(EnvConfig("dmc:cartpole_swingup", repeat=2))
    yield source
    source.close()


def test_positions_and_velocities_stand_where_the_layout_says(cartpole: Source) -> None:
    cartpole.env.reset(4)
    vector = cartpole.env.step(np.ones(1, np.float32)).obs[PHYSICS]
    data = cartpole.physics.inside.data
    assert vector[cartpole.layout.position].tolist() == data.qpos.tolist()
    assert vector[cartpole.layout.velocity].tolist() == data.qvel.tolist()
    assert len(vector) == cartpole.layout.size


def test_what_the_task_draws_stands_in_the_layout() -> None:
    source = Source(EnvConfig("dmc:reacher_easy"))
    one, two = (source.env.reset(seed).obs[PHYSICS][source.layout.drawn] for seed in (0, 1))
    assert one.size == source.physics.inside.model.geom_pos.size
    assert not np.array_equal(one, two)
    source.close()


def test_senses_and_rewards_of_recorded_moments_are_those_of_the_play(cartpole: Source) -> None:
    env = make(EnvConfig("dmc:cartpole_swingup", physics=True))
    env.reset(7)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (5, 1)).astype(np.float32)
    rows = [env.step(action) for action in actions]
    moments = np.stack([row.obs[PHYSICS] for row in rows])[::-1]
    sensed = cartpole.sense(moments)
    for name in ("position", "velocity"):
        played = np.stack([row.obs[name] for row in rows])[::-1]
        np.testing.assert_allclose(sensed[name], played, atol=1e-6)
    rewards = cartpole.reward(moments, actions[::-1].astype(np.float64))
    np.testing.assert_allclose(rewards, [row.reward for row in rows][::-1], atol=1e-12)
    assert len(set(rewards.tolist())) == 5
    env.close()


def test_a_state_that_mujoco_refuses_has_no_reward(cartpole: Source) -> None:
    moment = cartpole.begin.copy()
    moment[cartpole.layout.position] = 1e12
    two = np.stack([moment, cartpole.begin])
    rewards = cartpole.reward(two, np.zeros((2, 1)))
    assert np.isnan(rewards[0])
    assert np.isfinite(rewards[1])


def test_samples_are_all_over_the_state_space(cartpole: Source) -> None:
    moments = cartpole.samples(400)
    q = moments[:, cartpole.layout.position]
    assert np.abs(q[:, 0]).max() <= 1.8  # the ends of the rail
    assert q[:, 0].min() < -1.6
    assert q[:, 0].max() > 1.6
    assert np.histogram(q[:, 1], bins=8, range=(-np.pi, np.pi))[0].min() > 20
    assert np.array_equal(cartpole.samples(400), moments)
    assert not np.array_equal(cartpole.samples(400, seed=1), moments)


def test_the_bodies_have_the_numbers_of_the_model(cartpole: Source) -> None:
    model, params = cartpole.physics.inside.model, cartpole.bodies.params
    assert params.bodies.mass[0].tolist() == model.body_mass[1:].tolist()
    assert params.joints.damping[0].tolist() == model.dof_damping.tolist()
    np.testing.assert_allclose(params.bodies.inertia[0, 1, :3], model.body_inertia[2], rtol=1e-5)
    assert [body.name for body in cartpole.bodies.model.bodies] == ["cart", "pole_1"]
    assert copy.deepcopy(cartpole) is cartpole


def test_a_closed_one_says_so() -> None:
    source = Source(EnvConfig("dmc:pendulum_swingup"))
    source.close()
    source.close()
    with pytest.raises(RuntimeError, match="was closed"):
        source.reward(source.begin[None], np.zeros((1, 1)))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("toy:pendulum", "made of the MuJoCo model"),
        ("dmc:finger_spin", "contacts of cylinder"),
        ("dmc:ball_in_cup_catch", r"tendons \(string\)"),
        ("dmc:swimmer_swimmer6", "forces of a fluid"),
        ("dmc:lqr_lqr_2_1", "no bounds"),
    ],
)
def test_what_has_no_twin_is_refused_by_name(name: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Source(EnvConfig(name))
