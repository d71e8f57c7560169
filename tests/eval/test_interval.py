"""Intervals cover as often as they say, and treat an episode as one piece of evidence."""

import numpy as np
import pytest

from reverie.eval.interval import Resampling, bootstrap, student


@pytest.mark.parametrize("count", [6, 20])
def test_interval_covers_the_mean_as_often_as_it_says(count: int) -> None:
    draws = np.random.default_rng(3).normal(2.0, 1.0, size=(count, 1500))
    low, high = bootstrap(draws, resamples=1000)
    covered = float(np.mean((low < 2.0) & (high > 2.0)))
    assert 0.92 < covered < 0.985


def test_windows_of_one_episode_count_once() -> None:
    episodes = np.random.default_rng(0).normal(size=8)
    values = np.repeat(episodes, 50)
    alone = bootstrap(episodes)
    grouped = bootstrap(values, groups=np.repeat(np.arange(8), 50))
    naive = bootstrap(values)
    np.testing.assert_allclose(grouped, alone)
    assert naive[1] - naive[0] < 0.5 * (grouped[1] - grouped[0])


def test_weight_zero_leaves_a_value_out() -> None:
    values = np.array([1.0, 2.0, 3.0, np.nan])
    low, high = bootstrap(values, np.array([1.0, 1.0, 1.0, 0.0]))
    assert 1 <= low < high <= 3


def test_same_seed_same_interval_and_one_group_has_none() -> None:
    values = np.arange(12.0)
    assert bootstrap(values, seed=4) == bootstrap(values, seed=4)
    assert np.isnan(bootstrap(np.array([5.0]))).all()
    assert np.isnan(bootstrap(values, groups=np.zeros(12, np.int64))).all()


@pytest.mark.parametrize(("degrees", "quantile"), [(4, 2.7764), (9, 2.2622), (30, 2.0423)])
def test_student_quantile(degrees: int, quantile: float) -> None:
    assert student(1.959964, degrees) == pytest.approx(quantile, rel=3e-3)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="group labels"):
        bootstrap(np.zeros(3), groups=np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="level"):
        bootstrap(np.zeros(3), level=95)


def test_resampling_has_the_interval_of_the_bootstrap_of_a_mean() -> None:
    rng = np.random.default_rng(1)
    values, groups = rng.normal(size=60), np.arange(60) // 3
    drawn = Resampling(groups, seed=3, draws=2000)
    means = (drawn.counts @ values) / drawn.counts.sum(1)
    value, low, high = drawn.interval(means)
    assert value == pytest.approx(values.mean())
    expected = bootstrap(values, groups=groups, seed=3)
    assert np.array([low, high]) == pytest.approx(np.array(expected), abs=1e-9)
    assert np.isnan(Resampling(np.zeros(4)).interval(np.ones(501))[1])
