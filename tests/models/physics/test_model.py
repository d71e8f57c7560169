"""A simulated world keeps the promises of a world model, and planners plan in it."""

import math

import pytest
import torch

from reverie.core import check_world_model, rollout, tree
from reverie.models.physics import Physics, PhysicsConfig
from reverie.physics.world import World
from reverie.plan import CEM, MPC, Gradient, MPCConfig
from tests.models.physics.worlds import landing, leg, model, napkin, rows, soft

WORLDS = (soft, napkin, landing, leg)


@pytest.mark.parametrize("make", WORLDS, ids=lambda f: f.__name__)
def test_worlds_keep_the_interface(make) -> None:
    world: World = make()
    made = model(world, context=world.knobs[:2], learn=world.knobs[1:3])
    results = check_world_model(made, rows=rows(made), gradcheck=True)
    passed = {r.name for r in results if r.outcome == "passed"}
    assert {"gradient", "gradcheck", "features", "losses", "checkpoint", "batch"} <= passed


def test_a_world_that_learns_nothing_is_not_trainable() -> None:
    made = model(soft())
    results = {r.name: r.outcome for r in check_world_model(made, rows=rows(made), gradcheck=False)}
    assert results["losses"] == "skipped" and results["gradient"] == "passed"


@torch.no_grad()
def test_context_scales_what_it_names() -> None:
    made = model(soft(), context=("gravity", "matter_stiffness"))
    factors = {"gravity": torch.tensor([1.0, 2.0]), "matter_stiffness": torch.tensor([1.0, 1.0])}
    state = made.initial(2, factors)
    state = made.step(state, torch.zeros(2, 1, 3), ()).state
    sunk = state.world.matter.velocity[..., 2].mean(1)
    assert sunk[1] < 1.5 * sunk[0] < 0


@torch.no_grad()
def test_the_sensed_state_is_the_state() -> None:
    made = model(landing())
    state = made.step(made.initial(2), torch.ones(2, 1, 3), ()).state
    again = rollout.encode(made, made.decode(state))
    assert not tree.differ(again.world, state.world)
    with pytest.raises(ValueError, match="reads the observation 'state'"):
        rollout.encode(made, {"keypoints": torch.zeros(2, 64, 3)})


@torch.no_grad()
def test_pictures_show_what_moves() -> None:
    made = model(soft(), image=48)
    state = made.initial(1)
    before = made.decode(state)["image"]
    for _ in range(5):
        state = made.step(state, torch.tensor([[[1.0, 0.0, -1.0]]]), ()).state
    after = made.decode(state)["image"]
    assert before.shape == (1, 3, 48, 48) and 0 <= float(before.min()) <= float(before.max()) <= 1
    assert (before - after).abs().max() > 0.1


def test_gradient_and_sampling_planners_find_the_way() -> None:
    made = model(napkin())
    noise = torch.Generator().manual_seed(0)
    state = made.initial(1)
    rest = made.step(state, torch.zeros(1, 1, 3), ()).reward
    best = {}
    for search in (CEM(samples=48, elites=6, iterations=4), Gradient(iterations=12, starts=2)):
        planner = MPC(made, search, MPCConfig(horizon=6))
        plan = planner.solve(state, noise).plan
        with torch.no_grad():
            future = rollout.imagine(made, state, plan.reshape(6, 1, 1, 3), ())
        best[type(search).__name__] = future.transition.reward.sum().item()
    still = 6 * rest.item()
    assert best["CEM"] > still + 0.05  # 192 futures
    assert best["Gradient"] > still + 0.1  # 24 futures and their gradients


def test_factors_are_found_from_recorded_rows() -> None:
    """System identification by gradient: the stiffness that made the rows comes back."""
    world = soft()
    truth = model(world, learn=("matter_stiffness",))
    with torch.no_grad():
        truth.factors["matter_stiffness"].fill_(math.log(1.6))
    recorded = rows(truth, length=12, batch=2, seed=1)
    made = model(world, learn=("matter_stiffness",))
    optimiser = torch.optim.Adam(made.parameters(), lr=0.05)
    for _ in range(60):
        losses, _ = made.loss(recorded, made.initial(2), ())
        optimiser.zero_grad()
        losses["state"].mean().backward()
        optimiser.step()
    assert made.factors["matter_stiffness"].exp().item() == pytest.approx(1.6, rel=0.05)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="has the knobs"):
        Physics(soft(), config=PhysicsConfig(context=("cloth_mass",)))
    made = model(soft())
    with pytest.raises(ValueError, match="controls"):
        made.step(made.initial(1), torch.zeros(1, 1, 5), ())
    with pytest.raises(FloatingPointError, match="control holds NaN"):
        made.step(made.initial(1), torch.full((1, 1, 3), math.nan), ())
    with pytest.raises(ValueError, match="numbers"):
        made.unpack(torch.zeros(1, 3))
