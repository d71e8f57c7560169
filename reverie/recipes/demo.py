"""The demo: a robot task learnt from its own experience in minutes on two cores, and a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from reverie.data import ReplayConfig
from reverie.envs import EnvConfig
from reverie.imagine import ActorCriticConfig
from reverie.learn.optim import OptimiserConfig
from reverie.learn.run import RunConfig
from reverie.models.dreamer import CellConfig, DreamerConfig, LatentConfig
from reverie.recipes.dreamer import DreamerRecipe
from reverie.recipes.run import load, train
from reverie.recipes.study import report, results


def recipe(run: Path, smoke: bool = False) -> DreamerRecipe:
    """Cartpole swing-up from proprioception with a small, fast DreamerV3.

    What differs from the published settings is for the sake of minutes: narrower layers, shorter
    sequences, imagination from a quarter of the rows, a higher learning rate.
    """
    training = RunConfig(
        frames=40_000,
        train_ratio=128,
        prefill=1000,
        optimiser=OptimiserConfig(lr=1e-3, warmup=100),
    )
    if smoke:
        training = replace(training, frames=2_400, train_ratio=16, prefill=500)
    return DreamerRecipe(
        run=run,
        env=EnvConfig(name="dmc:cartpole_swingup", repeat=4),
        size="custom",
        model=DreamerConfig(
            latent=LatentConfig(variables=16, classes=4),
            cell=CellConfig(deter=256, hidden=64),
            units=64,
            depth=4,
        ),
        behaviour=ActorCriticConfig(starts=8),
        replay=ReplayConfig(batch=16, length=32),
        training=training,
    )


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
    judged = results(run)["evaluation"]
    ours, random = judged["policy"]["mean"], judged["baseline"]["mean"]
    console.print(
        f"Return of the learned policy {ours:.0f}, of random actions {random:.0f}: "
        f"{ours / random:.1f} times as much."
    )
    console.print(f"[bold]3. The report[/bold] is {page.resolve()}", soft_wrap=True)
    return 0
