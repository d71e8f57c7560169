"""The lag is known because it was planted; each way in which a right recording could mislead the
regression is a robot of its own."""

import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data.check import check
from reverie.data.checks.alignment import LAGS, _Part, align
from tests.data.checks.planted import found, late, only
from tests.data.memory import Memory, clean


@pytest.mark.parametrize("steps", [-5, -3, -2, -1, 0, 1, 2, 3, 5])
def test_the_planted_lag_is_told(steps):
    report = check(late(clean(seed=1), steps))
    assert report.alignment.best == steps
    assert report.alignment.lags == LAGS
    best = LAGS.index(steps)
    assert report.alignment.r2[best] == max(report.alignment.r2) > 0.95
    assert report.alignment.low[best] <= report.alignment.r2[best] <= report.alignment.high[best]


def test_two_steps_late_is_an_error_that_says_so():
    finding = only(late(clean(), 2), "error", "misaligned", "action")
    assert "2 steps too late" in finding.message and "off by 2 " in finding.message
    finding = only(late(clean(), -1), "error", "misaligned", "action")
    assert "1 step too early" in finding.message and "own delay" in finding.message


def played(act, step, episodes=12, length=80, size=2, seed=0):
    """Rows of a robot: `act(o, previous action, rng)`, then `step(hidden state, a, rng) -> hidden
    state, o`."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(episodes):
        hidden, action = rng.uniform(-1, 1, (2, size)), np.zeros(size)
        states, actions = [hidden[0]], [action]
        for _ in range(length):
            action = act(states[-1], action, rng)
            hidden = step(hidden, action, rng)
            states.append(hidden[0])
            actions.append(action)
        parts.append(_Part(np.stack(states), np.stack(actions)))
    return parts


def moved(parts, steps):
    """The same with actions recorded late."""
    out = []
    for state, action in parts:
        shifted = np.roll(action[1:], steps, 0)
        out.append(_Part(state, np.concatenate([action[:1], shifted])))
    return out


def velocity(hidden, action, rng):
    place = 0.98 * hidden[0] + 0.1 * action + 0.01 * rng.standard_normal(2)
    return np.stack([place, hidden[1]])


def servo(hidden, action, rng):
    """Goes to the target slowly."""
    place = hidden[0] + 0.3 * (action - hidden[0]) + 0.002 * rng.standard_normal(2)
    return np.stack([place, hidden[1]])


def massive(hidden, action, rng):
    """A force on a mass of which only the place is seen."""
    speed = 0.95 * hidden[1] + 0.02 * action + 0.0005 * rng.standard_normal(2)
    return np.stack([hidden[0] + speed, speed])


def wander(o, before, rng):
    return 0.97 * before + 0.2 * rng.standard_normal(2)


def feedback(o, before, rng):
    return -2 * o + 0.05 * rng.standard_normal(2)


def blind_noise(o, before, rng):
    return rng.uniform(-1, 1, 2)


ROBOTS = {
    "a smooth command of velocity": (wander, velocity),
    "noise": (blind_noise, velocity),
    "targets that move slowly": (wander, servo),
    "forces": (blind_noise, massive),
    "smooth forces": (wander, massive),
    "a policy that reacts": (feedback, velocity),
    "a policy that reacts and saturates": (
        lambda o, b, r: np.tanh(-5 * o) + 0.02 * r.standard_normal(2),
        velocity,
    ),
    "a policy that reacts without noise": (lambda o, b, r: np.clip(-3 * o, -1, 1), velocity),
    "targets of a reacting policy": (lambda o, b, r: np.sin(3 * o) + 0.1 * b, servo),
    "a reacting policy of forces": (lambda o, b, r: feedback(o, b, r) + 0.2 * b, massive),
}


@pytest.mark.parametrize("name", ROBOTS)
def test_right_recordings_are_right(name):
    for seed in range(4):
        assert align(played(*ROBOTS[name], seed=seed)).best == 0


@pytest.mark.parametrize("name", [n for n in ROBOTS if "react" not in n])
@pytest.mark.parametrize("steps", [-2, 1, 2])
def test_wrong_recordings_are_found_on_every_robot(name, steps):
    assert align(moved(played(*ROBOTS[name]), steps)).best == steps


def test_a_policy_that_reacts_exactly_gives_no_false_alarm():
    # a_{t+1} = -2 o_{t+1} tells o_{t+1} exactly, and a_t nothing that o_t does not tell.
    parts = played(lambda o, b, r: -2 * o, velocity)
    result = align(parts)
    assert result.best == 0
    assert result.r2[LAGS.index(1)] > 0.95  # which is what misleads
    assert result.r2[LAGS.index(0)] < 0.05
    assert result.suspect == 1


def test_what_cannot_be_told_is_a_warning():
    data = clean()
    for rows, part in zip(data.rows, played(lambda o, b, r: -2 * o, velocity, 8, 80), strict=True):
        count = len(rows["reward"])
        rows["state"][:, :2] = part.state[:count] + 0
        rows["action"][1:] = part.action[1:count]
    data.action = Space((2,))
    finding = only(data, "warning", "alignment unclear", "action")
    assert "off by 1" in finding.message and "without noise" in finding.message


def test_an_action_that_does_nothing_has_no_lag():
    def nothing(hidden, action, rng):
        return np.stack([0.9 * hidden[0] + rng.standard_normal(2), hidden[1]])

    for seed in range(5):
        result = align(played(blind_noise, nothing, seed=seed))
        assert result.best == 0 and max(result.r2) < 0.05


def test_the_interval_holds_the_value_of_more_data():
    truth = align(played(blind_noise, velocity, episodes=200, seed=99)).r2[LAGS.index(0)]
    inside = 0
    for seed in range(20):
        result = align(played(blind_noise, velocity, episodes=10, seed=seed))
        inside += result.low[LAGS.index(0)] <= truth <= result.high[LAGS.index(0)]
    assert inside >= 15  # of 20, nominally 19


def test_few_rows_say_nothing():
    assert align([]) is None
    assert align(played(blind_noise, velocity, episodes=1, length=20)) is None
    assert check(clean(episodes=1, length=10)).alignment is None


def test_one_long_episode_is_enough():
    parts = played(blind_noise, velocity, episodes=1, length=600)
    assert align(parts).best == 0
    assert align(moved(parts, 3)).best == 3


def test_a_choice_is_an_action():
    rng = np.random.default_rng(0)
    push = np.array([[-1.0, 0], [1, 0], [0, 1]])
    rows = []
    for _ in range(8):
        choice = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 61)]
        choice[0] = 0
        place = np.zeros((61, 2))
        for t in range(60):
            place[t + 1] = 0.9 * place[t] + 0.1 * choice[t + 1] @ push
        place += 0.001 * rng.standard_normal(place.shape)
        ends = np.arange(61)
        rows.append(
            {
                "place": place.astype(np.float32),
                "action": choice,
                "reward": np.where(ends > 0, place[:, 1], 0).astype(np.float32),
                "first": ends == 0,
                "last": ends == 60,
                "terminated": np.zeros(61, bool),
            }
        )
    data = Memory({"place": Space((2,))}, Space((3,), discrete=True), rows)
    assert found(data) == set()
    report = check(late(data, 2))
    assert report.alignment.best == 2
