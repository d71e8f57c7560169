"""A gripper stacks blocks."""

import pytest
import torch

from reverie.models.physics.scenarios.stack import STACK
from tests.models.physics.scenarios.played import done, made, put, slope, solved, spaces


def test_all_scenes_have_the_same_spaces() -> None:
    assert len(spaces(STACK)) == 1


def test_above_six_tenths_there_are_three() -> None:
    assert [made(STACK, 0, d)[0]["levels"] for d in (0.0, 0.6, 0.61, 1.0)] == [1, 1, 2, 2]


@pytest.mark.parametrize("difficulty", [0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_plan_solves_it_and_nothing_does_not(seed: int, difficulty: float) -> None:
    assert solved(STACK, seed, difficulty) == (True, False)


@pytest.mark.slow
@pytest.mark.parametrize("difficulty", [0.2, 0.5, 0.9])
def test_plans_solve_twenty(difficulty: float) -> None:
    assert sum(solved(STACK, seed, difficulty)[0] for seed in range(20)) >= 19


def test_the_reward_has_a_gradient_along_the_plan() -> None:
    found = slope(STACK, slice(32, 48))
    assert bool(torch.isfinite(found).all()) and bool(found.abs().amax(0).gt(1e-4).all())


def test_done_is_on_top_of_each_other_and_let_go() -> None:
    numbers, scene = made(STACK, 0, 0.9)
    (x, y), halves = numbers["places"][0], [size[2] for size in numbers["sizes"]]
    one = 2 * halves[0] + halves[1]
    two = one + halves[1] + halves[2]
    hand = {"x": (x,), "y": (y,), "z": (two + 0.1 - 0.3,)}
    tower = {"block1": (x, y, one), "block2": (x, y + 0.9 * numbers["near"], two)}
    assert done(scene, {**tower, **hand})
    assert not done(scene, {**tower, **hand, "block2": (x, y + 1.1 * numbers["near"], two)})
    assert not done(scene, {**tower, **hand, "block2": (x, y, two + 0.02)})
    assert not done(scene, {**tower, **hand, "z": (two - 0.3,)})
    lower = {**numbers, "levels": 1}
    assert done(STACK.scene(lower), {**hand, "block1": (x, y, one)})


def test_the_reward_is_how_far_blocks_are_from_their_places() -> None:
    numbers, scene = made(STACK, 0, 0.5)
    (x, y), halves = numbers["places"][0], [size[2] for size in numbers["sizes"]]
    high = 2 * halves[0] + halves[1]
    state = put(scene, {"block1": (x + 0.1, y, high), "x": (x + 0.1,), "y": (y,), "z": (0.0,)})
    found = scene.task.reward(state.world, torch.zeros(1, 6), state.world, {})
    expected = -0.1 - 0.2 * (0.3 - high) * 0.1 / 0.15
    assert float(found) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("levels", 3, "'levels' is 3"), ("sizes", [[0.03, 0.03, 0.2]] * 3, "Half sides")],
)
def test_bad_numbers_are_refused(name: str, value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        STACK.scene({**made(STACK, 0, 0.5)[0], name: value})
