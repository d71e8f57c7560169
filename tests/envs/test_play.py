"""Episodes in a world model: what an environment promises, in a model whose future is known."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.core.model import Transition
from reverie.core.spec import Space, Spec
from reverie.envs import Adapter, RenderError
from reverie.envs.play import Episodes, ModelSimulator, Play


class Place(NamedTuple):
    x: Tensor


class Walk:
    """x <- x + a / 2 + noise / 100, reward -|x|; the episode ends beyond 1."""

    spec = Spec(
        obs={"place": Space((1,)), "image": Space((3, 4, 4), "uint8")},
        action=Space((1,), low=-1.0, high=1.0),
        dt=0.1,
        provides=frozenset({"obs", "reward", "continues"}),
    )
    feature_size = 2

    def initial(self, batch, context=None):
        return Place(torch.zeros(batch, 1))

    def noise(self, batch, generator=None):
        return torch.randn(batch, 1, generator=generator)

    def step(self, state, action, noise):
        x = state.x + action[:, 0] / 2 + noise / 100
        return Transition(Place(x), -x.abs().squeeze(1), (x.abs() < 1).float().squeeze(1))

    def decode(self, state):
        picture = state.x[:, :, None, None].clamp(0, 1).expand(-1, 3, 4, 4)
        return {"place": state.x, "image": picture}

    def features(self, state):
        return torch.cat([state.x, state.x**2], -1)


def begin(batch, generator):
    return Place(torch.rand(batch, 1, generator=generator) * 0.1)


def episodes(**options):
    return Episodes(begin, 5, success=lambda s: s.x.squeeze(1) > 0.5, **options)


def test_the_same_seed_begins_the_same_episodes_and_another_does_not():
    play = Play(Walk(), episodes(), 3)
    runs = []
    for seed in (1, 1, 2):
        seen = [play.reset(seed)["features"]]
        for _ in range(2):
            play.step(np.full((3, 1), 0.1))
            seen.append(play.seen()["features"])
        runs.append(np.stack(seen))
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_episodes_are_truncated_by_the_clock_and_terminated_by_the_model():
    play = Play(Walk(), episodes(), 2)
    play.reset(0)
    ends = []
    for _ in range(5):
        reward, over, late = play.step(np.array([[0.0], [0.9]]))
        ends.append((over.tolist(), late.tolist()))
        assert np.allclose(reward, -np.abs(play.state.x[:, 0].numpy()))
    assert [over for over, _ in ends] == [[False, k >= 2] for k in range(5)]
    assert [late for _, late in ends] == [[k == 4] * 2 for k in range(5)]
    assert play.succeeded().tolist() == [False, True]


def test_renewed_rows_begin_anew_and_others_go_on():
    play = Play(Walk(), episodes(), 2)
    play.reset(0)
    play.step(np.full((2, 1), 0.8))
    kept = play.state.x[1].clone()
    play.renew(torch.tensor([True, False]))
    assert float(play.state.x[0]) < 0.1 and play.state.x[1] == kept
    assert play.age.tolist() == [0, 1]


def test_pictures_are_seen_as_whole_numbers():
    play = Play(Walk(), episodes(observe=("image", "place")))
    play.state = Place(torch.tensor([[0.2]]))
    seen = play.seen()
    assert seen["image"].dtype == np.uint8 and (seen["image"] == 51).all()
    assert np.allclose(seen["place"], 0.2)


@pytest.mark.parametrize("action", [np.zeros((1, 1)), np.zeros((2, 2))])
def test_actions_of_another_shape_are_refused(action):
    play = Play(Walk(), episodes(), 2)
    play.reset(0)
    with pytest.raises(ValueError, match=r"Actions are to be \(2, 1\)"):
        play.step(action)


def test_what_cannot_be_observed_is_refused_with_what_can():
    with pytest.raises(ValueError, match=r"can observe .*place.*asked for"):
        Play(Walk(), episodes(observe=("touch",)))


def test_a_step_before_a_reset_is_refused():
    with pytest.raises(RuntimeError, match="Reset"):
        Play(Walk(), episodes()).step(np.zeros((1, 1)))


def test_as_a_simulator_it_is_an_environment_like_others():
    env = Adapter(ModelSimulator("walk", Walk(), episodes(observe=("place",))))
    row = env.reset(3)
    assert row.first and row.obs["place"].shape == (1,) and env.decisions == 5
    row = env.step(np.array([0.1]))
    assert row.reward == pytest.approx(-abs(float(row.obs["place"][0])))
    assert env.replay(3, [np.array([0.1])]).reward == row.reward
    with pytest.raises(RenderError, match="walk has no picture"):
        env.render()
