"""Values window by window: second takes under a repeated action, lost objects, missing truth."""

import numpy as np
import pytest

from reverie.envs import make
from reverie.envs.scenes import find
from reverie.eval.physics_values import from_state, recorded, second_takes
from reverie.eval.windows import Windows, from_episodes
from tests.eval.scene_worlds import recorded as windows_of


def played(name: str, decisions: int, repeat: int) -> Windows:
    """One window of an environment that holds each action for some frames."""
    env = make(f"scene:{name}", pixels=True, with_state=True, size=(16, 16), repeat=repeat)
    actions = np.random.default_rng(0).uniform(-1, 1, (decisions, *env.action.shape))
    rows = [env.reset(4), *(env.step(action) for action in actions)]
    episode = {key: np.stack([row.obs[key] for row in rows]) for key in env.obs}
    episode["action"] = np.concatenate([0 * actions[:1], actions]).astype(np.float32)
    for key in ("reward", "first", "last", "terminated"):
        episode[key] = np.array([getattr(row, key) for row in rows])
    return from_episodes([episode], decisions + 1)


@pytest.mark.parametrize("repeat", [1, 3])
def test_a_take_without_spread_is_what_was_recorded(repeat: int) -> None:
    batch = played("projectile", 8, repeat).batch
    task, _ = find("projectile")
    known = recorded("projectile", task, batch, (1, 2, 3, 4, 5), 3, 0.05 * repeat)
    assert known.times == pytest.approx(0.05 * repeat * np.arange(1, 6))
    takes = second_takes(known, batch, 3, 5, 0.0, 0)
    real = batch.obs["image"][:, 3:8].numpy() / 255
    assert takes.shape == real.shape
    assert np.abs(takes - real).max() < 0.02
    other = second_takes(known, batch, 3, 5, 0.3, 0)
    assert np.abs(other - real).max() > 0.05


def test_rows_between_chunks_are_left_out_of_a_take() -> None:
    batch = played("projectile", 8, 1).batch
    task, _ = find("projectile")
    known = recorded("projectile", task, batch, (3, 6), 2, 0.05)
    takes = second_takes(known, batch, 2, 6, 0.0, 0)
    real = batch.obs["image"][:, [4, 7]].numpy() / 255
    assert np.abs(takes - real).max() < 0.02


def test_the_baselines_of_a_state_are_its_last_row_and_its_velocity_kept() -> None:
    batch = windows_of("sliding", 3, 8, push=0.0).batch
    task, _ = find("sliding")
    steps = (1, 2, 3, 4)
    known = recorded("sliding", task, batch, steps, 2, 0.05)
    state = batch.obs["state"].double().numpy()
    values, scales = from_state(known, known.state[None])
    assert values["position_error"]["model"].max() == 0
    moved = np.abs(state[:, 2:6, 0] - state[:, 1:2, 0])
    assert values["position_error"]["repeat"] == pytest.approx(moved, abs=1e-9)
    ahead = state[:, 1:2, 0] + state[:, 1:2, 2] * 0.05 * np.array(steps)
    assert values["position_error"]["linear"] == pytest.approx(
        np.abs(ahead - state[:, 2:6, 0]), abs=1e-9
    )
    faster = np.abs(state[:, 1:2, 2]) - np.abs(state[:, 2:6, 2])
    assert values["velocity_error"]["linear"] == pytest.approx(faster, abs=1e-9)
    assert scales.rows == 12
    mass = batch.obs["constants"][:, :1, 0].double().numpy()
    assert scales.momentum == pytest.approx((mass * np.abs(state[:, 2:6, 2])).sum())
