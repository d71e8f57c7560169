"""A control loop at 20 Hz with 40 ms for a decision, while another process loads one core.

    python bench/control_loop.py --out bench/results/control_loop.json

A small Dreamer (random weights: time does not depend on them) is planned in with MPPI, as many
iterations as the budget allows. Says how many decisions were in time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from reverie.core.spec import Space
from reverie.envs import EnvConfig
from reverie.plan import MPC, MPPI, MPCConfig
from reverie.recipes.dreamer import quick
from reverie.viz.provenance import provenance


def measure(rate: float, budget: float, seconds: float, loaded: bool) -> dict[str, Any]:
    """Run the loop, and count."""
    recipe = quick(Path("unused"), EnvConfig("toy:pendulum"), frames=1000)
    obs, action = {"position": Space((24,))}, Space((6,), low=-1.0, high=1.0)
    learner = recipe.build(obs, action, 1 / rate).eval()
    search = MPPI(samples=64, elites=8, iterations=50, deviation=1.0, floor=0.05, execute="draw")
    agent = MPC(
        learner.model,
        search,
        MPCConfig(horizon=5, proposals=4, budget=budget),
        policy=learner.policy,
        terminal=learner.critic,
    )
    memory, first = agent.begin(1), torch.ones(1, dtype=torch.bool)
    sensed = torch.randn(int(rate * seconds) + 20, 24, generator=torch.Generator().manual_seed(0))
    for k in range(20):  # what is loaded and measured once
        _, memory = agent.act(memory, {"position": sensed[k : k + 1]}, first if not k else ~first)
    agent.clock.forget()
    load = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if loaded else None
    try:
        begun, missed = time.perf_counter(), 0
        for k in range(int(rate * seconds)):
            due = begun + k / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            row = {"position": sensed[k + 20 : k + 21]}
            _, memory = agent.act(memory, row, ~first)
            missed += time.perf_counter() > due + 1 / rate
    finally:
        if load is not None:
            load.kill()
    timing = agent.timing()
    return {
        **timing._asdict(),
        "in_time": 1 - timing.late / timing.decisions,
        "ticks_missed": missed,
        "loaded": loaded,
    }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--budget", type=float, default=40.0)
    parser.add_argument("--seconds", type=float, default=50.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = measure(options.rate, options.budget, options.seconds, loaded=True)
    print(
        f"{result['decisions']} decisions at {options.rate:g} Hz, budget {options.budget:g} ms: "
        f"{result['in_time']:.1%} in time, {result['fallbacks']} fallbacks, "
        f"{result['iterations']:.1f} iterations, 99 % within {result['p99']:.1f} ms, worst "
        f"{result['worst']:.1f} ms, {result['ticks_missed']} ticks missed"
    )
    if options.out:
        kept = {"rate": options.rate, "budget": options.budget, **result, **provenance()}
        options.out.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
