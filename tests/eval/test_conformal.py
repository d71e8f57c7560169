"""Conformal bands: their finite-sample promise by simulation, and the pairs that they read."""

import json
import math

import numpy as np
import pytest
import torch

from reverie.eval.conformal import (
    band,
    conformal,
    quantile,
    split_episodes,
)
from tests.eval.known import Known, System, law, record

SYSTEM = System()


def ones(count: int) -> np.ndarray:
    return np.ones((count, 1))


def test_the_width_is_the_ceil_of_n_plus_one_times_the_level_smallest_error() -> None:
    errors = np.arange(1.0, 20.0)[:, None]
    episodes = np.arange(19)
    for level in (0.5, 0.8, 0.9, 0.95):
        expected = math.ceil(20 * level - 1e-9)
        assert quantile(errors, ones(19), episodes, level) == [expected]
    assert quantile(errors, ones(19), episodes, 0.96) == [math.inf]
    assert quantile(errors[::-1], ones(19), episodes, 0.9) == [18]


def test_windows_of_an_episode_share_its_weight_and_missing_ones_have_none() -> None:
    errors = np.array([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])
    episodes = np.array([0, 0, 0, 0, 1, 2])  # masses of 1/16 each, then 1/4 each
    assert quantile(errors, ones(6), episodes, 0.25) == [4]
    assert quantile(errors, ones(6), episodes, 0.26) == [5]
    assert quantile(errors, ones(6), episodes, 0.75) == [6]
    weight = ones(6)
    weight[5] = 0  # two episodes are left
    assert quantile(errors, weight, episodes, 2 / 3) == [5]
    assert quantile(errors, weight, episodes, 0.7) == [math.inf]


@pytest.mark.parametrize(("level", "count"), [(0.9, 9), (0.8, 24), (0.5, 7)])
def test_a_new_error_is_inside_with_the_promised_probability(level: float, count: int) -> None:
    rng = np.random.default_rng(0)
    errors = np.abs(rng.standard_cauchy((count + 1, 4000)))
    width = quantile(errors[:count], np.ones((count, 4000)), np.arange(count), level)
    exact = math.ceil((count + 1) * level - 1e-9) / (count + 1)
    assert np.mean(errors[count] <= width) == pytest.approx(exact, abs=0.02)
    assert exact >= level


def test_bands_of_the_known_world_hold_and_have_the_width_of_its_law() -> None:
    data = record(SYSTEM, 400, 6)
    found = conformal(Known(spread=0), data, observed=2, horizon=4, level=0.8)
    model = found.sensor("position").bands["model"]
    _, scale, _ = law(SYSTEM, data, 2, 4)
    # The larger of two |z| is below q with probability (2 Phi(q) - 1)^2.
    edge = torch.special.ndtri(torch.tensor((1 + math.sqrt(0.8)) / 2, dtype=torch.float64))
    assert model.half_width == pytest.approx((edge * scale[0, :, 0]).tolist(), rel=0.15)
    assert np.mean(model.coverage.mean) == pytest.approx(0.8, abs=0.05)
    assert all(a < b for a, b in zip(model.coverage.low, model.coverage.high, strict=True))
    repeat = found.sensor("position").bands["repeat"]
    assert all(a < b for a, b in zip(model.half_width, repeat.half_width, strict=True))
    assert (found.calibrated_on, found.checked_on) == (200, 200)
    assert "normalised" not in found.sensor("position").bands
    assert found.sensor("position").unit == "m"


def test_bands_hold_for_a_wrong_model_too_and_are_wider() -> None:
    data = record(SYSTEM, 300, 6)
    right, wrong = (
        conformal(m, data, observed=2, horizon=4, level=0.9).sensor("position").bands["model"]
        for m in (Known(spread=0), Known(spread=0, ignore_action=True))
    )
    assert wrong.coverage.mean == pytest.approx([0.9] * 4, abs=0.07)
    assert min(np.divide(wrong.half_width, right.half_width)) > 1.5


def test_the_normalised_band_is_wide_where_the_noise_is() -> None:
    rough = System(rough=(0.2, 3.0))
    data = record(rough, 200, 5)
    generator = torch.Generator().manual_seed(0)
    wanted = {"observed": 2, "horizon": 3, "samples": 16, "generator": generator}
    bands = conformal(Known(rough), data, **wanted).sensor("position").bands
    assert bands["normalised"].coverage.mean == pytest.approx([0.9] * 3, abs=0.08)
    # One width for all must be that of the rough half; the normalised one is their average.
    assert max(np.divide(bands["normalised"].half_width, bands["model"].half_width)) < 0.9
    assert bands["normalised"].factor == pytest.approx([2.2] * 3, rel=0.25)


def test_too_few_episodes_are_named() -> None:
    with pytest.raises(ValueError, match=r"needs 9 episodes, and 2 others.* are 5.*at most 0.75"):
        conformal(Known(), record(SYSTEM, 5, 6), observed=2, horizon=4)
    chosen = split_episodes(np.arange(5).repeat(3), 0.75)
    assert chosen.sum() == 9
    assert chosen.reshape(5, 3).all(1).sum() == 3
    with pytest.raises(ValueError, match=r"\(0, 1\); got 90"):
        split_episodes(np.arange(50), 90)
    assert conformal(Known(), record(SYSTEM, 11, 6), observed=2, horizon=4).calibrated_on == 9


def test_an_infinite_band_holds_everything_and_is_null_in_json() -> None:
    weight = np.ones((12, 2))
    weight[:6, 1] = 0  # too few episodes have the second step
    fitted = np.arange(12) < 9
    found = band(np.random.default_rng(0).random((12, 2)), weight, np.arange(12), fitted, 0.9)
    assert found.factor[1] == math.inf
    assert found.coverage.mean[1] == 1
    result = conformal(Known(), record(SYSTEM, 11, 6), observed=2, horizon=4, level=0.9)
    assert json.loads(json.dumps(result.to_json()))["sensors"][0]["name"] == "position"
