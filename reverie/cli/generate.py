"""The command that writes what a model imagines as a dataset."""

from __future__ import annotations

from reverie.cli import terminal
from reverie.cli.terminal import parse, whole, wrong


def generate(arguments: list[str]) -> int:
    """Imagine episodes in the model of a run, and write them."""
    from reverie.recipes.generating import Generating, generate
    from reverie.recipes.run import load

    run = arguments[0] if arguments else ""
    asked = run in ("-h", "--help")
    if not run or (run.startswith("-") and not asked):
        return wrong(
            "generate needs the directory of a run: reverie generate RUN --out DIR [options]."
        )
    rest = arguments if asked else arguments[1:]
    config = parse(Generating, "generate RUN", [whole(word) for word in rest])
    found = generate(load(run), config)
    table = terminal.table("episodes", "decisions", "mean predicted return", "ended in doubt")
    mean = f"{sum(found.returns) / len(found.returns):.4g}" if found.returns else ""
    counts = f"{found.episodes:,}", f"{found.decisions:,}"
    table.add_row(*counts, mean, str(found.uncertain))
    console = terminal.console()
    console.print(table)
    console.print(f"Look at it: reverie data view {config.out}", highlight=False)
    return 0
