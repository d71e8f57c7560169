import math

import pytest
import torch

from reverie.core.spec import Space
from reverie.plan import CEM, Box, Gradient, Hybrid, PlanningError, icem, minimise
from reverie.plan.mppi import MPPI
from reverie.plan.search import Best, Start, gumbel_noise, nothing_known, shift, take

OPTIMISERS = {
    "cem": CEM(samples=100, elites=10, iterations=10),
    "icem": icem(200, 20, 15, exponent=0.5),
    "mppi": MPPI(samples=200, elites=20, iterations=15, deviation=1.0, floor=0.02, temperature=1.0),
    "gradient": Gradient(starts=3, iterations=40),
    "hybrid": Hybrid(),
}


def box(low=-1.0, high=1.0, size=2):
    return Box(Space((size,), low=low, high=high))


def valley(target):
    return lambda plans: (plans - target).square().sum((2, 3))


def test_unit_coordinates_fill_the_bounds():
    made = box((-2.0, 0.0), (4.0, 10.0))
    actions = made.actions(torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]]))
    assert actions.tolist() == [[-2, 0], [1, 5], [4, 10]]
    assert torch.equal(made.units(actions), torch.tensor([[-1.0, -1], [0, 0], [1, 1]]))
    assert made.units(torch.tensor([100.0, -100.0])).tolist() == [1, -1]


def test_where_a_bound_is_missing_units_are_actions():
    made = box((-math.inf, -3.0, 2.0), (math.inf, math.inf, 2.0), 3)
    u = torch.tensor([5.0, -7.0, 9.0])
    assert made.actions(made.clip(u)).tolist() == [5, -3, 2]


def test_crossed_bounds_are_named():
    with pytest.raises(ValueError, match=r"Actions \[1\] have a lower bound above the upper one"):
        box((-1.0, 1.0), (1.0, 0.5))


def test_a_discrete_action_is_the_highest_score_with_the_gradient_of_the_softmax():
    made = Box(Space((3,), discrete=True))
    scores = torch.tensor([0.1, 0.9, -0.2], requires_grad=True)
    action = made.actions(scores)
    assert action.tolist() == [0, 1, 0]
    action @ torch.tensor([1.0, 2.0, 3.0])
    (slope,) = torch.autograd.grad(action @ torch.tensor([1.0, 2.0, 3.0]), scores)
    soft = scores.detach().requires_grad_()
    (expected,) = torch.autograd.grad(soft.softmax(-1) @ torch.tensor([1.0, 2.0, 3.0]), soft)
    assert torch.allclose(slope, expected)
    assert made.units(action.detach()).tolist() == [-1, 1, -1]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_finds_the_bottom_for_each_problem_alone(name):
    torch.manual_seed(0)
    target = torch.tensor([[[0.5, -0.3]], [[-0.7, 0.9]]]).expand(2, 4, 2).unsqueeze(1)
    optimiser = OPTIMISERS[name]
    solved = minimise(optimiser, valley(target), box(), nothing_known(optimiser, 2, 4, box()))
    assert solved.plan.shape == (2, 4, 2)
    assert (solved.plan - target[:, 0]).abs().max() < 0.12
    assert solved.iterations == optimiser.iterations


@pytest.mark.parametrize("name", OPTIMISERS)
def test_candidates_and_plans_stay_within_the_bounds(name):
    torch.manual_seed(0)
    made, seen = box(-0.5, 2.0), []

    def cost(plans):
        seen.append(plans.detach())
        return -plans.sum((2, 3))  # the further out the better

    optimiser = OPTIMISERS[name]
    solved = minimise(optimiser, cost, made, nothing_known(optimiser, 1, 3, made))
    everything = torch.cat([*(s.flatten() for s in seen), solved.plan.flatten()])
    assert everything.min() >= -0.5
    assert everything.max() <= 2.0
    assert solved.plan.mean() > 1.5


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_candidate_of_nan_is_dropped(name):
    torch.manual_seed(0)
    optimiser = OPTIMISERS[name]

    def cost(plans):
        value = valley(torch.tensor(0.4))(plans)
        return torch.where(plans[:, :, 0, 0] > 0.45, torch.nan, value)

    solved = minimise(optimiser, cost, box(), nothing_known(optimiser, 1, 3, box()))
    assert solved.plan.isfinite().all()
    assert (solved.plan - 0.4).abs().max() < 0.15
    assert solved.cost.isfinite().all()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_nothing_but_nan_is_said(name):
    optimiser = OPTIMISERS[name]

    def cost(plans):
        bad = torch.tensor([[0.0], [torch.nan]])
        return plans.sum((2, 3)) + bad

    start = nothing_known(optimiser, 2, 3, box())
    with pytest.raises(PlanningError, match=r"problems \[1\].*finite cost.*state"):
        minimise(optimiser, cost, box(), start)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_proposals_are_tried(name):
    torch.manual_seed(0)
    spike = torch.tensor([0.9, -0.9]).expand(5, 2)
    optimiser, tried = OPTIMISERS[name], []

    def cost(plans):
        tried.append(bool((plans == spike).all((2, 3)).any()))
        return plans.square().sum((2, 3))

    start = nothing_known(optimiser, 1, 5, box())
    minimise(optimiser, cost, box(), start, proposals=spike[None, None])
    assert tried[0]


def test_a_cost_of_another_shape_is_refused():
    optimiser = CEM(samples=10, elites=2)
    with pytest.raises(ValueError, match=r"\(1, 10\), one number for each candidate"):
        minimise(optimiser, lambda p: p.sum(), box(), nothing_known(optimiser, 1, 3, box()))


def test_a_search_stops_when_told_and_keeps_the_best_so_far():
    torch.manual_seed(0)
    optimiser = CEM(samples=50, elites=5, iterations=10)
    start = nothing_known(optimiser, 1, 3, box())
    target = valley(torch.tensor(0.5))
    asked = []
    solved = minimise(
        optimiser, target, box(), start, enough=lambda made: asked.append(made) or made == 3
    )
    assert asked == [0, 1, 2, 3]
    assert solved.iterations == 3
    none = minimise(optimiser, target, box(), start, enough=lambda made: True)
    assert none.iterations == 0
    assert torch.equal(none.plan, start.guess)
    assert none.cost.isinf().all()


def test_what_a_search_leaves_moves_on_with_time():
    plan = torch.arange(4.0).reshape(1, 4, 1)
    start = shift(Start(plan, plan[:, None] + 10), 1)
    assert start.guess.flatten().tolist() == [1, 2, 3, 3]
    assert start.elites.flatten().tolist() == [11, 12, 13, 13]
    assert shift(start, 6).guess.flatten().tolist() == [3] * 4
    assert shift(start, 0) is start


def test_the_best_of_all_iterations_is_remembered():
    best = Best.none(torch.zeros(2, 1, 1))
    plans = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)
    best = best.seen(plans, torch.tensor([[5.0, 4.0], [1.0, 2.0]]))
    best = best.seen(plans * 10, torch.tensor([[4.5, 9.0], [0.5, 2.0]]))
    assert best.plan.flatten().tolist() == [2, 30]
    assert best.cost.tolist() == [4.0, 0.5]


def test_candidates_by_index():
    plans = torch.arange(12.0).reshape(2, 3, 2, 1)
    index = torch.tensor([[2, 0], [1, 1]])
    assert take(plans, index)[:, :, 0, 0].tolist() == [[4, 0], [8, 8]]
    assert take(plans[:1], index[:1])[:, :, 0, 0].tolist() == [[4, 0]]


def test_gumbel_noise_draws_by_weight():
    log_weights = torch.tensor([0.1, 0.2, 0.7]).log()
    noise = gumbel_noise(3, log_weights, 20_000, torch.Generator().manual_seed(0))
    drawn = (log_weights + noise).argmax(1)
    assert torch.allclose(drawn.bincount() / 20_000, log_weights.exp(), atol=0.01)
