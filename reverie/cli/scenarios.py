"""Commands about scenarios: new, show, list, export, check, view; and optimise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from reverie.cli import terminal
from reverie.cli.terminal import Nothing, parse, wrong


@dataclass(frozen=True)
class NewOptions:
    """Draw scenarios, and write a file for each."""

    kind: tyro.conf.Positional[str]
    """See `reverie scenario list`."""
    seed: int = 0
    """Of the first."""
    difficulty: float = 0.5
    """In [0, 1]."""
    count: int = 1
    """How many, with seeds that follow."""
    out: Path = Path("scenarios")
    """Directory, or the file (.json) of the only one."""


@dataclass(frozen=True)
class ShowOptions:
    """Draw a picture of a scenario, and a film of its solution."""

    scenario: tyro.conf.Positional[str]
    """A file (push.json), a kind (push), or a kind and a seed (push-3)."""
    out: Path = Path("scenarios")
    """Directory."""
    size: int = 256
    """Of the pictures [px]."""
    film: Literal[".webp", ".gif", ".mp4", "none"] = ".webp"
    """Format of the film."""


@dataclass(frozen=True)
class ExportOptions:
    """Write a scenario as files that other programs read: MJCF, meshes, points, arrays."""

    scenario: tyro.conf.Positional[str]
    """A file, a kind, or a kind and a seed."""
    out: Path | None = None
    """Directory; by default scenarios/<name>."""


@dataclass(frozen=True)
class ViewOptions:
    """See and drive a scenario in the browser."""

    scenario: tyro.conf.Positional[str]
    """A file, a kind, or a kind and a seed."""
    port: int = 8080
    """Of the page, on this machine alone; the next free one where it is taken."""
    seconds: float = 0.0
    """Stop after so long; 0: at Ctrl-C."""


@dataclass(frozen=True)
class CheckOptions:
    """Count the scenarios that the plan of their construction solves."""

    kinds: tyro.conf.Positional[tuple[str, ...]] = ()
    """By default all that have one."""
    seeds: int = 5
    """Scenarios of each kind."""
    difficulty: tuple[float, ...] = (0.2, 0.5, 0.9)
    """Each in [0, 1]."""
    out: Path | None = None
    """A JSON file for the result."""


@dataclass(frozen=True)
class OptimiseOptions:
    """Solve a scenario: a plan by gradient or by samples, or a policy by gradient (SHAC)."""

    scenario: tyro.conf.Positional[str]
    """A file (push.json), a kind (push), or a kind and a seed (push-3)."""
    method: Literal["gradient", "cem", "shac"] = "gradient"
    """gradient and cem search a plan, shac learns a policy and resumes."""
    iterations: int = 0
    """Steps of the gradient, rounds of samples, updates of the policy; 0: 60, 60, 200."""
    candidates: int = 0
    """Starts of the gradient, samples of a round, episodes side by side; 0: 2, 64, 32."""
    rate: float = 0.0
    """Learning rate; 0: 0.1 of half the range of actions for a plan, 0.002 for a policy."""
    block: int = 1
    """Decisions for which each action of a plan is held."""
    horizon: int = 16
    """Decisions through which the gradient of a policy flows."""
    seconds: float = 0.0
    """Stop after so long; 0: when the iterations are made."""
    seed: int = 0
    """Of the search."""
    out: Path | None = None
    """Directory; by default runs/<scenario>."""
    size: int = 256
    """Of the film [px]; 0 for none."""


def scenario(arguments: list[str]) -> int:
    """Robot tasks in simulated worlds."""
    word, rest = (arguments or [""])[0], arguments[1:]
    if word not in _SCENARIO:
        return wrong(f"scenario needs one of {', '.join(_SCENARIO)}; got {word!r}.")
    return _SCENARIO[word](rest)


def _list(arguments: list[str]) -> int:
    parse(Nothing, "scenario list", arguments)
    from reverie.models.physics.scenarios import KINDS

    table = terminal.table("kind", "what is to be done", "materials", "solution", words=4)
    for name, kind in KINDS.items():
        solution = "by construction" if kind.plan else "by a planner"
        table.add_row(name, kind.about, ", ".join(kind.materials), solution)
    terminal.console().print(table)
    return 0


def _new(arguments: list[str]) -> int:
    options = parse(NewOptions, "scenario new", arguments)
    from reverie.recipes.scenarios import new

    seeds = range(options.seed, options.seed + options.count)
    for path in new(options.kind, seeds, options.difficulty, options.out):
        print(path)
    return 0


def _show(arguments: list[str]) -> int:
    options = parse(ShowOptions, "scenario show", arguments)
    from reverie.recipes.scenarios import show

    film = options.film.removeprefix("none")
    shown = show(options.scenario, options.out, options.size, film)
    print(shown.picture)
    if shown.film:
        word = "solves it" if shown.solved else "does not solve it"
        print(f"{shown.film}  (the plan of its construction {word}, return {shown.reward:.2f})")
    return 0


def _export(arguments: list[str]) -> int:
    options = parse(ExportOptions, "scenario export", arguments)
    from reverie.recipes.scenarios import export, find

    out = options.out or Path("scenarios") / find(options.scenario).name
    for path in export(options.scenario, out):
        print(path)
    return 0


def _view(arguments: list[str]) -> int:
    options = parse(ViewOptions, "scenario view", arguments)
    from reverie.recipes.live import Live

    live = Live(options.scenario, options.port)
    try:
        live.run(options.seconds, lambda url: print(f"{url}  (Ctrl-C ends it)", flush=True))
    except KeyboardInterrupt:
        print("Ended.")
    return 0


def _check(arguments: list[str]) -> int:
    options = parse(CheckOptions, "scenario check", arguments)
    from reverie.recipes.scenarios import check, keep, solvable

    console, results = terminal.console(), []
    table = terminal.table("kind", "difficulty", "solved", "by doing nothing", "seconds each")
    for kind in options.kinds or solvable():
        for difficulty in options.difficulty:
            found = check(kind, difficulty, options.seeds, console.print)
            results.append(found)
            share, idle = (f"{n} of {found.seeds}" for n in (found.solved, found.idle))
            table.add_row(kind, str(difficulty), share, idle, f"{found.seconds:.1f}")
    console.print(table)
    if options.out:
        print(keep(results, options.out))
    return 0


def optimise(arguments: list[str]) -> int:
    """Solve a scenario."""
    options = parse(OptimiseOptions, "optimise", arguments)
    from reverie.recipes.optimise import Solver, solve
    from reverie.recipes.scenarios import find

    names = ("method", "iterations", "candidates", "rate", "block", "horizon", "seconds", "seed")
    solver = Solver(**{name: getattr(options, name) for name in names})
    console, found = terminal.console(), find(options.scenario)
    out = options.out or Path("runs") / found.name

    def told(words: str) -> None:
        console.print(words, highlight=False)

    made = solve(found, solver, out, told, options.size)
    console.print(
        f"Done at the end: {100 * made.solved:.0f} %. Return {made.reward:.3f}, of doing nothing "
        f"{made.idle:.3f}; {made.course.steps[-1]:,} simulated steps in "
        f"{made.course.seconds[-1]:.0f} s.",
        highlight=False,
    )
    print(made.page)
    return 0


_SCENARIO: dict[str, Callable[[list[str]], int]] = {
    "new": _new,
    "show": _show,
    "list": _list,
    "export": _export,
    "check": _check,
    "view": _view,
}
