"""One policy step: observe what was sensed, then act. Batch 1, size 1m, walker.

python bench/acting.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from walker import ACTION, DT, OBS

from reverie.recipes.dreamer import DreamerRecipe
from reverie.viz.provenance import provenance


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    learner = DreamerRecipe().build(OBS, ACTION, DT)
    agent = learner.agent
    generator = torch.Generator().manual_seed(0)
    obs = {name: torch.randn(1, *space.shape) for name, space in OBS.items()}
    no = torch.zeros(1, dtype=torch.bool)
    result: dict[str, object] = {"threads": options.threads, **provenance()}
    for name, source in (("sampled", generator), ("mode", None)):
        memory, times = agent.begin(1), []
        for _ in range(options.rounds):
            begun = time.perf_counter()
            _, memory = agent.act(memory, obs, no, source)
            times.append(1e3 * (time.perf_counter() - begun))
        kept = sorted(times[20:])
        result[name] = {"median_ms": statistics.median(kept), "min_ms": kept[0]}
        print(
            f"{name:8} median {statistics.median(kept):.2f} ms, "
            f"99 % {kept[int(0.99 * len(kept))]:.2f} ms, min {kept[0]:.2f} ms"
        )
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
