"""The gradient of a rollout against central differences, before, at and after contact.

    PYTHONPATH=. python bench/gradients.py --out FILE [--solvers mpm cloth rigid]

Three worlds in float64, one substep a step, and the cost of the first 1, 10, 100, 1,000 steps:

    mpm     a soft cube of 27 particles, dt 1 ms; the mean squared distance of its particles from
            places drawn at random
    cloth   a sheet of 6 x 6 vertices, tilted, dt 1 ms; the same
    rigid   a body with one leg under a motor, dt 2 ms; it should go forward, upright

each from three starts: `before`, so high that nothing is met within 1,000 steps; `at`, where the
floor is met within 25 steps (which one: the first at which a world without a floor goes on
otherwise); `after`, 600 steps later, on the floor.

`error` is that of the worst of four random directions of the start (of rigid bodies: and of the
plan), relative, at the best size of the difference (`reverie.eval.finite_difference_check`).
`disagreement` is that between differences of two sizes: above 1e-4 the objective jumps, or has
corners all around, and there is no slope to compare with; `corner` is that between the differences
to either side: above 1e-4 the point itself is a corner. `norm` is that of ds_H / ds_0 (Frobenius,
by two probes).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from reverie.core import rollout, tree
from reverie.eval.gradient import finite_difference_check, gradient_norms
from reverie.models.physics import Forward, Physics
from reverie.models.physics import Shape as Mould
from reverie.physics import cloth, rigid
from reverie.physics.mpm import Kind, MPMParams
from reverie.physics.mpm.material import at_rest, lame
from reverie.physics.tools import Shape, Tools
from reverie.physics.world import Fabric, Hands, Matter, World
from reverie.viz.provenance import provenance

HORIZONS, TOLERANCE, SETTLED = (1, 10, 100, 1000), 1e-4, 600
HIGH = 25.0
"""[m] above the floor."""
ZERO = torch.zeros(1, 1, 3)
LEVEL = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
FLOOR = ((Shape.PLANE,), Tools(ZERO, LEVEL, ZERO, ZERO, ZERO, ZERO[..., 0] + 0.5))
AWAY = Hands((Shape.SPHERE,), Tools(ZERO + 90, LEVEL, ZERO, ZERO, ZERO + 0.05, ZERO[..., 0]), 0.1)

LEG = """<mujoco><worldbody>
  <geom name="floor" type="plane" size="5 5 1"/>
  <body name="root" pos="0 0 0.42"><freejoint/>
    <geom type="box" size="0.1 0.08 0.05" mass="2"/>
    <body name="leg" pos="0 0 -0.05"><joint name="hip" axis="0 1 0" range="-60 60" damping="0.2"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.3" size="0.03" mass="0.5"/>
    </body>
  </body>
</worldbody>
<actuator><motor joint="hip" ctrlrange="-5 5"/></actuator></mujoco>"""


class Case(NamedTuple):
    """A world near the floor, the same without one, and how it is lifted."""

    near: Physics
    free: Physics
    lift: Callable[[Any], Any]
    wrt: tuple[str, ...]


def lifted(part: str) -> Callable[[Any], Any]:
    """A state of which all particles or vertices, or the robot's root, are `HIGH` up."""

    def lift(state: Any) -> Any:
        held = getattr(state.world, part)
        up = torch.zeros_like(held.position)
        up[..., 2] = HIGH
        if part == "robot":
            up[:, 3:] = 0
        moved = held._replace(position=held.position + up)
        return state._replace(world=state.world._replace(**{part: moved}))

    return lift


def mpm() -> Case:
    """A soft cube that falls, a little deformed."""
    axis = (torch.arange(3) + 0.5) * 0.02
    x = torch.cartesian_prod(axis, axis, axis)[None] + torch.tensor([0.011, 0.007, 0.075])
    draws, one = Generator().manual_seed(0), torch.ones(1, 27)
    mu, lam = lame(2e4 * one, 0.3 * one)
    gravity = torch.tensor([[0.0, 0.0, -9.81]])
    params = MPMParams(8e-3 * one, 8e-6 * one, mu, lam, 0 * one, 0 * one, gravity)
    kinds = torch.full((27,), int(Kind.NEO_HOOKEAN))
    start = at_rest(x, kinds)
    speed = 0.1 * torch.randn(x.shape, generator=draws) + torch.tensor([0.3, 0.0, -1.0])
    matter = Matter(kinds, params, start._replace(velocity=speed), dx=0.04, dt=1e-3)
    world = World(dt=1e-3, matter=matter, hands=AWAY, obstacles=FLOOR)
    task = Mould("matter", x[0] + 0.1 * torch.randn(27, 3, generator=draws), 0.1)
    free = Physics(replace(world, obstacles=None), task)
    return Case(Physics(world, task), free, lifted("matter"), ("state",))


def sheet() -> Case:
    """A tilted sheet that falls."""
    mesh = cloth.grid(0.2, 0.2, 6, 6)
    start, draws = cloth.at_rest(mesh), Generator().manual_seed(0)
    x = start.position + 0.002 * torch.randn(start.position.shape, generator=draws)
    x[..., 2] += 0.01 + 0.2 * x[..., 0]
    start = start._replace(position=x, velocity=0 * x + torch.tensor([0.2, 0.0, -1.0]))
    params = cloth.fabric(mesh, x, density=0.2, stretch=20.0, bend=1e-5, damping=1e-3)
    world = World(dt=1e-3, cloth=Fabric(mesh, params, start, dt=1e-3), hands=AWAY, obstacles=FLOOR)
    task = Mould("cloth", x[0] + 0.1 * torch.randn(x[0].shape, generator=draws), 0.1)
    free = Physics(replace(world, obstacles=None), task)
    return Case(Physics(world, task), free, lifted("cloth"), ("state",))


def leg() -> Case:
    """A body with one leg."""
    floor = '<geom name="floor" type="plane" size="5 5 1"/>'
    task = Forward(0.002, 0.4)
    near, free = (
        Physics(World(dt=0.002, robot=rigid.load(text)), task)
        for text in (LEG, LEG.replace(floor, ""))
    )
    return Case(near, free, lifted("robot"), ("state", "action"))


CASES = {"mpm": mpm, "cloth": sheet, "rigid": leg}


def way(model: Physics, steps: int) -> Tensor:
    """A slow wave of all controls, within their bounds `[H, 1, 1, A]`."""
    size = model.spec.action.shape[0]
    t = torch.arange(steps, dtype=torch.float64)[:, None]
    phase = torch.arange(size, dtype=torch.float64)
    return (0.5 * torch.sin(0.05 * t + phase))[:, None, None]


@torch.no_grad()
def meets(near: Physics, free: Physics, state: Any, plan: Tensor) -> int | None:
    """The first step whose end would be otherwise without a floor; None: none."""
    one, two = state, state
    for k, action in enumerate(plan):
        one, two = near.step(one, action, ()).state, free.step(two, action, ()).state
        if tree.differ(one.world, two.world, 1e-9):
            return k + 1
    return None


def run(case: Case) -> dict[str, Any]:
    """All starts of a world."""
    near, free = case.near.double(), case.free.double()
    plan = way(near, max(HORIZONS))
    start = near.initial(1)
    with torch.no_grad():
        if near.world.robot is not None:
            speed = start.world.robot.velocity + 0.2
            speed[:, 2] = -0.6
            robot = start.world.robot._replace(velocity=speed)
            start = start._replace(world=start.world._replace(robot=robot))
        settled = rollout.imagine(near, start, plan[:SETTLED], (), keep="last").states
        starts = {"before": case.lift(start), "at": start, "after": tree.select(settled, 0)}
    found: dict[str, Any] = {}
    for phase, state in starts.items():
        begun = time.perf_counter()
        draws = Generator().manual_seed(1)
        check = finite_difference_check(
            near,
            state,
            plan,
            horizons=HORIZONS,
            wrt=case.wrt,  # type: ignore[arg-type]
            tolerance=TOLERANCE,
            generator=draws,
        )
        norms = gradient_norms(
            near, state, plan, horizons=HORIZONS, of="state", probes=2, generator=draws
        )
        found[phase] = {
            "floor met in step": meets(near, free, state, plan),
            "rows": [row._asdict() for row in check.rows],
            "breaks at": check.breaks_at,
            "differences jump at": check.jumps_at,
            "norm of ds_H / ds_0": dict(
                zip(map(str, HORIZONS), norms.norms[0].tolist(), strict=True)
            ),
            "seconds": time.perf_counter() - begun,
        }
    return found


def main() -> None:
    """Check all, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--solvers", nargs="+", default=list(CASES))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {**provenance(), "tolerance": TOLERANCE}
    for name in options.solvers:
        found[name] = run(CASES[name]())
        for phase, seen in found[name].items():
            print(f"{name} {phase}: the floor is met in step {seen['floor met in step']}")
            for row in seen["rows"]:
                norm = seen["norm of ds_H / ds_0"][str(row["horizon"])]
                print(
                    f"  {row['horizon']:>5} {row['wrt']:>6}: error {row['error']:.1e}, differences "
                    f"apart by {row['disagreement']:.1e}, corner {row['corner']:.0e}; "
                    f"norm {norm:.2e}",
                    flush=True,
                )
        if options.out:
            options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
