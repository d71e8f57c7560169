"""A scenario is solved by each method, and a policy goes on where it was stopped."""

import json

import numpy as np
import pytest

from reverie.models.physics.scenarios import draw
from reverie.recipes.optimise import Solver, solve


@pytest.fixture
def scenario():
    return draw("reach", 3, 0.2)


def test_the_gradient_finds_a_plan_and_writes_what_it_found(scenario, tmp_path):
    heard = []
    solver = Solver("gradient", iterations=25, candidates=1, rate=0.2, block=5)
    found = solve(scenario, solver, tmp_path, heard.append, size=32)
    assert found.reward > 0.5 * found.idle and len(heard) == 24  # both below zero
    assert found.course.value == sorted(found.course.value, reverse=True)
    assert np.load(tmp_path / "gradient.npz")["action"].shape == (60, 4)
    kept = json.loads((tmp_path / "gradient.json").read_text())
    assert kept["solver"]["iterations"] == 25 and kept["return"] == pytest.approx(found.reward)
    assert "reach-3" in found.page.read_text() and found.film.stat().st_size > 100


def test_samples_find_one_too_and_time_is_kept(scenario, tmp_path):
    solver = Solver("cem", iterations=1000, candidates=32, block=10, seconds=1.0)
    found = solve(scenario, solver, tmp_path, size=0)
    assert found.reward > found.idle and found.film is None
    many = len(found.course.steps)  # as many as the machine manages in a second
    assert many < 1000 and found.course.steps == [60 + 32 * 60 * (i + 1) for i in range(many)]


def test_a_policy_goes_on_bit_by_bit_where_it_was_stopped(scenario, tmp_path):
    whole = Solver("shac", iterations=4, candidates=4, horizon=20)
    straight = solve(scenario, whole, tmp_path / "a", size=0)
    part = Solver("shac", iterations=4, candidates=4, horizon=20, seconds=1e-3)
    for _ in range(6):
        try:
            halting = solve(scenario, part, tmp_path / "b", size=0)
        except ValueError as none_ended:  # in its first updates
            assert "No episode has ended yet" in str(none_ended)
    assert halting.course.steps == straight.course.steps
    assert halting.course.value == straight.course.value
    assert halting.reward == straight.reward
    with pytest.raises(ValueError, match="another scenario or solver"):
        solve(draw("reach", 4, 0.2), whole, tmp_path / "a", size=0)


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="no method 'ppo'"):
        Solver("ppo")
    with pytest.raises(ValueError, match="block 0"):
        Solver(block=0)
