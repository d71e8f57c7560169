"""Poses recovered from observations are the poses of the real simulator."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from reverie.envs.dm_control import load_suite
from reverie.viz.pose import Puppet, can_pose, recover

pytest.importorskip("dm_control")
suite: Any = load_suite()

TASKS = [
    "acrobot_swingup",
    "ball_in_cup_catch",
    "cartpole_swingup",
    "cartpole_two_poles",
    "cheetah_run",
    "finger_spin",
    "hopper_hop",
    "pendulum_swingup",
    "point_mass_easy",
    "reacher_hard",
    "walker_walk",
]


def play(task: str, rows: int = 40) -> tuple[Any, dict[str, np.ndarray], np.ndarray]:
    """The environment, its observations and its true configurations under random actions."""
    domain = next(d for d in suite.BENCHMARKING + suite.EXTRA if task.startswith(d[0] + "_"))[0]
    env = suite.load(domain, task[len(domain) + 1 :], task_kwargs={"random": 3})
    bounds, random = env.action_spec(), np.random.default_rng(0)
    moments, poses = [env.reset()], [np.array(env.physics.data.qpos)]
    for _ in range(rows - 1):
        moments.append(env.step(random.uniform(bounds.minimum, bounds.maximum)))
        poses.append(np.array(env.physics.data.qpos))
    obs = {
        k: np.stack([np.atleast_1d(m.observation[k]) for m in moments])
        for k in moments[0].observation
    }
    return env, obs, np.stack(poses)


@pytest.mark.parametrize("task", TASKS)
def test_the_pose_survives_the_round_trip(task: str) -> None:
    env, obs, poses = play(task)
    found = recover(f"dmc:{task}", obs, poses[:5], env.control_timestep())
    assert found is not None
    assert found.qpos.shape == poses.shape
    joints = env.physics.model.jnt_type[:]
    difference = found.qpos - poses
    turns = joints == 3  # a full turn more or less looks the same
    difference[:, turns] = (difference[:, turns] + np.pi) % (2 * np.pi) - np.pi
    allowed = np.full(poses.shape[1], 1e-6)
    if found.assumed:  # an integrated coordinate drifts, but not far
        allowed[{"walker": 1, "finger": 2}.get(task.partition("_")[0], 0)] = 0.12
    assert (np.abs(difference) <= allowed).all(), np.abs(difference).max(0)
    env.close()


def test_the_robot_looks_the_same_and_is_left_as_it_was() -> None:
    """Body positions stand for the picture, so that no GL library is needed."""
    env, obs, poses = play("walker_walk")
    physics, before = env.physics, env.physics.get_state().copy()
    seen: list[np.ndarray] = []

    def render(height: int, width: int) -> np.ndarray:
        seen.append(np.array(physics.data.xpos))
        return np.zeros((height, width, 3), np.uint8)

    adapted = SimpleNamespace(
        name="dmc:walker_walk", render=render, simulator=SimpleNamespace(env=env)
    )
    assert can_pose(adapted)
    puppet = Puppet(adapted)
    found = recover("dmc:walker_walk", obs, poses[:39], env.control_timestep())
    assert found is not None
    truth = puppet.draw(poses[20], 4, 6)
    assert truth.shape == (4, 6, 3)
    puppet.draw(found.qpos[20], 4, 6)
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-6)
    puppet.draw(poses[3], 4, 6)
    assert np.abs(seen[2] - seen[0]).max() > 0.05
    np.testing.assert_array_equal(physics.get_state(), before)
    env.close()


def test_what_cannot_be_told_is_not_invented() -> None:
    rows = np.zeros((3, 4))
    assert recover("dmc:humanoid_walk", {"joint_angles": rows}, rows[:1], 0.02) is None
    assert recover("gym:Pendulum-v1", {"obs": rows}, rows[:1], 0.02) is None
    assert recover("dmc:walker_walk", {"height": rows}, rows[:1], 0.02) is None
    assert not can_pose(SimpleNamespace(name="toy"))
    with pytest.raises(TypeError, match="no MuJoCo physics"):
        Puppet(SimpleNamespace(name="toy"))
