"""Trajectory optimisation of soft matter: simulated steps to a fixed cost, by gradient and by CEM.

    PYTHONPATH=. python bench/trajectory.py --out FILE

Three tasks, each a plan of 40 decisions of 20 ms for a hand that moves in three directions:

    push      a soft cube is pushed 8 cm to the side
    carry     a cloth, two corners of which a hand holds, is carried until its middle is at a place
    mould     a lump of clay is pressed into the shape that another press has given it

The cost is minus the sum of the rewards (`Move`, `Shape`). Both methods are those of
`reverie.plan` with their usual settings for such horizons, begin at the same plan (nothing; in
`mould` slowly down, for without contact a press has no gradient), and are counted in simulated
steps of the world (each candidate's 40; a step with its gradient is one) and in seconds. The target
is 97 % of the way from the cost of the first guess to the least cost that either method found
within its budget. One core, float32, three seeds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from reverie.core import rollout
from reverie.models.physics import Move, Physics, Shape
from reverie.physics import cloth
from reverie.physics.mpm import Kind, MPMParams
from reverie.physics.mpm.material import at_rest, lame
from reverie.physics.tools import Shape as ToolShape
from reverie.physics.tools import Tools
from reverie.physics.world import Fabric, Hands, Matter, World
from reverie.plan import CEM, Gradient
from reverie.plan.cost import PlanCost
from reverie.plan.trajectory import optimise
from reverie.viz.provenance import provenance

HORIZON = 40
ZERO = torch.zeros(1, 1, 3)
LEVEL = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
FLOOR = ((ToolShape.PLANE,), Tools(ZERO, LEVEL, ZERO, ZERO, ZERO, ZERO[..., 0] + 0.5))


def hand(place: tuple[float, float, float], radius: float) -> Hands:
    """A ball that moves at up to 0.5 m/s."""
    start = Tools(ZERO + torch.tensor(place), LEVEL, ZERO, ZERO, ZERO + radius, ZERO[..., 0] + 0.5)
    return Hands((ToolShape.SPHERE,), start, speed=0.5)


def lump(kind: Kind, side: int, limit: float, young: float) -> Matter:
    """A cube of 8 cm on the floor, of `side` particles along each edge."""
    gap = 0.08 / side
    axis = (torch.arange(side) + 0.5) * gap
    x = (
        torch.cartesian_prod(axis, axis, axis)[None]
        - torch.tensor([side / 2, side / 2, 0.0]) * 0.01
    )
    one = torch.ones(1, side**3)
    mu, lam = lame(young * one, 0.3 * one)
    gravity = torch.tensor([[0.0, 0.0, -9.81]])
    volume = gap**3 * one
    params = MPMParams(1e3 * volume, volume, mu, lam, limit * one, 0 * one, gravity)
    kinds = torch.full((side**3,), int(kind))
    return Matter(kinds, params, at_rest(x, kinds), dx=2 * gap, dt=1e-3)


def push() -> Physics:
    """A soft cube and a ball beside it."""
    world = World(
        dt=0.02,
        ticks=2,
        matter=lump(Kind.NEO_HOOKEAN, 5, 0.0, 2e4),
        hands=hand((-0.09, 0.02, 0.04), 0.03),
        obstacles=FLOOR,
    )
    return Physics(world, Move("matter", (0.08, 0.0, 0.035), effort=1e-3))


def carry() -> Physics:
    """A cloth of which two corners are held."""
    mesh = cloth.grid(0.3, 0.3, 8, 8)
    start = cloth.at_rest(mesh)
    start = start._replace(position=start.position + torch.tensor([0.0, 0.0, 0.25]))
    params = cloth.fabric(
        mesh, start.position, density=0.2, stretch=10.0, bend=1e-5, damping=1e-3, thickness=2e-3
    )
    held = torch.full((mesh.vertices,), -1)
    held[[0, 7]] = 0
    fabric = Fabric(mesh, params, start, dt=1e-3, held=held)
    world = World(
        dt=0.02, ticks=2, cloth=fabric, hands=hand((0.0, 0.0, 0.4), 0.01), obstacles=FLOOR
    )
    return Physics(world, Move("cloth", (0.15, 0.1, 0.3), effort=1e-3))


def mould() -> Physics:
    """Clay, and the shape that a press beside its middle gives it."""
    world = World(
        dt=0.02,
        ticks=2,
        matter=lump(Kind.VON_MISES, 6, 300.0, 2e4),
        hands=hand((0.0, 0.0, 0.125), 0.03),
        obstacles=FLOOR,
    )
    made = Physics(world)
    press = torch.zeros(HORIZON, 1, 1, 3)
    press[:10, ..., 0], press[:10, ..., 1] = 0.25, -0.2
    press[10:30, ..., 2] = -0.35
    press[30:, ..., 2] = 0.6
    with torch.no_grad():
        end = rollout.imagine(made, made.initial(1), press, (), keep="last").states
    return Physics(world, Shape("matter", end.world.matter.position[0, 0], 0.01, effort=1e-3))


def search(
    model: Physics, optimiser: Any, seed: int, target: float, budget: int, guess: Tensor
) -> dict[str, Any]:
    """What it took to reach the target, or all that the budget of steps gives."""
    effort = optimise(
        PlanCost(model, HORIZON),
        model.initial(1),
        optimiser,
        generator=Generator().manual_seed(seed),
        guess=guess,
        enough=lambda effort: effort.least[-1] <= target or effort.steps[-1] >= budget,
    ).effort
    return {"steps": effort.steps[-1], "least": effort.least[-1], "seconds": effort.seconds[-1]}


GUESSES = {
    "carry": torch.zeros(HORIZON, 3),
    "push": torch.zeros(HORIZON, 3),
    "mould": torch.tensor([0.0, 0.0, -0.1]).expand(HORIZON, 3),  # down, on what is there
}
METHODS: dict[str, Callable[[], Any]] = {
    "gradient": lambda: Gradient(starts=1, iterations=400, rate=0.1, deviation=0.0),
    "cem": lambda: CEM(samples=64, elites=8, iterations=400, deviation=0.5, exponent=2.0),
}
BUDGETS = {"gradient": 60 * HORIZON, "cem": 1_500 * HORIZON}


def main() -> None:
    """Find the targets, then count to them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=["carry", "push", "mould"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = provenance()
    for name in options.tasks:
        model: Physics = {"push": push, "carry": carry, "mould": mould}[name]()
        first = search(model, METHODS["gradient"](), 0, torch.inf, 1, GUESSES[name])["least"]
        least = {
            method: search(model, make(), 0, -torch.inf, BUDGETS[method], GUESSES[name])["least"]
            for method, make in METHODS.items()
        }
        target = first + 0.97 * (min(least.values()) - first)
        rows: dict[str, Any] = {"first": first, "least": least, "target": target}
        for method, make in METHODS.items():
            runs = []
            for seed in range(options.seeds):
                run = search(model, make(), seed, target, 3 * BUDGETS[method], GUESSES[name])
                run["reached"] = run["least"] <= target
                runs.append(run)
            rows[method] = runs
        mean = {m: sum(r["steps"] for r in rows[m]) / options.seeds for m in METHODS}
        clock = {m: sum(r["seconds"] for r in rows[m]) / options.seeds for m in METHODS}
        rows["fewer steps"] = mean["cem"] / mean["gradient"]
        rows["faster"] = clock["cem"] / clock["gradient"]
        found[name] = rows
        print(
            f"{name}: target {target:.3f} of {first:.3f} (least {least}); steps "
            f"{mean['gradient']:.0f} by gradient, {mean['cem']:.0f} by CEM: "
            f"{rows['fewer steps']:.0f} times fewer, {rows['faster']:.1f} times faster",
            flush=True,
        )
        if options.out:
            options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
