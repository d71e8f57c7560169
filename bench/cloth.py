"""Substeps per second of cloth of 64 x 64 vertices, forward and with its gradient, beside Newton.

    PYTHONPATH=. python bench/cloth.py --peer PYTHON --out FILE

PYTHON is an interpreter with newton 1.8.0. Ours: finite-element membrane and bending, damping, and
contact with a floor on which all 4,096 vertices lie, float32, 50 substeps a round, one core. The
gradient is of the mean height at the end with respect to the velocity at the start. Newton: its
semi-implicit solver, the one with gradients, on a grid of as many vertices, finite elements and
bending; no contact with triangles (`enable_tri_contact=False`), and none at all for its gradient.
Subjects take turns; the best round of each counts.
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

from bench.subject import run
from reverie.physics import cloth
from reverie.physics.tools import Shape, Tools
from reverie.viz.provenance import provenance

SIDE, STEPS, DT = 64, 50, 1e-4

PEER = """
import json, sys, time
import numpy as np, warp as wp, newton
grad = sys.argv[1] == "gradient"
builder = newton.ModelBuilder()
builder.add_cloth_grid(pos=wp.vec3(0, 0, 1), rot=wp.quat_identity(), vel=wp.vec3(0, 0, 0),
    dim_x=63, dim_y=63, cell_x=1 / 63, cell_y=1 / 63, mass=0.2 / 4096, fix_left=True,
    particle_radius=0.005, tri_ke=1e3, tri_ka=1e3, tri_kd=1e-1, edge_ke=1.0, edge_kd=1e-2)
model = builder.finalize(requires_grad=grad)
solver = newton.solvers.SolverSemiImplicit(model, enable_tri_contact=False)
control, dt, steps = model.control(), 5e-5, 20
contacts = None if grad else newton.CollisionPipeline(model).contacts()
states = [model.state(requires_grad=grad) for _ in range(steps + 1)]
loss = wp.zeros(1, dtype=float, requires_grad=grad)
@wp.kernel
def mean(q: wp.array(dtype=wp.vec3), out: wp.array(dtype=float)):
    wp.atomic_add(out, 0, q[wp.tid()][2] / 4096.0)
def roll():
    for i in range(steps):
        states[i].clear_forces()
        solver.step(states[i], states[i + 1], control, contacts, dt)
def run():
    if not grad:
        return roll()
    loss.zero_()
    tape = wp.Tape()
    with tape:
        roll()
        wp.launch(mean, 4096, [states[-1].particle_q, loss])
    tape.backward(loss)
    found = states[0].particle_qd.grad.numpy().copy()
    tape.zero()
    return found
begun = time.perf_counter(); run(); first = time.perf_counter() - begun
times = []
for _ in range(5):
    begun = time.perf_counter(); run(); times.append(time.perf_counter() - begun)
print(json.dumps({"substeps": steps / min(times), "first": first}))
"""


def ours(rounds: int) -> dict[str, Any]:
    """Substeps per second, forward and with the gradient."""
    mesh = cloth.grid(1.0, 1.0, SIDE, SIDE)
    start = cloth.at_rest(mesh)
    params = cloth.fabric(
        mesh, start.position, density=0.2, stretch=500.0, bend=1e-4, damping=1e-4, thickness=2e-3
    )
    zero = torch.zeros(1, 1, 3)
    turn = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    floor = Tools(zero - torch.tensor([0, 0, 1e-3]), turn, zero, zero, zero, zero[..., 0] + 0.5)
    solver = cloth.Cloth(mesh, [Shape.PLANE], dt=DT, checked=False, backend="warp")

    def end(velocity: torch.Tensor) -> torch.Tensor:
        after, _, _ = solver(start._replace(velocity=velocity), params, floor, STEPS)
        return after.position[..., 2].mean()

    still = torch.zeros_like(start.position)
    begun = time.perf_counter()
    torch.autograd.grad(end(still.requires_grad_()), still)
    first = time.perf_counter() - begun
    forward, both = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        with torch.no_grad():
            end(still)
        forward.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        torch.autograd.grad(end(still), still)
        both.append(time.perf_counter() - begun)
    return {"forward": STEPS / min(forward), "gradient": STEPS / min(both), "first": first}


def main() -> None:
    """Time in turns, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", default="", help="PYTHON that has newton")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--alone", action="store_true", help="ours alone, as JSON (for itself)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.alone:
        print(json.dumps(ours(options.rounds)))
        return
    about = provenance()
    found: dict[str, Any] = {
        "reverie": run([sys.executable, __file__, "--rounds", str(options.rounds), "--alone"])
    }
    if options.peer:
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder) / "peer.py"  # Warp reads the source of kernels from a file
            script.write_text(PEER)
            for name in ("forward", "gradient"):
                peer = run([options.peer, str(script), name])
                found[f"newton, {name}"] = peer
                found[f"ratio {name}"] = found["reverie"][name] / peer["substeps"]
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps({**about, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
