"""Calibration of models whose true law is known, and its parts against brute force."""

import functools
import itertools
import json

import numpy as np
import pytest
import torch

from reverie.eval.calibration import (
    LEVELS,
    Calibration,
    calibration,
    central,
    crps,
    evidence,
    rank_shares,
    summary,
)
from reverie.eval.pairs import Pairs
from tests.eval.known import Known, System, gaussian_crps, law, record

SYSTEM = System()
DATA = record(SYSTEM, 200, 8)


@functools.cache
def right() -> Calibration:
    return judged(Known())


def judged(model: Known, samples: int = 16) -> Calibration:
    generator = torch.Generator().manual_seed(0)
    wanted = {"observed": 2, "horizon": 6, "samples": samples, "at_once": 100}
    return calibration(model, DATA, generator=generator, **wanted)


def test_the_true_law_is_calibrated_and_its_crps_is_that_of_the_gaussian() -> None:
    found = right()
    position = found.sensor("position")
    assert position.verdict.answer == "calibrated"
    assert position.verdict.low < position.verdict.value < position.verdict.high
    assert position.reliability.mean == pytest.approx(LEVELS, abs=0.03)
    assert position.spread.mean == pytest.approx([1.0] * 6, abs=0.12)
    assert position.ranks == pytest.approx([1 / 17] * 17, abs=0.02)
    mean, scale, truth = law(SYSTEM, DATA, 2, 6)
    exact = gaussian_crps(mean, scale.expand_as(mean), truth).mean((0, 2))
    assert position.crps["model"].mean == pytest.approx(exact.tolist(), rel=0.04)
    assert position.steps == (1, 2, 3, 4, 5, 6)
    assert (position.unit, found.windows, found.episodes, found.dt) == ("m", 200, 200, 0.1)
    assert found.sensor("reward").verdict.answer == "calibrated"


def test_the_crps_of_the_guess_that_nothing_changes_is_its_absolute_error() -> None:
    position = right().sensor("position")
    x = DATA.batch.obs["position"]
    repeat = (x[:, 2:] - x[:, 1:2]).abs().mean((0, 2))
    assert position.crps["repeat"].mean == pytest.approx(repeat.tolist(), rel=1e-5)
    assert max(position.crps_ratio["repeat"].high) < 1
    assert max(position.crps_ratio["climatology"].high) < 1


@pytest.mark.parametrize(
    ("model", "answer"),
    [
        (Known(spread=0.5), "over-confident"),
        (Known(spread=2.0), "under-confident"),
        (Known(spread=0.0), "says nothing"),
        (Known(constant=True), "says nothing"),
        (Known(bias=0.2), "over-confident"),
        (Known(ignore_action=True), "over-confident"),
    ],
)
def test_wrong_claims_are_called_by_their_name(model: Known, answer: str) -> None:
    found = judged(model).sensor("position")
    assert found.verdict.answer == answer
    if model.spread in {0.5, 2.0}:
        assert found.spread.mean == pytest.approx([model.spread] * 6, rel=0.15)


def test_two_samples_are_enough_for_the_right_verdicts() -> None:
    two = judged(Known(), 2).sensor("position")
    assert two.verdict.answer == "calibrated"
    assert np.mean(two.spread.mean) == pytest.approx(1.0, abs=0.08)
    assert judged(Known(spread=0.5), 2).sensor("position").verdict.answer == "over-confident"
    with pytest.raises(ValueError, match="at least 2"):
        judged(Known(), 1)


def test_pictures_of_the_true_law_are_calibrated_and_narrow_ones_are_not() -> None:
    data = record(SYSTEM, 150, 5, vector=False)

    def camera(spread: float) -> str:
        generator = torch.Generator().manual_seed(0)
        model = Known(spread=spread, vector=False)
        wanted = {"observed": 1, "horizon": 4, "samples": 8, "generator": generator}
        found = calibration(model, data, **wanted).sensor("camera")
        assert found.kind == "image"
        return found.verdict.answer

    assert [camera(s) for s in (1.0, 0.3, 3.0)] == [
        "calibrated",
        "over-confident",
        "under-confident",
    ]


def test_entries_that_never_change_say_nothing_either_way() -> None:
    names = [s.name for s in right().sensors]
    assert names == ["position", "reward"]


def test_few_episodes_cannot_tell() -> None:
    few = record(SYSTEM, 3, 8)
    found = calibration(Known(), few, observed=2, horizon=6).sensor("position")
    assert found.verdict.answer == "cannot be told"
    one = record(SYSTEM, 1, 8, each=4)
    alone = calibration(Known(), one, observed=2, horizon=6)
    assert alone.sensor("position").verdict.answer == "cannot be told"
    assert json.loads(json.dumps(alone.to_json()))["sensors"][0]["verdict"]["low"] is None


@pytest.mark.parametrize("samples", [1, 2, 3, 10])
def test_uniform_ranks_are_covered_with_exactly_the_nominal_probability(samples: int) -> None:
    uniform = np.full(samples + 1, 1 / (samples + 1))
    assert central(samples, LEVELS) @ uniform == pytest.approx(LEVELS, abs=1e-12)


def test_the_central_half_of_three_samples_is_the_middle_two_cells() -> None:
    assert central(3, [0.5]).tolist() == [[0, 1, 1, 0]]
    assert central(3, [0.75]) == pytest.approx(np.array([[0.5, 1, 1, 0.5]]))


def test_ranks_are_counted_and_ties_are_shared() -> None:
    samples = torch.tensor([0.0, 1.0, 1.0, 2.0]).reshape(4, 1, 1, 1)

    def shares(truth: float) -> list[float]:
        return rank_shares(samples, torch.tensor([[[truth]]]))[0, 0].tolist()

    assert shares(-1.0) == [1, 0, 0, 0, 0]
    assert shares(1.5) == [0, 0, 0, 1, 0]
    assert shares(3.0) == [0, 0, 0, 0, 1]
    assert shares(1.0) == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 0])
    entries = torch.tensor([[[-1.0, 3.0]]])
    assert rank_shares(samples.expand(4, 1, 1, 2), entries)[0, 0].tolist() == [0.5, 0, 0, 0, 0.5]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_crps_is_that_of_all_pairs(count: int) -> None:
    samples = torch.randn(count, 3, 2, 4, dtype=torch.float64)
    truth = torch.randn(3, 2, 4, dtype=torch.float64)
    far = (samples - truth).abs().mean(0)
    within = torch.zeros_like(truth)
    for a, b in itertools.permutations(range(count), 2):
        within += (samples[a] - samples[b]).abs() / (count * (count - 1))
    assert torch.allclose(crps(samples, truth), (far - within / 2).mean(-1))


def test_the_climatology_has_no_row_of_the_window_s_own_episode() -> None:
    data = record(SYSTEM, 2, 6, each=3)
    position = data.batch.obs["position"]
    position[:] = data.episode.reshape(-1, 1, 1).float()
    found = calibration(Known(), data, observed=2, horizon=3).sensor("position")
    assert found.crps["climatology"].mean == pytest.approx([1.0] * 3)
    assert found.crps["repeat"].mean == pytest.approx([0.0] * 3)


def test_the_climatology_has_no_reward_of_first_rows_which_are_zero_by_convention() -> None:
    data = record(SYSTEM, 40, 8)
    coin = (torch.rand(40, 8) > 0.5).float()
    data.batch.reward[:] = (100 + coin) * ~data.batch.first
    reward = calibration(Known(spread=0), data, observed=2, horizon=6).sensor("reward")
    assert np.mean(reward.crps["climatology"].mean) == pytest.approx(0.25, abs=0.05)


def test_parts_of_windows_sum_up_to_the_whole() -> None:
    samples, truth = torch.randn(6, 10, 3, 2), torch.randn(10, 3, 2)
    weight = (torch.rand(10, 3) > 0.3).float()
    pair = Pairs("x", "vector", "m", (1, 2, 3), samples, truth, truth[:, :1], weight)
    groups = np.arange(10) // 2
    cuts = (slice(0, 4), slice(4, 10))
    parts = [evidence(samples[:, c], truth[c], weight[c]) for c in cuts]
    whole = [evidence(samples, truth, weight)]
    one, two = summary(pair, parts, groups), summary(pair, whole, groups)
    assert (one.reliability, one.ranks, one.verdict) == (two.reliability, two.ranks, two.verdict)
    assert one.crps["model"].high == pytest.approx(two.crps["model"].high)
    assert one.spread.mean == pytest.approx(two.spread.mean)


def test_rows_in_which_a_sensor_was_missing_do_not_count() -> None:
    data = record(SYSTEM, 60, 8)
    clean = calibration(Known(spread=0), data, observed=2, horizon=6).sensor("position")
    present = torch.ones(60, 8, dtype=torch.bool)
    present[:30, 4] = False
    data.batch.obs["position"][~present] = 1e3
    data.batch.obs["position.present"] = present
    found = calibration(Known(spread=0), data, observed=2, horizon=6).sensor("position")
    other = [k for k in range(6) if k != 2]
    for k in other:
        assert found.crps["model"].mean[k] == pytest.approx(clean.crps["model"].mean[k])
    assert found.crps["model"].mean[2] < 1
    assert max(found.crps["climatology"].mean) < 10
