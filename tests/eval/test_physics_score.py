"""What an evaluation of physics says: means, intervals, gains, and JSON."""

import dataclasses
import json
import math

import numpy as np
import pytest

from reverie.eval.interval import Bounds
from reverie.eval.physics_score import Measure, Physics, bounds, ratio, summary
from reverie.eval.physics_surprise import Plausibility, Share

GROUPS = np.repeat(np.arange(10), 2)


def values(level: float, spread: float = 0.1) -> np.ndarray:
    return level + spread * np.random.default_rng(int(level * 10)).standard_normal((20, 3))


def made(better: str = "lower", **levels: float) -> Measure:
    given = {who: values(level) for who, level in levels.items()}
    steps, baselines = (1, 2, 3), ("repeat", "linear")
    return summary("position_error", "state", "m", better, steps, given, baselines, GROUPS, 0)


def test_a_measure_has_means_by_horizon_and_over_all_of_it() -> None:
    found = made(model=1.0, repeat=2.0)
    assert found.curves["model"].mean == pytest.approx(values(1.0).mean(0).tolist())
    assert found.overall["model"].mean == pytest.approx(values(1.0).mean())
    assert found.gains["repeat"].mean == pytest.approx((values(2.0) - values(1.0)).mean())
    assert "linear" not in found.gains
    for b in (*found.overall.values(), *found.gains.values()):
        assert b.low < b.mean < b.high


def test_a_model_beats_baselines_only_if_it_beats_them_all_surely() -> None:
    assert made(model=1.0, repeat=2.0, linear=1.5).beats is True
    assert made(model=1.0, repeat=2.0, linear=0.5).beats is False
    assert made(model=1.0, repeat=1.0).beats is False
    assert made("higher", model=1.0, repeat=2.0).beats is False
    assert made("higher", model=2.0, repeat=1.0).beats is True
    assert made(model=1.0).beats is None


def test_one_episode_leaves_no_interval_and_no_verdict() -> None:
    given = {"model": values(1.0), "repeat": values(2.0)}
    one = np.zeros(20, np.int64)
    found = summary("x", "state", "m", "lower", (1, 2, 3), given, ("repeat",), one, 0)
    assert math.isnan(found.gains["repeat"].low)
    assert found.beats is None


def test_what_is_unknown_has_no_part_in_the_mean() -> None:
    given = values(1.0)
    given[:15] = np.nan
    given[:, 1] = np.nan
    found = summary("x", "image", "m", "lower", (1, 2, 3), {"model": given}, (), GROUPS, 0)
    assert found.overall["model"].mean == pytest.approx(given[15:, [0, 2]].mean())
    assert math.isnan(found.curves["model"].mean[1])
    assert math.isnan(bounds(np.full((20, 3), np.nan), GROUPS).mean)


def test_a_ratio_is_that_of_the_means() -> None:
    top, bottom = values(1.0)[:, 0], values(2.0)[:, 0]
    found = ratio(top, bottom, GROUPS)
    assert found.mean == pytest.approx(top.sum() / bottom.sum())
    assert found.low < found.mean < found.high
    same = ratio(top, top, GROUPS)
    assert (same.low, same.mean, same.high) == pytest.approx((1, 1, 1))
    assert math.isnan(ratio(top, 0 * top, GROUPS).mean)


@pytest.mark.parametrize("with_films", [True, False])
def test_json_and_back(with_films: bool) -> None:
    share = Share(0.75, 0.4, 0.9, 8)
    films = Plausibility(share, {"vanishes": share}, 12) if with_films else None
    found = Physics("sliding", (made(model=1.0, repeat=2.0),), 3, 3, 1, 20, 10, 0.05, films)
    nothing = Bounds(math.nan, math.nan, math.nan)
    text = json.dumps(found.to_json(), allow_nan=False)
    assert Physics.from_json(json.loads(text)) == found
    odd = dataclasses.replace(found.measures[0], overall={"model": nothing})
    text = json.dumps(dataclasses.replace(found, measures=(odd,)).to_json(), allow_nan=False)
    assert math.isnan(Physics.from_json(json.loads(text)).measures[0].overall["model"].mean)


def test_a_measure_is_found_by_name_or_told_which_there_are() -> None:
    found = Physics("sliding", (made(model=1.0),), 3, 3, 1, 20, 10, 0.05)
    assert found.measure("position_error").sensor == "state"
    assert found.measure("position_error", "state") is found.measures[0]
    with pytest.raises(KeyError, match=r"position_error \(state\)"):
        found.measure("position_error", "image")
