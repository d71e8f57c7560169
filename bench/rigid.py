"""Steps per second of a quadruped with ground contact, batch 256, beside Genesis and MuJoCo.

    PYTHONPATH=. python bench/rigid.py --peer PYTHON --out FILE

PYTHON is an interpreter with genesis-world 1.4.5. The robot is `reverie.physics.robots.quadruped`:
a free trunk, twelve hinges with position servos, four feet on a plane; dt 4 ms, float32, standing
after it has settled. Counted are world steps: 256 x 20 in a round. `call` is one call of ours for
each step, as a policy makes them; `rollout` one call for all 20, under one control. The gradient is
of the mean height at the end with respect to the control. Ours runs on one core. MuJoCo
(`mujoco.rollout`, float64, no gradient) runs on one and on two threads; Genesis on one.

Not equal: MuJoCo and Genesis solve contacts as constraints, by iterations; ours are compliant.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.subject import run
from reverie.core import tree
from reverie.physics import rigid
from reverie.physics.robots import quadruped
from reverie.viz.provenance import provenance

WORLDS, STEPS, DT = 256, 20, 0.004

PEER = """
import json, sys, time
import torch, genesis as gs
gs.init(backend=gs.cpu, precision="32", logging_level="error")
grad, worlds, steps = sys.argv[1] == "gradient", 256, 20
scene = gs.Scene(
    sim_options=gs.options.SimOptions(dt=0.004, substeps=1, requires_grad=grad),
    rigid_options=gs.options.RigidOptions(iterations=10, ls_iterations=10), show_viewer=False)
robot = scene.add_entity(gs.morphs.MJCF(file=sys.argv[2]))
scene.build(n_envs=worlds)
def forward():
    for _ in range(steps): scene.step()
def backward():
    scene.reset()
    control = torch.zeros(worlds, robot.n_dofs, requires_grad=True)
    for _ in range(steps):
        robot.control_dofs_force(control)
        scene.step()
    robot.get_state().pos.sum().backward()
    return control.grad
run = backward if grad else forward
begun = time.perf_counter(); run(); first = time.perf_counter() - begun
run(); times = []
for _ in range(3):
    begun = time.perf_counter(); run(); times.append(time.perf_counter() - begun)
print(json.dumps({"steps": worlds * steps / min(times), "first": first}))
"""


def _rate(run: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return WORLDS * STEPS / min(times)


def ours(rounds: int) -> dict[str, Any]:
    """World steps per second, by call and by rollout, forward and with the gradient."""
    loaded = rigid.load(quadruped(dt=DT))
    model, params = loaded.model, loaded.params
    start = tree.map(lambda x: x.expand(WORLDS, *x.shape[1:]).clone(), loaded.poses["default"])
    still = torch.zeros(WORLDS, len(model.actuators))

    def calls(state: rigid.RigidState, control: torch.Tensor) -> rigid.RigidState:
        for _ in range(STEPS):
            state = rigid.rigid_step(model, state, params, control, DT, backend="warp")
        return state

    def rollout(state: rigid.RigidState, control: torch.Tensor) -> rigid.RigidState:
        return rigid.rigid_step(model, state, params, control, DT * STEPS, STEPS, backend="warp")

    begun = time.perf_counter()
    control = still.clone().requires_grad_()
    torch.autograd.grad(rollout(start, control).position[:, 2].mean(), control)
    found: dict[str, Any] = {"first": time.perf_counter() - begun}
    with torch.no_grad():
        for _ in range(10):
            start = rollout(start, still)
    for name, steps in (("call", calls), ("rollout", rollout)):

        def forward(steps: Any = steps) -> None:
            with torch.no_grad():
                steps(start, still)

        def both(steps: Any = steps) -> None:
            torch.autograd.grad(steps(start, control).position[:, 2].mean(), control)

        found[f"{name}, forward"] = _rate(forward, rounds)
        found[f"{name}, gradient"] = _rate(both, rounds)
    return found


def mujocos(rounds: int) -> dict[str, float]:
    """World steps per second of MuJoCo's own rollout."""
    import mujoco
    import numpy as np
    from mujoco import rollout

    model = mujoco.MjModel.from_xml_string(quadruped(dt=DT))
    data = mujoco.MjData(model)
    for _ in range(200):
        mujoco.mj_step(model, data)
    size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    start = np.zeros((WORLDS, size))
    mujoco.mj_getState(model, data, start[0], mujoco.mjtState.mjSTATE_FULLPHYSICS)
    start[:] = start[0]
    found = {}
    for threads in (1, 2):
        copies = [mujoco.MjData(model) for _ in range(threads)]
        with rollout.Rollout(nthread=threads if threads > 1 else 0) as runner:
            found[f"mujoco, {threads} thread"] = _rate(
                lambda r=runner, c=copies: r.rollout(model, c, start, nstep=STEPS),  # type: ignore[misc]
                rounds,
            )
    return found


def main() -> None:
    """Time in turns, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
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
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        run([*command[:-3], "--rounds", "1", "--alone"], WARP_CACHE_PATH=f"{folder}/cache")
        cold = time.perf_counter() - begun
        found: dict[str, Any] = {"reverie": {**run(command), "cold": cold}}
        found |= mujocos(options.rounds)
        if options.peer:
            path = Path(folder) / "quadruped.xml"
            path.write_text(quadruped(dt=DT))
            for name in ("forward", "gradient"):
                peer = run([options.peer, "-c", PEER, name, str(path)], QD_NUM_THREADS="1")
                found[f"genesis, {name}"] = peer
                found[f"ratio {name}"] = found["reverie"][f"rollout, {name}"] / peer["steps"]
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps({**about, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
