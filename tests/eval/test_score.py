"""Results are plain numbers that survive being stored."""

import json
import math

import numpy as np
import pytest

from reverie.eval.openloop import openloop
from reverie.eval.score import Curve, OpenLoop, SensorError, decibel, ratio, summarise
from tests.eval.worlds import Point, record


def test_result_survives_json() -> None:
    found = openloop(Point(), record(1, 8), observed=3, horizon=5)  # one episode: no interval
    text = json.dumps(found.to_json(), allow_nan=False)
    again = OpenLoop.from_json(json.loads(text))
    assert math.isnan(again.sensor("position").errors["mae"]["model"].low[0])
    assert json.dumps(again.to_json()) == text
    np.testing.assert_array_equal(
        again.sensor("position").errors["mae"]["repeat"].mean,
        found.sensor("position").errors["mae"]["repeat"].mean,
    )


def test_a_curve_of_the_wrong_length_is_refused() -> None:
    curve = Curve((1.0,), (0.5,), (1.5,))
    with pytest.raises(ValueError, match="1 points for 2 steps"):
        SensorError("x", "vector", "m", (1, 2), {"mae": {"model": curve}})


def test_the_interval_of_a_transformed_mean_holds_it() -> None:
    errors = np.random.default_rng(0).uniform(0.01, 0.2, (9, 4))
    weights, groups = np.ones_like(errors), np.arange(9)
    curve = summarise(errors, weights, groups, decibel, seed=0)
    np.testing.assert_allclose(curve.mean, -10 * np.log10(errors.mean(0)))
    assert all(lo < m < hi for lo, m, hi in zip(curve.low, curve.mean, curve.high, strict=True))


def test_an_unknown_sensor_is_refused_with_the_known_ones() -> None:
    found = openloop(Point(), record(1, 8), observed=3, horizon=5)
    with pytest.raises(KeyError, match="position, still, reward"):
        found.sensor("camera")


def test_a_ratio_is_that_of_the_sums_and_its_interval_pairs_the_windows() -> None:
    top, bottom = np.array([[2.0], [6.0], [1.0], [0.5]]), np.array([[1.0], [3.0], [0.5], [0.25]])
    found = ratio(top, bottom, np.arange(4))
    assert found.mean == found.low == found.high == (2.0,)
    some = ratio(np.array([[1.0], [2.0]]), np.array([[0.0], [4.0]]), np.arange(2))
    assert some.mean == pytest.approx((0.75,))
    assert ratio(top, bottom, np.arange(4), np.sqrt).mean == pytest.approx((math.sqrt(2),))
    assert math.isnan(ratio(0 * top, 0 * bottom, np.arange(4)).mean[0])
    assert ratio(top, 0 * bottom, np.arange(4), floor=2.0).mean == pytest.approx((9.5 / 8,))
    missing = top * [[1], [0], [0], [0]], bottom * [[1], [0], [0], [0]]
    assert ratio(*missing, np.arange(4)).low == (2.0,)
