"""Conformal bands: their finite-sample promise by simulation, and the pairs that they read."""

import json
import math

import numpy as np
import pytest
import torch

from reverie.core.spec import Space, Spec
from reverie.eval.conformal import (
    Resampling,
    band,
    conformal,
    deviation,
    predicted,
    quantile,
    read,
    real,
    split_episodes,
)
from reverie.eval.interval import bootstrap
from tests.eval.known import Known, System, law, record
from tests.eval.worlds import Camera, Chunked, Point, images
from tests.eval.worlds import record as play

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


def test_pairs_hold_the_rows_that_the_steps_name() -> None:
    data = play(3, 13)
    ((span, found),) = predicted(Chunked(), data, 4, 9, 2)
    position, _, reward = found
    assert span == slice(0, 32)
    assert position.steps == reward.steps == (3, 6, 9)
    assert torch.equal(position.truth, data.batch.obs["position"][:, [6, 9, 12]])
    assert torch.equal(position.last, data.batch.obs["position"][:, 3:4])
    sums = data.batch.reward[:, 4:13].unflatten(1, (3, 3)).sum(2)
    assert torch.allclose(reward.truth[..., 0], sums)
    assert torch.allclose(reward.samples[1, :, :, 0], sums, atol=1e-4)
    assert torch.allclose(reward.last[..., 0], 3 * data.batch.reward[:, 3:4])
    other = torch.tensor([2, 0])
    assert torch.equal(
        real(Chunked().spec, data.batch, "position", 4, (3, 6), other)[0],
        data.batch.obs["position"][other][:, [6, 9]],
    )


def test_pairs_come_a_few_windows_at_a_time_and_bytes_become_shares() -> None:
    chunks = list(predicted(Camera(), images([0, 51, 255], windows=5), 1, 2, 1, at_once=2))
    assert [found[0].truth.shape[0] for _, found in chunks] == [2, 2, 1]
    assert [p.name for p in chunks[0][1]] == ["camera"]
    assert chunks[0][1][0].truth[0, :, 0].tolist() == pytest.approx([0.2, 1.0])


def test_a_sensor_must_be_there_in_the_last_observed_row_and_in_the_predicted_one() -> None:
    data = play(4, 6)
    present = torch.ones(4, 6, dtype=torch.bool)
    present[0, 1] = present[1, 3] = present[2, 0] = False
    data.batch.obs["position.present"] = present
    ((_, found),) = predicted(Point(), data, 2, 4, 1)
    assert found[0].weight.tolist() == [[0, 0, 0, 0], [1, 0, 1, 1], [1] * 4, [1] * 4]


def test_a_deviation_is_that_of_the_rows_in_which_the_sensor_was() -> None:
    data = play(4, 8)
    present = torch.rand(4, 8) > 0.4
    data.batch.obs["position.present"] = present
    found = deviation(Point(), data, at_once=1)
    expected = data.batch.obs["position"][present].std(0, correction=0)
    assert found["position"] == pytest.approx(expected.numpy(), rel=1e-4)
    assert found["still"].tolist() == [0, 0]
    assert found["reward"].item() == pytest.approx(
        data.batch.reward[~data.batch.first].std(correction=0).item(), rel=1e-4
    )
    data.batch.obs["position.present"] = torch.zeros(4, 8, dtype=torch.bool)
    assert deviation(Point(), data)["position"].tolist() == [0]  # never there: never changes


def test_a_number_without_axes_is_one_entry() -> None:
    spec = Spec(obs={"position": Space(())}, action=Space((1,)), dt=1.0)
    batch = play(2, 4).batch
    batch = batch._replace(obs={"position": batch.obs["position"][..., 0]})
    rows = read(spec, batch, "position", torch.tensor([[0], [1]]), torch.tensor([1, 2]))
    assert torch.equal(rows[..., 0], batch.obs["position"][:, 1:3])


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
