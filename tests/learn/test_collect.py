"""Acting with scripted agents in scripted environments, where every number is known."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from reverie.core.spec import Space
from reverie.data import StorageError
from reverie.learn.collect import Collector, play
from reverie.learn.device import Device

CPU = Device(torch.device("cpu"))


class Rows(NamedTuple):
    obs: dict
    reward: np.ndarray
    first: np.ndarray
    last: np.ndarray
    terminated: np.ndarray
    episode: np.ndarray


class Clocks:
    """Environment i has episodes of i + 2 decisions; it shows its time and pays the action."""

    repeat, repeatable = 3, True
    obs = {"time": Space((1,)), "camera": Space((3, 2, 2), "uint8", 0, 255)}

    def __init__(self, count, action=Space((2,), low=-1.0, high=1.0)):  # noqa: B008
        self.count, self.action = count, action
        self.time = np.full(count, -1)
        self.episode = np.full(count, -1)
        self.given = []

    def step(self, actions):
        self.given.append(actions.copy())
        over = (self.time < 0) | (self.time == np.arange(self.count) + 2)
        self.time = np.where(over, 0, self.time + 1)
        self.episode += over
        camera = np.zeros((self.count, 3, 2, 2), np.uint8) + self.time[:, None, None, None]
        obs = {"time": self.time[:, None].astype(np.float32), "camera": camera.astype(np.uint8)}
        last = self.time == np.arange(self.count) + 2
        reward = np.where(over, 0, actions[:, 0]).astype(np.float32)
        return Rows(
            obs, reward, over, last, last & (np.arange(self.count) == 0), self.episode.copy()
        )

    def position(self):
        return {"time": self.time.copy(), "episode": self.episode.copy()}

    def restore(self, position):
        self.time, self.episode = position["time"].copy(), position["episode"].copy()
        return "rows"


class Script:
    """Counts the rows since `first` and acts by it; noise where a generator is given."""

    def __init__(self):
        self.modes, self.begun = [], []

    def begin(self, batch, obs=None):
        self.begun.append(obs)
        return {"count": torch.full((batch, 1), 100.0)}

    def act(self, memory, obs, first, generator=None):
        assert obs["camera"].dtype == torch.uint8
        assert not torch.is_grad_enabled()
        self.modes.append(generator is None)
        count = torch.where(first[:, None], 0.0, memory["count"] + 1)
        noise = 0 if generator is None else torch.rand(count.shape, generator=generator)
        return torch.cat([count + noise, count], 1), {"count": count}


class Learner:
    def __init__(self):
        self.agent = Script()

    def latent(self, memory):
        return {"count": memory["count"]}


class Tape:
    def __init__(self):
        self.rows, self.full = [], False

    def append(self, stream, row, latent=None):
        self.rows.append((stream, row, latent))
        if self.full:
            raise StorageError(28, "no space")


def test_rows_hold_what_arrived_and_the_action_that_led_there():
    tape, envs = Tape(), Clocks(1)
    collector = Collector(Learner(), envs, tape, CPU, seed=0)
    for _ in range(5):
        collector.collect(random=False)
    rows = [row for _, row, _ in tape.rows]
    assert [row["time"].tolist() for row in rows] == [[0], [1], [2], [0], [1]]
    assert [bool(row["first"]) for row in rows] == [True, False, False, True, False]
    assert [bool(row["last"]) for row in rows] == [False, False, True, False, False]
    assert [bool(row["terminated"]) for row in rows] == [False, False, True, False, False]
    # the action of row t is the one chosen at t - 1; a reset has none, though one was given
    assert [row["action"][1] for row in rows] == [0, 0, 1, 0, 0]
    assert envs.given[3][0, 1] == 2
    assert rows[1]["reward"] == rows[1]["action"][0] > 0
    assert [latent["count"].tolist() for _, _, latent in tape.rows] == [[0], [1], [2], [0], [1]]
    assert rows[0]["camera"].dtype == np.uint8


def test_decisions_and_episodes_are_counted_without_resets():
    collector = Collector(Learner(), Clocks(2), Tape(), CPU, seed=0)
    collected = [collector.collect(random=True) for _ in range(8)]
    assert [c.decisions for c in collected] == [0, 2, 2, 1, 1, 2, 1, 2]
    done = [(e.stream, e.number, e.decisions) for c in collected for e in c.episodes]
    assert done == [(0, 0, 2), (1, 0, 3), (0, 1, 2), (1, 1, 3)]


def test_an_agent_that_begins_is_told_the_rows_it_will_read():
    learner = Learner()
    collector = Collector(learner, Clocks(2), Tape(), CPU, seed=0)
    collector.collect(random=True)
    for _ in range(2):
        collector.collect(random=False)
    (obs,) = learner.agent.begun
    assert obs["time"].tolist() == [[1], [1]]


def test_the_return_of_an_episode_is_the_sum_of_its_rewards():
    tape = Tape()
    collector = Collector(Learner(), Clocks(1), tape, CPU, seed=0)
    (episode,) = [e for _ in range(4) for e in collector.collect(random=False).episodes]
    assert episode.ret == pytest.approx(sum(row["reward"] for _, row, _ in tape.rows[:3]))


def test_random_actions_leave_the_agent_out_and_fill_the_space():
    learner, tape, envs = Learner(), Tape(), Clocks(2)
    collector = Collector(learner, envs, tape, CPU, seed=0)
    for _ in range(60):
        collector.collect(random=True)
    actions = np.concatenate(envs.given[1:])
    assert learner.agent.modes == []
    assert all(latent is None for _, _, latent in tape.rows)
    assert actions.min() < -0.9
    assert actions.max() > 0.9
    assert abs(actions.mean()) < 0.2
    discrete = Clocks(2, Space((3,), low=0.0, high=1.0, discrete=True))
    collector = Collector(learner, discrete, tape, CPU, seed=0)
    for _ in range(30):
        collector.collect(random=True)
    choices = np.concatenate(discrete.given[1:])
    assert set(choices.sum(1)) == {1.0}
    assert set(choices.argmax(1)) == {0, 1, 2}


def test_a_row_that_could_not_be_written_does_not_lose_the_others():
    tape = Tape()
    tape.full = True
    collector = Collector(Learner(), Clocks(3), tape, CPU, seed=0)
    assert isinstance(collector.collect(random=False).problem, StorageError)
    assert [stream for stream, _, _ in tape.rows] == [0, 1, 2]


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_loaded_collector_goes_on_bitwise(steps):
    def collect(collector, count):
        for k in range(count):
            collector.collect(random=k < 2)

    tape = Tape()
    one = Collector(Learner(), Clocks(2), tape, CPU, seed=4)
    collect(one, steps)
    state = one.state_dict()
    two = Collector(Learner(), Clocks(2), tape, CPU, seed=9)
    assert two.load_state_dict(state)
    ends = [[e for _ in range(6) for e in c.collect(random=False).episodes] for c in (one, two)]
    a, b = np.split(
        np.array([np.concatenate([r["action"], r["time"]]) for _, r, _ in tape.rows[2 * steps :]]),
        2,
    )
    assert a.tobytes() == b.tobytes()
    assert ends[0] == ends[1]


def test_environments_that_cannot_return_are_told():
    one = Collector(Learner(), Clocks(2), Tape(), CPU, seed=4)
    one.collect(random=False)
    envs = Clocks(2)
    envs.restore = lambda position: None
    assert not Collector(Learner(), envs, Tape(), CPU, seed=4).load_state_dict(one.state_dict())


def test_a_memory_of_another_shape_is_refused():
    one = Collector(Learner(), Clocks(2), Tape(), CPU, seed=4)
    one.collect(random=False)
    three = Collector(Learner(), Clocks(3), Tape(), CPU, seed=4)
    with pytest.raises(ValueError, match="the same number of environments"):
        three.load_state_dict(one.state_dict())


def test_play_gives_each_environment_its_share():
    agent = Script()
    played = play(agent, Clocks(3), 7, device=CPU)
    # short episodes are not preferred: 3 of environment 0, 2 of the others
    assert played.decisions.tolist() == [2, 2, 2, 3, 3, 4, 4]
    assert played.returns.tolist() == [1, 1, 1, 3, 3, 6, 6]
    assert played.rows == []
    assert all(agent.modes)


def test_play_records_whole_episodes():
    played = play(Script(), Clocks(2), 2, device=CPU, record=True)
    assert [rows["time"][:, 0].tolist() for rows in played.rows] == [[0, 1, 2], [0, 1, 2, 3]]
    assert played.rows[1]["first"].tolist() == [True, False, False, False]
    assert played.rows[1]["action"][:, 1].tolist() == [0, 0, 1, 2]
    assert played.rows[0]["camera"].shape == (3, 3, 2, 2)


def test_play_does_not_count_an_episode_under_way():
    envs = Clocks(2)
    for _ in range(2):
        envs.step(np.zeros((2, 2), np.float32))
    assert play(Script(), envs, 2, device=CPU).decisions.tolist() == [2, 3]


def test_samples_repeat_by_seed():
    def returns(**given):
        return play(Script(), Clocks(2), 4, device=CPU, **given).returns.tolist()

    assert returns(sample=True, seed=1) == returns(sample=True, seed=1)
    assert returns(sample=True, seed=1) != returns(sample=True, seed=2)
    assert returns(seed=1) == returns(seed=2)


def test_play_needs_an_episode():
    with pytest.raises(ValueError, match="at least 1"):
        play(Script(), Clocks(2), 0, device=CPU)
