"""What planning earns when the model is right: each planner on the exact simulator.

    python bench/oracle_mpc.py cartpole_swingup --out bench/results/oracle_mpc.json

Return of 5 episodes, decisions and time. A result file keeps the tasks and planners of earlier
calls.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from reverie.envs import EnvConfig
from reverie.learn.collect import play
from reverie.learn.device import DeviceConfig, settle
from reverie.models.oracle import Oracle
from reverie.plan import MPC, MPCConfig
from reverie.recipes.planning import Search, optimiser
from reverie.recipes.run import judges
from reverie.viz.provenance import provenance

REACH = {
    "cartpole_swingup": (8, 14, 64, 2),
    "reacher_easy": (4, 10, 32, 2),
    "walker_walk": (4, 12, 64, 1),
}
"""By task: frames per decision, steps of a plan, candidates, iterations."""


def measure(task: str, planner: str, episodes: int, threads: int) -> dict[str, Any]:
    """Play, and say what came of it."""
    repeat, horizon, samples, iterations = REACH[task]
    env = EnvConfig(f"dmc:{task}", repeat=repeat, physics=True)
    search = Search(planner=planner, samples=samples, iterations=iterations)
    with Oracle(env, threads) as model, judges(env, episodes) as envs:
        made = optimiser(search, model.spec.action.size)
        agent = MPC(model, made, MPCConfig(horizon=horizon))
        begun = time.perf_counter()
        played = play(agent, envs, episodes, device=settle(DeviceConfig(device="cpu")), seed=0)
    return {
        "mean": float(played.returns.mean()),
        "returns": played.returns.tolist(),
        "seconds": time.perf_counter() - begun,
        "optimiser": repr(made),
        "repeat": repeat,
        "horizon": horizon,
        "timing": agent.timing()._asdict(),
        **provenance(),
    }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=REACH)
    parser.add_argument("--planners", nargs="+", default=["icem"])
    parser.add_argument("--episodes", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for planner in options.planners:
        result = measure(options.task, planner, options.episodes, options.threads)
        print(f"{options.task} {planner}: {result['mean']:.0f} {result['returns']}", flush=True)
        if options.out:
            kept = json.loads(options.out.read_text()) if options.out.exists() else {}
            kept.setdefault(options.task, {})[planner] = result
            options.out.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
