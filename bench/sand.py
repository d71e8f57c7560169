"""Sand against measurements: how far columns run out, and at which tilt a layer begins to flow.

    PYTHONPATH=. python bench/sand.py --out bench/results/sand.json

A column of radius r = 0.1 m and height a r, friction angle 30 degrees, stands between two smooth
walls that make it a quarter, and is let go at once; its run-out is (R - r) / r, R the mean over
eight sectors of the farthest particle at rest. Lube et al. (J. Fluid Mech. 508, 2004) measured
1.24 a for a < 1.7 and 1.6 sqrt(a) above, for several grains on floors rough and smooth. Then what
the answer hangs on, one thing changed at a time at 16 cells to the radius: the cone through
triaxial compression, a floor with friction 1, a Young's modulus of 700 rho g h instead of 70, and
half the substep.

A layer 8 cells deep and one cell wide lies on a rough slope; `gained` is the acceleration in its
middle, which by Coulomb is g (sin t - tan f cos t), and `angle` is the tilt at which the line
through the accelerations above 30 degrees is zero.
Float32, one thread, 8 particles to a cell. No gradients.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reverie.physics.mpm import MPM, Kind, MPMParams
from reverie.physics.mpm.material import at_rest, friction_limit, lame
from reverie.physics.tools import Shape, Tools
from reverie.viz.provenance import provenance

RADIUS, DENSITY, GRAVITY = 0.1, 1500.0, 9.81
ANGLE = math.radians(30)
HALF = math.sqrt(0.5)
UP, X, Y, BACK = [1.0, 0, 0, 0], [HALF, 0, HALF, 0], [HALF, -HALF, 0, 0], [HALF, HALF, 0, 0]
"""Turns of planes whose normals point along z, x, y and -y."""
CASES = ((1.0, 10), (1.0, 16), (1.0, 20), (3.0, 10), (3.0, 13))
TRIAXIAL = math.sqrt(2 / 3) * 2 * math.sin(ANGLE) / (3 - math.sin(ANGLE))


def grid(counts: Sequence[int], spacing: float) -> Tensor:
    """Particles `[N, 3]` in the middle of cells of this spacing."""
    return (torch.cartesian_prod(*[torch.arange(n) + 0.5 for n in counts]) * spacing).float()


def planes(turns: list[list[float]], along_y: list[float], friction: float) -> Tools:
    """Planes at these places along y; the first has friction."""
    still = torch.zeros(1, len(turns), 3)
    place, rough = still.clone(), still[..., 0].clone()
    place[0, :, 1] = torch.tensor(along_y)
    rough[0, 0] = friction
    return Tools(place, torch.tensor([turns]), still, still, still, rough)


def matter(
    x: Tensor, dx: float, height: float, stiff: float, planes: int, substep: float
) -> tuple[MPM, MPMParams]:
    """The solver of sand at x `[N, 3]`, of Young's modulus `stiff` rho g h, and what it is made of;
    dt is 0.8 `substep` of the stable one."""
    one = torch.ones(1, len(x))
    volume = (dx / 2) ** 3 * one
    mu, lam = lame(stiff * DENSITY * GRAVITY * height * one, 0.3 * one)
    limit = friction_limit(ANGLE * one)
    down = torch.tensor([[0.0, 0.0, -GRAVITY]])
    made = MPMParams(DENSITY * volume, volume, mu, lam, limit, 0 * one, down)
    kind = torch.full((len(x),), int(Kind.SAND))
    dt = 0.8 * substep * MPM(kind, dx=dx, dt=1.0).stable_dt(made)
    shapes = [Shape.PLANE] * planes
    return MPM(kind, shapes, dx=dx, dt=dt, softness=1e-3 * dx, backend="warp"), made


def column(
    tall: float,
    cells: int,
    *,
    friction: float = math.tan(ANGLE),
    stiff: float = 70.0,
    limit: float | None = None,
    substep: float = 1.0,
) -> dict[str, Any]:
    """How far a column of so many cells to its radius runs out, and how high it stays."""
    begun, dx = time.perf_counter(), RADIUS / cells
    x = grid((2 * cells, 2 * cells, round(2 * cells * tall)), dx / 2)
    x = x[x[:, :2].norm(dim=1) < RADIUS]
    solver, made = matter(x, dx, tall * RADIUS, stiff, 3, substep)
    if limit is not None:
        made = made._replace(limit=torch.full_like(made.limit, limit))
    steps = round(4 * math.sqrt(tall * RADIUS / GRAVITY) / solver.dt)
    walls = planes([UP, X, Y], [0.0] * 3, friction)
    state, _, _ = solver(at_rest(x[None], solver.kind), made, walls, steps)
    across = state.position[0, :, :2]
    sector = (torch.atan2(across[:, 1], across[:, 0]) * (16 / math.pi)).long().clamp(0, 7)
    ends = [float(across[sector == k].norm(dim=1).max()) for k in range(8)]
    measured = 1.24 * tall if tall < 1.7 else 1.6 * math.sqrt(tall)
    found = sum(ends) / 8 / RADIUS - 1
    return {
        "particles": len(x),
        "substeps": steps,
        "seconds": time.perf_counter() - begun,
        "run-out": found,
        "of measured": found / measured,
        "run-out of 99 %": float(across.norm(dim=1).quantile(0.99)) / RADIUS - 1,
        "height": float(state.position[..., 2].max()) / RADIUS,
        "speed left": float(state.velocity.norm(dim=-1).mean()),
    }


def slope(tilt: float) -> dict[str, float]:
    """What a layer gains in the middle between 0.1 and 0.25 s after it is let go."""
    dx, length, depth = 0.01, 80, 8
    x = grid((2 * length, 2, 2 * depth), dx / 2)
    solver, made = matter(x, dx, depth * dx, 70.0, 3, 1.0)
    lean = torch.tensor([[math.sin(tilt), 0.0, -math.cos(tilt)]])
    made = made._replace(gravity=GRAVITY * lean)
    walls = planes([UP, Y, BACK], [0.0, 0.0, dx], 1.0)
    amid = (x[:, 0] - length * dx / 2).abs() < length * dx / 8
    begin, rest = round(0.1 / solver.dt), round(0.15 / solver.dt)
    state, walls, _ = solver(at_rest(x[None], solver.kind), made, walls, begin)
    early = float(state.velocity[0, amid, 0].mean())
    state, _, _ = solver(state, made, walls, rest)
    late = float(state.velocity[0, amid, 0].mean())
    return {
        "gained": (late - early) / (rest * solver.dt),
        "by Coulomb": GRAVITY * (math.sin(tilt) - math.tan(ANGLE) * math.cos(tilt)),
        "speed": late,
    }


def repose(slopes: dict[int, dict[str, float]]) -> float:
    """The tilt [degrees] where the line through what slopes above 30 degrees gain is zero."""
    steep = {tilt: found["gained"] for tilt, found in slopes.items() if tilt > 30}
    middle, mean = sum(steep) / len(steep), sum(steep.values()) / len(steep)
    rise = sum((t - middle) * (g - mean) for t, g in steep.items())
    return middle - mean * sum((t - middle) ** 2 for t in steep) / rise


def main() -> None:
    """Run all, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    about, found = provenance(), {}
    slopes = {tilt: slope(math.radians(tilt)) for tilt in (24, 27, 29, 31, 33, 36)}
    found["slopes"] = {f"{tilt} degrees": made for tilt, made in slopes.items()}
    found["angle"] = repose(slopes)
    for tall, cells in CASES:
        found[f"a = {tall:g}, {cells} cells"] = column(tall, cells)
        print(tall, cells, found[f"a = {tall:g}, {cells} cells"], flush=True)
    found["triaxial cone"] = column(1.0, 16, limit=TRIAXIAL)
    found["floor friction 1"] = column(1.0, 16, friction=1.0)
    found["young 700 rho g h"] = column(1.0, 16, stiff=700.0)
    found["half the substep"] = column(1.0, 16, substep=0.5)
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps({**about, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
