"""The command that puts runs side by side."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from rich.table import Table as Terminal

from reverie.cli import terminal
from reverie.cli.terminal import parse, wrong

if TYPE_CHECKING:
    from reverie.viz.comparison import Shown


def compare(arguments: list[str]) -> int:
    """Measure runs on the same data and task, and write the page with both tables."""
    from reverie.recipes.comparison import compare
    from reverie.recipes.comparison_learning import StoppedError
    from reverie.recipes.comparison_subjects import Comparing

    runs = list(takewhile(lambda word: not word.startswith("-"), arguments))
    asked = {"-h", "--help"} & set(arguments)
    if not runs and not asked:
        return wrong("compare needs directories of runs: reverie compare RUN_A RUN_B [options].")
    config = parse(Comparing, "compare RUN_A RUN_B ...", arguments[len(runs) :])
    console = terminal.console()

    def told(words: str) -> None:
        console.print(words, highlight=False)

    try:
        found = compare(runs, config, told)
    except StoppedError as stopped:
        told(str(stopped))
        return 130
    for title, table in _tables(found.shown):
        console.print(f"\n[bold]{title}[/bold]")
        console.print(table)
    for note in found.shown.notes:
        told(note)
    print(found.page)
    return 0


def _tables(shown: Shown) -> list[tuple[str, Terminal]]:
    """Both tables for the terminal: numbers with their intervals in brackets."""
    from reverie.viz.comparison import judged

    found = []
    for one in shown.tables:
        made = terminal.table("", *shown.subjects)
        for group, rows in one.groups.items():
            made.add_row(f"[italic]{group}[/italic]")
            for row in rows:
                best = row.best(judged(shown))
                cells = []
                for name in shown.subjects:
                    words, below = row.cells[name].shown() if name in row.cells else ("", "")
                    text = f"{words} ({below})" if below else words
                    cells.append(f"[bold]{text}[/bold]" if name == best else text)
                made.add_row(f"  {row.name}".replace("[", "\\["), *cells)
        found.append((one.title, made))
    return found
