"""One TD-MPC2 update and one planned action, beside the published code in the same run.

    python bench/tdmpc2_update.py --sizes 1 5 --threads 2 --peer CHECKOUT:PYTHON --out FILE

Walker's state (24 numbers, 6 actions), batch 256, horizon 3, published planner, float32. CHECKOUT
is a clone of https://github.com/nicklashansen/tdmpc2 in which "cuda:0" is replaced by "cpu" and
"capturable=True" by "capturable=False"; PYTHON runs it (torch, tensordict 0.8.3, omegaconf).
Subjects take turns, each in a process of its own; the median over all turns counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.subject import run
from reverie.core.model import Batch
from reverie.core.spec import Space
from reverie.learn.device import DeviceConfig, settle
from reverie.learn.fit import Fitter
from reverie.recipes.tdmpc2 import TDMPC2Recipe
from reverie.viz.provenance import provenance

OBS, ACTIONS, BATCH, HORIZON = 24, 6, 256, 3

PEER = """
import json, sys, time, types
import torch
from omegaconf import OmegaConf
from common import MODEL_SIZE
from tdmpc2 import TDMPC2
size, repeats = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(int(sys.argv[3]))
read = OmegaConf.load("config.yaml")
values = {k: read[k] for k in read if not OmegaConf.is_missing(read, k)}
values.update(MODEL_SIZE[size])
values.update(model_size=size, compile=False, obs="state", obs_shape={"state": (24,)}, action_dim=6,
    episode_length=500, multitask=False, tasks=["walker-walk"], obs_shapes=None, action_dims=None,
    episode_lengths=None, task_dim=0, bin_size=0.2, seed_steps=2500, task="walker-walk",
    episodic=False)
class Settings(types.SimpleNamespace):
    def get(self, key, other=None):
        return getattr(self, key, other)
agent = TDMPC2(Settings(**values))
class Rows:
    def sample(self):
        return (torch.randn(4, 256, 24), torch.rand(3, 256, 6) * 2 - 1, torch.rand(3, 256, 1),
                torch.zeros(3, 256, 1), None)
rows, seen = Rows(), torch.randn(24)
def timed(call):
    times = []
    for k in range(repeats + 2):
        begun = time.perf_counter(); call(); times.append((time.perf_counter() - begun) * 1e3)
    return times[2:]
agent.act(seen, t0=True)
print(json.dumps({"update": timed(lambda: agent.update(rows)),
                  "plan": timed(lambda: agent.act(seen, t0=False))}))
"""


def ours(size: int, repeats: int, threads: int) -> dict[str, list[float]]:
    """Times [ms] of our update, optimiser and slow copies included, and of one planned action."""
    recipe = TDMPC2Recipe(size=f"{size}m")  # type: ignore[arg-type]
    device = settle(DeviceConfig(device="cpu", threads=threads))
    learner = recipe.build({"state": Space((OBS,))}, Space((ACTIONS,), low=-1.0, high=1.0), 0.05)
    fitter = Fitter(learner, recipe.training.optimiser, device)
    generator = torch.Generator().manual_seed(0)

    def rows() -> Batch:
        none = torch.zeros(BATCH, HORIZON + 1, dtype=torch.bool)
        return Batch(
            {"state": torch.randn(BATCH, HORIZON + 1, OBS, generator=generator)},
            torch.rand(BATCH, HORIZON + 1, ACTIONS, generator=generator) * 2 - 1,
            torch.rand(BATCH, HORIZON + 1, generator=generator),
            *(none, none, none),
        )

    agent = learner.agent
    memory, first = agent.begin(1), torch.ones(1, dtype=torch.bool)
    obs = {"state": torch.randn(1, OBS, generator=generator)}
    _, memory = agent.act(memory, obs, first, generator)

    def act() -> None:
        nonlocal memory
        _, memory = agent.act(memory, obs, ~first, generator)

    return {
        "update": _timed(lambda: fitter.fit(rows(), (), generator), repeats),
        "plan": _timed(act, repeats),
    }


def _timed(call: Callable[[], Any], repeats: int) -> list[float]:
    times = []
    for _ in range(repeats + 2):
        begun = time.perf_counter()
        call()
        times.append((time.perf_counter() - begun) * 1e3)
    return times[2:]


def main() -> None:
    """Time in turns, print ratios, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--peer", default="", help="CHECKOUT:PYTHON")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--alone", action="store_true", help="ours alone, as JSON (for itself)")
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(ours(options.sizes[0], options.repeats, options.threads)))
        return
    result: dict[str, Any] = {"threads": options.threads, "unit": "ms", **provenance()}
    for size in options.sizes:
        sizes = [str(size), str(options.repeats), str(options.threads)]
        words = ["--sizes", sizes[0], "--repeats", sizes[1], "--threads", sizes[2], "--alone"]
        subjects = {"reverie": ([sys.executable, __file__, *words], None)}
        if options.peer:
            checkout, python = options.peer.split(":")
            subjects["published"] = ([python, "-c", PEER, *sizes], Path(checkout) / "tdmpc2")
        times: dict[str, dict[str, list[float]]] = {name: {} for name in subjects}
        for _ in range(options.rounds):
            for name, (command, folder) in subjects.items():
                for what, values in run(command, folder).items():
                    times[name].setdefault(what, []).extend(values)
        result[f"{size}m"] = kept = {
            name: {k: {"median": statistics.median(v), "min": min(v)} for k, v in parts.items()}
            for name, parts in times.items()
        }
        for what in ("update", "plan"):
            line = ", ".join(f"{n} {kept[n][what]['median']:.0f} ms" for n in kept)
            if "published" in kept:
                share = kept["reverie"][what]["median"] / kept["published"][what]["median"]
                kept["reverie"][what]["ratio"] = share
                line += f", ratio {share:.2f}"
            print(f"{size}m {what}: {line}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
