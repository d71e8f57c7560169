"""100,000 substeps of each kind of world: does anything blow up, tunnel or drift?

    PYTHONPATH=. python bench/long_run.py --out FILE

Worlds of the tests: a soft cube and a hand, a held cloth, a ball on a soft cube, a body on one leg,
each under slow random controls, float32. Printed: whether all numbers stay finite, the lowest point
of each material (the floor is z = 0), and the largest speed in the last tenth.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from reverie.core import tree
from reverie.physics.stepper import Stepper
from reverie.physics.world import World
from reverie.viz.provenance import provenance
from tests.models.physics.worlds import landing, leg, napkin, soft


def substeps(world: World) -> int:
    """In one step, of the finest part."""
    counts = [world.ticks * world.substeps] if world.robot else []
    counts += [round(world.dt / part.dt) for part in (world.matter, world.cloth) if part]
    return max(counts)


@torch.no_grad()
def run(world: World, total: int) -> dict[str, Any]:
    """The world after `total` substeps, and its extremes."""
    stepper, state = Stepper(world), world.initial(1)
    draws = torch.Generator().manual_seed(0)
    steps = total // substeps(world)
    lowest: dict[str, float] = {}
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
            lowest["robot"] = min(lowest.get("robot", 9.0), float(state.robot.position[0, 2]))
    finite = all(bool(torch.isfinite(x).all()) for x in tree.leaves(state))
    return {"steps": steps, "finite": finite, "lowest [m]": lowest, "fastest [m/s]": fastest}


def main() -> None:
    """Run each, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--substeps", type=int, default=100_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = provenance()
    for make in (soft, napkin, landing, leg):
        found[make.__name__] = run(make(), options.substeps)
        print(make.__name__, found[make.__name__], flush=True)
        if options.out:
            options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
