import pytest
import torch

from reverie.core.spec import Space
from reverie.plan import CEM, Box, Gradient, Hybrid, minimise
from reverie.plan.search import nothing_known

BOX = Box(Space((1,), low=-1.0, high=1.0))


def test_a_step_is_that_of_adam():
    optimiser = Gradient(starts=1, iterations=3, rate=0.1, decay=1.0)
    search = optimiser.begin(nothing_known(optimiser, 1, 2, BOX), BOX, None)
    reference = torch.zeros(1, 1, 2, 1, requires_grad=True)
    adam = torch.optim.Adam([reference], lr=0.1)
    goal = torch.tensor([0.7, -0.2]).reshape(1, 1, 2, 1)
    for _ in range(3):
        candidates = optimiser.ask(search, BOX, optimiser.noise(search, 1, None))
        search = optimiser.tell(search, BOX, candidates, (candidates - goal).pow(2).sum((2, 3)))
        adam.zero_grad()
        (reference - goal).pow(2).sum().backward()
        adam.step()
    assert torch.allclose(search.plans, reference, atol=1e-6)


def test_the_first_starts_are_the_guess_and_the_proposals():
    optimiser = Gradient(starts=4)
    proposals = torch.full((1, 2, 3, 1), 0.5)
    search = optimiser.begin(nothing_known(optimiser, 1, 3, BOX), BOX, proposals)
    candidates = optimiser.ask(search, BOX, optimiser.noise(search, 1, None))
    assert candidates.requires_grad
    assert candidates[0, 0].eq(0).all()
    assert candidates[0, 1:3].eq(0.5).all()
    assert candidates[0, 3].ne(0).all()


def test_a_cost_without_gradient_is_refused():
    optimiser = Gradient(starts=1)
    with pytest.raises(ValueError, match="no gradient to the actions; plan with a sampling"):
        minimise(
            optimiser,
            lambda plans: plans.detach().sum((2, 3)),
            BOX,
            nothing_known(optimiser, 1, 2, BOX),
        )


def test_clipping_bounds_the_gradient_of_each_plan():
    optimiser = Gradient(starts=2, clip=1.0)
    plans = torch.zeros(1, 2, 1, 1, requires_grad=True)
    slope = optimiser._slope(plans, plans.sum((2, 3)) * torch.tensor([[100.0, 0.5]]))
    assert slope.flatten().tolist() == pytest.approx([1.0, 0.5])


def test_sampling_finds_the_valley_and_the_gradient_its_floor():
    """Of two valleys the deeper one is far: from the middle the gradient goes to the other."""

    def cost(plans):
        u = plans[..., 0, 0]
        return torch.where(u < 0.4, (u + 0.1).square(), 10 * (u - 0.83).square() - 1)

    torch.manual_seed(0)
    alone = Gradient(starts=1, iterations=40)
    start = nothing_known(alone, 1, 1, BOX)
    assert minimise(alone, cost, BOX, start).plan.item() == pytest.approx(-0.1, abs=0.01)
    both = Hybrid(CEM(samples=40, elites=4, iterations=2), Gradient(starts=2, iterations=40))
    assert both.iterations == 42
    solved = minimise(both, cost, BOX, nothing_known(both, 1, 1, BOX))
    assert solved.plan.item() == pytest.approx(0.83, abs=1e-3)


def test_a_hybrid_that_is_stopped_early_returns_what_sampling_found():
    torch.manual_seed(0)
    both = Hybrid(CEM(samples=40, elites=4, iterations=3))
    start = nothing_known(both, 1, 1, BOX)
    cost = lambda plans: (plans - 0.5).square().sum((2, 3))  # noqa: E731
    solved = minimise(both, cost, BOX, start, enough=lambda made: made == 2)
    assert solved.plan.item() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("wrong", [{"starts": 0}, {"rate": 0.0}, {"decay": 0.0}, {"clip": -1.0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="Gradient"):
        Gradient(**wrong)
