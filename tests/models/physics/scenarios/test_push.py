"""An arm pushes objects into zones."""

import math

import pytest
import torch

from reverie.models.physics.scenarios.push import BEHIND, PUSH
from reverie.models.physics.scenarios.tasks import aside
from tests.models.physics.scenarios.played import done, made, slope, solved, spaces


def test_all_scenes_have_the_same_spaces_whatever_the_shape() -> None:
    shapes = {
        made(PUSH, seed, d)[0]["shape"] for seed, d in ((0, 0.0), (1, 0.3), (2, 0.5), (3, 0.7))
    }
    assert len(shapes) > 1
    assert len(spaces(PUSH)) == 1


def test_cans_leave_the_way_free() -> None:
    for seed in range(10):
        numbers = made(PUSH, seed, 1.0)[0]
        start, goal = numbers["start"], numbers["goal"]
        far = math.dist(start, goal)
        back = [s - (g - s) * BEHIND / far for s, g in zip(start, goal, strict=True)]
        assert all(aside(can, back, goal) > 0.129 for can in numbers["cans"])


def test_harder_is_further_into_a_smaller_zone() -> None:
    def mean(difficulty: float) -> float:
        drawn = [made(PUSH, seed, difficulty)[0] for seed in range(10)]
        return sum(math.dist(n["start"], n["goal"]) for n in drawn) / 10

    assert mean(0.0) < mean(0.5) < mean(1.0)
    assert made(PUSH, 0, 0.0)[0]["near"] > made(PUSH, 0, 1.0)[0]["near"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_plan_solves_it_and_nothing_does_not(seed: int) -> None:
    assert solved(PUSH, seed, 0.3) == (True, False)


@pytest.mark.slow
@pytest.mark.parametrize("difficulty", [0.2, 0.5, 0.9])
def test_plans_solve_twenty(difficulty: float) -> None:
    assert sum(solved(PUSH, seed, difficulty)[0] for seed in range(20)) >= 19


def test_the_reward_has_a_gradient_along_the_plan() -> None:
    found = slope(PUSH, slice(45, 65))
    assert bool(torch.isfinite(found).all()) and bool(found.abs().amax(0).gt(1e-3).all())


def test_done_is_in_the_zone_at_any_height() -> None:
    numbers, scene = made(PUSH, 0, 0.5)
    (x, y), near = numbers["goal"], numbers["near"]
    assert not done(scene, {})
    assert done(scene, {"thing": (x + 0.9 * near, y, 0.3)})
    assert not done(scene, {"thing": (x, y - 1.1 * near, 0.04)})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("mass", 0.0, "'mass' is 0.0"),
        ("size", [0.04, 0.04, 0.5], "'size'"),
        ("shape", "egg", "'egg'"),
    ],
)
def test_bad_numbers_are_refused(name: str, value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PUSH.scene({**made(PUSH, 0, 0.5)[0], name: value})
