import dataclasses

import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data.datasets import ActionInfo
from reverie.data.scaling import ActionScaling, Scaled
from reverie.data.statistics import measure
from tests.data.memory import DT, OBS, Memory, clean, recording

FREE = Space((2,))


def robot(episodes=4, space=FREE, scale=(0.3, 40.0), shift=(0.1, -20.0), seed=0, **options):
    rng = np.random.default_rng(seed)
    rows = [recording(30, rng) for _ in range(episodes)]
    for one in rows:
        one["action"][1:] = one["action"][1:] * np.float32(scale) + np.float32(shift)
    return Memory(OBS, space, rows, **options)


def recorded(data):
    return np.concatenate([rows["action"][1:] for rows in data.rows]).astype(np.float64)


def test_the_ends_of_the_range_are_minus_one_and_one():
    scaling = ActionScaling((-2.0, 10.0), (4.0, 30.0))
    ends = np.array([[-2, 10], [4, 30], [1, 20]], np.float32)
    assert np.array_equal(scaling.normalise(ends), [[-1, -1], [1, 1], [0, 0]])
    assert np.array_equal(scaling.restore(scaling.normalise(ends)), ends)
    many = np.random.default_rng(0).uniform(-5, 40, (4, 50, 2)).astype(np.float32)
    assert np.allclose(scaling.restore(scaling.normalise(many)), many, atol=1e-5)
    assert scaling.normalise(many).dtype == np.float32


def test_bounds_are_used_where_there_are_some_and_the_recorded_where_not():
    data = robot(space=Space((2,), low=(-3.0, -np.inf), high=(5.0, np.inf)))
    scaling = ActionScaling.of(data)
    assert (scaling.low[0], scaling.high[0]) == (-3, 5)
    low, high = recorded(data)[:, 1].min(), recorded(data)[:, 1].max()
    room = 0.05 * (high - low)
    assert scaling.low[1] == pytest.approx(low - room)
    assert scaling.high[1] == pytest.approx(high + room)


def test_quantiles_are_not_moved_by_a_wild_value():
    data = robot()
    calm = ActionScaling.of(data, "quantiles")
    data.rows[0]["action"][4, 1] = 1e6
    assert ActionScaling.of(data, "quantiles").high[1] < calm.high[1] + 5
    assert ActionScaling.of(data, "minmax").high[1] > 1e6
    q01, q99 = np.quantile(recorded(robot())[:, 0], (0.01, 0.99))
    assert calm.low[0] == pytest.approx(q01 - 0.05 * (q99 - q01), rel=1e-5)


def test_a_gripper_that_seldom_opens_keeps_its_range():
    data = robot()
    for rows in data.rows:
        rows["action"][1:, 1] = 0
    data.rows[0]["action"][4, 1] = 1  # one row in 120: both q01 and q99 are 0
    scaling = ActionScaling.of(data, "quantiles")
    assert (scaling.low[1], scaling.high[1]) == pytest.approx((-0.05, 1.05))


def test_an_entry_that_never_moves_has_a_range_of_one():
    data = robot()
    for rows in data.rows:
        rows["action"][1:, 1] = 7
    for how in ("minmax", "quantiles"):
        scaling = ActionScaling.of(data, how)
        assert (scaling.low[1], scaling.high[1]) == (6.5, 7.5)


def test_statistics_that_are_given_are_used():
    data = robot()
    other = measure(robot(scale=(3.0, 400.0)), frames=0)
    assert ActionScaling.of(data, "minmax", other) != ActionScaling.of(data, "minmax")
    assert ActionScaling.of(data, "minmax", measure(data)) == ActionScaling.of(data, "minmax")


def test_json_there_and_back_and_nothing_else():
    scaling = ActionScaling((-2.0, 0.1), (4.0, 30.0))
    assert ActionScaling.from_json(scaling.to_json()) == scaling
    for wrong in ({"low": [1.0], "high": [0.0]}, {"lo": [1.0]}, {"low": ["a"], "high": [1.0]}):
        with pytest.raises(ValueError, match=r"low|lo"):
            ActionScaling.from_json(wrong)


@pytest.mark.parametrize(
    ("low", "high"), [((0.0,), ()), ((1.0,), (1.0,)), ((0.0,), (np.inf,)), ((np.nan,), (1.0,))]
)
def test_a_range_that_is_none_is_refused(low, high):
    with pytest.raises(ValueError, match="below its high"):
        ActionScaling(low, high)


def test_the_view_has_scaled_actions_and_tells_the_robots_units():
    info = ActionInfo("absolute", "joint", ("a", "b"))
    data = robot(info=info)
    scaled = Scaled(data, ActionScaling.of(data, "minmax"))
    assert scaled.action == Space((2,), low=-1, high=1)
    told = scaled.about.action
    assert dataclasses.replace(told, low=(), high=()) == info and scaled.about.dt == DT
    for episode in scaled.episodes():
        rows, plain = scaled.read(episode.name), data.read(episode.name)
        assert not rows["action"][0].any()
        assert np.abs(rows["action"]).max() <= 1 / 1.1 + 1e-6  # the margin is free
        back = ActionScaling(told.low, told.high).restore(rows["action"][1:])
        assert np.allclose(back, plain["action"][1:], atol=1e-5)
        for name in plain:
            assert name == "action" or np.array_equal(rows[name], plain[name])
    assert scaled.clipped == 0 and scaled.seen == 4 * 30 * 2


def test_row_zero_is_zero_in_every_slice_and_no_other_is():
    data = robot()
    scaled = Scaled(data, ActionScaling.of(data, "minmax"))
    whole = scaled.read("1")["action"]
    assert np.array_equal(scaled.read("1", 0, 5)["action"], whole[:5])
    assert np.array_equal(scaled.read("1", 3, 9, ["state"])["action"], whole[3:9])
    assert scaled.read("1", 0, 0)["action"].shape == (0, 2)
    assert "front" not in scaled.read("1", 3, 9, ["state"])


def test_what_lies_beyond_is_clipped_and_counted():
    data = robot(scale=(1.0, 1.0), shift=(0.0, 0.0))
    half = ActionScaling((-0.5, -1.0), (0.5, 1.0))
    scaled = Scaled(data, half)
    action = np.concatenate([scaled.read(e.name)["action"] for e in scaled.episodes()])
    beyond = int((np.abs(recorded(data)[:, 0]) > 0.5 * (1 + 1e-5)).sum())
    assert beyond > 10 and scaled.clipped == beyond
    assert np.abs(action).max() == 1


def test_nothing_is_scaled_that_need_not_be():
    data = clean(episodes=2)
    plain = Scaled(data, ActionScaling.of(data, "none"))
    assert plain.action == data.action and plain.about == data.about
    assert np.array_equal(plain.read("0")["action"], data.read("0")["action"])
    choice = Memory(OBS, Space((2,), discrete=True), data.rows)
    assert ActionScaling.of(choice).identity


def test_whole_numbers_become_floats():
    rng = np.random.default_rng(0)
    rows = recording(30, rng)
    rows["action"] = rng.integers(-100, 100, (31, 2))
    rows["action"][0] = 0
    scaled = Scaled(
        Memory(OBS, Space((2,), "int64", -100, 100), [rows]),
        ActionScaling((-100.0,) * 2, (100.0,) * 2),
    )
    assert scaled.action.dtype == "float32" and scaled.read("0")["action"].dtype == np.float32
    assert np.allclose(scaled.read("0")["action"], rows["action"] / 100)


def test_what_does_not_fit_is_refused():
    data = robot()
    scaling = ActionScaling.of(data, "minmax")
    with pytest.raises(ValueError, match="scaled already"):
        Scaled(Scaled(data, scaling), scaling)
    with pytest.raises(ValueError, match="3 entries was given for the action of memory, which has"):
        Scaled(data, ActionScaling((0.0,) * 3, (1.0,) * 3))
    with pytest.raises(ValueError, match="of shape"):
        scaling.normalise(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="choose one of"):
        ActionScaling.of(data, "guess")
    for rows in data.rows:
        rows["action"][1:, 0] = np.nan
    with pytest.raises(ValueError, match="entry 0 was recorded"):
        ActionScaling.of(data, "minmax")


def test_times_are_those_of_the_dataset():
    data = clean(episodes=2, times=[np.arange(41) * DT, np.arange(43) * DT])
    scaled = Scaled(data, ActionScaling.of(data))
    assert np.array_equal(scaled.timestamps("1"), data.timestamps("1"))
    assert not hasattr(Scaled(clean(), ActionScaling()), "timestamps")
