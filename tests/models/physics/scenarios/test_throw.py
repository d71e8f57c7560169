"""A gripper throws balls into bins."""

import math

import pytest
import torch

from reverie.models.physics.scenarios.throw import (
    BRAKE,
    DT,
    LIMIT,
    READY,
    RUN,
    THROW,
    Toss,
    landing,
)
from tests.models.physics.scenarios.played import done, made, slope, solved, spaces


def test_what_flies_freely_comes_down_where_small_steps_bring_it() -> None:
    position = torch.tensor([[0.1, 0.2, 0.5], [0.0, 0.0, 0.4]], dtype=torch.float64)
    velocity = torch.tensor([[1.5, -0.5, 2.0], [2.0, 0.3, -0.5]], dtype=torch.float64)
    x, v, dt = position.clone(), velocity.clone(), 1e-4
    down = torch.zeros(2, 2, dtype=torch.float64)
    for _ in range(10_000):
        above = x[:, 2] > 0.03
        down[above] = x[above, :2]
        x = x + dt * v
        v = v - dt * torch.tensor([0.0, 0.0, 9.81], dtype=torch.float64)
    torch.testing.assert_close(landing(position, velocity, 0.03), down, atol=5e-4, rtol=0)


def test_the_run_reaches_its_speed_when_the_fingers_open_and_stops() -> None:
    toss = Toss(2.0, 0.7, 0.4)
    moved, free = toss.run()
    length = moved[:, :3].norm(dim=-1)
    speed = length.diff() / DT
    assert float(speed.max()) == pytest.approx(2.0, rel=0.05)
    assert free == int((READY + 2 * RUN / 2.0) / DT)
    assert abs(int(speed.argmax()) - free) <= 1
    assert float(length[-1]) == pytest.approx(RUN + BRAKE, rel=1e-4)
    assert math.atan2(float(moved[-1, 1]), float(moved[-1, 0])) == pytest.approx(0.4, abs=1e-5)
    assert len(moved) == LIMIT + 1


def test_all_scenes_have_the_same_spaces() -> None:
    assert len(spaces(THROW)) == 1


def test_harder_is_a_smaller_bin_further_away() -> None:
    drawn = [[made(THROW, seed, d)[0] for seed in range(10)] for d in (0.0, 0.5, 1.0)]
    for name, more in (("far", 1), ("fence", 1), ("inside", -1)):
        means = [more * sum(n[name] for n in row) for row in drawn]
        assert means[0] < means[1] < means[2]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_plan_solves_it_and_nothing_does_not(seed: int) -> None:
    assert solved(THROW, seed, 0.8) == (True, False)


@pytest.mark.slow
@pytest.mark.parametrize("difficulty", [0.2, 0.5, 0.9])
def test_plans_solve_twenty(difficulty: float) -> None:
    assert sum(solved(THROW, seed, difficulty)[0] for seed in range(20)) >= 19


def test_the_reward_has_a_gradient_along_the_plan() -> None:
    found = slope(THROW, slice(60, 80))
    assert bool(torch.isfinite(found).all()) and bool(found[:, :3].abs().amax(0).gt(1e-4).all())


def test_done_is_in_the_bin() -> None:
    numbers, scene = made(THROW, 0, 0.5)
    x, y, z = scene.task.goal()["goal"]
    assert math.hypot(x, y) == pytest.approx(numbers["far"])
    assert done(scene, {"thing": (x, y + 0.9 * numbers["inside"], z)})
    assert not done(scene, {"thing": (x + 1.1 * numbers["inside"], y, z)})
    assert not done(scene, {"thing": (x, y, z + 0.3)})


@pytest.mark.parametrize(("name", "value"), [("inside", 0.02), ("far", 0.1), ("radius", 0.2)])
def test_bad_numbers_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match="The scenario's"):
        THROW.scene({**made(THROW, 0, 0.5)[0], name: value})
