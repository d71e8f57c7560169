"""Small worlds for the tests."""

import torch
from torch import Tensor

from reverie.core.model import Batch
from reverie.models.physics import Forward, Move, Physics, PhysicsConfig
from reverie.physics import cloth, rigid
from reverie.physics.mpm import MPMParams
from reverie.physics.mpm.material import Kind, at_rest, lame
from reverie.physics.tools import Shape, Tools
from reverie.physics.world import Fabric, Hands, Matter, World

ZERO = torch.zeros(1, 1, 3)
LEVEL = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
FLOOR = ((Shape.PLANE,), Tools(ZERO, LEVEL, ZERO, ZERO, ZERO, ZERO[..., 0] + 0.5))

BALL = """
<mujoco><worldbody>
  <geom name="floor" type="plane" size="1 1 1"/>
  <body name="ball" pos="0 0 0.17"><freejoint/><geom type="sphere" size="0.04" mass="0.05"/></body>
</worldbody></mujoco>
"""

HOPPER = """
<mujoco><option timestep="0.002"/><worldbody>
  <geom name="floor" type="plane" size="5 5 1"/>
  <body name="root" pos="0 0 0.5"><freejoint/>
    <geom type="box" size="0.1 0.08 0.05" mass="2"/>
    <body name="leg" pos="0 0 -0.05"><joint name="hip" axis="0 1 0" range="-60 60" damping="0.2"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.3" size="0.03" mass="0.5"/>
    </body>
  </body>
</worldbody>
<actuator><motor joint="hip" ctrlrange="-5 5"/></actuator></mujoco>
"""


def cube(side: int = 5, kind: Kind = Kind.NEO_HOOKEAN, young: float = 5e4) -> Matter:
    axis = (torch.arange(side) + 0.5) * 0.02
    x = torch.cartesian_prod(axis, axis, axis)[None] - torch.tensor([0.01 * side, 0.01 * side, 0.0])
    count = side**3
    one = torch.ones(1, count)
    mu, lam = lame(young * one, 0.3 * one)
    gravity = torch.tensor([[0.0, 0.0, -9.81]])
    params = MPMParams(8e-3 * one, 8e-6 * one, mu, lam, 0.4 * one, 1.0 * one, gravity)
    kinds = torch.full((count,), int(kind))
    return Matter(kinds, params, at_rest(x, kinds), dx=0.04, dt=1e-3)


def hand(height: float = 0.16) -> Hands:
    place = ZERO + torch.tensor([0.0, 0.0, height])
    start = Tools(place, LEVEL, ZERO, ZERO, ZERO + 0.04, ZERO[..., 0] + 0.5)
    return Hands((Shape.SPHERE,), start, speed=0.5)


def soft() -> World:
    """A soft cube on a floor, and a ball in a hand above it."""
    return World(dt=0.02, ticks=2, matter=cube(), hands=hand(), obstacles=FLOOR)


def napkin() -> World:
    """A cloth of which two corners are held by a hand."""
    mesh = cloth.grid(0.2, 0.2, 6, 6)
    start = cloth.at_rest(mesh)
    start = start._replace(position=start.position + torch.tensor([0.0, 0.0, 0.15]))
    params = cloth.fabric(mesh, start.position, density=0.2, stretch=20.0, bend=1e-5, damping=1e-3)
    held = torch.full((mesh.vertices,), -1)
    held[[0, 5]] = 0
    fabric = Fabric(mesh, params, start, dt=1e-3, held=held)
    return World(dt=0.02, ticks=2, cloth=fabric, hands=hand(0.3), obstacles=FLOOR)


def landing() -> World:
    """A ball that falls on a soft cube; a hand is out of the way."""
    robot = rigid.load(BALL)
    away = hand(1.0)
    return World(
        dt=0.01, ticks=5, robot=robot, substeps=2, matter=cube(), hands=away, obstacles=FLOOR
    )


def leg() -> World:
    """A body on one leg."""
    return World(dt=0.02, robot=rigid.load(HOPPER), substeps=10)


def model(world: World, **options: object) -> Physics:
    task = Forward(world.dt, 0.5) if world.matter is None and world.cloth is None else None
    if task is None:
        task = Move("matter" if world.matter is not None else "cloth", (0.1, 0.0, 0.05))  # type: ignore[assignment]
    return Physics(world, task, PhysicsConfig(**options))  # type: ignore[arg-type]


@torch.no_grad()
def rows(made: Physics, length: int = 4, batch: int = 3, seed: int = 0) -> Batch:
    """Recorded rows of random actions: with arbitrary numbers, matter would be torn apart."""
    draws = torch.Generator().manual_seed(seed)
    state = made.initial(batch)
    obs: list[dict[str, Tensor]] = []
    actions, rewards = [], []
    for t in range(length):
        action = made.spec.action.sample(batch, 1, generator=draws) * (t > 0)
        if t:
            step = made.step(state, action, ())
            state = step.state
            rewards.append(step.reward if step.reward is not None else torch.zeros(batch))
        else:
            rewards.append(torch.zeros(batch))
        seen = made.decode(state)
        if "image" in seen:
            seen["image"] = (seen["image"] * 255).round().to(torch.uint8)
        obs.append(seen)
        actions.append(action[:, 0])
    first = torch.zeros(batch, length, dtype=torch.bool)
    first[:, 0] = True
    never = torch.zeros_like(first)
    stacked = {name: torch.stack([o[name] for o in obs], 1) for name in obs[0]}
    return Batch(stacked, torch.stack(actions, 1), torch.stack(rewards, 1), first, never, never)
