"""World models as Gymnasium environments, held to Gymnasium's own checker."""

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from reverie.envs import from_gymnasium
from reverie.envs.as_gymnasium import as_env, as_procedural, as_vector
from tests.envs.test_play import Walk, episodes


def picture(state, height, width):
    return np.zeros((len(state.x), height, width, 3), np.uint8)


def test_gymnasium_finds_nothing_wrong():
    env = as_env(Walk(), episodes(picture=picture), size=(8, 12))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(unbounded|infinity|not within|spec).*")
        check_env(env, skip_render_check=True)
    env.reset(seed=0)
    assert env.render().shape == (8, 12, 3) and env.metadata["render_fps"] == 10


def test_several_observations_are_a_dictionary():
    env = as_env(Walk(), episodes(observe=("image", "place")))
    seen, info = env.reset(seed=0)
    assert env.observation_space.contains(seen) and set(seen) == {"image", "place"}
    assert info == {"success": False}


def test_a_vector_takes_the_same_way_as_its_environments_would_alone():
    vector = as_vector(Walk(), episodes(), 3)
    seen, _ = vector.reset(seed=5)
    assert seen.shape == (3, 2) == vector.observation_space.shape
    actions = np.array([[0.0], [0.5], [1.0]], np.float32)
    before = seen
    for k in range(4):
        seen, reward, over, late, info = vector.step(actions)
        if k == 2:
            assert over.tolist() == [False, False, False] or over[2]
        assert np.allclose(seen[:2, 0] - before[:2, 0], actions[:2, 0] / 2, atol=0.1) or k > 1
        assert info["success"].shape == (3,) and reward.shape == (3,) and late.dtype == bool
        before = seen


def test_an_episode_that_ended_begins_anew_at_the_next_step():
    vector = as_vector(Walk(), episodes(), 2)
    vector.reset(seed=0)
    actions = np.array([[1.0], [0.0]], np.float32)
    for _ in range(2):
        seen, _, over, _, _ = vector.step(actions)
    assert over.tolist() == [True, False] and seen[0, 0] > 0.9
    seen, reward, over, late, _ = vector.step(actions)
    assert seen[0, 0] < 0.2 and reward[0] == 0 and not over[0] and not late[0]
    assert vector.metadata["autoreset_mode"] == gymnasium.vector.AutoresetMode.NEXT_STEP
    for _ in range(2):
        _, _, over, late, _ = vector.step(actions * 0)
    assert late.tolist() == [False, True]  # each row has its own clock


def test_every_episode_in_a_model_of_its_own():
    made = []

    def fresh(seed):
        made.append(seed)
        return Walk(), episodes()

    env = as_procedural(fresh)
    env.reset(seed=7)
    env.reset(seed=8)
    env.reset()
    assert made[:3] == [0, 7, 8] and len(set(made)) == 4


def test_a_model_with_other_spaces_is_refused():
    class Wide(Walk):
        feature_size = 3

        def features(self, state):
            return torch.cat([state.x] * 3, -1)

    env = as_procedural(lambda seed: ((Wide if seed else Walk)(), episodes()))
    with pytest.raises(ValueError, match="seed 4 has other spaces"):
        env.reset(seed=4)


def test_it_goes_round_through_our_own_adapter():
    env = from_gymnasium(as_env(Walk(), episodes()), "walk")
    row = env.reset(1)
    assert env.dt == 0.1 and row.obs["state"].shape == (2,)
