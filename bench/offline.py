"""Does a run that learns from recorded episodes before it acts do better than one that only acts?

    make demo
    python bench/offline.py --teacher runs/demo --out bench/results/offline.json

A spoiled copy of a trained policy (half of its actions random) records episodes of cartpole
swing-up
as a LeRobot dataset. Three quick Dreamers are then judged on the same episodes: one that learns
from the recording alone, one that acts alone, and one that does the first and then the second.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from reverie.envs import EnvConfig
from reverie.learn.run import PrefillConfig
from reverie.recipes.collecting import Collecting, collect
from reverie.recipes.data import DataConfig
from reverie.recipes.dreamer import DreamerRecipe, quick
from reverie.recipes.run import load, train
from reverie.recipes.study import evaluate
from reverie.viz.provenance import provenance


def main() -> None:
    """Record, learn in three ways, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True, help="directory of a run of `make demo`")
    parser.add_argument("--episodes", type=int, default=30)
    parser.add_argument("--updates", type=int, default=1500, help="on recorded episodes")
    parser.add_argument("--frames", type=int, default=6000, help="acted afterwards")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/offline"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    facts = provenance()
    env = load(options.teacher).env
    data = options.runs / "data"
    if not data.exists():
        found = collect(
            Collecting(data, env, options.teacher, options.episodes, random=0.5, hold=5, envs=5)
        )
        mean = sum(found.returns) / found.episodes
        print(f"recorded: {found.episodes} episodes, mean return {mean:.0f}")
    results: dict[str, dict[str, object]] = {}
    for seed in options.seeds:
        for name, recipe in recipes(options, env, data, seed).items():
            train(recipe)
            judged = evaluate(load(recipe.run), episodes=10)
            results.setdefault(name, {})[str(seed)] = judged.to_json()
            ours, theirs = judged.policy, judged.baseline
            interval = f"({ours.low:.0f} to {ours.high:.0f})"
            print(f"seed {seed}, {name}: {ours.mean:.0f} {interval}, random {theirs.mean:.0f}")
    if options.out:
        about = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
        options.out.write_text(json.dumps({**about, **facts, "results": results}, indent=1) + "\n")


def recipes(
    options: argparse.Namespace, env: EnvConfig, data: Path, seed: int
) -> dict[str, DreamerRecipe]:
    """The three ways."""
    plain = quick(options.runs / f"online-{seed}", env, options.frames, train_ratio=128)
    training = replace(plain.training, seed=seed)
    recorded = DataConfig(str(data))
    first = PrefillConfig(updates=options.updates)
    return {
        "recorded alone": replace(
            plain,
            run=options.runs / f"offline-{seed}",
            data=recorded,
            training=replace(training, updates=options.updates),
        ),
        "acting alone": replace(plain, training=training),
        "recorded, then acting": replace(
            plain,
            run=options.runs / f"both-{seed}",
            data=recorded,
            training=replace(training, prefill=first),
        ),
    }


if __name__ == "__main__":
    main()
