"""A model that knows the scene is surprised by what cannot happen; a blind one is not."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch

from reverie.core.model import Transition
from reverie.envs.scenes import impossible
from reverie.eval.physics_surprise import (
    Plausibility,
    one_step_surprise,
    plausibility,
    wilson,
)
from tests.eval.scene_worlds import Oracle
from tests.eval.worlds import Chunked, record


class Film(NamedTuple):
    possible: dict[str, np.ndarray]
    impossible: dict[str, np.ndarray]
    kind: str = "vanishes"


def films(can: list[float], cannot: list[float], kind: str = "vanishes") -> Film:
    return Film({"x": np.array(can)}, {"x": np.array(cannot)}, kind)


def read(rows) -> np.ndarray:
    return rows["x"]


def test_shares_count_pairs_and_ties_count_half() -> None:
    scenes = [[films([0, 1], [0, 2])], [films([0, 2], [0, 1], "rises")], [films([1, 1], [1, 1])]]
    found = plausibility(read, scenes)
    assert found.all.share == pytest.approx(0.5)
    assert found.all.scenes == found.pairs == 3
    assert found.kinds["vanishes"].share == 0.75
    assert found.kinds["rises"].share == 0
    assert (found.all.low, found.all.high) == wilson(1.5, 3)
    assert not found.beats


def test_a_film_surprises_as_its_worst_row_or_on_average() -> None:
    scenes = [[films([3, 0, 0], [2, 2, 2])]]
    assert plausibility(read, scenes).all.share == 0
    assert plausibility(read, scenes, "mean").all.share == 1


def test_pairs_of_one_scene_are_one_trial() -> None:
    scenes = [[films([0], [1])] * 4 for _ in range(5)]
    found = plausibility(read, scenes)
    assert (found.pairs, found.all.scenes) == (20, 5)
    assert found.all.low == pytest.approx(wilson(5, 5)[0])
    assert found.beats
    assert Plausibility.from_json(found.to_json()) == found


def test_a_blind_observer_is_at_chance() -> None:
    random = np.random.default_rng(0)
    scenes = [[films([0], [0])] for _ in range(400)]
    found = plausibility(lambda rows: random.uniform(size=3), scenes)
    assert found.all.low < 0.5 < found.all.high
    assert found.all.high - found.all.low < 0.11
    assert plausibility(lambda rows: np.ones(3), scenes).all.share == 0.5


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_wilson_against_published_values(
    successes: float, trials: int, low: float, high: float
) -> None:
    """The last is Newcombe's example (1998, table I)."""
    assert wilson(successes, trials) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize("name", ["projectile", "collision", "pendulum", "sliding"])
@pytest.mark.parametrize("sensor", ["state", "image"])
def test_the_scenes_own_physics_finds_every_impossible_film(name: str, sensor: str) -> None:
    scenes = [impossible(name, seed, size=(32, 32)) for seed in range(3)]
    found = plausibility(one_step_surprise(Oracle(name, sees=(sensor,)), sensor), scenes)
    assert found.all.share == 1
    assert found.pairs >= 6


def test_surprise_stands_at_the_row_where_it_happens() -> None:
    (pair,) = impossible("projectile", 1, ("teleports",))
    surprise = one_step_surprise(Oracle("projectile"), "state")
    can, cannot = surprise(pair.possible), surprise(pair.impossible)
    assert can.shape == (60,)
    assert can.max() < 1e-6
    assert cannot.argmax() == pair.at - 1  # row t is entry t - 1
    assert np.delete(cannot, pair.at - 1).max() < 1e-6


def test_a_model_of_chunks_is_asked_for_every_nth_row() -> None:
    batch = record(1, 10).batch
    rows = {k: v[0].numpy() for k, v in batch.obs.items()}
    rows |= {"action": batch.action[0].numpy(), "first": batch.first[0].numpy()}
    found = one_step_surprise(Chunked(), "position")(rows)
    assert found.shape == (3,)
    assert found[1:].max() < 1e-6


def test_it_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="but no 'image'"):
        one_step_surprise(Oracle("sliding"), "image")
    small = impossible("sliding", 0, ("vanishes",), (8, 8))
    surprise = one_step_surprise(Oracle("sliding", sees=("image",)), "image")
    with pytest.raises(ValueError, match=r"\(3, 32, 32\), but the film has \(3, 8, 8\)"):
        plausibility(surprise, [small])
    with pytest.raises(ValueError, match="at least one scene"):
        plausibility(read, [[]])
    with pytest.raises(ValueError, match="not finite"):
        plausibility(lambda rows: np.array([math.nan]), [[films([0], [1])]])
    with pytest.raises(ValueError, match="no share"):
        wilson(3, 2)


def test_the_noise_is_the_same_for_every_film() -> None:
    class Noisy(Oracle):
        def noise(self, batch, generator=None):
            return torch.randn(batch, 1, generator=generator)

        def step(self, state, action, noise):
            made = super().step(state, action, ())
            return Transition(made.state + noise)

    (pair,) = impossible("projectile", 1, ("teleports",), (8, 8))
    surprise = one_step_surprise(Noisy("projectile"), "state", seed=3)
    one, two = surprise(pair.possible), surprise(pair.possible)
    assert (one == two).all()
    assert one.min() > 1e-9
    before = slice(0, pair.at - 1)
    assert (one[before] == surprise(pair.impossible)[before]).all()
