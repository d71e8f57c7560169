"""A liquid in a world: with robots, hands and knobs, and as a world model."""

import pytest
import torch

from reverie.core import tree
from reverie.core.rollout import imagine
from reverie.models.physics import Physics, PhysicsConfig
from reverie.physics import rigid
from reverie.physics.picture import Viewer, items
from reverie.physics.sph.material import at_rest
from reverie.physics.stepper import Stepper
from reverie.physics.tools import Tools
from reverie.physics.world import Hands, Liquid, World
from tests.models.physics.worlds import FLOOR, hand
from tests.physics.sph.worlds import block, params, planes

A = 0.04
BUOY = """
<mujoco><worldbody>
  <body name="buoy" pos="0 0 0.5"><freejoint/><geom type="sphere" size="0.1" mass="1"/></body>
</worldbody></mujoco>
"""


def single(parts: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    return [x.float() for x in parts]


def pool(side: int = 5, high: int = 4) -> Liquid:
    """Water on the floor, in single precision."""
    x = block((side, side, high), A) - torch.tensor([side * A / 2, side * A / 2, 0.0])
    made = params(x.shape[1], A, sound=10.0, nu=1e-2)
    made = type(made)(*single(made))
    return Liquid(made, at_rest(x.float(), made), h=1.5 * A, dt=0.002)


def tub() -> World:
    """Water that a ball in a hand can stir."""
    start = hand(0.16).start
    return World(
        dt=0.02, ticks=2, liquid=pool(), hands=Hands(hand().shapes, start, 0.5), obstacles=FLOOR
    )


@torch.no_grad()
def test_what_a_liquid_loses_the_robot_gains() -> None:
    world = World(dt=0.02, ticks=5, substeps=2, liquid=pool(), robot=rigid.load(BUOY))
    stepper, state = Stepper(world), world.initial(1, torch.float64)
    none = {"gravity": torch.zeros(1, dtype=torch.float64)}
    position = state.robot.position.clone()
    position[0, 2] = 0.3
    speed = torch.zeros(1, 6, dtype=torch.float64)
    speed[0, 2] = -1.0
    state = state._replace(robot=state.robot._replace(position=position, velocity=speed))
    mass = world.liquid.params.mass[0].double()[:, None]
    for _ in range(8):
        state = stepper(state, torch.zeros(1, 0, dtype=torch.float64), none)
    gained = state.robot.velocity[0, :3] - speed[0, :3]
    assert gained[2] > 0.1
    lost = -(mass * state.liquid.velocity[0]).sum(0)
    torch.testing.assert_close(gained, lost, rtol=1e-6, atol=1e-9)


@torch.no_grad()
def test_a_light_ball_floats_and_a_heavy_one_sinks() -> None:
    tank = planes({"+z": 0.0, "+x": -0.24, "-x": 0.24, "+y": -0.24, "-y": 0.24})
    walls = ((FLOOR[0][0],) * 5, Tools(*single(tank)))
    ends = []
    for mass in (1.0, 12.0):
        ball = rigid.load(BUOY.replace('mass="1"', f'mass="{mass}"').replace("0 0 0.5", "0 0 0.36"))
        world = World(dt=0.02, ticks=5, liquid=pool(12, 6), robot=ball, obstacles=walls)
        stepper, state = Stepper(world), world.initial(1)
        for _ in range(40):
            state = stepper(state, torch.zeros(1, 0))
        ends.append(float(state.robot.position[0, 2]))
    assert ends[0] > 0.2
    assert ends[1] < 0.14


@torch.no_grad()
def test_knobs_scale_the_liquid() -> None:
    world = tub()
    assert {"liquid_mass", "liquid_viscosity"} <= set(world.knobs)
    assert "matter_mass" not in world.knobs
    stepper, state = Stepper(world), world.initial(2)
    still = torch.zeros(2, 3)
    three = torch.tensor([1.0, 3.0])
    heavy = stepper(state, still, {"liquid_mass": three, "liquid_viscosity": three})
    torch.testing.assert_close(
        heavy.liquid.position[0], heavy.liquid.position[1]
    )  # all falls alike
    torch.testing.assert_close(heavy.liquid.density[0], heavy.liquid.density[1])
    runny = stepper(state, still, {"liquid_mass": three})
    assert (runny.liquid.position[0] - runny.liquid.position[1]).abs().max() > 1e-4
    thick = state
    for _ in range(10):
        thick = stepper(thick, still, {"liquid_viscosity": torch.tensor([1.0, 20.0])})
    speed = thick.liquid.velocity.norm(dim=-1).mean(1)
    assert speed[0] > 1.5 * speed[1]


def test_a_liquid_is_a_world_model_with_a_gradient() -> None:
    model = Physics(tub(), config=PhysicsConfig(context=("liquid_viscosity",)))
    state = model.initial(2)
    packed = model.decode(state)["state"]
    assert packed.shape == (2, 100 * 7 + 7)
    assert not tree.differ(model.unpack(packed), state.world, 0.0)
    assert model.decode(state)["keypoints"].shape == (2, 64, 3)
    plan = torch.zeros(12, 2, 1, 3)
    plan[..., 2] = -0.8
    plan.requires_grad_()
    future = imagine(model, state, plan, ())
    height = future.transition.state.world.liquid.position[-1, ..., 2].mean()
    (slope,) = torch.autograd.grad(height, plan)
    assert bool(torch.isfinite(slope).all()) and slope[:8, :, :, 2].abs().max() > 1e-6


def test_water_is_in_the_picture_and_is_blue() -> None:
    world = tub()
    things = items(world, world.initial(1), 0)
    assert len(things) == 3
    picture = Viewer(world, 64)(world.initial(1))[0].reshape(-1, 3).astype(int)
    assert ((picture[:, 2] - picture[:, 0]) > 60).sum() > 30


def test_a_liquid_that_would_blow_up_is_refused() -> None:
    with pytest.raises(ValueError, match="is stable"):
        Stepper(World(dt=0.02, liquid=pool()._replace(dt=0.01), obstacles=FLOOR))
