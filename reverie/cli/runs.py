"""Commands about runs: train, eval, plan, imagine, report, demo; and what there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.table import Table

from reverie.cli import terminal
from reverie.cli.terminal import Nothing, parse, whole, wrong


@dataclass(frozen=True)
class ReturnsOptions:
    """Play episodes with a trained policy."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""
    episodes: int = 10
    """Episodes to play."""
    sample: bool = False
    """Sample actions instead of taking the mode of the policy."""
    seed: int = 1_000_003
    """Of the episodes."""


@dataclass(frozen=True)
class ImagineOptions:
    """Watch some rows, then predict the rest without watching."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""
    observed: int = 20
    """Rows the model watches first."""
    horizon: int = 50
    """Decisions it imagines then."""
    episodes: int = 5
    """Episodes to measure on: new ones, or so many of those that are recorded."""
    data: str = ""
    """Recorded episodes to measure on, of any format; a run that acts nowhere is measured on those
    that it learnt from, where none are given."""
    steps: int = 0
    """Denoising steps of a frame, 1, 2, 4 .., of a model that denoises; 0: as it was trained to be
    used."""
    film: Path | None = None
    """Where to write the film (.webp, .gif or .mp4); by default imagine.webp in the run."""


@dataclass(frozen=True)
class PlanOptions:
    """Act by planning in a trained model, or in an environment's exact simulator."""

    target: tyro.conf.Positional[str]
    """Directory of a run, or the name of a MuJoCo environment such as dmc:walker_walk."""
    planner: Literal["cem", "icem", "mppi", "gradient", "hybrid"] = "icem"
    """How plans are searched."""
    horizon: int = 0
    """Steps of a plan; 0: 6 with a learnt value at its end, else 12."""
    samples: int = 0
    """Candidates of an iteration (of gradient: starts); 0: the planner's own."""
    iterations: int = 0
    """Rounds of a search; 0: the planner's own."""
    block: int = 1
    """Decisions for which each action of a plan is held."""
    proposals: int = 24
    """Plans of the learnt policy among the candidates."""
    terminal: bool = True
    """Whether the learnt value judges the end of a plan."""
    budget: float = 0.0
    """Time for a decision [ms]; 0: as long as it takes."""
    episodes: int = 5
    """Episodes to play."""
    decisions: int = 0
    """Of an episode, at most; 0: as many as it has."""
    repeat: int = 2
    """Frames per decision in an environment's simulator."""
    film: int = 150
    """Decisions that are filmed; 0 for no film."""
    out: Path | None = None
    """Where results are written; by default results in the run, or runs/plan."""
    seed: int = 1_000_003
    """Of the episodes."""


@dataclass(frozen=True)
class ReportOptions:
    """Write a self-contained page about a run."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""
    out: Path | None = None
    """Where to write it; by default report.html in the run."""
    episodes: int = 10
    """Episodes to judge the policy on."""
    data: str = ""
    """Recorded episodes to measure predictions on, instead of acting; a run that acts nowhere is
    measured on those that it learnt from, where none are given."""


@dataclass(frozen=True)
class DemoOptions:
    """Learn a robot task from its own experience, judge it, and write a report."""

    run: Path = Path("runs/demo")
    """Directory of the run; what is there is gone on with."""
    smoke: bool = False
    """Only try the whole path, in about a minute, without learning much."""


def train(arguments: list[str]) -> int:
    """Learn a world model and a policy, from where the run stands."""
    from reverie.recipes.run import recipe_class, train, trained

    if not arguments or arguments[0].startswith("-"):
        return wrong(f"train needs a model family: {', '.join(trained())}.")
    kind = recipe_class(arguments[0])
    options = [whole(word) for word in arguments[1:]]
    recipe = parse(kind, f"train {arguments[0]}", options)
    result = train(recipe)
    return 0 if result.finished else 130


def returns(arguments: list[str]) -> int:
    """Judge the policy of a run."""
    options = parse(ReturnsOptions, "returns", arguments)
    from reverie.recipes.run import load
    from reverie.recipes.study import evaluate_each

    results = evaluate_each(load(options.run), options.episodes, options.sample, options.seed)
    table = terminal.table("policy", "mean return", "95 % interval", "episodes")
    for task, result in results.items():
        where = f"{task}, " if len(results) > 1 else ""
        for name, returns in (("learned", result.policy), ("random", result.baseline)):
            interval = f"{returns.low:.1f} to {returns.high:.1f}"
            table.add_row(where + name, f"{returns.mean:.1f}", interval, str(returns.n))
    terminal.console().print(table)
    return 0


def imagine(arguments: list[str]) -> int:
    """Measure and film predictions."""
    options = parse(ImagineOptions, "imagine", arguments)
    from reverie.recipes import recorded, study
    from reverie.recipes.data import DataConfig
    from reverie.recipes.run import load
    from reverie.viz import panel, video

    loaded, data = load(options.run), DataConfig(options.data)
    loaded.denoise_in(options.steps)
    ahead = {"observed": options.observed, "horizon": options.horizon}
    given = recorded.on_recorded(loaded, data)
    if given:
        result = recorded.predict(loaded, data, episodes=options.episodes, **ahead)
    else:
        result = study.predict(loaded, episodes=options.episodes, **ahead)
    console = terminal.console()
    console.print(_errors(result))
    shot = recorded.film(loaded, data, **ahead) if given else study.film(loaded, **ahead)
    for note in shot.notes:
        console.print(note)
    frames, fps = panel.compose(shot)
    print(video.write(options.film or options.run / "imagine.webp", frames, fps))
    return 0


def _errors(result: Any) -> Table:
    table = terminal.table("sensor", "metric", "decisions ahead", "model", "repeat the last")
    for sensor in result.sensors:
        metric = "psnr" if sensor.kind == "image" else "rmse"
        curves = sensor.errors[metric]
        marks = sorted({0, len(sensor.steps) // 4, len(sensor.steps) // 2, len(sensor.steps) - 1})
        for k in marks:
            model, repeat = (f"{curves[who].mean[k]:.3g}" for who in ("model", "repeat"))
            table.add_row(sensor.name, metric, str(sensor.steps[k]), model, repeat)
    return table


def plan(arguments: list[str]) -> int:
    """Act by planning."""
    options = parse(PlanOptions, "plan", arguments)
    from reverie.recipes.planning import Search, plan, subject

    names = ("planner", "horizon", "samples", "iterations", "block", "proposals", "terminal")
    search = Search(**{n: getattr(options, n) for n in (*names, "budget")})
    what = subject(options.target, options.repeat)
    out = options.out or (Path(options.target) / "results" if what.loaded else Path("runs/plan"))
    result = plan(
        what,
        search,
        out,
        episodes=options.episodes,
        decisions=options.decisions,
        film=options.film,
        seed=options.seed,
    )
    table = terminal.table("acting", "mean return", "95 % interval", "episodes")
    rows = {f"planning, {options.planner}": result.planner, "random": result.random}
    if result.actor:
        rows["the run's own agent"] = result.actor
    for name, returns in rows.items():
        interval = f"{returns.low:.1f} to {returns.high:.1f}"
        table.add_row(name, f"{returns.mean:.1f}", interval, str(returns.n))
    console, timing = terminal.console(), result.timing
    console.print(table)
    console.print(
        f"A decision: median {timing.p50:.1f} ms, 95 % within {timing.p95:.1f}, 99 % within "
        f"{timing.p99:.1f}; {timing.iterations:.1f} iterations, {timing.fallbacks} fallbacks.",
        highlight=False,
    )
    print(result.page)
    return 0


def report(arguments: list[str]) -> int:
    """Write the page of a run."""
    options = parse(ReportOptions, "report", arguments)
    from reverie.recipes import recorded, study
    from reverie.recipes.data import DataConfig
    from reverie.recipes.run import load

    loaded, data = load(options.run), DataConfig(options.data)
    if recorded.on_recorded(loaded, data):
        print(recorded.report(loaded, data, options.out))
    else:
        print(study.report(loaded, options.out, options.episodes))
    return 0


def demo(arguments: list[str]) -> int:
    """The README's first command."""
    options = parse(DemoOptions, "demo", arguments)
    from reverie.recipes.demo import demo

    return demo(options.run, options.smoke, terminal.console())


def envs(arguments: list[str]) -> int:
    """List environments."""
    parse(Nothing, "envs", arguments)
    from reverie.envs import available

    console = terminal.console()
    for family in available():
        state = "" if family.installed else f"  (not installed: {family.install})"
        console.print(f"[bold]{family.name}[/bold]  {family.about}{state}", highlight=False)
        for name in family.names:
            console.print(f"  {name}", highlight=False)
    return 0


def models(arguments: list[str]) -> int:
    """List families."""
    parse(Nothing, "models", arguments)
    from reverie.models import FAMILIES, family
    from reverie.recipes.run import trained

    table = terminal.table("family", "model", "trained by")
    for name in FAMILIES:
        about = (family(name).__doc__ or "").strip().splitlines()[0].partition(": ")[2]
        table.add_row(name, about, f"reverie train {name}" if name in trained() else "nothing")
    terminal.console().print(table)
    return 0
