"""Uncertainty that ranks errors, in a world whose noise is known."""

import json
import math

import numpy as np
import pytest
import torch

from reverie.eval.error_ranking import error_ranking, sparsification, spearman
from tests.eval.known import Known, System, record
from tests.eval.worlds import Chunked
from tests.eval.worlds import record as play

SYSTEM = System()
ROUGH = System(rough=(0.2, 0.6, 1.5, 4.0))


def ranked(values: np.ndarray) -> np.ndarray:
    """Middle ranks by counting."""
    return np.array([(values < v).sum() + (values == v).sum() / 2 for v in values])


def test_noise_that_the_model_knows_of_ranks_its_errors() -> None:
    data = record(ROUGH, 160, 6)
    generator = torch.Generator().manual_seed(0)
    wanted = {"observed": 2, "horizon": 4, "samples": 16, "generator": generator, "at_once": 50}
    found = error_ranking(Known(ROUGH), data, **wanted)
    for source in ("spread", "uncertainty"):
        position = found.sensor("position", source)
        assert min(position.spearman.low) > 0.6
        assert max(position.ause.high) < min(position.ause_chance) / 2
        assert min(position.ause.mean) >= 0
    assert {s.source for s in found.sensors if s.name == "reward"} == {"spread", "uncertainty"}
    assert json.loads(json.dumps(found.to_json()))["episodes"] == 160


def test_noise_that_is_the_same_everywhere_ranks_nothing() -> None:
    data = record(SYSTEM, 200, 5)
    generator = torch.Generator().manual_seed(0)
    wanted = {"observed": 2, "horizon": 3, "samples": 8, "generator": generator}
    found = error_ranking(Known(), data, **wanted)
    position = found.sensor("position")
    assert all(
        low < 0 < high
        for low, high in zip(position.spearman.low, position.spearman.high, strict=True)
    )
    assert position.ause.mean == pytest.approx(position.ause_chance, abs=0.1)
    own = found.sensor("position", "uncertainty")  # constant: it has no rank at all
    assert all(math.isnan(v) for v in own.spearman.mean)
    assert own.ause.mean == pytest.approx(own.ause_chance)


def test_a_model_without_noise_and_uncertainty_has_nothing_to_rank_by() -> None:
    found = error_ranking(Chunked(), play(6, 13), observed=4, horizon=9, samples=1)
    assert found.sensors == ()


def test_spearman_is_the_correlation_of_ranks_also_of_resampled_windows() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(6, size=30).astype(float), rng.normal(size=30)
    counts = np.stack([np.ones(30), rng.multinomial(30, [1 / 30] * 30)])
    for row, found in zip(counts, spearman(x, y, counts), strict=True):
        long = np.repeat(x, row.astype(int)), np.repeat(y, row.astype(int))
        assert found == pytest.approx(np.corrcoef(*map(ranked, long))[0, 1])
    assert spearman(x, np.exp(x), counts[:1]) == pytest.approx([1.0])
    assert spearman(x, -x, counts[:1]) == pytest.approx([-1.0])
    assert math.isnan(spearman(np.ones(30), y, counts[:1])[0])


def test_sparsification_takes_the_most_uncertain_away_first() -> None:
    error, ones = np.array([4.0, 1.0, 3.0, 2.0]), np.ones((1, 4))
    oracle = np.mean([1.0, 1.5, 2.0, 2.5]) / 2.5
    assert sparsification(error, error, ones) == pytest.approx([oracle])
    worst = np.mean([4.0, 3.5, 3.0, 2.5]) / 2.5
    assert sparsification(-error, error, ones) == pytest.approx([worst])
    assert sparsification(np.zeros(4), error, ones) == pytest.approx([1.0])
    twice = np.array([[2.0, 2.0, 0.0, 0.0]])
    long = np.repeat(error, 2)[:4]
    assert sparsification(error, error, twice) == pytest.approx(sparsification(long, long, ones))
