import math

import pytest
import torch

from reverie.core.spec import Space
from reverie.plan import MPPI, Box, tdmpc2_mppi
from reverie.plan.search import nothing_known

BOX = Box(Space((1,), low=-1.0, high=1.0))


def told(optimiser, costs, candidates):
    search = optimiser.begin(nothing_known(optimiser, 1, 1, BOX), BOX, None)
    return optimiser.tell(search, BOX, candidates, costs)


def test_candidates_are_weighted_by_the_exponential_of_their_cost():
    candidates = torch.tensor([0.2, 0.4, 0.9]).reshape(1, 3, 1, 1)
    costs = torch.tensor([[1.0, 2.0, 1001.0]])
    search = told(MPPI(samples=3, temperature=2.0), costs, candidates)
    w = math.exp(-0.5)
    assert search.mean.item() == pytest.approx((0.2 + w * 0.4) / (1 + w))
    assert search.deviation.item() == 0.5  # fixed without a floor


def test_a_small_temperature_does_not_overflow():
    candidates = torch.tensor([0.2, 0.4]).reshape(1, 2, 1, 1)
    costs = torch.tensor([[-1e6, -1e6 + 1]])
    search = told(MPPI(samples=2, temperature=1e-3), costs, candidates)
    assert search.mean.item() == pytest.approx(0.2)


def test_the_deviation_adapts_within_its_limits():
    candidates = torch.tensor([0.2, 0.4, 5.0]).reshape(1, 3, 1, 1)
    optimiser = MPPI(samples=3, elites=2, deviation=1.0, floor=0.05, temperature=1.0)
    search = told(optimiser, torch.tensor([[0.0, 0.0, 9.0]]), candidates)
    assert search.mean.item() == pytest.approx(0.3)
    assert search.deviation.item() == pytest.approx(0.1)
    search = told(optimiser, torch.tensor([[0.0, 50.0, 90.0]]), candidates)
    assert search.deviation.item() == pytest.approx(0.05)


def test_where_no_candidate_is_left_the_distribution_stays():
    candidates = torch.full((1, 3, 1, 1), 0.7)
    optimiser = MPPI(samples=3, deviation=1.0, floor=0.05)
    search = told(optimiser, torch.full((1, 3), torch.inf), candidates)
    assert (search.mean.item(), search.deviation.item()) == (0.0, 1.0)


def test_an_elite_is_drawn_by_its_weight():
    optimiser = tdmpc2_mppi()
    assert optimiser.options == 64
    assert tdmpc2_mppi(20).iterations == 8
    candidates = torch.linspace(-1, 1, 512).reshape(1, 512, 1, 1)
    search = told(optimiser, candidates.flatten(1) * 10, candidates)
    first = torch.zeros(1, 64)
    first[0, 5] = 1e6
    assert optimiser.choose(search, first).item() == candidates[0, 5].item()
    assert optimiser.choose(search, torch.zeros(1, 64)).item() == -1.0


def test_proposals_are_among_the_samples():
    optimiser = MPPI(samples=10)
    proposals = torch.full((1, 4, 1, 1), 0.7)
    search = optimiser.begin(nothing_known(optimiser, 1, 1, BOX), BOX, proposals)
    candidates = optimiser.ask(search, BOX, optimiser.noise(search, 1, None))
    assert candidates.shape == (1, 10, 1, 1)
    assert torch.equal(candidates[:, :4], proposals)
    with pytest.raises(ValueError, match="12 proposals and has 10 samples"):
        optimiser.begin(nothing_known(optimiser, 1, 1, BOX), BOX, proposals.repeat(1, 3, 1, 1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0},
        {"temperature": 0.0},
        {"elites": 600},
        {"floor": 1.0, "deviation": 0.5},
        {"execute": "draw"},
        {"execute": "worst"},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="MPPI"):
        MPPI(**wrong)
