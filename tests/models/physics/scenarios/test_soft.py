"""Soft bodies: lattices fill shapes, hands follow ways, and a squeezed body arrives."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.core import rollout, tree
from reverie.models.physics.scenarios.scenario import (
    Draw,
    Scene,
    begin,
    end_of,
    require,
    world_model,
)
from reverie.models.physics.scenarios.soft import DT, LIMIT, SPEED, SQUEEZE, Carried, filled, legs
from reverie.physics.mpm.material import at_rest
from reverie.physics.world import Place, WorldState

ALL = [(seed, hard) for hard in (0.2, 0.5, 0.9) for seed in range(20)]


def scene(seed: int, difficulty: float) -> tuple[dict[str, Any], Scene]:
    numbers = SQUEEZE.draw(Draw(seed, difficulty))
    return numbers, SQUEEZE.scene(numbers)


@pytest.mark.parametrize("shape", ["block", "ball", "drum"])
@pytest.mark.parametrize("count", [100, 343, 400])
def test_a_lattice_fills_its_shape(shape: str, count: int) -> None:
    """Exactly so many places, inside, evenly: their moments are those of the solid."""
    half = torch.tensor([0.03, 0.05, 0.04])
    x, volume = filled(shape, half.tolist(), count)
    unit = x / half
    whole = {"block": 8.0, "ball": 4 / 3 * math.pi, "drum": 2 * math.pi}[shape]
    assert x.shape == (count, 3)
    assert volume * count == pytest.approx(whole * float(half.prod()), rel=1e-5)
    assert float(unit.abs().max()) < 1
    flat = 1.0 if shape != "block" else math.sqrt(2)
    assert float(unit[:, :2].norm(dim=-1).max()) < flat
    if shape == "ball":
        assert float(unit.norm(dim=-1).max()) <= 1
    moment = {"block": [1 / 3] * 3, "ball": [0.2] * 3, "drum": [0.25, 0.25, 1 / 3]}[shape]
    assert unit.mean(0).abs().max() < 0.05
    torch.testing.assert_close(unit.square().mean(0), torch.tensor(moment), rtol=0.22, atol=0)


def test_no_other_shape_is_known() -> None:
    with pytest.raises(ValueError, match=r"block, ball, drum.*'egg'"):
        filled("egg", [0.1, 0.1, 0.1], 10)


def test_hands_come_where_the_way_leads_within_their_speed() -> None:
    points = torch.tensor([[[0.0, 0.0, 0.1]], [[0.05, 0.0, 0.1]], [[0.05, -0.1, 0.02]]])
    actions = legs(points, 0.4, 0.04, 60)
    assert actions.shape == (60, 3) and float(actions.abs().max()) <= 1
    torch.testing.assert_close(actions.sum(0) * 0.4 * 0.04, (points[-1] - points[0])[0])
    places = points[0, 0] + (actions * 0.4 * 0.04).cumsum(0)
    assert float((places - points[1, 0]).norm(dim=-1).min()) < 1e-6
    with pytest.raises(ValueError, match=r"takes 15 decisions, and an episode has 10"):
        legs(points, 0.4, 0.04, 10)


def test_all_scenes_have_the_same_spaces() -> None:
    specs = [world_model(scene(seed, hard)[1]).spec for seed, hard in ((0, 0.0), (1, 0.5), (5, 1))]
    assert all((s.obs, s.action) == (specs[0].obs, specs[0].action) for s in specs)
    assert specs[0].action.shape == (6,)


def test_it_is_harder_where_the_difficulty_is_higher() -> None:
    easy, hard = (SQUEEZE.draw(Draw(3, x)) for x in (0.1, 0.9))
    assert hard["near"] < easy["near"] and hard["wander"] > easy["wander"]
    steps = [[SQUEEZE.draw(Draw(s, x))["step"] for s in range(20)] for x in (0.1, 0.9)]
    assert sum(steps[1]) > 2 * sum(steps[0]) > 0


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"near": -1.0}, r"'near' is -1.0; give 0.001 to 0.1"),
        ({"half": [0.03, 0.3, 0.03]}, r"'half' is \[0.03, 0.3, 0.03\]"),
        ({"law": "jelly"}, "neo-hookean, corotated; got 'jelly'"),
        ({"shape": "egg"}, "got 'egg'"),
    ],
)
def test_numbers_without_sense_are_refused(entries: dict[str, Any], message: str) -> None:
    numbers, _ = scene(0, 0.5)
    with pytest.raises(ValueError, match=message):
        SQUEEZE.scene({**numbers, **entries})
    require(numbers, {"near": (0.0, 1.0)})


def state(middle: tuple[float, float, float], hands: list[list[float]]) -> WorldState:
    x = torch.tensor([[-0.01, 0.0, 0.0], [0.01, 0.0, 0.0]]) + torch.tensor(middle)
    matter = at_rest(x[None], torch.zeros(2, dtype=torch.int64))
    turn = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(1, 2, 4)
    return WorldState((), matter, (), Place(torch.tensor([hands]), turn))


def test_done_is_near_the_goal_and_the_reward_is_the_distance() -> None:
    task = Carried((0.3, 0.0, 0.1), 0.02, grip=0.5, effort=0.1)
    context = {"goal": torch.tensor([[0.3, 0.0, 0.1]])}
    hands = [[0.3, -0.1, 0.1], [0.3, 0.1, 0.1]]
    there, away = state((0.3, 0.0, 0.11), hands), state((0.3, 0.0, 0.13), hands)
    assert bool(task.success(there, context)) and not bool(task.success(away, context))
    reward = task.reward(there, torch.ones(1, 6), there, context)
    wanted = -0.01 - 0.5 * math.hypot(0.1, 0.01) - 0.6
    assert float(reward) == pytest.approx(wanted, abs=1e-5)


def slope(model: Any, start: Any, plan: Tensor) -> Tensor:
    """The gradient of the sum of rewards to each action `[T, A]`."""
    acts = plan[:, None, None].clone().requires_grad_()
    reward = rollout.imagine(model, start, acts, ()).transition.reward
    assert reward is not None
    (found,) = torch.autograd.grad(reward.sum(), acts)
    return found[:, 0, 0]


@pytest.mark.parametrize(
    ("seed", "difficulty"),
    [
        (0, 0.9),
        pytest.param(1, 0.2, marks=pytest.mark.slow),
        pytest.param(2, 0.5, marks=pytest.mark.slow),
    ],
)
def test_its_plan_carries_the_body_to_the_stand(seed: int, difficulty: float) -> None:
    """Nothing done, and anything, do not; the reward says along the way how to do better."""
    numbers, made = scene(seed, difficulty)
    model = world_model(made)
    assert SQUEEZE.plan is not None
    plan = SQUEEZE.plan(model, numbers)
    assert plan.shape == (LIMIT, 6) and float(plan.abs().max()) <= 1
    other = torch.rand(plan.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    end = end_of(model, torch.stack([plan, 0 * plan, other]))
    context = begin(model, made, 3).context
    assert made.task.success(end, context).tolist() == [True, False, False]
    with torch.no_grad():
        before = rollout.imagine(model, model.initial(1), plan[:30, None, None], (), keep="last")
    found = slope(model, tree.select(before.states, 0), plan[30:35])
    assert bool(torch.isfinite(found).all()) and float(found.abs().amax(1).min()) > 1e-4


def test_a_goal_that_is_drawn_stays_on_the_stand() -> None:
    numbers, made = scene(4, 0.7)
    low, high = made.goals["goal"]
    assert low[2] == high[2] and high[0] - low[0] == pytest.approx(2 * numbers["wander"])
    assert SPEED * DT * LIMIT > 1


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "difficulty"), ALL)
def test_every_plan_arrives(seed: int, difficulty: float) -> None:
    numbers, made = scene(seed, difficulty)
    model = world_model(made)
    assert SQUEEZE.plan is not None
    end = end_of(model, SQUEEZE.plan(model, numbers)[None])
    assert bool(made.task.success(end, begin(model, made, 1).context))
