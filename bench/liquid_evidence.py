"""What the two liquids give where the answer is known: material point method beside SPH.

    PYTHONPATH=. python bench/liquid_evidence.py --out FILE [--scenes swirl ...] [--solvers mpm sph]

Both have the same fluid, particles and sound speed; walls are the same planes. Flat scenes are
slabs: of the material point method two cells (four particles) thick between smooth planes, which
its grid needs, of SPH one particle thick and periodic. Float64, one core, minutes. Printed:

* swirl: a Taylor-Green vortex in a smooth box, side 1 m, 32 particles: rate at which its energy
  falls, over 4 nu k^2, at Reynolds numbers of 10, 100 and 1000;
* column: water 0.32 m deep at rest: the slope of pressure over rho g, and its scatter between
  particles, over rho g H;
* dam: a column of 16 x 32 particles: its front over that of Martin and Moyce (1952), for a column
  of width a = 2.25 inches and height 2 a, by T = t sqrt(2 g / a);
* slosh: a standing wave of 0.02 in water 0.4 m deep and 0.5 m wide, hardly viscous: its period over
  that of linear waves, and what is left of the energy a period later;
* channel: flow between plates under a body force: speed in the middle over G h^2 / (8 nu). The
  material point method has no periodic axis and rubs by Coulomb's law, so it gets a long strip with
  free ends and a friction of 10.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reverie.physics.mpm import MPM, Kind, MPMParams
from reverie.physics.mpm.material import at_rest
from reverie.physics.sph import SPH, SPHParams
from reverie.physics.sph.material import at_rest as sph_at_rest
from reverie.physics.sph.material import pressure
from reverie.physics.tools import Shape, Tools
from reverie.viz.provenance import provenance

RHO, G = 1000.0, 9.81
HALF = math.sqrt(0.5)
SIDES = {
    "+x": [HALF, 0.0, HALF, 0.0],
    "-x": [HALF, 0.0, -HALF, 0.0],
    "+y": [HALF, -HALF, 0.0, 0.0],
    "-y": [HALF, HALF, 0.0, 0.0],
    "+z": [1.0, 0.0, 0.0, 0.0],
    "-z": [0.0, 1.0, 0.0, 0.0],
}
"""The turn of a plane by the direction in which it looks."""
MARTIN_MOYCE = ((1.219, 1.474), (1.997, 2.292), (2.547, 2.995), (3.345, 4.134))
"""(t sqrt(2 g / a), front / a) for a column of width a, twice as high as wide."""


def planes(walls: dict[str, float], friction: float) -> Tools:
    """Planes that look in a direction, by where they stand along it."""
    place = torch.zeros(1, len(walls), 3, dtype=torch.float64)
    for k, (side, at) in enumerate(walls.items()):
        place[0, k, "xyz".index(side[1])] = at
    turn = torch.tensor([[SIDES[side] for side in walls]], dtype=torch.float64)
    still = torch.zeros_like(place)
    return Tools(place, turn, still, still, still, still[..., 0] + friction)


class Fluid:
    """A liquid between planes, in one of the two solvers."""

    def __init__(
        self,
        solver: str,
        counts: tuple[int, int],
        spacing: float,
        walls: dict[str, float],
        *,
        nu: float,
        sound: float,
        down: tuple[float, float, float] = (0.0, 0.0, 0.0),
        friction: float = 0.0,
        length: float = 0.0,
        background: float = 0.0,
        alpha: float = 0.0,
    ) -> None:
        """A slab of `counts` particles along x and z; `length` is the period along x of SPH."""
        deep = 4 if solver == "mpm" else 1
        axes = [torch.arange(n, dtype=torch.float64) + 0.5 for n in (counts[0], deep, counts[1])]
        self.x = (torch.cartesian_prod(*axes) * spacing)[None]
        self.solver, self.spacing, self.sound = solver, spacing, sound
        one = torch.ones(1, self.x.shape[1], dtype=torch.float64)
        gravity = torch.tensor([down], dtype=torch.float64)
        volume = spacing**3
        if solver == "mpm":
            self.tools = planes({**walls, "+y": 0.0, "-y": 4 * spacing}, friction)
            self.tools.friction[:, -2:] = 0.0
            kind = torch.full((self.x.shape[1],), int(Kind.LIQUID))
            self.dt = 0.4 * spacing / sound
            self.method = MPM(kind, [Shape.PLANE] * self.tools.place.shape[1], dx=2 * spacing,
                           dt=self.dt, softness=1e-3 * spacing, backend="warp")  # fmt: skip
            bulk = RHO * sound**2
            self.params: Any = MPMParams(
                RHO * volume * one,
                volume * one,
                0 * one,
                bulk * one,
                0 * one,
                RHO * nu * one,
                gravity,
            )
            self.state: Any = at_rest(self.x, kind)
        else:
            self.tools = planes(walls, friction)
            self.dt, only = 0.6 * spacing / sound, torch.ones(1, dtype=torch.float64)
            self.method = SPH([Shape.PLANE] * len(walls), h=1.5 * spacing, dt=self.dt, alpha=alpha,
                           period=(length, spacing, 0.0), backend="warp")  # fmt: skip
            self.params = SPHParams(
                RHO * volume * one,
                RHO * only,
                sound * only,
                RHO * nu * only,
                background * only,
                gravity,
            )
            self.state = sph_at_rest(self.x, self.params)
        self.time = 0.0

    def start(self, velocity: Callable[[Tensor], Tensor]) -> None:
        """Set speeds by place; MPM's gradient of them too."""
        x = self.x.clone().requires_grad_()
        v = velocity(x)
        self.state = self.state._replace(velocity=v.detach())
        if self.solver == "mpm" and v.requires_grad:
            rows = [torch.autograd.grad(v[..., i].sum(), x, retain_graph=True)[0] for i in range(3)]
            self.state = self.state._replace(affine=torch.stack(rows, -2))

    def run(self, span: float) -> None:
        """Go on for about `span` s."""
        count = max(1, round(span / self.dt))
        self.state, _, self.force = self.method(self.state, self.params, self.tools, count)
        self.time += count * self.dt

    @property
    def pressure(self) -> Tensor:
        """`[N]`."""
        if self.solver == "mpm":
            return RHO * self.sound**2 / 7 * (self.state.memory[0] ** -7 - 1)
        return pressure(self.state.density, self.params)[0]

    @property
    def kinetic(self) -> float:
        """[J] of a kilogramme."""
        return float(0.5 * self.state.velocity.square().sum(-1).mean())

    @property
    def height(self) -> float:
        """Mean height [m]."""
        return float(self.state.position[0, :, 2].mean())


def swirl(solver: str) -> dict[str, Any]:
    """Taylor-Green."""
    found = {}
    for reynolds in (10, 100, 1000):
        n, k, nu = 32, math.pi, 1.0 / reynolds
        walls = {"+x": 0.0, "-x": 1.0, "+z": 0.0, "-z": 1.0}
        fluid = Fluid(solver, (n, n), 1 / n, walls, nu=nu, sound=10.0, background=0.5 * RHO)

        def speed(x: Tensor, k: float = k) -> Tensor:
            a, b = k * x[..., 0], k * x[..., 2]
            return torch.stack([a.sin() * b.cos(), 0 * a, -a.cos() * b.sin()], -1)

        fluid.start(speed)
        first, fall = fluid.kinetic, 4 * nu * k * k
        fluid.run(min(1.0 / fall, 1.0))
        found[f"Re {reynolds}"] = -math.log(fluid.kinetic / first) / fluid.time / fall
    return found


def column(solver: str) -> dict[str, Any]:
    """Hydrostatics."""
    a = 0.02
    walls = {"+x": 0.0, "-x": 8 * a, "+z": 0.0}
    fluid = Fluid(solver, (8, 16), a, walls, nu=2e-3, sound=10.0, down=(0.0, 0.0, -G))
    fluid.run(1.5)
    slopes, scatter = [], []
    for _ in range(20):
        fluid.run(0.02)
        z, p = fluid.state.position[0, :, 2], fluid.pressure
        depth = z.max() + a / 2 - z
        deep = depth > 2 * a
        slope = float((p * depth)[deep].sum() / depth[deep].square().sum())
        slopes.append(slope / RHO / G)
        scatter.append(float((p - slope * depth)[deep].std()) / (RHO * G * 16 * a))
    return {"slope": sum(slopes) / 20, "scatter": sum(scatter) / 20}


def dam(solver: str) -> dict[str, Any]:
    """Martin and Moyce."""
    n, a = 16, 0.05715
    walls = {"+x": 0.0, "+z": 0.0}
    sound = 10 * math.sqrt(2 * G * 2 * a)
    fluid = Fluid(solver, (n, 2 * n), a / n, walls, nu=1e-6, sound=sound, down=(0.0, 0.0, -G),
                  alpha=0.02)  # fmt: skip
    ratios = []
    for t, front in MARTIN_MOYCE:
        fluid.run(t * math.sqrt(a / (2 * G)) - fluid.time)
        reach = fluid.state.position[0, :, 0].sort().values[-max(1, n // 10)] + a / n / 2
        ratios.append(float(reach / a / front))
    return {f"T {t}": r for (t, _), r in zip(MARTIN_MOYCE, ratios, strict=True)}


def slosh(solver: str) -> dict[str, Any]:
    """A standing wave, started by its speeds at the level surface."""
    a, width, depth = 0.02, 0.5, 0.4
    counts = (round(width / a), round(depth / a))
    k = math.pi / width
    omega = math.sqrt(G * k * math.tanh(k * depth))
    walls = {"+x": 0.0, "-x": width, "+z": 0.0}
    fluid = Fluid(solver, counts, a, walls, nu=1e-6, sound=20.0, down=(0.0, 0.0, -G),
                  alpha=0.02)  # fmt: skip
    fluid.run(1.0)  # come to rest under its weight
    fluid.x = fluid.state.position

    def speed(x: Tensor) -> Tensor:
        scale = 0.02 * omega / math.sinh(k * depth)
        p, q = k * x[..., 0], k * x[..., 2]
        return scale * torch.stack([-p.sin() * q.cosh(), 0 * p, p.cos() * q.sinh()], -1)

    fluid.start(speed)
    mode = torch.cos(k * fluid.x[0, :, 0])
    swings, step = [], 2 * math.pi / omega / 80
    began = fluid.time
    times = []
    for _ in range(240):
        fluid.run(step)
        swings.append(float((fluid.state.velocity[0, :, 2] * mode).mean()))
        times.append(fluid.time - began)
    zeros = [
        times[i - 1] + (times[i] - times[i - 1]) * swings[i - 1] / (swings[i - 1] - swings[i])
        for i in range(1, len(swings))
        if swings[i - 1] * swings[i] < 0
    ]
    period = 2 * (zeros[-1] - zeros[0]) / (len(zeros) - 1)
    peaks = [max(abs(s) for s in swings[80 * i : 80 * i + 80]) for i in range(3)]
    return {
        "period": period * omega / (2 * math.pi),
        "energy left": (peaks[2] / peaks[0]) ** (2 / 2),
    }


def channel(solver: str) -> dict[str, Any]:
    """Poiseuille, between plates 0.1 m apart."""
    n, gap, nu = 16, 0.1, 5e-3
    a = gap / n
    force = 8 * nu * 0.2 / gap**2
    many = 96 if solver == "mpm" else 4
    walls = {"+z": 0.0, "-z": gap}
    fluid = Fluid(solver, (many, n), a, walls, nu=nu, sound=4.0, down=(force, 0.0, 0.0),
                  friction=10.0, length=many * a)  # fmt: skip
    fluid.run(0.6 * gap**2 / nu)
    x = fluid.state.position[0]
    middle = x[:, 0].median()
    near = (x[:, 2] - gap / 2).abs() < a
    near &= (x[:, 0] - middle).abs() < (2 * gap if solver == "mpm" else 1e9)
    share = 1 - 32 / math.pi**3 * math.exp(-(math.pi**2) * nu * fluid.time / gap**2)
    return {"middle": float(fluid.state.velocity[0, near, 0].mean()) / (0.2 * share)}


SCENES = {"swirl": swirl, "column": column, "dam": dam, "slosh": slosh, "channel": channel}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", nargs="*", default=list(SCENES))
    parser.add_argument("--solvers", nargs="*", default=["mpm", "sph"])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for scene in options.scenes:
        for solver in options.solvers:
            begun = time.perf_counter()
            made = SCENES[scene](solver)
            found[f"{scene} {solver}"] = {**made, "seconds": time.perf_counter() - begun}
            print(scene, solver, json.dumps(found[f"{scene} {solver}"]), flush=True)
    if options.out:
        options.out.write_text(json.dumps({**provenance(), **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
