"""Physical parameters found in one noisy trajectory, by `reverie.models.physics.identify`.

    PYTHONPATH=. python bench/recovery.py --out FILE

Five worlds, each recorded once with factors that are not 1, and fitted from factors of 1:

    stiffness   a soft cube (material point method, 64 particles) falls on the floor and is
                pressed by a ball; the positions of its particles are seen
    cloth       the stretching of a cloth that hangs by two corners from a hand that swings it;
                the positions of its vertices are seen
    push        a block on the floor is pushed by a motor of known force: its mass and friction;
                position and velocity are seen
    arm         two links under known torques: mass and joint damping; angles and velocities are
                seen
    arm, start  the same, where the start is unknown too, and guessed 0.3 rad and rad/s wrong

Noise is Gaussian, its standard deviation 1 % of the motion's spread: of the standard deviation over
time of each number that is seen (of a particle's or vertex's positions: their mean over particles,
axes together). Numbers that move by less than 1e-3 (how deep a block sinks in) are not seen.
Printed and written: relative errors over five seeds of the noise, their mean and largest, the
standard error that the fit itself says (mean), and for comparison what the minimum of the one-step
loss says, where the whole state is seen with noise. Float64, one core.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from reverie.core import rollout, tree
from reverie.core.model import Batch
from reverie.models.physics import Physics, PhysicsConfig
from reverie.models.physics.fit import Fit, identify
from reverie.physics import cloth, rigid
from reverie.physics.mpm import Kind, MPMParams
from reverie.physics.mpm.material import at_rest, lame
from reverie.physics.tools import Shape, Tools
from reverie.physics.world import Fabric, Hands, Matter, World
from reverie.viz.provenance import provenance

SHARE = 0.01
"""Noise, of the motion's spread."""
ZERO = torch.zeros(1, 1, 3)
LEVEL = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
FLOOR = ((Shape.PLANE,), Tools(ZERO, LEVEL, ZERO, ZERO, ZERO, ZERO[..., 0] + 0.5))

ARM = """<mujoco><option timestep="0.002"/><worldbody>
  <body pos="0 0 1"><joint name="one" axis="0 1 0" damping="0.08"/>
    <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02" mass="0.5"/>
    <body pos="0.3 0 0"><joint name="two" axis="0 1 0" damping="0.04"/>
      <geom type="capsule" fromto="0 0 0 0.25 0 0" size="0.02" mass="0.3"/>
    </body></body></worldbody>
<actuator><motor joint="one" ctrlrange="-3 3"/><motor joint="two" ctrlrange="-1 1"/></actuator>
</mujoco>"""

BLOCK = """<mujoco><option timestep="0.002"/><worldbody>
  <geom name="floor" type="plane" size="5 5 1"/>
  <body pos="0 0 0.05"><joint name="x" type="slide" axis="1 0 0"/>
    <joint type="slide" axis="0 0 1"/>
    <geom type="box" size="0.08 0.06 0.05" mass="1" friction="0.5"/></body></worldbody>
<actuator><motor joint="x" ctrlrange="-20 20"/></actuator></mujoco>"""


class Case(NamedTuple):
    """A world, its true factors, what is done, and what is seen."""

    world: World
    truth: dict[str, float]
    plan: Tensor
    """`[T, A]`."""
    sensor: str
    free: tuple[str, ...] = ()


def hand(place: tuple[float, float, float], radius: float) -> Hands:
    """A ball that moves at up to 0.5 m/s."""
    start = Tools(ZERO + torch.tensor(place), LEVEL, ZERO, ZERO, ZERO + radius, ZERO[..., 0] + 0.5)
    return Hands((Shape.SPHERE,), start, speed=0.5)


def stiffness() -> Case:
    """A soft cube under a ball."""
    axis = (torch.arange(4) + 0.5) * 0.02
    x = torch.cartesian_prod(axis, axis, axis)[None] - torch.tensor([0.04, 0.04, -0.02])
    one = torch.ones(1, 64)
    mu, lam = lame(2e4 * one, 0.3 * one)
    gravity = torch.tensor([[0.0, 0.0, -9.81]])
    params = MPMParams(8e-3 * one, 8e-6 * one, mu, lam, 0 * one, 0 * one, gravity)
    kinds = torch.full((64,), int(Kind.NEO_HOOKEAN))
    matter = Matter(kinds, params, at_rest(x, kinds), dx=0.04, dt=1e-3)
    world = World(
        dt=0.02, ticks=1, matter=matter, hands=hand((0.0, 0.0, 0.2), 0.04), obstacles=FLOOR
    )
    plan = torch.zeros(30, 3)
    plan[:14, 2], plan[18:, 2] = -0.4, 0.5
    return Case(world, {"matter_stiffness": 2.0}, plan, "keypoints")


def hanging() -> Case:
    """A cloth that a hand swings."""
    mesh = cloth.grid(0.2, 0.2, 6, 6)
    start = cloth.at_rest(mesh)
    start = start._replace(position=start.position + torch.tensor([0.0, 0.0, 0.3]))
    params = cloth.fabric(mesh, start.position, density=0.2, stretch=8.0, bend=1e-5, damping=1e-3)
    held = torch.full((mesh.vertices,), -1)
    held[[0, 5]] = 0
    fabric = Fabric(mesh, params, start, dt=2e-3, held=held)
    world = World(dt=0.02, ticks=1, cloth=fabric, hands=hand((0.0, 0.0, 0.5), 0.01))
    time_ = torch.arange(30) * 0.02
    plan = torch.stack(
        [torch.sin(9 * time_), 0.5 * torch.cos(7 * time_), 0.8 * torch.sin(14 * time_)], 1
    )
    return Case(world, {"cloth_stretch": 0.5}, plan, "keypoints")


def push() -> Case:
    """A block that is pushed, let go, and pulled back."""
    world = World(dt=0.02, robot=rigid.load(BLOCK), substeps=10)
    plan = torch.zeros(60, 1)
    plan[:20], plan[35:55] = 0.8, -0.7
    return Case(world, {"robot_mass": 1.5, "robot_friction": 0.6}, plan, "state")


def arm() -> Case:
    """An arm that torques swing."""
    world = World(dt=0.02, robot=rigid.load(ARM), substeps=10)
    time_ = torch.arange(75) * 0.02
    plan = torch.stack([0.9 * torch.sin(5 * time_), 0.8 * torch.cos(8 * time_)], 1)
    return Case(world, {"robot_mass": 0.7, "robot_damping": 2.0}, plan, "state")


def arm_start() -> Case:
    """The same, with a start that is not known."""
    return arm()._replace(free=("world.robot.position", "world.robot.velocity"))


CASES = {
    "stiffness": stiffness,
    "cloth": hanging,
    "push": push,
    "arm": arm,
    "arm, start": arm_start,
}


@torch.no_grad()
def record(case: Case, seed: int) -> tuple[Physics, Batch, Tensor, Any]:
    """A model with factors of 1, a noisy recording of the true world, the noise of each number that
    is seen, and the start."""
    model = Physics(case.world, config=PhysicsConfig(learn=tuple(case.truth))).double()
    for name, value in case.truth.items():
        model.factors[name].fill_(math.log(value))
    plan, start, draws = case.plan.double(), model.initial(1), Generator().manual_seed(seed)
    if case.free:  # A start elsewhere, of which nothing is told but a wrong guess.
        leaves = tree.named(start)
        start = tree.from_named(leaves | {name: leaves[name] + 0.3 for name in case.free}, start)
    states = rollout.imagine(model, start, plan[:, None, None], ()).states
    states = tree.map(lambda s, x: torch.cat([s[None], x]), start, states)
    clean = model.decode(tree.flatten_time(states))[case.sensor]
    spread = clean.std(0)
    if case.sensor == "keypoints":  # one noise for all points, as a camera has
        spread = clean.var(0).mean().sqrt().expand(spread.shape)
    sigma = SHARE * torch.where(spread > 1e-3, spread, 0.0)
    seen = clean + sigma * torch.randn(clean.shape, generator=draws, dtype=clean.dtype)
    first = torch.zeros(1, len(clean), dtype=torch.bool)
    first[:, 0] = True
    never, done = torch.zeros_like(first), torch.cat([torch.zeros_like(plan[:1]), plan])
    batch = Batch({case.sensor: seen[None]}, done[None], never.double(), first, never, never)
    for name in case.truth:
        model.factors[name].zero_()
    return model, batch, sigma, start


def one_step(model: Physics, batch: Batch) -> dict[str, float]:
    """What the minimum of the one-step loss says; the model is left as it was."""
    start = {name: p.detach().clone() for name, p in model.factors.items()}
    chosen = torch.optim.LBFGS(model.factors.parameters(), 1.0, 40, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        chosen.zero_grad()
        loss = model.loss(batch, model.initial(1), ()).losses["state"].mean()
        loss.backward()
        return loss

    chosen.step(closure)
    found = {name: float(p.detach().exp()) for name, p in model.factors.items()}
    with torch.no_grad():
        for name, p in model.factors.items():
            p.copy_(start[name])
    return found


def run(case: Case, seeds: int) -> dict[str, Any]:
    """Errors over noise."""
    fits: list[Fit] = []
    simple: list[dict[str, float]] = []
    begun = time.perf_counter()
    for seed in range(seeds):
        model, batch, sigma, start = record(case, seed)
        guess = model.initial(1) if case.free else start
        fits.append(identify(model, batch, {case.sensor: sigma}, guess, case.free))
    seconds = (time.perf_counter() - begun) / seeds
    if case.sensor == "state" and bool((sigma > 0).all()):  # else exact numbers would help it
        for seed in range(seeds):
            simple.append(one_step(*record(case, seed)[:2]))
    found: dict[str, Any] = {"seconds of a fit": seconds}
    for name, true in case.truth.items():
        wrong = [abs(fit.factors[name] / true - 1) for fit in fits]
        said = [fit.errors[name] / true for fit in fits]
        found[name] = {
            "true": true,
            "begun at": 1.0,
            "found": [fit.factors[name] for fit in fits],
            "mean error": sum(wrong) / seeds,
            "largest error": max(wrong),
            "standard error": sum(said) / seeds,
        }
        if simple:
            off = [abs(one[name] / true - 1) for one in simple]
            found[name]["one-step loss: mean error"] = sum(off) / seeds
    found["misfit"] = [fit.misfit for fit in fits]
    return found


def main() -> None:
    """Fit all, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {**provenance(), "noise": f"{SHARE:.0%} of the motion's spread"}
    for name in options.cases:
        found[name] = run(CASES[name](), options.seeds)
        for factor, row in found[name].items():
            if isinstance(row, dict):
                beside = row.get("one-step loss: mean error")
                print(
                    f"{name:>11} {factor:>17}: error {row['mean error']:.2%} in the mean, "
                    f"{row['largest error']:.2%} at most; the fit says {row['standard error']:.2%}"
                    + ("" if beside is None else f"; one-step loss {beside:.1%}"),
                    flush=True,
                )
        if options.out:
            options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
