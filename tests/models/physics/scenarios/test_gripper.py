"""A gripper goes along paths, and holds things at places."""

import pytest
import torch

from reverie.core import rollout
from reverie.models.physics.scenarios.gripper import DT, LIFT, LIMIT, OPEN, driven, path
from reverie.models.physics.scenarios.scenario import begin, world_model
from reverie.models.physics.scenarios.tasks import commanded, joint_at
from tests.models.physics.scenarios.played import done, made, slope, solved, spaces


def test_a_path_goes_through_its_way_points() -> None:
    ways = [(0.4, (0.1, 0.2, 0.3, 0.5), OPEN), (0.2, (0.1, 0.2, 0.1, 0.5), 0.01)]
    found = path(ways, 0.04, 20)
    assert found.shape == (21, 5)
    torch.testing.assert_close(found[0], torch.tensor([0.0, 0.0, 0.3, 0.0, OPEN]))
    torch.testing.assert_close(found[10], torch.tensor([0.1, 0.2, 0.3, 0.5, OPEN]))
    torch.testing.assert_close(found[-1], torch.tensor([0.1, 0.2, 0.1, 0.5, 0.01]))
    assert bool((found[11:, 4] == found[-1, 4]).all())
    with pytest.raises(ValueError, match=r"takes 0.60 s, and an episode has 0.40 s"):
        path(ways, 0.04, 10)


@torch.no_grad()
def test_the_hand_is_where_it_is_driven_to() -> None:
    """Within 4 mm at up to 0.7 m/s; told only where to be, servos lag, and sag at the end."""
    scene = made(LIFT, 0, 0.5)[1]
    robot, model = scene.world.robot, world_model(scene)
    way = path([(0.8, (0.3, -0.3, 0.45, 1.0), OPEN)], DT, LIMIT)
    plain = way[1:, :4] - torch.tensor([0.0, 0.0, 0.3, 0.0])
    told = commanded(robot, torch.cat([plain, way[1:, 4:], way[1:, 4:]], -1))
    acts = torch.stack([driven(robot, way, DT), told], 1).unsqueeze(2)
    state = rollout.imagine(model, begin(model, scene, 2), acts, ()).states.world.robot.position
    first = joint_at(robot, "x")
    found = state[:, :, first : first + 4] + torch.tensor([0.0, 0.0, 0.3, 0.0])
    off = (found - way[1:, None, :4]).abs()[..., :3].amax((0, 2))
    assert float(off[0]) < 0.004
    assert float(off[1]) > 0.02
    assert float((found[-1, 1] - way[-1, :4]).abs().max()) > 0.005
    assert float((found[-1, 0] - way[-1, :4]).abs().max()) < 1e-3


def test_all_scenes_have_the_same_spaces() -> None:
    assert len(spaces(LIFT)) == 1


def test_harder_is_a_smaller_goal_with_more_cans() -> None:
    drawn = [[made(LIFT, seed, d)[0] for seed in range(10)] for d in (0.0, 0.5, 1.0)]
    cans = [sum(can[0] != -0.55 for n in row for can in n["cans"]) for row in drawn]
    assert cans[0] == 0 < cans[1] < cans[2]
    assert drawn[0][0]["near"] > drawn[1][0]["near"] > drawn[2][0]["near"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_plan_solves_it_and_nothing_does_not(seed: int) -> None:
    assert solved(LIFT, seed, 0.8) == (True, False)


@pytest.mark.slow
@pytest.mark.parametrize("difficulty", [0.2, 0.5, 0.9])
def test_plans_solve_twenty(difficulty: float) -> None:
    assert sum(solved(LIFT, seed, difficulty)[0] for seed in range(20)) >= 19


def test_the_reward_has_a_gradient_along_the_plan() -> None:
    found = slope(LIFT, slice(50, 70))
    assert bool(torch.isfinite(found).all()) and bool(found.abs().amax(0).gt(1e-4).all())


def test_done_is_at_the_goal_and_its_height() -> None:
    numbers, scene = made(LIFT, 0, 0.5)
    (x, y, z), near = numbers["goal"], numbers["near"]
    assert done(scene, {"thing": (x, y + 0.9 * near, z)})
    assert not done(scene, {"thing": (x, y, z - 1.1 * near)})


@pytest.mark.parametrize(
    ("name", "value"), [("friction", 0.0), ("goal", [0.1, 0.1, 0.9]), ("size", [0.1, 0.02, 0.02])]
)
def test_bad_numbers_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name!r} is"):
        LIFT.scene({**made(LIFT, 0, 0.5)[0], name: value})
