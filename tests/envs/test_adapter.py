"""Actions in, rows out: scaling, clipping, repeating and ends, in one place for all simulators."""

import math

import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.envs import Adapter, EnvError, RenderError


class Recorder:
    """Remembers native actions; reward 1 per frame; scripted ends."""

    name = "test:recorder"
    dt = 0.02
    repeatable = True

    def __init__(self, action, terminate_at=0, truncate_at=0, image=None):
        self.obs = {"frame": Space((1,))}
        self.action = action
        self.terminate_at, self.truncate_at = terminate_at, truncate_at
        self.actions, self.frame, self.pictures, self.image = [], 0, 0, image

    def begin(self, seed):
        self.frame = 0

    def advance(self, action):
        self.frame += 1
        self.actions.append(np.array(action))
        return 1.0, self.frame == self.terminate_at, self.frame == self.truncate_at

    def observe(self):
        return {"frame": np.float64(self.frame)}

    def picture(self, height, width):
        self.pictures += 1
        return self.image if self.image is not None else np.zeros((height, width, 3), np.uint8)

    def close(self):
        pass


TORQUE = Space((2,), low=(-4.0, 0.0), high=(4.0, 10.0))


def test_actions_are_scaled_from_the_unit_box_to_the_bounds():
    simulator = Recorder(TORQUE)
    env = Adapter(simulator)
    assert (env.action.low, env.action.high) == (-1.0, 1.0)
    env.reset(0)
    for action in ([-1, -1], [0, 0], [1, 1], [0.5, -0.5]):
        env.step(np.array(action, np.float32))
    expected = [[-4, 0], [0, 5], [4, 10], [2, 2.5]]
    np.testing.assert_array_equal(simulator.actions, expected)


def test_actions_outside_are_clipped():
    simulator = Recorder(TORQUE)
    env = Adapter(simulator)
    env.reset(0)
    env.step(np.array([-3.0, 1e30]))
    np.testing.assert_array_equal(simulator.actions, [[-4, 10]])


def test_entries_with_an_infinite_bound_keep_their_scale():
    inf = math.inf
    simulator = Recorder(Space((3,), low=(-inf, 0.0, -2.0), high=(inf, inf, 2.0)))
    env = Adapter(simulator)
    assert env.action.low == (-inf, 0.0, -1.0)
    assert env.action.high == (inf, inf, 1.0)
    env.reset(0)
    env.step(np.array([30.0, -5.0, 0.5]))
    np.testing.assert_array_equal(simulator.actions, [[30, 0, 1]])


@pytest.mark.parametrize(
    ("frames", "repeat", "most", "decisions"),
    [(0, 2, 0, 0), (7, 2, 0, 4), (7, 2, 3, 3), (7, 2, 9, 4), (0, 2, 9, 9)],
)
def test_the_clock_says_how_many_decisions_an_episode_has(frames, repeat, most, decisions):
    simulator = Recorder(TORQUE, truncate_at=frames)
    simulator.frames = frames
    env = Adapter(simulator, repeat=repeat, max_decisions=most)
    assert env.decisions == decisions
    if decisions:
        env.reset(0)
        ends = [env.step(np.zeros(2)).last for _ in range(decisions)]
        assert ends == [False] * (decisions - 1) + [True]
    assert Adapter(Recorder(TORQUE)).decisions == 0


def test_actions_that_need_no_scaling_arrive_bit_by_bit():
    simulator = Recorder(Space((4,), low=-1.0, high=1.0))
    env = Adapter(simulator)
    env.reset(0)
    action = np.random.default_rng(0).uniform(-1, 1, 4).astype(np.float32)
    env.step(action)
    np.testing.assert_array_equal(simulator.actions[0], action)


def test_a_discrete_choice_is_the_largest_entry():
    simulator = Recorder(Space((3,), low=0.0, high=1.0, discrete=True))
    env = Adapter(simulator)
    assert env.action.discrete
    env.reset(0)
    env.step(np.array([0.0, 0.2, 0.9]))
    np.testing.assert_array_equal(simulator.actions, [[0, 0, 1]])
    with pytest.raises(ValueError, match="one-hot"):
        env.step(2)


def test_a_bad_action_names_environment_and_decision_and_moves_nothing():
    simulator = Recorder(TORQUE)
    env = Adapter(simulator)
    env.reset(0)
    env.step(np.zeros(2))
    with pytest.raises(ValueError, match="test:recorder: entry 0 of the action of decision 2"):
        env.step(np.array([np.nan, 0.0]))
    assert simulator.frame == 1


def test_repeat_sums_rewards_and_multiplies_dt():
    env = Adapter(Recorder(TORQUE), repeat=3)
    assert env.repeat == 3
    assert env.dt == pytest.approx(0.06)
    first = env.reset(0)
    assert (first.reward, first.first, first.last) == (0.0, True, False)
    row = env.step(np.zeros(2))
    assert (row.reward, row.first, row.last) == (3.0, False, False)
    assert row.obs["frame"].tolist() == [3.0]


def test_repeat_stops_early_at_the_end():
    env = Adapter(Recorder(TORQUE, terminate_at=5), repeat=3)
    env.reset(0)
    env.step(np.zeros(2))
    row = env.step(np.zeros(2))
    assert (row.reward, row.last, row.terminated) == (2.0, True, True)
    assert row.obs["frame"].tolist() == [5.0]


@pytest.mark.parametrize(
    ("terminate_at", "truncate_at", "terminated"), [(2, 0, True), (0, 2, False), (2, 2, True)]
)
def test_terminated_and_truncated_stay_apart_and_terminated_wins(
    terminate_at, truncate_at, terminated
):
    env = Adapter(Recorder(TORQUE, terminate_at, truncate_at))
    env.reset(0)
    assert not env.step(np.zeros(2)).last
    row = env.step(np.zeros(2))
    assert row.last
    assert row.terminated is terminated


def test_max_decisions_truncates():
    env = Adapter(Recorder(TORQUE), repeat=2, max_decisions=3)
    env.reset(0)
    rows = [env.step(np.zeros(2)) for _ in range(3)]
    assert [row.last for row in rows] == [False, False, True]
    assert not rows[-1].terminated


def test_a_step_without_an_episode_is_refused():
    env = Adapter(Recorder(TORQUE, truncate_at=1))
    with pytest.raises(EnvError, match="reset it before"):
        env.step(np.zeros(2))
    env.reset(0)
    env.step(np.zeros(2))
    with pytest.raises(EnvError, match="reset it before"):
        env.step(np.zeros(2))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_an_impossible_seed_is_refused(seed):
    with pytest.raises(ValueError, match="seed"):
        Adapter(Recorder(TORQUE)).reset(seed)


def test_a_picture_is_observed_alone_or_beside_the_state():
    alone = Adapter(Recorder(TORQUE), pixels=True, size=(8, 12))
    assert set(alone.obs) == {"image"}
    assert alone.obs["image"] == Space((3, 8, 12), "uint8", 0, 255)
    assert alone.reset(0).obs["image"].shape == (3, 8, 12)
    both = Adapter(Recorder(TORQUE), pixels=True, with_state=True)
    assert set(both.reset(0).obs) == {"image", "frame"}


def test_one_picture_is_drawn_per_decision_and_none_within_a_replay():
    simulator = Recorder(TORQUE)
    env = Adapter(simulator, repeat=4, pixels=True)
    env.reset(0)
    env.step(np.zeros(2))
    assert simulator.pictures == 2
    simulator.pictures = 0
    env.replay(0, np.zeros((10, 2)))
    assert simulator.pictures == 2  # the reset and the last


def test_a_replay_ends_where_the_steps_ended():
    env = Adapter(Recorder(TORQUE), repeat=2)
    env.reset(1)
    for _ in range(3):
        row = env.step(np.ones(2))
    again = env.replay(1, np.ones((3, 2)))
    assert again.reward == row.reward
    assert again.obs["frame"] == row.obs["frame"] == 6
    assert env.step(np.ones(2)).obs["frame"] == 8


def test_a_broken_picture_is_an_error():
    env = Adapter(Recorder(TORQUE, image=np.zeros((4, 4))))
    with pytest.raises(EnvError, match="reset it before"):
        env.render()
    env.reset(0)
    with pytest.raises(RenderError, match=r"float64 of shape \(4, 4\)"):
        env.render()


def test_errors_of_the_simulator_leave_with_a_note_of_where():
    simulator = Recorder(TORQUE)
    env = Adapter(simulator)
    env.reset(5)
    simulator.advance = lambda action: 1 / 0
    with pytest.raises(ZeroDivisionError) as error:
        env.step(np.zeros(2))
    assert "test:recorder, at decision 1 of the episode with seed 5" in error.value.__notes__[0]


def test_what_is_told_and_further_views_stand_beside_the_picture():
    simulator = Recorder(TORQUE)
    simulator.views = {"image_top": lambda h, w: np.full((h, w, 3), 7, np.uint8)}
    assert set(Adapter(simulator).obs) == {"frame"}
    assert set(Adapter(simulator, pixels=True).obs) == {"image", "image_top"}
    simulator.beside = ("frame",)
    env = Adapter(simulator, pixels=True, size=(8, 12))
    assert set(env.obs) == {"image", "image_top", "frame"}
    row = env.reset(0)
    assert row.obs["image_top"].shape == (3, 8, 12)
    assert (row.obs["image_top"] == 7).all()
    assert not row.obs["image"].any()
    simulator.views = {"image_top": lambda h, w: np.zeros((h, w), np.uint8)}
    with pytest.raises(RenderError, match="test:recorder drew uint8"):
        Adapter(simulator, pixels=True).reset(0)
    simulator.views = {"frame": lambda h, w: np.zeros((h, w, 3), np.uint8)}
    with pytest.raises(ValueError, match="observes an 'frame' by itself"):
        Adapter(simulator, pixels=True)
