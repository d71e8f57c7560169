"""A rope is laid in a curve: the curve is as long as the rope, the plan lays it there."""

import math

import pytest
import torch

from reverie.core import rollout
from reverie.models.physics.scenarios.rope import BEADS, ROPE, apart, curve
from reverie.models.physics.scenarios.scenario import Draw
from tests.models.physics.scenarios.played import modelled, solves


def test_all_scenes_have_the_same_spaces() -> None:
    specs = [modelled(ROPE, seed, hard)[1].spec for seed, hard in ((0, 0.0), (1, 0.5), (5, 1.0))]
    assert all((s.obs, s.action) == (specs[0].obs, specs[0].action) for s in specs)


def test_a_constant_curvature_is_an_arc() -> None:
    points = curve(0.6, (4.0, 0.0, 0.0))
    gaps = (points[1:] - points[:-1]).norm(dim=-1)
    torch.testing.assert_close(gaps, torch.full_like(gaps, 0.6 / (BEADS - 1)))
    chord = (points[-1] - points[0]).norm().item()
    assert chord == pytest.approx(2 / 4.0 * math.sin(4.0 * 0.6 / 2), rel=1e-3)
    straight = curve(0.6, (0.0, 0.0, 0.0))
    assert (straight[-1] - straight[0]).norm().item() == pytest.approx(0.6)


@pytest.mark.parametrize("seed", range(10))
def test_curves_that_are_drawn_do_not_come_back_to_themselves(seed: int) -> None:
    numbers = ROPE.draw(Draw(seed, 1.0))
    assert apart(curve(numbers["length"], numbers["bends"])) > 0.06
    assert numbers["near"] < ROPE.draw(Draw(seed, 0.0))["near"]
    ring = curve(0.6, (2 * math.pi / 0.6, 0.0, 0.0))
    assert apart(ring) < 0.03


@pytest.mark.parametrize(("seed", "difficulty"), [(0, 0.2), (1, 0.9)])
def test_its_plan_lays_the_rope(seed: int, difficulty: float) -> None:
    numbers, model = modelled(ROPE, seed, difficulty)
    assert ROPE.plan is not None
    plan = ROPE.plan(model, numbers)
    assert plan.shape == (ROPE.scene(numbers).limit, 4)
    assert float(plan[:, :3].abs().max()) < 0.99  # no faster than hands are
    assert solves(model, plan)
    assert not solves(model, torch.zeros(30, 4))
    assert not solves(model, torch.tensor([[0.0, 0.0, 0.0, -1.0]]).expand(40, 4))  # dropped


def test_the_reward_has_a_gradient() -> None:
    _, model = modelled(ROPE, 2, 0.5)
    plan = torch.zeros(4, 1, 1, 4)
    plan[..., 2], plan[..., 3] = -0.4, 0.5
    plan.requires_grad_()
    reward = rollout.imagine(model, model.initial(1), plan, ()).transition.reward
    assert reward is not None
    (slope,) = torch.autograd.grad(reward.sum(), plan)
    assert bool(torch.isfinite(slope).all()) and float(slope[0, 0, 0, :3].abs().max()) > 1e-4


@pytest.mark.parametrize("wrong", [{"length": 0.9}, {"length": 0.0}, {"bends": [1.0]}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="give"):
        ROPE.scene({**ROPE.draw(Draw(0, 0.5)), **wrong})


@pytest.mark.slow
@pytest.mark.parametrize("difficulty", [0.2, 0.5, 0.9])
def test_its_plan_solves_nearly_all(difficulty: float) -> None:
    assert ROPE.plan is not None
    pairs = (modelled(ROPE, seed, difficulty) for seed in range(20))
    assert sum(solves(model, ROPE.plan(model, numbers)) for numbers, model in pairs) >= 19
