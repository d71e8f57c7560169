"""How fast MuJoCo worlds are drawn, look by look, beside dm_control's own renderer.

Every look draws the same states of the same task, one after the other, in rounds, so that a busy
moment of the machine hits all alike. Columns:

* `frames/s`: median of the rounds, wall clock. `best`: of the fastest round.
* `CPU`: frames per second of processor time (median); remains comparable on a busy machine.
* `ratio`: of dm_control's own time to this one, round by round (median).

The last row is a whole environment: physics, checks and the picture.

    python bench/render.py
    python bench/render.py --task quadruped_walk --height 240 --width 320 --frames 10
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("MUJOCO_GL", "egl")  # dm_control chooses its renderer when it is imported.

import numpy as np

from reverie.envs import EnvConfig, make
from reverie.envs.adapter import Adapter
from reverie.envs.camera import LOOKS, Look, MujocoCamera
from reverie.envs.dm_control import DmControl, load_suite

STEPS = {
    "full": LOOKS["full"],
    "one sample per pixel, small shadow map": Look(0, 512, True, True),
    "no shadows": Look(0, 0, True, True),
    "no reflections either": Look(0, 0, False, True),
    "no sky either: fast": LOOKS["fast"],
}


class Timing(NamedTuple):
    """One round of one look."""

    wall: float
    cpu: float


def timed(draw: Callable[[], Any], frames: int) -> Timing:
    """Seconds per frame."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(frames):
        draw()
    return Timing((time.perf_counter() - wall) / frames, (time.process_time() - cpu) / frames)


def candidates(task: str, height: int, width: int) -> dict[str, Callable[[], Any]]:
    """What is timed, by name."""
    simulator = DmControl(task)
    simulator.begin(0)
    physics = simulator.env.physics
    domain = next(d for d, t in load_suite().ALL_TASKS if f"{d}_{t}" == task)
    theirs = load_suite().load(domain, task.removeprefix(f"{domain}_"), task_kwargs={"random": 0})
    theirs.reset()
    camera = 2 if domain == "quadruped" else 0
    found: dict[str, Callable[[], Any]] = {
        "dm_control": lambda: theirs.physics.render(height, width, camera_id=camera)
    }
    for name, look in STEPS.items():
        ours = MujocoCamera(physics.model.ptr, physics.data.ptr, str(camera), look)
        found[name] = lambda ours=ours: ours.picture(height, width)
    env = make(EnvConfig(f"dmc:{task}", pixels=True, size=(height, width)))
    assert isinstance(env, Adapter)
    env.reset(0)
    actions = np.random.default_rng(0).uniform(-1, 1, (64, *env.action.shape))
    count = iter(range(10**9))

    def step() -> None:
        if env.step(actions[next(count) % 64]).last:
            env.reset(0)

    found["environment, fast"] = step
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", default="walker_walk")
    parser.add_argument("--height", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--frames", type=int, default=20, help="per look and round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    options = parser.parse_args()
    draws = candidates(options.task, options.height, options.width)
    for draw in draws.values():
        timed(draw, 2)  # contexts, shaders
    rounds = [
        {name: timed(draw, options.frames) for name, draw in draws.items()}
        for _ in range(options.rounds)
    ]
    print(f"{options.task}, {options.height} x {options.width}, {os.cpu_count()} cores, ", end="")
    print(f"{platform.machine()}, MUJOCO_GL={os.environ['MUJOCO_GL']}\n")
    print("| look | frames/s | best | CPU | ratio |\n|---|---|---|---|---|")
    table = {}
    for name in draws:
        row = {
            "frames_per_second": 1 / statistics.median(r[name].wall for r in rounds),
            "best": 1 / min(r[name].wall for r in rounds),
            "frames_per_cpu_second": 1 / statistics.median(r[name].cpu for r in rounds),
            "ratio": statistics.median(r["dm_control"].wall / r[name].wall for r in rounds),
        }
        table[name] = row
        print(f"| {name} | {' | '.join(f'{value:.1f}' for value in row.values())} |")
    if options.json:
        options.json.write_text(json.dumps({**vars(options), "json": "", "looks": table}, indent=1))


if __name__ == "__main__":
    main()
