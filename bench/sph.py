"""Substeps per second of smoothed particles, forward and with gradient, beside our own MPM liquid.

    PYTHONPATH=. python bench/sph.py --out FILE

The scene: 10,648 particles of water, 22^3, that fall on a floor; float32, one world, one core. SPH
has h = 1.5 spacings (about 100 neighbours each, 130 in its list), the material point method a grid
of two spacings; both have sound of 10 m/s and substeps of 0.5 ms. The gradient is of the mean
position after a round of 20 substeps with respect to the velocity at the start, and is checked
against a central difference. Lists of neighbours are made as the run needs them, and are part of
the time; how long one takes is printed too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reverie.physics.mpm import MPM, Kind, MPMParams
from reverie.physics.mpm.material import at_rest as matter_at_rest
from reverie.physics.sph import SPH, SPHParams
from reverie.physics.sph.material import at_rest
from reverie.physics.sph.program import NearList
from reverie.physics.tools import Shape, Tools
from reverie.viz.provenance import provenance

SIDE, SPACING, SOUND, DT, STEPS = 22, 0.01, 10.0, 5e-4, 20
SPEED = (0.3, 0.1, -0.5)


def floor() -> Tools:
    """A plane at z = 0."""
    still = torch.zeros(1, 1, 3)
    return Tools(still, torch.tensor([[[1.0, 0, 0, 0]]]), still, still, still, still[..., 0] + 0.5)


def places() -> Tensor:
    """Particles `[1, N, 3]`, a little out of order."""
    axes = torch.cartesian_prod(*[torch.arange(SIDE, dtype=torch.float32) + 0.5] * 3)
    jitter = torch.rand(axes.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    return ((axes + 0.1 * jitter) * SPACING)[None]


def smoothed() -> Callable[[Tensor], Tensor]:
    """From a velocity to places at the end of a round."""
    x, one = places(), torch.ones(1)
    mass = torch.full((1, SIDE**3), 1000 * SPACING**3)
    params = SPHParams(
        mass, 1000 * one, SOUND * one, 0.1 * one, 0 * one, torch.tensor([[0.0, 0.0, -9.81]])
    )
    solver = SPH([Shape.PLANE], h=1.5 * SPACING, dt=DT, backend="warp")
    solver.check(params)
    return lambda v: solver(at_rest(x, params, v), params, floor(), STEPS)[0].position


def points() -> Callable[[Tensor], Tensor]:
    """The same of the material point method."""
    x, one = places(), torch.ones(1, SIDE**3)
    kind = torch.full((SIDE**3,), int(Kind.LIQUID))
    volume, bulk = SPACING**3, 1000 * SOUND**2
    params = MPMParams(
        1000 * volume * one, volume * one, 0 * one, bulk * one, 0 * one, 0.1 * one,
        torch.tensor([[0.0, 0.0, -9.81]]),
    )  # fmt: skip
    solver = MPM(kind, [Shape.PLANE], dx=2 * SPACING, dt=DT, backend="warp")
    solver.check(params)
    return lambda v: solver(matter_at_rest(x, kind, v), params, floor(), STEPS)[0].position


def end(run: Callable[[Tensor], Tensor], speed: Tensor) -> Tensor:
    """A number of the round."""
    return (run(speed).mean(1)[0] * torch.tensor([1.0, 0.5, 2.0])).sum()


def timed(runs: dict[str, Callable[[Tensor], Tensor]], rounds: int) -> dict[str, Any]:
    """Substeps per second of each, in turns."""
    best: dict[str, dict[str, float]] = {name: {} for name in runs}
    for _ in range(rounds + 1):  # the first loads kernels, and fills buffers
        for name, run in runs.items():
            speed = torch.tensor(SPEED, requires_grad=True)
            begun = time.perf_counter()
            with torch.no_grad():
                end(run, speed)
            middle = time.perf_counter()
            torch.autograd.grad(end(run, speed), speed)
            both = time.perf_counter() - middle
            for what, seconds in (("forward", middle - begun), ("gradient", both)):
                best[name][what] = max(best[name].get(what, 0.0), STEPS / seconds)
    for name, run in runs.items():
        speed, step = torch.tensor(SPEED, requires_grad=True), torch.tensor([0.0, 0.0, 0.02])
        (slope,) = torch.autograd.grad(end(run, speed), speed)
        with torch.no_grad():
            found = float(end(run, speed + step) - end(run, speed - step)) / 0.04
        best[name]["error"] = abs(float(slope[2]) / found - 1)
    return best


def listing(rounds: int) -> dict[str, float]:
    """Seconds of a list of neighbours, and how many there are of a particle."""
    solver = SPH([Shape.PLANE], h=1.5 * SPACING, dt=DT, backend="warp")
    x = places()
    x_still = x.clone()
    one = torch.ones(1)
    mass = torch.full((1, SIDE**3), 1000 * SPACING**3)
    params = SPHParams(mass, 1000 * one, SOUND * one, one, 0 * one, torch.zeros(1, 3))
    solver(at_rest(x, params), params, floor())
    program = next(iter(solver._programs.values()))
    near = NearList(solver.law, program.near)
    seconds = []
    for turn in range(rounds + 1):
        begun = time.perf_counter()
        near.renew(x_still + turn)
        seconds.append(time.perf_counter() - begun)
    return {"seconds of a list": min(seconds[1:]), "neighbours": int(near.first[-1]) / SIDE**3}


def main() -> None:
    """Time, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    about = provenance()
    found: dict[str, Any] = {"particles": SIDE**3, "dt": DT}
    found |= timed({"sph": smoothed(), "mpm": points()}, options.rounds)
    found |= listing(options.rounds)
    for what in ("forward", "gradient"):
        found[f"ratio {what}"] = found["sph"][what] / found["mpm"][what]
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps({**about, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
