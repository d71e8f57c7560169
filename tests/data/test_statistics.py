import json
import math

import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data import statistics
from reverie.data.datasets import ActionInfo
from reverie.data.statistics import QUANTILES, Statistics, evenly_spaced, measure
from tests.data.memory import ACTION, OBS, Memory, clean, recording


def stacked(data, name, skip=0):
    return np.concatenate([rows[name][skip:] for rows in data.rows]).astype(np.float64)


def test_they_are_numpys():
    data = clean(info=ActionInfo(names=("x", "y")))
    found = measure(data)
    for summary, values in (
        (found.obs["state"], stacked(data, "state")),
        (found.action, stacked(data, "action", skip=1)),
        (found.reward, stacked(data, "reward", skip=1)[:, None]),
        (found.lengths, np.array([[float(len(rows["reward"]))] for rows in data.rows])),
    ):
        assert summary.count == summary.kept == len(values) and summary.rank_error == 0
        assert np.allclose(summary.mean, values.mean(0), atol=1e-12)
        assert np.allclose(summary.std, values.std(0), atol=1e-12)
        assert np.array_equal(summary.low, values.min(0))
        assert np.array_equal(summary.high, values.max(0))
        assert np.allclose(summary.quantiles, np.quantile(values, QUANTILES, axis=0), atol=1e-12)
        assert set(summary.missing) == {0.0}
    assert found.action.names == ("x", "y") and found.action.entry(1) == "1 (y)"
    assert found.dt == data.about.dt


def test_moments_are_exact_far_from_zero_and_over_slabs(monkeypatch):
    monkeypatch.setattr(statistics, "_SLAB", 7)
    rng = np.random.default_rng(1)
    rows = [recording(30, rng) for _ in range(3)]
    for one in rows:
        one["state"] = 1e8 + rng.standard_normal((31, 3))  # the naive E[x^2] - E[x]^2 gives 0 or 2
    data = Memory({**OBS, "state": Space((3,), "float64")}, ACTION, rows)
    values = stacked(data, "state")
    assert np.allclose(measure(data, frames=0).obs["state"].std, values.std(0), rtol=1e-6)


def test_what_is_missing_is_counted_and_left_out():
    data = clean(episodes=2)
    total = sum(len(rows["reward"]) for rows in data.rows)
    data.rows[0]["state"][3, 1] = np.nan
    data.rows[1]["state"][5:7, 1] = np.inf
    for rows in data.rows:
        rows["state.present"] = np.ones(len(rows["reward"]), bool)
    data.rows[0]["state.present"][:4] = False
    data.rows[0]["state"][:4] = 1e9  # what stands there means nothing
    found = measure(data, frames=0).obs["state"]
    assert np.allclose(found.missing, np.array([4, 6, 4]) / total)
    assert max(found.high) < 4


def test_an_entry_that_was_never_finite_is_nan_and_null():
    data = clean(episodes=1)
    data.rows[0]["state"][:, 2] = np.nan
    found = measure(data)
    assert math.isnan(found.obs["state"].mean[2]) and found.obs["state"].missing[2] == 1
    text = json.dumps(found.to_json(), allow_nan=False)
    assert '"mean": [' in text and "null" in text


def test_quantiles_of_a_large_dataset_lie_within_the_error_they_tell(monkeypatch):
    monkeypatch.setattr(statistics, "KEPT", 400)
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(10):
        one = recording(500, rng)
        one["state"][:, 0] = np.linspace(0, 1, 501)  # sorted: a sample of the start would be wrong
        rows.append(one)
    found = measure(Memory(OBS, ACTION, rows), frames=0).obs["state"]
    assert found.kept == 400 and found.count == 5010
    assert found.rank_error == pytest.approx(0.049)
    told = np.array(found.quantiles)[:, 0]
    assert np.abs(told - QUANTILES).max() < found.rank_error
    # every row is as likely to be kept: the mean of the kept ones is that of all
    assert abs(told[2] - 0.5) < found.rank_error


def test_the_sample_is_seeded(monkeypatch):
    monkeypatch.setattr(statistics, "KEPT", 64)
    data = clean()
    assert measure(data, seed=1) == measure(data, seed=1)
    assert measure(data, seed=1) != measure(data, seed=2)


def test_pictures_are_in_0_to_1_and_sampled_evenly():
    data = clean(episodes=3)
    every = stacked(data, "front") / 255
    whole = measure(data, frames=10_000).obs["front"]
    pixels = every.transpose(1, 0, 2, 3).reshape(3, -1)
    assert whole.kind == "image" and whole.count == len(every)
    assert np.allclose(whole.mean, pixels.mean(1)) and np.allclose(whole.std, pixels.std(1))
    assert np.allclose(whole.low, pixels.min(1)) and np.allclose(whole.high, pixels.max(1))
    smallest = [np.quantile(row, QUANTILES, method="inverted_cdf") for row in pixels]
    assert np.allclose(np.array(whole.quantiles).T, smallest)
    few = measure(data, frames=30).obs["front"]
    assert few.count == 30 and np.allclose(few.mean, whole.mean, atol=0.01)
    assert "front" not in measure(data, frames=0).obs


def test_rows_are_spread_over_all_episodes():
    data = clean(episodes=4, length=10)
    lengths = [episode.rows for episode in data.episodes()]
    assert list(evenly_spaced(data, 10_000)) == [
        (str(e), row) for e, length in enumerate(lengths) for row in range(length)
    ]
    few = list(evenly_spaced(data, 8))
    assert few[0] == ("0", 0) and few[-1] == ("3", lengths[3] - 1)
    assert {name for name, _ in few} == {"0", "1", "2", "3"}


def test_a_camera_that_was_not_there_is_missing():
    data = clean(episodes=2)
    for rows in data.rows:
        rows["front.present"] = np.zeros(len(rows["reward"]), bool)
    found = measure(data).obs["front"]
    assert found.missing == (1.0,) * 3 and math.isnan(found.mean[0])


def test_json_there_and_back():
    data = clean(episodes=2, info=ActionInfo(names=("x", "y")))
    found = measure(data)
    again = Statistics.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.pop("reward"),
        lambda v: v.update(format="reverie.statistics/9"),
        lambda v: v["action"].update(mean=[1.0]),
        lambda v: v["action"].update(quantiles=[]),
        lambda v: v.update(obs=3),
        lambda v: v["action"].update(mean=None),
        lambda v: v["action"].update(kind="sound"),
    ],
)
def test_other_json_is_refused(change):
    value = measure(clean(episodes=1)).to_json()
    change(value)
    with pytest.raises(ValueError, match=r"reverie\.statistics/1"):
        Statistics.from_json(value)


def test_progress_is_told_and_an_empty_dataset_has_none():
    calls = []
    measure(clean(episodes=3), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    empty = measure(Memory(OBS, ACTION, []))
    assert empty.action.count == 0 and math.isnan(empty.action.mean[0])
