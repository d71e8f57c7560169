"""Imagined steps per second of one core: our CEM beside simulusion's, on equal world models.

    PYTHONPATH=. python bench/imagined_steps.py --peer PYTHON --out FILE

PYTHON is an interpreter with numpy, pyyaml, the torch that runs this file, and simulusion 1.1.0
installed with `--no-deps` (it asks for torchvision, which the parts used here do not import).

A plan is 500 candidates, 12 steps, 5 iterations: 30,000 imagined steps. Equal are the search (50
elites, deviation from 1.0 down to 0.05, no momentum, discount 0.99, clipped to the bounds, from
nothing known), float32, one thread, and the model, that of simulusion's `dreamer-wm` run: a
recurrent state-space model of 64 x 64 pictures with 6 actions, 30 Gaussian latent variables, a GRU
of 200, a layer of 200 before and after it, and heads for reward and end of two layers of 400.

Not equal: our reward head says 3 bins (of its usual 255, so that the work is the same), theirs one
number; our layers have a norm, and SiLU for their ELU; our candidates share the noise of the model,
theirs each draw their own. The multiply-adds of both are counted, and ours must not be fewer.
Weights are random. Times are of the processor, so that a busy machine counts less. Subjects take
turns, each in a process of its own; the median over all turns counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.subject import run
from reverie.core import rollout
from reverie.core.spec import Space
from reverie.learn.device import DeviceConfig, settle
from reverie.models.dreamer import CellConfig, Dreamer, DreamerConfig, LatentConfig
from reverie.nn.layers import MLP
from reverie.plan import CEM, MPC, MPCConfig
from reverie.viz.provenance import provenance

K, H, ITERATIONS, ELITES = 500, 12, 5, 50
ACTIONS, DETER, LATENT, UNITS = 6, 200, 30, 400
SIZES = (K, H, ITERATIONS, ELITES, ACTIONS, DETER, LATENT, UNITS)

PEER = """
import json, sys, time
import torch
from simulusion.agents import CEMPlanner
from simulusion.models.dreamer import Dreamer
from simulusion.world_model import as_world_model
torch.set_num_threads(1)
torch.manual_seed(0)
plans, k, h, iterations, elites, actions, deter, latent, units = map(int, sys.argv[1:])
dreamer = Dreamer.from_config(obs_shape=(3, 64, 64), action_size=actions, device="cpu",
    deter_size=deter, stoch_size=latent, num_units=units, use_disc_model=True, buffer_size=1000)
model = as_world_model(dreamer)
planner = CEMPlanner(horizon=h, candidates=k, iterations=iterations, elites=elites,
    discount=0.99, init_std=1.0, min_std=0.05, smoothing=0.0)
state = model.encode(torch.rand(1, 1, 3, 64, 64))
times = []
for _ in range(plans + 2):
    begun = time.process_time(); planner.plan(model, state)
    times.append(time.process_time() - begun)
rssm = dreamer.rssm
parts = (rssm.fc_state_action, rssm.rnn, rssm.fc_embed_prior, rssm.fc_state_prior,
    dreamer.reward_model, dreamer.discount_model)
count = sum(w.numel() for part in parts for w in part.parameters() if w.ndim > 1)
print(json.dumps({"seconds": times[2:], "multiply_adds": count}))
"""


def equal() -> Dreamer:
    """A Dreamer with the widths and depths of theirs."""
    config = DreamerConfig(
        latent=LatentConfig("gaussian", variables=LATENT),
        cell=CellConfig("gru", deter=DETER, hidden=DETER),
        units=UNITS,
        depth=16,  # of the convolutions, which planning does not run
        bins=3,
    )
    action = Space((ACTIONS,), low=-1.0, high=1.0)
    model = Dreamer({"image": Space((3, 64, 64), "uint8")}, action, 0.05, config)
    model.rssm.prior_net = MLP(DETER, config.latent.outputs, DETER, layers=1)
    model.reward = MLP(model.feature_size, config.bins, UNITS, layers=2)
    model.continues = MLP(model.feature_size, 1, UNITS, layers=2)
    return model.eval()


def multiply_adds(*parts: nn.Module) -> int:
    """Of one imagined step: each entry of each matrix is used once."""
    return sum(w.numel() for part in parts for w in part.parameters() if w.ndim > 1)


def ours(plans: int, compile: bool) -> dict[str, Any]:
    """Processor seconds of each of our plans, and the multiply-adds of a step."""
    device = settle(DeviceConfig(device="cpu", threads=1, compile=compile))
    torch.manual_seed(0)
    model, generator = equal(), torch.Generator().manual_seed(0)
    if compile:
        model.compile_parts(device.compiled)
    search = CEM(K, ELITES, ITERATIONS, deviation=1.0, floor=0.05, momentum=0.0)
    agent = MPC(model, search, MPCConfig(horizon=H, discount=0.99))
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        state = rollout.encode(model, {"image": image}, generator=generator)
    times = []
    for _ in range(plans + 2):
        begun = time.process_time()
        agent.solve(state, generator)
        times.append(time.process_time() - begun)
    count = multiply_adds(model.rssm.cell, model.rssm.prior_net, model.reward, model.continues)
    return {"seconds": times[2:], "multiply_adds": count}


def main() -> None:
    """Time in turns, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plans", type=int, default=10, help="timed plans of a turn")
    parser.add_argument("--peer", default="", help="PYTHON that has simulusion")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--alone", action="store_true", help="ours alone, as JSON (for itself)")
    parser.add_argument("--compile", action="store_true", help="with --alone")
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(ours(options.plans, options.compile)))
        return
    plans = str(options.plans)
    eager = [sys.executable, __file__, "--plans", plans, "--alone"]
    subjects = {"reverie, eager": eager, "reverie, compiled": [*eager, "--compile"]}
    if options.peer:
        subjects["simulusion"] = [options.peer, "-c", PEER, plans, *map(str, SIZES)]
    times: dict[str, list[float]] = {name: [] for name in subjects}
    counts: dict[str, int] = {}
    for _ in range(options.rounds):
        for name, command in subjects.items():
            found = run(command)
            times[name] += found["seconds"]
            counts[name] = found["multiply_adds"]
    if counts["reverie, eager"] < max(counts.values()):
        raise RuntimeError(f"Our model has fewer multiply-adds than theirs: {counts}.")
    steps = K * H * ITERATIONS
    result: dict[str, Any] = {
        **{"candidates": K, "horizon": H, "iterations": ITERATIONS, "threads": 1},
        **{"unit": "imagined steps per processor second", **provenance()},
    }
    for name, values in times.items():
        rate = steps / statistics.median(values)
        result[name] = {"median": rate, "max": steps / min(values), "multiply_adds": counts[name]}
        print(
            f"{name:17} {rate:8,.0f} imagined steps/s of a core, best {steps / min(values):8,.0f}, "
            f"{counts[name]:,} multiply-adds a step"
        )
    if options.peer:
        peer = result["simulusion"]["median"]
        for name in ("reverie, eager", "reverie, compiled"):
            result[name]["ratio"] = result[name]["median"] / peer
            print(f"{name}: {result[name]['ratio']:.2f} times simulusion")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
