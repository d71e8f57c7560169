"""Materials in one world: they push each other, and are pushed back."""

import dataclasses

import pytest
import torch

from reverie.core import tree
from reverie.physics import rigid
from reverie.physics.mpm import Kind
from reverie.physics.stepper import Stepper
from reverie.physics.world import World
from tests.models.physics.worlds import BALL, FLOOR, cube, hand, landing, leg, napkin, soft


def falling() -> World:
    """A ball and a soft cube, with nothing else."""
    ball = rigid.load(BALL.replace('<geom name="floor" type="plane" size="1 1 1"/>', ""))
    return dataclasses.replace(landing(), robot=ball, hands=None, obstacles=None)


@torch.no_grad()
def test_what_matter_loses_the_robot_gains() -> None:
    world = falling()
    stepper, state = Stepper(world), world.initial(1, torch.float64)
    speed = torch.zeros(1, 6, dtype=torch.float64)
    speed[0, 2] = -2.0
    state = state._replace(robot=state.robot._replace(velocity=speed))
    none = {"gravity": torch.zeros(1, dtype=torch.float64)}
    mass = world.matter.params.mass[0].double()[:, None]

    def momentum() -> tuple[torch.Tensor, torch.Tensor]:
        return 0.05 * state.robot.velocity[0, :3], (mass * state.matter.velocity[0]).sum(0)

    ball, body = momentum()
    for _ in range(6):
        state = stepper(state, torch.zeros(1, 0, dtype=torch.float64), none)
    ball_after, body_after = momentum()
    assert ball_after[2] - ball[2] > 0.02  # they have met
    torch.testing.assert_close(ball_after - ball, body - body_after, rtol=1e-6, atol=1e-9)


@torch.no_grad()
def test_a_ball_comes_to_rest_on_a_soft_cube() -> None:
    world = landing()
    stepper, state = Stepper(world), world.initial(1)
    for _ in range(80):
        state = stepper(state, torch.zeros(1, 3))
    top = state.matter.position[..., 2].max()
    assert state.robot.position[0, 2] - 0.04 > 0.8 * top
    assert state.robot.velocity[0, :3].norm() < 0.05
    assert state.matter.position[..., 2].min() > -0.005


@torch.no_grad()
def test_a_hand_moves_as_its_control_says_and_squeezes() -> None:
    world = soft()
    stepper, state = Stepper(world), world.initial(2)
    middle = world.matter.start.position[0, :, :2].abs().amax(-1) < 0.015
    before = state.matter.position[:, middle, 2].amax(1)
    for _ in range(10):
        state = stepper(state, torch.tensor([[0.0, 0.0, -0.6], [0.0, 0.4, 0.0]]))
    torch.testing.assert_close(state.hands.place[0, 0], torch.tensor([0.0, 0.0, 0.16 - 0.06]))
    torch.testing.assert_close(state.hands.place[1, 0], torch.tensor([0.0, 0.04, 0.16]))
    after = state.matter.position[:, middle, 2].amax(1)
    assert before[0] - after[0] > 0.01 and abs(before[1] - after[1]) < 0.004


@torch.no_grad()
def test_hands_that_turn_have_six_entries() -> None:
    turning = dataclasses.replace(soft(), hands=hand()._replace(spin=2.0))
    assert turning.control_size == 6
    stepper, state = Stepper(turning), turning.initial(1)
    state = stepper(state, torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 1.0]]))
    angle = 2 * torch.atan2(state.hands.turn[0, 0, 3], state.hands.turn[0, 0, 0])
    assert angle.item() == pytest.approx(2.0 * 0.02, rel=1e-3)


@torch.no_grad()
def test_held_vertices_go_with_the_hand() -> None:
    world = napkin()
    stepper, state = Stepper(world), world.initial(1)
    before = state.cloth.position[0, [0, 5]]
    for _ in range(5):
        state = stepper(state, torch.tensor([[1.0, 0.0, 0.5]]))
    moved = state.cloth.position[0, [0, 5]] - before
    torch.testing.assert_close(moved, torch.tensor([[0.05, 0.0, 0.025]] * 2), rtol=1e-3, atol=1e-4)
    assert state.cloth.position[0, -1, 0] - world.cloth.start.position[0, -1, 0] < 0.045


def gripping() -> World:
    """A napkin whose hand is at one of the corners that it may hold, and can let go."""
    world = napkin()
    assert world.cloth is not None
    corner = world.cloth.start.position[0, 0]
    start = hand()._replace(start=hand().start._replace(place=corner.expand(1, 1, 3)))
    return dataclasses.replace(world, cloth=world.cloth._replace(reach=0.08), hands=start)


@torch.no_grad()
def test_a_hand_holds_what_it_can_reach_and_lets_go() -> None:
    world = gripping()
    assert world.control_size == 4 and napkin().control_size == 3
    stepper, state = Stepper(world), world.initial(2)
    before = state.cloth.position.clone()
    for _ in range(5):
        state = stepper(state, torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.0, 0.0, 0.5, -1.0]]))
    rise = (state.cloth.position - before)[..., 2]
    assert rise[0, 0].item() == pytest.approx(0.025, abs=1e-4)
    assert rise[0, 5] < -0.02  # of its two vertices the one that is 0.2 m away falls
    assert rise[1, 0] < -0.02


@torch.no_grad()
def test_a_hand_slips_before_cloth_is_torn() -> None:
    """Against a pinned corner it keeps its vertex while it goes 2 cm away, not 30 cm."""
    world = gripping()
    assert world.cloth is not None
    pinned = torch.zeros(36, dtype=torch.bool)
    pinned[5] = True
    stepper = Stepper(dataclasses.replace(world, cloth=world.cloth._replace(pinned=pinned)))
    state, lengths = world.initial(1), []
    for _ in range(30):
        state = stepper(state, torch.tensor([[0.0, -1.0, 0.3, 1.0]]))
        edge = state.cloth.position[0, 0] - state.cloth.position[0, 1]
        lengths.append(edge.norm().item())
    held = (state.cloth.position[0, 0] - state.hands.place[0, 0]).norm()
    assert max(lengths) > 1.1 * 0.04  # it pulls
    assert max(lengths) < 1.8 * 0.04  # 0.02 / 5 of a step more than where it holds nothing
    assert held > 0.08


def test_a_grip_has_a_gradient() -> None:
    """As finite differences have it, where a hand holds loosely."""
    world = gripping()
    stepper = Stepper(world)

    def fall(grip: torch.Tensor) -> torch.Tensor:
        state = world.initial(1, torch.float64)
        control = torch.cat([torch.tensor([[0.0, 0.0, 0.4]], dtype=torch.float64), grip], 1)
        return stepper(state, control).cloth.position[0, 0, 2]

    grip = torch.full((1, 1), -0.9, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(fall(grip), grip)
    with torch.no_grad():
        near = (fall(grip + 1e-5) - fall(grip - 1e-5)) / 2e-5
    assert slope.item() == pytest.approx(near.item(), rel=1e-4)
    assert abs(slope.item()) > 1e-5


@torch.no_grad()
def test_kernels_and_reference_step_the_same_world() -> None:
    world = landing()
    control = torch.tensor([[0.3, -0.2, 0.5]], dtype=torch.float64)
    ends = []
    for backend in ("warp", "torch"):
        stepper, state = Stepper(world, backend), world.initial(1, torch.float64)
        for _ in range(12):
            state = stepper(state, control)
        ends.append(state)
    assert not tree.differ(*ends, 1e-7)


@torch.no_grad()
def test_knobs_scale_what_they_name() -> None:
    world = leg()
    assert "matter_mass" not in world.knobs and "robot_mass" in world.knobs
    stepper, state = Stepper(world), world.initial(2)
    push = torch.ones(2, 1)
    after = stepper(state, push, {"robot_mass": torch.tensor([1.0, 4.0])})
    turned = (after.robot.velocity[:, 3:].abs()).amax(1)
    assert turned[0] > 2 * turned[1]


@torch.no_grad()
def test_all_kinds_of_matter_stay_on_the_floor() -> None:
    for kind in Kind:
        world = World(dt=0.02, matter=cube(4, kind, young=2e4), obstacles=FLOOR)
        stepper, state = Stepper(world), world.initial(1)
        for _ in range(50):
            state = stepper(state, torch.zeros(1, 0))
        assert state.matter.position[..., 2].min() > -0.01, kind
        assert state.matter.velocity.norm(dim=-1).max() < 0.5, kind


def test_controls_and_scales_that_do_not_fit_are_refused() -> None:
    stepper = Stepper(soft())
    with pytest.raises(ValueError, match="cloth_mass"):
        stepper(soft().initial(1), torch.zeros(1, 3), {"cloth_mass": torch.ones(1)})
    stiff = cube(young=1e9)
    with pytest.raises(ValueError, match="take at most"):
        Stepper(World(dt=0.02, matter=stiff))


def test_tools_that_the_grid_does_not_see_are_named() -> None:
    thin = hand()._replace(start=hand().start._replace(extent=hand().start.extent / 2))
    with pytest.warns(RuntimeWarning, match=r"hand 0 \(0.02 m\)"):
        Stepper(dataclasses.replace(soft(), hands=thin))
