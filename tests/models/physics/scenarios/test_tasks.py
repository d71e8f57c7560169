"""Tasks of hands and things: their rewards and what is done, and ways in the plane."""

import pytest
import torch

from reverie.models.physics.scenarios.arm import REACH
from reverie.models.physics.scenarios.gripper import LIFT
from reverie.models.physics.scenarios.scenario import Draw
from reverie.models.physics.scenarios.tasks import (
    aside,
    commanded,
    eased,
    named,
    scattered,
    size_of,
    thing_at,
    where,
)
from tests.models.physics.scenarios.played import made, put


def test_how_far_a_place_is_from_a_way() -> None:
    assert aside((0.5, 0.2), (0.0, 0.0), (1.0, 0.0)) == pytest.approx(0.2)
    assert aside((-0.3, 0.4), (0.0, 0.0), (1.0, 0.0)) == pytest.approx(0.5)
    assert aside((3.0, 4.0), (0.0, 0.0), (0.0, 0.0)) == pytest.approx(5.0)


def test_motions_begin_and_end_at_rest() -> None:
    s = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    x = eased(s)
    torch.testing.assert_close(x.detach(), torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]).double())
    (speed,) = torch.autograd.grad(x.sum(), s)
    torch.testing.assert_close(speed, torch.tensor([0.0, 0.0, 1.875, 0.0, 0.0]).double())


def test_commands_are_shares_of_the_range() -> None:
    robot = made(LIFT, 0, 0.5)[1].world.robot
    told = torch.tensor([0.5, -0.5, 0.0, 0.0, 0.06, -0.02])
    expected = torch.tensor([1.0, -1.0, 0.0, 0.0, 1.0, -1.0])
    torch.testing.assert_close(commanded(robot, told), expected)
    assert commanded(robot, 9 * told).abs().max() <= 1


def test_sizes_are_those_of_the_shape() -> None:
    assert size_of("ball", [0.1, 0.2, 0.3]) == (0.3,)
    assert size_of("can", [0.1, 0.2, 0.05]) == (0.1, 0.1)
    assert size_of("block", [0.1, 0.2, 0.3]) == (0.1, 0.2, 0.3)


def test_cans_stand_beside_the_way_and_more_of_them_where_it_is_harder() -> None:
    way = ((0.2, 0.0), (0.4, 0.1))
    counts = []
    for difficulty in (0.0, 0.4, 1.0):
        found = scattered(Draw(3, difficulty), [way], 0.13, 0.3)
        there = [can for can in found if can[0] > -0.5]
        assert len(found) == 3
        assert all(0.13 < aside(can, *way) < 0.3 for can in there)
        assert all(high >= radius for _, _, radius, high in found)
        counts.append(len(there))
    assert counts == [0, 1, 3]


def test_the_reward_of_touching_is_the_distance() -> None:
    scene = made(REACH, 0, 0.5)[1]
    state = put(scene, {"turn": (0.4,), "bend0": (-0.5,), "bend1": (0.9,)})
    action = torch.full((1, 4), 0.5)
    tip = where(scene.world.robot, state.world, named(scene.world.robot, "tip"))
    far = (tip - torch.tensor(scene.task.goal()["goal"])).norm(dim=-1)
    found = scene.task.reward(state.world, action, state.world, state.context)
    torch.testing.assert_close(found, -far - 1e-3)
    there = {**state.context, "goal": tip + torch.tensor([0.0, 0.0, 1e-3])}
    assert bool(scene.task.success(state.world, there))
    assert not bool(scene.task.success(state.world, state.context))


def test_the_reward_of_bringing_counts_the_thing_and_draws_the_hand_to_it() -> None:
    scene = made(LIFT, 0, 0.5)[1]
    state = put(scene, {"thing": (0.1, 0.2, 0.3), "x": (0.05,)})
    robot = scene.world.robot
    assert thing_at(robot, state.world, "thing")[0].tolist() == pytest.approx([0.1, 0.2, 0.3])
    goal = torch.tensor(scene.task.goal()["goal"])
    far = (torch.tensor([0.1, 0.2, 0.3]) - goal).norm()
    hand = torch.tensor([0.05, 0.2, 0.0]).norm()
    found = scene.task.reward(state.world, torch.zeros(1, 6), state.world, state.context)
    torch.testing.assert_close(found[0], -far - 0.2 * hand, atol=1e-4, rtol=1e-4)
