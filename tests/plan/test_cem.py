import pytest
import torch

from reverie.core.spec import Space
from reverie.plan import CEM, Box, icem
from reverie.plan.cem import moments
from reverie.plan.search import Start, nothing_known

BOX = Box(Space((1,), low=-1.0, high=1.0))


def told(optimiser, costs, candidates, start=None):
    search = optimiser.begin(start or nothing_known(optimiser, 1, 2, BOX), BOX, None)
    return optimiser.tell(search, BOX, candidates, costs)


def test_the_distribution_is_that_of_the_elites():
    candidates = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]).reshape(1, 3, 2, 1)
    search = told(CEM(samples=3, elites=2), torch.tensor([[1.0, 3.0, 2.0]]), candidates)
    assert search.mean.flatten().tolist() == [0.5, 0.5]
    assert search.deviation.flatten().tolist() == [0.5, 0.5]
    assert torch.equal(search.elites[:, 0], candidates[:, 0])


def test_momentum_keeps_some_of_the_last_distribution_from_the_second_iteration_on():
    optimiser = CEM(samples=2, elites=1, momentum=0.25)
    one = torch.ones(1, 1, 2, 1)
    search = told(optimiser, torch.zeros(1, 1), one)
    assert search.mean.flatten().tolist() == [1, 1]
    search = optimiser.tell(search, BOX, -one, torch.zeros(1, 1))
    assert search.mean.flatten().tolist() == [-0.5, -0.5]


def test_a_floor_keeps_the_search_open():
    search = told(CEM(samples=1, elites=1, floor=0.2), torch.zeros(1, 1), torch.ones(1, 1, 2, 1))
    assert search.deviation.flatten().tolist() == pytest.approx([0.2, 0.2])


def test_elites_of_infinite_cost_do_not_count():
    elites = torch.tensor([1.0, 3.0, 100.0]).reshape(1, 3, 1, 1)
    before = CEM().begin(nothing_known(CEM(), 1, 1, BOX), BOX, None)
    mean, deviation = moments(elites, torch.tensor([[0.0, 1.0, torch.inf]]), before)
    assert mean.item() == 2.0
    assert deviation.item() == 1.0
    mean, deviation = moments(elites, torch.full((1, 3), torch.inf), before)
    assert (mean.item(), deviation.item()) == (0.0, 1.0)


def test_icem_has_fewer_candidates_each_time_keeps_elites_and_tries_the_mean():
    optimiser = icem(100, 10, 3)
    start = nothing_known(optimiser, 1, 4, BOX)
    assert start.elites.shape == (1, 3, 4, 1)
    search = optimiser.begin(Start(start.guess, start.elites + 0.7), BOX, None)
    sizes = []
    for _ in range(3):
        noise = optimiser.noise(search, 1, torch.Generator().manual_seed(0))
        candidates = optimiser.ask(search, BOX, noise)
        sizes.append(noise.shape[1])
        assert torch.equal(candidates[:, sizes[-1] : sizes[-1] + 3], search.elites[:, :3])
        if not search.done:
            assert (candidates == 0.7).all((2, 3)).sum() == 3  # kept from the last decision
        search = optimiser.tell(search, BOX, candidates, candidates.square().sum((2, 3)))
    assert sizes == [100, 80, 64]
    assert torch.equal(candidates[:, -1], candidates[:, -1].clamp(-1, 1))
    assert search.best.cost <= search.mean.square().sum()
    assert torch.equal(optimiser.choose(search, torch.zeros(1, 1)), search.best.plan)
    assert optimiser.leave(search).elites.shape == (1, 3, 4, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"elites": 0},
        {"samples": 5, "elites": 6},
        {"iterations": 0},
        {"momentum": 1.0},
        {"decay": 0.5},
        {"reuse": 2.0},
        {"floor": -1.0},
        {"execute": "worst"},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="CEM"):
        CEM(**wrong)
