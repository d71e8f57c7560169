"""Substeps per second of the material point method, forward and with its gradient, beside Genesis.

    PYTHONPATH=. python bench/mpm.py --peer PYTHON --out FILE

PYTHON is an interpreter with genesis-world 1.4.5. The scene: a neo-Hookean cube of 22^3 = 10,648
particles (Genesis samples 10,354 of the same cube), E 2e4 Pa, nu 0.3, grid spacing 1 / 64 m,
quadratic B-splines, dt 0.2 ms, on a floor that it hits in the 50 substeps of a round. The gradient
is of the mean position at the end with respect to the velocity at the start; it is checked against
a central difference. Float32. Ours is one world on one core; Genesis runs with one thread (its
default) and, forward, with two.

Not equal: Genesis takes singular values where it has gradients, keeps the scene in one compiler,
and couples to its rigid solver; ours meets the floor as a tool with friction, and hands back its
force.
`cold` is a fresh process with an empty kernel cache, from `import` to the first gradient.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.subject import run
from reverie.physics.mpm import MPM
from reverie.physics.mpm.material import MPMParams, at_rest, lame
from reverie.physics.tools import Shape, Tools
from reverie.viz.provenance import provenance

SIDE, DX, DT, STEPS = 22, 1 / 64, 2e-4, 50

PEER = """
import json, sys, time
import torch, genesis as gs
gs.init(backend=gs.cpu, precision="32", logging_level="error")
grad, steps = sys.argv[1] == "gradient", 10
scene = gs.Scene(
    sim_options=gs.options.SimOptions(dt=2e-4 * steps, substeps=steps, requires_grad=grad),
    mpm_options=gs.options.MPMOptions(lower_bound=(0, 0, 0), upper_bound=(1, 1, 1),
        grid_density=64, particle_size=1 / 128), show_viewer=False)
scene.add_entity(gs.morphs.Plane())
side = 22 / 128
cube = scene.add_entity(
    material=gs.materials.MPM.Elastic(E=2e4, nu=0.3, rho=1000.0, model="neohooken"),
    morph=gs.morphs.Box(pos=(0.5, 0.5, 0.056 + side / 2), size=(side, side, side)))
scene.build()
def forward():
    for _ in range(5): scene.step()
def backward():
    scene.reset()
    speed = torch.tensor([0.5, 0.2, -2.0], requires_grad=True)
    cube.set_velocity(speed)
    forward()
    place = cube.get_state().pos.mean(dim=-2).reshape(3)
    (place * torch.tensor([1.0, 0.5, 2.0])).sum().backward()
run = backward if grad else forward
begun = time.perf_counter(); run(); first = time.perf_counter() - begun
run(); times = []
for _ in range(3):
    begun = time.perf_counter(); run(); times.append(time.perf_counter() - begun)
print(json.dumps({"substeps": 50 / min(times), "particles": cube.n_particles, "first": first}))
"""


def scene() -> tuple[MPM, Tensor, MPMParams, Tools]:
    """The solver, where the particles are, what they are, and the floor."""
    axes = torch.cartesian_prod(*[torch.arange(SIDE, dtype=torch.float32) + 0.5] * 3)
    jitter = torch.rand(axes.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    x = (axes + 0.2 * jitter) * DX / 2 + torch.tensor([0.4, 0.4, 3 * DX + 0.006])
    count = len(x)
    one = torch.ones(1, count)
    mu, lam = lame(2e4 * one, 0.3 * one)
    volume = (DX / 2) ** 3 * one
    zero = 0 * one
    params = MPMParams(
        1000 * volume, volume, mu, lam, zero, zero, torch.tensor([[0.0, 0.0, -9.81]])
    )
    still = torch.zeros(1, 1, 3)
    place = still + torch.tensor([0.0, 0.0, 3 * DX])
    floor = Tools(place, torch.tensor([[[1.0, 0, 0, 0]]]), still, still, still, still[..., 0] + 0.5)
    kind = torch.zeros(count, dtype=torch.int64)
    return MPM(kind, [Shape.PLANE], dx=DX, dt=DT, backend="warp"), x[None], params, floor


def end(speed: Tensor) -> Tensor:
    """Where the weighted mean of the particles is after a round."""
    solver, x, params, floor = scene()
    state = at_rest(x, solver.kind, speed)
    after, _, _ = solver(state, params, floor, STEPS)
    return (after.position.mean(1)[0] * torch.tensor([1.0, 0.5, 2.0])).sum()


def ours(rounds: int) -> dict[str, Any]:
    """Substeps per second, the first gradient's seconds, and its error."""
    begun = time.perf_counter()
    speed = torch.tensor([0.5, 0.2, -2.0], requires_grad=True)
    (slope,) = torch.autograd.grad(end(speed), speed)
    first = time.perf_counter() - begun
    forward, both = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        with torch.no_grad():
            end(speed)
        forward.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        torch.autograd.grad(end(speed), speed)
        both.append(time.perf_counter() - begun)
    step = 0.02 * torch.tensor([0.0, 0.0, 1.0])
    with torch.no_grad():
        difference = (end(speed + step) - end(speed - step)) / 0.04
    return {
        "forward": STEPS / min(forward),
        "gradient": STEPS / min(both),
        "first": first,
        "error": abs(float(slope[2] / difference) - 1),
    }


def main() -> None:
    """Time in turns, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", default="", help="PYTHON that has genesis-world")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--alone", action="store_true", help="ours alone, as JSON (for itself)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.alone:
        print(json.dumps(ours(options.rounds)))
        return
    about = provenance()
    command = [sys.executable, __file__, "--rounds", str(options.rounds), "--alone"]
    with tempfile.TemporaryDirectory() as empty:
        begun = time.perf_counter()
        run([*command[:-3], "--rounds", "1", "--alone"], WARP_CACHE_PATH=empty)
        cold = time.perf_counter() - begun
    found: dict[str, Any] = {"reverie": {**run(command), "cold": cold, "particles": SIDE**3}}
    if options.peer:
        one, two = ({"QD_NUM_THREADS": n} for n in ("1", "2"))
        found["genesis, 1 thread"] = run([options.peer, "-c", PEER, "forward"], **one)
        found["genesis, 2 threads"] = run([options.peer, "-c", PEER, "forward"], **two)
        found["genesis, gradient"] = run([options.peer, "-c", PEER, "gradient"], **one)
        fastest = max(found[f"genesis, {n}"]["substeps"] for n in ("1 thread", "2 threads"))
        found["ratio forward"] = found["reverie"]["forward"] / fastest
        found["ratio gradient"] = (
            found["reverie"]["gradient"] / found["genesis, gradient"]["substeps"]
        )
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps({**about, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
