"""Errors window by window: they add up to those of `openloop`, and ratios have honest intervals."""

import math

import numpy as np
import pytest
import torch

from reverie.core import tree
from reverie.eval.openloop import openloop
from reverie.eval.sidebyside import (
    REWARD,
    Sample,
    SensorErrors,
    WindowErrors,
    apart_ratio,
    deviations,
    paired_ratio,
    peak,
    repeating,
    root,
    window_errors,
)
from reverie.eval.windows import Windows
from tests.eval.worlds import POINT, Camera, Chunked, Point, images, record

AHEAD = {"observed": 4, "horizon": 8}


def grouped(windows: int, each: int) -> Windows:
    data = record(windows, 12)
    return data._replace(episode=torch.arange(windows) // each)


def test_roots_are_those_of_openloop_with_the_same_intervals() -> None:
    data = grouped(24, 3)
    model = Point(wrong=0.3, jitter=0.5)
    unit = deviations(data, POINT.obs)
    given = {"samples": 3, "at_once": 7}
    found = window_errors(
        model, data, POINT.obs, unit, **AHEAD, **given, generator=torch.Generator().manual_seed(5)
    )
    known = openloop(
        model, data, **AHEAD, **given, generator=torch.Generator().manual_seed(5), seed=2
    )
    for name, metric in (("position", "rmse"), (REWARD, "rmse")):
        ours = root(found.sensors[name].square, found.groups, seed=2)
        theirs = known.sensor(name).errors[metric]["model"]
        for end in ("mean", "low", "high"):
            assert getattr(ours, end) == pytest.approx(getattr(theirs, end), rel=1e-4), name
    scaled = root(found.sensors["position"].scaled, found.groups, seed=2)
    theirs = known.sensor("position").errors["nrmse"]["model"]
    assert scaled.mean == pytest.approx(theirs.mean, rel=1e-4)
    assert found.steps == known.sensor("position").steps


def test_repeating_is_the_baseline_of_openloop() -> None:
    data = grouped(12, 2)
    found = repeating(data, POINT.obs, deviations(data, POINT.obs), **AHEAD)
    known = openloop(Point(), data, **AHEAD)
    for name in ("position", REWARD):
        ours = root(found.sensors[name].square, found.groups).mean
        theirs = known.sensor(name).errors["rmse"]["repeat"].mean
        assert ours == pytest.approx(theirs, rel=1e-5)


def test_pictures_are_compared_in_0_to_1() -> None:
    data = images([0, 51, 102, 255])
    found = window_errors(Camera(), data, Camera.spec.obs, {}, observed=2, horizon=2)
    expected = [(0.5 - 0.4) ** 2, 0.25]
    camera = found.sensors["camera"]
    assert camera.kind == "image" and "text" not in found.sensors
    assert camera.square[0] == pytest.approx(expected, rel=1e-6)
    decibel = peak(camera.square, found.groups).mean
    assert decibel == pytest.approx([-10 * math.log10(e) for e in expected], rel=1e-6)
    last = repeating(data, Camera.spec.obs, {}, observed=2, horizon=2).sensors["camera"]
    assert last.square[1] == pytest.approx([0.04, 0.64], rel=1e-6)


def test_pooling_weighs_sensors_by_their_entries_that_move() -> None:
    def sensor(value: float, entries: int) -> SensorErrors:
        scaled = np.full((2, 3), value if entries else np.nan)
        return SensorErrors("vector", "", np.zeros((2, 3)), scaled, entries)

    found = WindowErrors(
        {"a": sensor(1.0, 3), "b": sensor(5.0, 1), "still": sensor(9.0, 0)},
        (1, 2, 3),
        np.arange(2),
    )
    assert found.pooled() == pytest.approx(np.full((2, 3), 2.0))
    assert found.pooled(["b"]) == pytest.approx(np.full((2, 3), 5.0))
    with pytest.raises(ValueError, match="vector sensors that move"):
        found.pooled(["still"])
    assert [found.at(share) for share in (0.1, 0.34, 0.5, 0.7, 1.0)] == [0, 0, 0, 1, 2]


def test_entries_that_stand_still_have_no_part() -> None:
    data = grouped(6, 1)
    found = window_errors(Point(), data, POINT.obs, deviations(data, POINT.obs), **AHEAD)
    assert found.sensors["still"].entries == 0 and found.sensors["position"].entries == 1
    assert found.pooled() == pytest.approx(found.sensors["position"].scaled)


def test_a_changed_unit_is_kept_for_other_data() -> None:
    data, wider = grouped(6, 1), grouped(6, 1)
    wider = wider._replace(
        batch=tree.map(lambda x: x * 3 if x.is_floating_point() else x, wider[0])
    )
    unit = deviations(data, POINT.obs)
    once, thrice = (repeating(w, POINT.obs, unit, **AHEAD).pooled() for w in (data, wider))
    assert thrice == pytest.approx(9 * once)


def test_chunked_models_are_left_to_openloop() -> None:
    with pytest.raises(ValueError, match="3 actions at once"):
        window_errors(Chunked(), record(3, 9), POINT.obs, {}, observed=4, horizon=3)


def test_a_paired_ratio_cancels_what_made_episodes_hard() -> None:
    hard = np.random.default_rng(0).exponential(size=40) ** 4
    found = paired_ratio(4.0 * hard, hard, np.arange(40) // 4)
    assert (found.mean, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))
    nothing = paired_ratio(hard, 0 * hard, np.arange(40))
    assert math.isnan(nothing.mean)
    assert math.isnan(paired_ratio(hard * np.nan, hard, np.arange(40)).mean)


def test_a_ratio_of_other_episodes_covers_the_truth() -> None:
    """95 % intervals of a true ratio of 2 hold it nearly so often, with few, skewed episodes."""
    rng, held, trials = np.random.default_rng(1), 0, 300
    for k in range(trials):
        top = 4.0 * rng.gamma(3.0, size=(8, 1)) * rng.gamma(8.0, size=(8, 4))
        bottom = rng.gamma(3.0, size=(12, 1)) * rng.gamma(8.0, size=(12, 4))
        groups = np.arange(8).repeat(4), np.arange(12).repeat(4)
        found = apart_ratio(Sample(top.ravel(), groups[0]), Sample(bottom.ravel(), groups[1]), k)
        held += found.low <= 2.0 <= found.high
        assert found.mean == pytest.approx(math.sqrt(top.mean() / bottom.mean()))
    assert 0.90 <= held / trials <= 0.99


def test_a_unit_cancels_how_much_each_robot_moves() -> None:
    rng = np.random.default_rng(2)
    moves, less = rng.exponential(size=20), rng.exponential(size=16) / 50
    groups = np.arange(20) // 2, np.arange(16) // 2
    found = apart_ratio(Sample(9 * less, groups[1], less), Sample(moves, groups[0], moves))
    assert (found.mean, found.low, found.high) == pytest.approx((3.0, 3.0, 3.0))
    without = apart_ratio(Sample(9 * less, groups[1]), Sample(moves, groups[0]))
    assert without.mean < 1


def test_a_ratio_that_cannot_be_known_is_nan() -> None:
    ones, many = Sample(np.ones(4), np.arange(4)), np.array([1.0, 2.0, 3.0, 4.0])
    alone = apart_ratio(ones._replace(groups=np.zeros(4, int)), Sample(many, np.arange(4)))
    assert alone.mean == pytest.approx(math.sqrt(1 / 2.5)) and math.isnan(alone.low)
    for wrong in (many * np.nan, 0 * many):
        assert math.isnan(apart_ratio(Sample(wrong, np.arange(4)), ones).mean)
    assert math.isnan(apart_ratio(ones, ones._replace(unit=np.zeros(4))).mean)
