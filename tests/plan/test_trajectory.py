"""Trajectory optimisation on a problem whose best plan the Riccati recursion knows."""

import pytest
import torch

from reverie.plan import CEM, Gradient, PlanCost
from reverie.plan.trajectory import optimise
from tests.plan.worlds import Linear

START = torch.tensor([[1.0, 0.5]])


def problem(horizon=20):
    model = Linear()
    return model, PlanCost(model, horizon), model.initial(1)._replace(x=START)


@pytest.mark.parametrize(
    "optimiser",
    [Gradient(starts=1, iterations=300, rate=0.3, deviation=0.0), CEM(iterations=60)],
    ids=["gradient", "cem"],
)
def test_it_finds_the_best_plan(optimiser):
    model, cost, state = problem()
    found = optimise(cost, state, optimiser, generator=torch.Generator().manual_seed(0))
    assert found.cost == pytest.approx(float(model.optimal_cost(START, 20)), rel=0.01)
    again = cost(state, found.plan[None, None], cost.noise(lambda make: make(1, None)))
    assert found.plan.shape == (20, 1) and float(again) == pytest.approx(found.cost, rel=1e-5)


def test_effort_is_counted_in_simulated_steps():
    _, cost, state = problem()
    effort = optimise(cost, state, CEM(samples=50, elites=5, iterations=4)).effort
    assert effort.steps == [1000, 2000, 3000, 4000]
    assert effort.least == sorted(effort.least, reverse=True)
    assert effort.seconds == sorted(effort.seconds) and len(effort.seconds) == 4


def test_it_stops_when_it_is_told_to():
    _, cost, state = problem()
    found = optimise(cost, state, CEM(samples=50), enough=lambda effort: effort.steps[-1] >= 3000)
    assert found.effort.steps[-1] == 3000


def test_a_guess_is_not_lost_and_steps_may_be_held():
    _, cost, state = problem()
    best = optimise(cost, state, Gradient(starts=1, iterations=150, deviation=0.0))
    kept = optimise(
        cost, state, CEM(samples=20, elites=5, iterations=1, execute="best"), guess=best.plan
    )
    assert kept.cost <= best.cost * 1.0001
    coarse = optimise(cost, state, Gradient(starts=1, iterations=100, deviation=0.0), 5)
    assert coarse.plan.shape == (5, 1) and coarse.cost >= best.cost


def test_several_starts_are_refused():
    _, cost, _ = problem()
    with pytest.raises(ValueError, match="one start; got 2"):
        optimise(cost, cost.model.initial(2), CEM())
