"""100,000 substeps of each kind of world: does anything blow up, tunnel or drift?

    PYTHONPATH=. python bench/long_run.py --out FILE [--worlds soft sandbox ...]

Worlds under slow random controls, float32: a soft cube, a box of sand, a pool, a snowball, each
with a hand; a held cloth, a held rope; a ball on a soft cube; a body on one leg; a quadruped on
generated ground; a gripper among things. Printed: whether all numbers stay finite, the lowest point
of each material (of robots, the middle of a geom that touches; the floor is z = 0, of the terrain
-0.05), and the largest speed in the last tenth.

Then worlds that nothing acts on: a pendulum, a tumbling box, a spinning soft cube (at the origin;
3 m away; there in float64), a shaken cloth.
Printed: how far energy and momentum are from their beginning, as a share of it, at most and at the
end. What a material damps by its law or its scheme is seen there, too.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reverie.core import tree
from reverie.models.physics import scenarios
from reverie.physics import cloth, rigid
from reverie.physics.mpm import MPM, Kind
from reverie.physics.stepper import Stepper
from reverie.physics.tools import Shape, Tools
from reverie.physics.world import Fabric, World
from reverie.viz.provenance import provenance
from tests.models.physics.worlds import FLOOR, LEVEL, cube, hand, landing, leg, napkin, soft


def substeps(world: World) -> int:
    """In one step, of the finest part."""
    counts = [world.ticks * world.substeps] if world.robot else []
    counts += [round(world.dt / part.dt) for part in (world.matter, world.cloth) if part]
    return max(counts)


def kinematics_of(world: World, state: Any) -> Tensor:
    """Where the geoms of a robot are, `[1, G, 7]`."""
    assert world.robot is not None
    return rigid.kinematics(world.robot.model, state.robot, world.robot.params).geoms


@torch.no_grad()
def run(world: World, total: int) -> dict[str, Any]:
    """The world after `total` substeps, and its extremes."""
    stepper, state = Stepper(world), world.initial(1)
    draws = torch.Generator().manual_seed(0)
    steps = total // substeps(world)
    lowest: dict[str, float] = {}
    robot = world.robot.model if world.robot else None
    touching = {g for pair in robot.pairs for g in (pair.first, pair.second)} if robot else set()
    moving = [g for g in touching if robot and robot.geoms[g].body >= 0]
    fastest, control = 0.0, torch.zeros(1, world.control_size)
    for k in range(steps):
        if k % 10 == 0:  # back and forth, so that hands stay near
            control = torch.rand(control.shape, generator=draws) * 2 - 1
        if world.hands is not None:
            home = world.hands.start.place[0, 0] - state.hands.place[0, 0]
            control[0, -3:] = (0.3 * control[0, -3:] + 2 * home).clamp(-1, 1)
        state = stepper(state, control)
        for part in ("matter", "cloth"):
            there = getattr(state, part)
            if there:
                low = float(there.position[..., 2].min())
                lowest[part] = min(lowest.get(part, low), low)
                if k > 0.9 * steps:
                    fastest = max(fastest, float(there.velocity.norm(dim=-1).max()))
        if world.robot is not None:
            geoms = kinematics_of(world, state)[0, moving, 2]
            lowest["robot"] = min(lowest.get("robot", 9.0), float(geoms.min()))
    finite = all(bool(torch.isfinite(x).all()) for x in tree.leaves(state))
    return {"steps": steps, "finite": finite, "lowest [m]": lowest, "fastest [m/s]": fastest}


# ------------------------------------------------------------------ worlds


def walls() -> tuple[tuple[Shape, ...], Tools]:
    """A floor and four walls that overlap, 24 cm apart."""
    places = torch.tensor([[0.0, 0, 0], [0.2, 0, 0], [-0.2, 0, 0], [0, 0.2, 0], [0, -0.2, 0]])[None]
    half = torch.tensor(
        [[0.0, 0, 0], [0.08, 0.3, 1], [0.08, 0.3, 1], [0.3, 0.08, 1], [0.3, 0.08, 1]]
    )
    turn = LEVEL.expand(1, 5, 4)
    still = torch.zeros_like(places)
    tools = Tools(places, turn, still, still, half[None], still[..., 0] + 0.5)
    return (Shape.PLANE, *[Shape.BOX] * 4), tools


def among_walls(kind: Kind, young: float) -> World:
    """A cube of matter that falls apart, and a hand."""
    matter = cube(6, kind, young)
    return World(dt=0.02, ticks=2, matter=matter, hands=hand(0.3), obstacles=walls())


def sandbox() -> World:
    """Sand."""
    return among_walls(Kind.SAND, 1e5)


def pool() -> World:
    """Liquid."""
    return among_walls(Kind.LIQUID, 5e4)


def snowball() -> World:
    """Snow."""
    return among_walls(Kind.SNOW, 2e4)


def hawser() -> World:
    """A rope that a hand holds at one end."""
    mesh = cloth.rope([[0.0, 0.0, 0.3 - 0.02 * k] for k in range(12)])
    start = cloth.at_rest(mesh)
    params = cloth.fabric(mesh, start.position, density=0.2, stretch=50.0, bend=1e-4, damping=1e-3)
    held = torch.full((mesh.vertices,), -1)
    held[0] = 0
    fabric = Fabric(mesh, params, start, dt=4e-4, held=held)
    return World(dt=0.02, ticks=2, cloth=fabric, hands=hand(0.3), obstacles=FLOOR)


def walk() -> World:
    """A quadruped on generated ground."""
    return scenarios.scene(scenarios.draw("walk", 0)).world


def lift() -> World:
    """A gripper among things."""
    return scenarios.scene(scenarios.draw("lift", 0)).world


WORLDS = (soft, sandbox, pool, snowball, napkin, hawser, landing, leg, walk, lift)


# ------------------------------------------------------------------ left alone


PENDULUM = """<mujoco><option timestep="0.002"/><worldbody><body>
  <joint axis="0 1 0"/><geom type="sphere" pos="0 0 -1" size="0.05" mass="1"/></body>
</worldbody></mujoco>"""
TUMBLING = """<mujoco><option timestep="0.002" gravity="0 0 0"/><worldbody><body><freejoint/>
  <geom type="box" size="0.1 0.2 0.05" mass="1"/></body></worldbody></mujoco>"""


def course(text: str, state: Any, total: int) -> Iterator[Any]:
    """What the kinematics say, a hundred times on the way."""
    found = rigid.load(text)
    some = total // 100
    for _ in range(101):
        yield rigid.kinematics(found.model, state, found.params)
        state = rigid.rigid_step(found.model, state, found.params, None, 0.002 * some, some)


def pendulum(total: int) -> dict[str, Any]:
    """Released at 90 degrees: its energy is 0, and counted against that of the fall."""
    state = rigid.RigidState(torch.tensor([[math.pi / 2]]), torch.zeros(1, 1))
    energies = [float(now.kinetic + now.potential) for now in course(PENDULUM, state, total)]
    return {"energy": {"most": max(map(abs, energies)) / 9.81, "end": energies[-1] / 9.81}}


def tumbling(total: int) -> dict[str, Any]:
    """A box without gravity."""
    start = rigid.load(TUMBLING).poses["default"]
    state = start._replace(velocity=torch.tensor([[0.3, 0.2, -0.1, 1.0, 3.0, 0.5]]))
    # The momentum about the centre of mass, which moves on: spin, and the linear part.
    seen = [
        {"energy": now.kinetic, "momentum": now.momentum[0, :3]}
        for now in course(TUMBLING, state, total)
    ]
    return drifts(seen)


def spinning(total: int, far: float = 0.0, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """A soft cube without gravity about its own middle, which begins at x = far [m]; its spin is
    that of its particles and of their affine fields."""
    part = cube(5)
    start, params = (
        tree.map(lambda x: x.to(dtype) if x.is_floating_point() else x, given)
        for given in (part.start, part.params._replace(gravity=torch.zeros(1, 3)))
    )
    x = start.position - start.position.mean(1, keepdim=True)
    turn = torch.tensor([1.0, 0.5, 2.0], dtype=dtype).expand_as(x)
    shift = torch.tensor([far, 0.0, 0.0], dtype=dtype)
    state = start._replace(position=x + shift, velocity=torch.linalg.cross(turn, x))
    solver = MPM(part.kind, (), dx=part.dx, dt=part.dt)
    zero = torch.zeros(1, 0, 3, dtype=dtype)
    none = Tools(zero, zero.new_zeros(1, 0, 4), zero, zero, zero, zero[..., 0])
    mass, found = params.mass[..., None], []
    for _ in range(101):
        v, c = state.velocity, state.affine * part.dx**2 / 4
        own = torch.stack(
            [c[..., 2, 1] - c[..., 1, 2], c[..., 0, 2] - c[..., 2, 0], c[..., 1, 0] - c[..., 0, 1]],
            -1,
        )
        angular = (mass * (torch.linalg.cross(state.position - shift, v) + own)).sum(1)[0]
        found.append(
            {"angular momentum": angular, "kinetic energy": (0.5 * mass * v**2).sum()[None]}
        )
        state, _, _ = solver(state, params, none, total // 100)
    return drifts(found)


def spinning_far(total: int) -> dict[str, Any]:
    """The same 3 m away from the origin."""
    return spinning(total, 3.0)


def spinning_far_in_double(total: int) -> dict[str, Any]:
    """The same in float64."""
    return spinning(total, 3.0, torch.float64)


def shaken(total: int) -> dict[str, Any]:
    """A cloth without gravity and damping; its energy is kinetic, elastic and of bending."""
    mesh = cloth.grid(0.3, 0.3, 8, 8)
    start = cloth.at_rest(mesh)
    draws = torch.Generator().manual_seed(0)
    start = start._replace(velocity=0.05 * torch.randn(start.position.shape, generator=draws))
    params = cloth.fabric(
        mesh, start.position, density=0.2, stretch=20.0, bend=1e-4, gravity=(0.0, 0.0, 0.0)
    )
    solver, found, state = cloth.Cloth(mesh, dt=5e-4), [], start
    mass = params.mass[..., None]
    for _ in range(101):
        found.append(
            {
                "momentum": (mass * state.velocity).sum(1)[0],
                "kinetic energy": (0.5 * mass * state.velocity.square()).sum()[None],
            }
        )
        state, _, _ = solver(state, params, substeps=total // 100)
    return drifts(found)


def drifts(seen: list[dict[str, Tensor]]) -> dict[str, Any]:
    """|x - x_0| / |x_0| at most and at the end."""
    found = {}
    for name, first in seen[0].items():
        size = float(first.norm())
        away = [float((now[name] - first).norm()) / size for now in seen]
        found[name] = {"most": max(away), "end": away[-1]}
    return found


ALONE = (pendulum, tumbling, spinning, spinning_far, spinning_far_in_double, shaken)


def main() -> None:
    """Run each, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--substeps", type=int, default=100_000)
    parser.add_argument("--worlds", nargs="*")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = provenance()
    for make in (*WORLDS, *ALONE):
        name = make.__name__
        if name not in (options.worlds or [name]):
            continue
        found[name] = make(options.substeps) if make in ALONE else run(make(), options.substeps)
        print(name, found[name], flush=True)
        if options.out:
            options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
