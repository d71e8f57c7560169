"""A quadruped walks: its gait is where it says, its plan arrives, its reward has a gradient."""

from typing import Any

import pytest
import torch

from reverie.core import rollout, tree
from reverie.models.physics.scenarios.legged import OUT, WALK, Walk, angles
from reverie.models.physics.scenarios.scenario import Draw
from reverie.models.physics.task import up
from reverie.physics import rigid
from reverie.physics.rigid import RigidState
from reverie.physics.robots import quadruped
from reverie.physics.terrain import Terrain
from reverie.physics.world import WorldState
from tests.models.physics.scenarios.played import modelled, solves


def test_all_scenes_have_the_same_spaces() -> None:
    specs = [modelled(WALK, seed, hard)[1].spec for seed, hard in ((0, 0.0), (1, 0.5), (5, 1.0))]
    assert all((s.obs, s.action) == (specs[0].obs, specs[0].action) for s in specs)


@pytest.mark.parametrize("seed", range(6))
def test_ground_is_higher_and_goals_wander_further_where_it_is_hard(seed: int) -> None:
    easy, hard = (WALK.draw(Draw(seed, x)) for x in (0.1, 0.9))
    assert easy["ground"] == hard["ground"]
    assert hard["relief"] > 2 * easy["relief"] and hard["wander"] > easy["wander"]


def test_joints_bring_feet_where_they_are_wanted() -> None:
    """Against the kinematics of the robot, left and right."""
    leg = 0.36
    loaded = rigid.load(quadruped(leg=leg), dtype=torch.float64)
    out = OUT * torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    x = torch.tensor([0.05, -0.03, 0.0, 0.08], dtype=torch.float64)
    y = torch.tensor([0.02, 0.03, 0.0, -0.04], dtype=torch.float64)
    down = torch.tensor([0.3, 0.26, 0.31, 0.28], dtype=torch.float64)
    joints = angles(x, y, down, leg, out).flatten()
    q = loaded.poses["default"].position.clone()
    q[0, 7:] = joints
    seen = rigid.kinematics(
        loaded.model, loaded.poses["default"]._replace(position=q), loaded.params
    )
    names = ("fl", "fr", "rl", "rr")
    feet = [g for g, geom in enumerate(loaded.model.geoms) if geom.name.endswith("foot")]
    hips = [loaded.model.body(f"{name}_hip") for name in names]
    found = seen.geoms[0, feet, :3] - seen.bodies[0, hips, :3]
    wanted = torch.stack([x, out + y, -down], -1)
    torch.testing.assert_close(found, wanted, rtol=0, atol=3e-5)


@pytest.mark.parametrize(("seed", "difficulty"), [(1, 0.9), (3, 0.5), (7, 0.9)])
def test_its_plan_walks_over_the_line(seed: int, difficulty: float) -> None:
    numbers, model = modelled(WALK, seed, difficulty)
    assert WALK.plan is not None
    plan = WALK.plan(model, numbers)
    assert plan.shape == (WALK.scene(numbers).limit, 12) and float(plan.abs().max()) <= 1
    assert solves(model, plan)
    assert not solves(model, torch.zeros_like(plan))
    noise = torch.rand(plan.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert not solves(model, noise)
    first = plan[20:30, None, None].clone().requires_grad_()
    with torch.no_grad():
        state = rollout.imagine(model, model.initial(1), plan[:20, None, None], (), keep="last")
    begin = tree.select(state.states, 0)
    reward = rollout.imagine(model, begin, first, ()).transition.reward
    assert reward is not None
    (slope,) = torch.autograd.grad(reward.sum(), first)
    assert bool(torch.isfinite(slope).all()) and float(slope.abs().max()) > 1e-4


def standing(**entries: Any) -> WorldState:
    """A robot 0.3 m above the origin, with some entries of its root otherwise."""
    q = torch.zeros(1, 19)
    q[0, 2:4] = torch.tensor([0.3, 1.0])
    names = ("x", "y", "z", "w", "i", "j", "k")
    for name, value in entries.items():
        q[0, names.index(name)] = value
    return WorldState(RigidState(q, torch.zeros(1, 18)), (), (), ())


def ground(height: float) -> Terrain:
    heights = torch.tensor([[0.0, 0.0, height], [0.0, 0.0, height]]).double().numpy()
    return Terrain(heights, (-1.0, -1.0), (3.0, 1.0))


@pytest.mark.parametrize(
    ("entries", "done"),
    [
        ({"x": 1.1}, True),
        ({"x": 0.9}, False),
        ({"x": 1.1, "y": 0.7}, False),
        ({"x": 1.1, "w": 0.8, "i": 0.6}, False),
        ({"x": 1.1, "z": 0.14}, False),
    ],
)
def test_done_is_beyond_the_line_on_its_feet(entries: dict[str, float], done: bool) -> None:
    task = Walk(ground(0.0), 1.0, 0.3)
    context = {"goal": torch.tensor([[1.0]])}
    assert bool(task.success(standing(**entries), context)) == done


def test_the_reward_is_what_was_walked_and_less_where_it_leans() -> None:
    task, none = Walk(ground(0.2), 1.0, 0.3), torch.zeros(1, 12)
    context = {"goal": torch.tensor([[1.0]])}
    step = task.reward(standing(), none, standing(x=0.02), context)
    torch.testing.assert_close(step, torch.tensor([0.02]), rtol=0, atol=1e-6)
    over = task.reward(standing(x=0.99), none, standing(x=1.5, z=0.35), context)
    torch.testing.assert_close(over, torch.tensor([0.01]), rtol=0, atol=1e-6)  # 0.05 up there
    leans = standing(w=0.8, i=0.6)
    torch.testing.assert_close(up(leans.robot.position), torch.tensor([0.28]))
    loss = task.reward(leans, none + 0.5, leans, context)
    torch.testing.assert_close(loss, torch.tensor([-0.05 * 0.72 - 1e-4 * 3.0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"goal": -1.0}, {"goal": 2.2}, {"ground": "sea"}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    numbers = {**WALK.draw(Draw(0, 0.5)), **wrong}
    with pytest.raises(ValueError, match=r"give a goal|There is no ground"):
        WALK.scene(numbers)


@pytest.mark.slow
@pytest.mark.parametrize("difficulty", [0.2, 0.5, 0.9])
def test_its_plan_solves_nearly_all(difficulty: float) -> None:
    assert WALK.plan is not None
    pairs = (modelled(WALK, seed, difficulty) for seed in range(20))
    assert sum(solves(model, WALK.plan(model, numbers)) for numbers, model in pairs) >= 19
