"""What `make demo` learns, with several seeds: its return beside random actions, and its time.

PYTHONPATH=. python bench/demo.py --seeds 0 1 2 --out bench/results/demo.json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from reverie.recipes.demo import recipe
from reverie.recipes.run import load, train
from reverie.recipes.study import evaluate
from reverie.viz.provenance import provenance


def measure(seed: int) -> dict[str, Any] | None:
    """Train the demo's recipe with a seed, and judge it; None where a signal stopped it."""
    made = recipe(Path("runs/demo-seeds") / str(seed))
    made = replace(made, training=replace(made.training, seed=seed))
    if not train(made).finished:
        return None
    loaded = load(made.run)
    judged = evaluate(loaded)
    return {"counters": loaded.counters, "ratio": judged.ratio, **judged.to_json()}


def main() -> None:
    """Train each seed, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    kept: dict[str, Any] = {**provenance(), "seeds": {}}
    for seed in options.seeds:
        result = measure(seed)
        if result is None:
            return
        kept["seeds"][str(seed)] = result
        print(
            f"seed {seed}: policy {result['policy']['mean']:.0f}, random "
            f"{result['baseline']['mean']:.0f}, {result['ratio']:.1f} times "
            f"({result['ratio_low']:.1f} to {result['ratio_high']:.1f}), "
            f"{result['counters']['seconds']:.0f} s"
        )
        if options.out:
            options.out.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
