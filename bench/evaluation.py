"""How long `reverie evaluate` takes, and what it says first of a copy that ignores the action.

    make demo
    python bench/evaluation.py runs/demo --out bench/results/evaluation.json

The copy is the run's own model, with the weights that read the action set to zero.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from reverie.recipes.evaluation import evaluate
from reverie.recipes.evidence import Evaluation
from reverie.recipes.run import load
from reverie.viz.provenance import provenance

READS_ACTION = ("action_in",)  # parts of a Dreamer's cell


def main() -> None:
    """Evaluate a run and its deaf copy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    facts, found = provenance(), {}
    with TemporaryDirectory() as place:
        for name in ("as it is", "ignoring the action"):
            loaded = load(options.run)
            if name != "as it is":
                deafen(loaded.model)
            begun = time.monotonic()
            done = evaluate(loaded, Evaluation(out=place))
            answers = [vars(answer) for answer in done.quality.answers()]
            found[name] = {"seconds": time.monotonic() - begun, "answers": answers}
            print(f"{name}: {found[name]['seconds']:.0f} s")
            for answer in answers:
                told = f"{answer['question']} {answer['answer']}. {answer['why']}"
                print(f"  {answer['level']:8}{told}")
    if options.out:
        result = {"run": str(options.run), "threads": options.threads, **facts, **found}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


def deafen(model: torch.nn.Module) -> None:
    """Set the weights that read the action to zero."""
    touched = 0
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if any(part in name for part in READS_ACTION):
                weight.zero_()
                touched += 1
    if not touched:
        raise SystemExit(f"No weights called {READS_ACTION} were found; give a Dreamer's run.")


if __name__ == "__main__":
    main()
