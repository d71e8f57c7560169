"""Rewards of simulated worlds."""

import torch

from reverie.models.physics import Forward, Move, Shape
from reverie.models.physics.task import length, up
from tests.models.physics.worlds import leg, soft


def test_moving_is_paid_by_the_distance_that_is_left() -> None:
    state = soft().initial(2)
    middle = state.matter.position.mean(1)
    task = Move(effort=0.1)
    action = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    goal = middle + torch.tensor([[0.3, 0.4, 0.0]])
    found = task.reward(state, action, state, {"goal": goal})
    torch.testing.assert_close(found, torch.tensor([-0.6, -0.5]))


def test_a_shape_is_reached_where_every_particle_is_in_its_place() -> None:
    state = soft().initial(1)
    task = Shape("matter", state.matter.position[0] + torch.tensor([0.0, 0.1, 0.0]), size=0.2)
    found = task.reward(state, torch.zeros(1, 3), state, {})
    torch.testing.assert_close(found, torch.tensor([-0.25]))


def test_walking_is_paid_by_speed_height_and_posture() -> None:
    before = leg().initial(1)
    after = before.robot.position.clone()
    after[:, 0] += 0.04
    moved = before._replace(robot=before.robot._replace(position=after))
    task = Forward(dt=0.02, height=0.5, effort=0.1)
    found = task.reward(before, torch.ones(1, 1), moved, {})
    torch.testing.assert_close(found, torch.tensor([2.0 - 0.1]), rtol=1e-4, atol=1e-4)
    fallen = after.clone()
    fallen[:, 3:7] = torch.tensor([0.0, 1.0, 0.0, 0.0])  # upside down
    fallen[:, 2] = 0.4
    down = before._replace(robot=before.robot._replace(position=fallen))
    found = task.reward(before, torch.zeros(1, 1), down, {})
    torch.testing.assert_close(found, torch.tensor([2.0 - 0.1 - 2.0]), rtol=1e-4, atol=1e-4)


def test_lengths_have_a_gradient_at_zero_and_tilt_is_that_of_the_quaternion() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    found = length(x)
    torch.testing.assert_close(found, torch.tensor([5.0, 1e-4]))
    (slope,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(slope, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    half = torch.tensor(0.35)
    tilted = torch.tensor([[0.0, 0.0, 0.0, half.cos(), half.sin(), 0.0, 0.0]])
    torch.testing.assert_close(up(tilted), (2 * half).cos()[None])
