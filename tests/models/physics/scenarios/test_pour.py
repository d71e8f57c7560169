"""A cup that pours: it holds water, its task counts drops, and its plan pours a share."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.core import rollout, tree
from reverie.models.physics.scenarios.pour import DX, LIMIT, POUR, WALL, Poured, cup
from reverie.models.physics.scenarios.scenario import Draw, begin, end_of, world_model
from reverie.physics.mpm.material import at_rest
from reverie.physics.rigid import RigidState, kinematics, load
from reverie.physics.stepper import THIN
from reverie.physics.world import WorldState

ALL = [(seed, hard) for hard in (0.2, 0.5, 0.9) for seed in range(20)]
TASK = Poured((0.0, 0.2), (0.04, 0.03, 0.08), (0.15, 0.06, 0.06, 0.05), 0.5, 0.1, 0.05)


def state(x: Tensor, cup: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> WorldState:
    robot = RigidState(torch.tensor([cup]), torch.zeros(1, 3))
    return WorldState(robot, at_rest(x[None], torch.zeros(len(x), dtype=torch.int64)), (), ())


def drops(cupped: int, bowled: int, spilt: int) -> Tensor:
    places = torch.tensor(
        [[-2 * WALL - 0.04, 0.0, 0.15], [0.15, 0.0, 0.02], [0.15 + 0.06 + 0.1, 0.0, 0.0]]
    )
    return places.repeat_interleave(torch.tensor([cupped, bowled, spilt]), 0)


def test_all_scenes_have_the_same_spaces() -> None:
    scenes = [POUR.scene(POUR.draw(Draw(s, hard))) for s, hard in ((0, 0.0), (1, 0.5), (5, 1.0))]
    specs = [world_model(made).spec for made in scenes]
    assert all((s.obs, s.action) == (specs[0].obs, specs[0].action) for s in specs)
    assert specs[0].action.shape == (3,) and WALL > THIN * DX


def test_it_is_harder_where_the_difficulty_is_higher() -> None:
    easy, hard = (POUR.draw(Draw(3, x)) for x in (0.1, 0.9))
    assert all(hard[name] < easy[name] for name in ("tolerance", "spill"))
    assert hard["bowl"][1] < easy["bowl"][1] and hard["wander"] > easy["wander"]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"share": 1.2}, r"'share' is 1.2; give 0.05 to 0.95"),
        ({"cup": [0.01, 0.04, 0.08]}, r"'cup' is \[0.01, 0.04, 0.08\]"),
        ({"viscosity": -1.0}, r"'viscosity' is -1.0"),
    ],
)
def test_numbers_without_sense_are_refused(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        POUR.scene({**POUR.draw(Draw(0, 0.5)), **entries})


@pytest.mark.parametrize(
    ("counts", "done"),
    [
        ((50, 50, 0), True),
        ((58, 42, 0), True),
        ((65, 35, 0), False),
        ((100, 0, 0), False),
        ((48, 48, 4), True),
        ((46, 46, 8), False),
    ],
)
def test_done_is_the_share_in_the_bowl_and_little_spilt(
    counts: tuple[int, int, int], done: bool
) -> None:
    made = state(drops(*counts))
    context = {"share": torch.tensor([[0.5]])}
    assert bool(TASK.success(made, context)) == done
    there, spilt = TASK.shares(made)
    assert (float(there) * 100, float(spilt) * 100) == pytest.approx((counts[1], counts[2]))


def test_the_reward_is_how_far_each_is_from_its_vessel() -> None:
    context, none = {"share": torch.tensor([[0.5]])}, torch.zeros(1, 3)

    def reward(made: WorldState) -> float:
        return float(TASK.reward(made, none, made, context))

    assert reward(state(drops(50, 50, 0))) == pytest.approx(0.0, abs=1e-5)
    assert reward(state(drops(50, 40, 10))) == pytest.approx(-0.1 * 0.1, abs=1e-4)
    left = math.dist((-2 * WALL - 0.04, 0.15), (0.09, 0.05))  # to the edge of the bowl
    assert reward(state(drops(100, 0, 0))) == pytest.approx(-0.5 * left, abs=1e-4)


def test_the_inside_of_the_cup_moves_as_the_cup_does() -> None:
    """Against the kinematics of the robot: the bottom's frame carries a drop along."""
    given = (0.1, -0.03, 1.2)
    robot = load(cup((0.0, 0.2), (0.04, 0.03), 0.08))
    at = kinematics(robot.model, RigidState(torch.tensor([given]), torch.zeros(1, 3)), robot.params)
    bottom, (w, _, y, _) = at.geoms[0, 0, :3], at.geoms[0, 0, 3:].tolist()
    angle = 2 * math.atan2(y, w)
    up = torch.tensor([math.sin(angle), 0.0, math.cos(angle)])
    heights = torch.tensor([WALL + 0.04, WALL + 0.08 + 0.05, -0.03])
    _, away = TASK.away(state(bottom + heights[:, None] * up, given))
    torch.testing.assert_close(away[0], torch.tensor([0.0, 0.05, 0.03 + WALL]), rtol=0, atol=1e-4)


def test_a_still_cup_holds_its_water_and_a_plan_pours_a_share_of_it() -> None:
    """Turned further it pours too much; along the plan the reward says how to do better."""
    numbers = POUR.draw(Draw(0, 0.2))
    made = POUR.scene(numbers)
    model = world_model(made)
    assert POUR.plan is not None
    plan = POUR.plan(model, numbers)
    assert plan.shape == (LIMIT, 3) and float(plan.abs().max()) <= 1
    over = torch.tensor([1.0, 1.0, 1.4])
    end = end_of(model, torch.stack([plan, 0 * plan, over * plan]))
    task = made.task
    assert isinstance(task, Poured)
    assert task.success(end, begin(model, made, 3).context).tolist() == [True, False, False]
    there, spilt = task.shares(end)
    assert float(there[1]) == 0 and float(spilt[1]) == 0
    with torch.no_grad():
        before = rollout.imagine(model, model.initial(1), plan[:44, None, None], (), keep="last")
    acts = plan[44:49, None, None].clone().requires_grad_()
    reward = rollout.imagine(model, tree.select(before.states, 0), acts, ()).transition.reward
    assert reward is not None
    (slope,) = torch.autograd.grad(reward.sum(), acts)
    assert bool(torch.isfinite(slope).all()) and float(slope.abs().amax()) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "difficulty"), ALL)
def test_every_plan_pours_its_share(seed: int, difficulty: float) -> None:
    numbers = POUR.draw(Draw(seed, difficulty))
    made = POUR.scene(numbers)
    model = world_model(made)
    assert POUR.plan is not None
    end = end_of(model, POUR.plan(model, numbers)[None])
    assert bool(made.task.success(end, begin(model, made, 1).context))
