"""Learning curves: train a recipe on a task with some seeds, and write what came of it.

    python bench/learning.py cartpole_swingup --seeds 0 1 --out bench/results/cartpole_swingup.json
    python bench/learning.py cartpole_swingup --family tdmpc2 --seeds 0 1 --out FILE

A killed call goes on where it was; the result file grows with every finished seed.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from reverie.data.serial import to_json
from reverie.envs import EnvConfig
from reverie.learn.device import DeviceConfig
from reverie.learn.log import read
from reverie.learn.run import EvaluateConfig
from reverie.recipes.dreamer import DreamerRecipe, quick
from reverie.recipes.run import load, train
from reverie.recipes.study import evaluate
from reverie.recipes.tdmpc2 import TDMPC2Recipe
from reverie.viz.provenance import provenance

PUBLISHED = {
    "dreamer": {
        "cartpole_balance": 449.0,
        "cartpole_swingup": 293.0,
        "cheetah_run": 196.0,
        "reacher_easy": 492.0,
        "walker_stand": 313.0,
        "walker_walk": 213.0,
    },
    "tdmpc2": {
        "ball_in_cup_catch": 981.0,
        "cartpole_swingup": 839.0,
        "cheetah_run": 519.0,
        "finger_spin": 948.0,
    },
}
"""DreamerV3's training return at 50,000 frames, action repeat 2, train ratio 512 (its score file:
mean of the last 20,000 frames over 5 seeds); TD-MPC2's evaluation return at 100,000 frames (its
score files: 3 seeds; nothing is published before that)."""


def recipe(options: argparse.Namespace, seed: int) -> DreamerRecipe | TDMPC2Recipe:
    """The quick Dreamer, or TD-MPC2 of size 1m, with action repeat 2."""
    task, frames = options.task, options.frames
    env = EnvConfig(f"dmc:{task}", repeat=2)
    device = DeviceConfig(device="cpu", threads=options.threads)
    if options.family == "tdmpc2":
        run = Path("runs/learning") / f"{task}-tdmpc2-{options.samples}-{seed}"
        plain = TDMPC2Recipe(run=run, env=env)
        search = replace(plain.search, samples=options.samples, elites=options.samples // 8)
        training = replace(plain.training, frames=frames, seed=seed, device=device)
        return replace(plain, search=search, training=training)
    run = Path("runs/learning") / f"{task}-{options.gradient}-{options.ratio:g}-{seed}"
    made = quick(run, env, frames, options.ratio, discount=0.985)
    judged = EvaluateConfig(every=10_000, episodes=5)
    training = replace(made.training, seed=seed, evaluate=judged, device=device)
    behaviour = replace(made.behaviour, gradient=options.gradient)
    return replace(made, training=training, behaviour=behaviour)


def measure(options: argparse.Namespace, seed: int) -> dict[str, Any] | None:
    """Train one seed to the end, and judge it; None where a signal stopped it."""
    made, frames, begun = recipe(options, seed), options.frames, provenance()
    if not train(made).finished:
        return None
    judged = evaluate(load(made.run), episodes=10)
    episodes = read(made.run / "log.jsonl", "episode")
    recent = [line["return"] for line in episodes if line["frames"] > frames - 20_000]
    return {
        "seed": seed,
        "training_return_last_20k_frames": sum(recent) / len(recent),
        "evaluation": judged.to_json(),
        "counters": load(made.run).counters,
        "curve": [[line["frames"], line["return"]] for line in episodes],
        "recipe": to_json(made),
        **begun,
    }


def main() -> None:
    """Train, print a table, keep the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task")
    parser.add_argument("--family", choices=PUBLISHED, default="dreamer")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--frames", type=int, default=50_000)
    parser.add_argument("--ratio", type=float, default=64.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gradient", choices=["dynamics", "reinforce"], default="dynamics")
    parser.add_argument("--samples", type=int, default=512, help="candidates of TD-MPC2's planner")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    published = PUBLISHED[options.family]
    if options.task not in published:
        parser.error(f"{options.family} has published values for {', '.join(published)}")
    for seed in options.seeds:
        result = measure(options, seed)
        if result is None:
            return
        kept: dict[str, Any] = {"task": options.task, "published": published[options.task]}
        kept["seeds"] = {}
        if options.out and options.out.exists():
            kept = json.loads(options.out.read_text())
        kept["seeds"][str(seed)] = result
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(kept, indent=1))
        print(
            f"{options.task} seed {seed}: training return "
            f"{result['training_return_last_20k_frames']:.0f}, evaluation "
            f"{result['evaluation']['policy']['mean']:.0f}, published {kept['published']:.0f}"
        )


if __name__ == "__main__":
    main()
