"""Scenes as environments, and their takes as rows."""

import numpy as np
import pytest

from reverie.envs import make
from reverie.envs.scenes import FRAMES, TASKS, episode, names, retake


@pytest.mark.parametrize("name", names())
def test_an_environment_records_what_episode_gives(name: str) -> None:
    env = make(f"scene:{name}", pixels=True, with_state=True, size=(16, 24))
    actions = np.random.default_rng(2).uniform(-1, 1, (8, *env.action.shape)).astype(np.float32)
    rows = [env.reset(7), *(env.step(action) for action in actions)]
    expected = episode(name, 7, actions, (16, 24))
    for key in ("image", "state", "constants"):
        assert np.stack([row.obs[key] for row in rows]) == pytest.approx(expected[key], abs=1e-6), (
            key
        )
        assert env.obs[key].shape == expected[key].shape[1:]
    assert [row.reward for row in rows] == pytest.approx(expected["reward"].tolist())
    assert [row.first for row in rows] == expected["first"].tolist()
    assert (expected["action"][1:] == actions).all()
    assert (expected["action"][0] == 0).all()
    env.close()


def test_an_episode_lasts_three_seconds_and_is_truncated() -> None:
    env = make("scene:collision")
    row, count = env.reset(0), 0
    while not row.last:
        row, count = env.step(np.zeros(2)), count + 1
    assert count == FRAMES == env.decisions
    assert not row.terminated
    assert count * env.dt == pytest.approx(3.0)


def test_the_reward_is_one_at_the_mark_and_falls_with_distance() -> None:
    env = make("scene:stacking")  # the mark is where the top box begins
    env.reset(0)
    row = env.step(np.zeros(1))
    moved = np.hypot(*(row.obs["state"][:2] - row.obs["constants"][-2:]))
    assert row.reward == pytest.approx(np.exp(-moved), rel=1e-5)
    assert row.reward > 0.97


def test_a_push_towards_the_mark_earns_more_than_one_away() -> None:
    """On the axis along which the agent can move."""
    totals = []
    for sign in (1, -1):
        env, total = make("scene:projectile"), 0.0
        for seed in range(5):
            row = env.reset(seed)
            while not row.last:
                way = row.obs["constants"][-2:] - row.obs["state"][:2]
                row = env.step(sign * way / np.hypot(*way))
                total += row.reward
        totals.append(total / 5)
    assert totals[0] > totals[1] + 3


@pytest.mark.parametrize("name", TASKS)
def test_a_take_without_spread_is_the_recorded_future(name: str) -> None:
    actions = np.random.default_rng(1).uniform(-1, 1, (12, TASKS[name].axes))
    rows = episode(name, 3, actions, (16, 16))
    again = retake(
        name, rows["constants"][4], rows["state"][4], actions[4:], spread=0.0, size=(16, 16)
    )
    assert again["state"] == pytest.approx(rows["state"][4:], abs=2e-3)
    assert np.abs(again["image"].astype(int) - rows["image"][4:]).max() <= 4


def test_takes_begin_alike_and_part_by_seed() -> None:
    rows = episode("projectile", 1, size=(8, 8))
    given = rows["constants"][0], rows["state"][0], rows["action"][1:]
    one, two, same = (
        retake("projectile", *given, seed=seed, size=(8, 8))["state"] for seed in (1, 2, 1)
    )
    assert (one == same).all()
    assert (one[0, :2] == rows["state"][0, :2]).all()
    apart = np.hypot(*(one - two)[:, :2].T)
    assert apart[0] == 0
    assert 0 < apart[5] < 0.3
    assert apart.max() > apart[5]


def test_a_camera_or_an_unknown_scene_is_refused() -> None:
    with pytest.raises(ValueError, match="one view and no camera 'side'"):
        make("scene:projectile", camera="side")
    with pytest.raises(ValueError, match="did you mean 'stacking'"):
        make("scene:stakcing")
    with pytest.raises(ValueError, match="no option 'speed'"):
        make("scene:projectile", speed=3)
