"""The command that measures a run."""

from __future__ import annotations

from reverie.cli import terminal
from reverie.cli.terminal import parse, whole, wrong


def evaluate(arguments: list[str]) -> int:
    """Measure a run and write its page."""
    from reverie.recipes.evaluation import evaluate
    from reverie.recipes.evidence import Evaluation
    from reverie.recipes.run import load

    run = arguments[0] if arguments else ""
    if not run or (run.startswith("-") and run not in ("-h", "--help")):
        return wrong("evaluate needs the directory of a run: reverie evaluate RUN [options].")
    rest = arguments if run.startswith("-") else arguments[1:]
    config = parse(Evaluation, "evaluate RUN", [whole(word) for word in rest])
    found = evaluate(load(run), config)
    table = terminal.table("question", "answer", "why", words=3)
    for answer in found.quality.answers():
        table.add_row(answer.question, answer.answer, answer.why)
    console = terminal.console()
    console.print(table)
    for note in found.quality.notes:
        console.print(note, highlight=False)
    print(found.page)
    return 0
