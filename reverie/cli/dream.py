"""The command that trains a policy inside a finished world model."""

from __future__ import annotations

from reverie.cli import terminal
from reverie.cli.terminal import parse, whole, wrong


def dream(arguments: list[str]) -> int:
    """Train a policy in the model of a run, and judge it in the real environment."""
    from reverie.recipes.dreaming import Dreaming, dream
    from reverie.recipes.run import load

    run = arguments[0] if arguments else ""
    asked = run in ("-h", "--help")
    if not run or (run.startswith("-") and not asked):
        return wrong("dream needs the directory of a run: reverie dream RUN [options].")
    rest = arguments if asked else arguments[1:]
    config = parse(Dreaming, "dream RUN", [whole(word) for word in rest])
    found = dream(load(run), config)
    if not found.finished:
        return 130
    console = terminal.console()
    if found.returns is not None:
        table = terminal.table("policy", "mean return", "95 % interval", "episodes")
        who = {"learnt in the model": found.returns.policy, "random": found.returns.baseline}
        for name, returns in who.items():
            interval = f"{returns.low:.1f} to {returns.high:.1f}"
            table.add_row(name, f"{returns.mean:.1f}", interval, str(returns.n))
        console.print(table)
    console.print(str(found.place), highlight=False)
    return 0
