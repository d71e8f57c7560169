"""The demo: a robot task learnt from its own experience in minutes on two cores, and a report."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from reverie.envs import EnvConfig
from reverie.eval.returns import Comparison
from reverie.recipes.dreamer import DreamerRecipe, quick
from reverie.recipes.run import load, train
from reverie.recipes.study import report, results


def recipe(run: Path, smoke: bool = False) -> DreamerRecipe:
    """Cartpole swing-up from proprioception, four simulator frames per decision."""
    env = EnvConfig(name="dmc:cartpole_swingup", repeat=4)
    if smoke:
        return quick(run, env, frames=2_400, train_ratio=32)
    return quick(run, env, frames=40_000, train_ratio=128)


def demo(run: Path, smoke: bool, console: Console) -> int:
    """Train, judge and report; says where the page is."""
    if smoke:
        run = run.with_name(run.name + "-smoke")
    console.print("[bold]1. Learning[/bold] cartpole swing-up from its own experience.")
    result = train(recipe(run, smoke))
    if not result.finished:
        return 130
    console.print("[bold]2. Judging[/bold] the policy, and the model's predictions.")
    page = report(load(run), episodes=2 if smoke else 10)
    console.print(verdict(Comparison.from_json(results(run)["evaluation"])))
    console.print(f"[bold]3. The report[/bold] is {page.resolve()}", soft_wrap=True)
    return 0


def verdict(judged: Comparison) -> str:
    """What was earned, in a sentence."""
    ours, random = judged.policy, judged.baseline
    return (
        f"Return of the learned policy {ours.mean:.0f} ({ours.n} episodes), of random actions "
        f"{random.mean:.0f} ({random.n} episodes): {judged.ratio:.1f} times as much "
        f"(95 % interval {judged.ratio_low:.1f} to {judged.ratio_high:.1f})."
    )
