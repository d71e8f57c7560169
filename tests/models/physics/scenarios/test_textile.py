"""Cloth is hung and folded: targets are isometries, plans arrive, rewards have a gradient."""

from typing import Any

import pytest
import torch

from reverie.core import rollout
from reverie.models.physics.scenarios.scenario import Draw
from reverie.models.physics.scenarios.textile import FOLD, HANG, draped, folded
from reverie.physics import cloth
from tests.models.physics.scenarios.played import modelled, solves

KINDS = {"hang": HANG, "fold": FOLD}


@pytest.mark.parametrize("name", KINDS)
def test_all_scenes_have_the_same_spaces(name: str) -> None:
    given = ((0, 0.0), (1, 0.5), (2, 0.9), (5, 1.0))
    specs = [modelled(KINDS[name], seed, hard)[1].spec for seed, hard in given]
    assert all((s.obs, s.action) == (specs[0].obs, specs[0].action) for s in specs)


@pytest.mark.parametrize("name", KINDS)
def test_the_tolerance_is_smaller_where_it_is_hard(name: str) -> None:
    nears = [KINDS[name].draw(Draw(3, x))["near"] for x in (0.0, 0.4, 1.0)]
    assert nears == sorted(nears, reverse=True) and nears[0] > 1.5 * nears[2]


def test_draped_cloth_is_bent_and_not_stretched() -> None:
    """Edges along the bar keep their length, those across are chords of the arc or straight."""
    mesh = cloth.grid(0.3, 0.3, 61, 13)
    over = draped(mesh, 0.3, 0.03).view(61, 13, 3)
    across = (over[1:] - over[:-1]).norm(dim=-1)
    assert across.max() < 0.005 + 1e-9 and across.min() > 0.005 * 0.995
    torch.testing.assert_close(
        (over[:, 1:] - over[:, :-1]).norm(dim=-1).double(), torch.full((61, 12), 0.025).double()
    )
    torch.testing.assert_close(over[30, 6], torch.tensor([0.0, 0.0, 0.03]).to(over))
    torch.testing.assert_close(over[0, 0, 2], over[-1, 0, 2])
    assert over[0, 0, 0] > 0.029 and over[-1, 0, 0] < -0.029  # the first row on the far side
    assert over[0, 0, 2].item() == pytest.approx(-(0.15 - 0.03 * torch.pi / 2))


def test_folding_turns_one_side_over() -> None:
    mesh = cloth.grid(0.2, 0.2, 5, 5)
    point, normal = torch.tensor([0.1, 0.0, 0.0]).double(), torch.tensor([1.0, 0.0, 0.0]).double()
    over = folded(mesh.rest, point, normal, 0.004).view(5, 5, 3)
    torch.testing.assert_close(over[4, :, :2], over[0, :, :2])
    assert bool((over[3:, :, 2] == 0.004).all()) and bool((over[:3, :, 2] == 0).all())
    torch.testing.assert_close(over[:3].reshape(-1, 3), mesh.rest[:15])


EDGE = pytest.param("fold", 1, marks=pytest.mark.slow)


@pytest.mark.parametrize(("name", "seed"), [("hang", 1), ("fold", 0), EDGE])
def test_its_plan_arranges_the_cloth(name: str, seed: int) -> None:
    """The folds are one along a diagonal and one along an edge."""
    kind = KINDS[name]
    numbers, model = modelled(kind, seed, 0.9)
    assert name != "fold" or numbers["way"] == ("diagonal", "edge")[seed]
    assert kind.plan is not None
    plan = kind.plan(model, numbers)
    assert plan.shape == (kind.scene(numbers).limit, 8)
    assert float(plan.unflatten(1, (2, 4))[..., :3].abs().max()) < 0.99  # no faster than hands are
    assert solves(model, plan)


@pytest.mark.parametrize("name", KINDS)
def test_doing_nothing_does_not(name: str) -> None:
    _, model = modelled(KINDS[name], 1, 0.2)
    assert not solves(model, torch.zeros(20, 8))


@pytest.mark.parametrize("name", KINDS)
def test_the_reward_has_a_gradient(name: str) -> None:
    _, model = modelled(KINDS[name], 1, 0.2)
    plan = torch.zeros(4, 1, 1, 8)
    plan[..., 2::4], plan[..., 3::4] = 0.3, 0.5
    plan.requires_grad_()
    reward = rollout.imagine(model, model.initial(1), plan, ()).transition.reward
    assert reward is not None
    (slope,) = torch.autograd.grad(reward.sum(), plan)
    assert bool(torch.isfinite(slope).all()) and float(slope[0, 0, 0, :3].abs().max()) > 1e-4


@torch.no_grad()
def test_what_hands_do_at_random_tears_nothing() -> None:
    """Layers that meet bear only slow cloth: hands slip and nothing snaps."""
    _, model = modelled(FOLD, 2, 0.9)
    state, draws = model.initial(2), torch.Generator().manual_seed(2)
    for _ in range(12):
        state = model.step(state, torch.rand(2, 1, 8, generator=draws) * 2 - 1, ()).state
    assert bool(torch.isfinite(state.world.cloth.position).all())


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("hang", {"height": 0.1}),
        ("hang", {"radius": -0.02}),
        ("fold", {"way": "twice"}),
        ("fold", {"rows": 9}),
        ("fold", {"near": 0.0}),
    ],
)
def test_numbers_that_make_no_sense_are_refused(name: str, wrong: dict[str, Any]) -> None:
    numbers = {**KINDS[name].draw(Draw(0, 0.5)), **wrong}
    with pytest.raises(ValueError, match=r"give|is to be"):
        KINDS[name].scene(numbers)


@pytest.mark.slow
@pytest.mark.parametrize("difficulty", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("name", KINDS)
def test_its_plan_solves_nearly_all(name: str, difficulty: float) -> None:
    plan = KINDS[name].plan
    assert plan is not None
    pairs = (modelled(KINDS[name], seed, difficulty) for seed in range(20))
    assert sum(solves(model, plan(model, numbers)) for numbers, model in pairs) >= 19
