"""The command line: `reverie train dreamer --env dmc:walker_walk --run runs/a`, and the rest."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Sequence

from reverie.cli import compare, data, dream, evaluation, generate, play, runs, scenarios
from reverie.cli.terminal import wrong

USAGE = """usage: reverie COMMAND [options]

  train FAMILY   learn a world model and a policy; the same command resumes   (--run DIR)
  evaluate RUN   is its model right, does it know when not, does it obey, is it of use: one page
  compare RUNS   families side by side on the same data and task: two tables, one page
  returns RUN    the return of its policy on each task, beside random actions
  plan RUN       act by planning in its model, timed and filmed; or plan ENV, in its simulator
  imagine RUN    predict open loop: errors against horizon, and a film
  dream RUN      train a policy inside its finished model, judge it in the real environment
  play RUN       drive its model on a page, by keys; --beside shows the simulator, too
  report RUN     one self-contained HTML page about the run
  collect OUT    record an environment with a random, scripted or learnt policy, or by keyboard
  generate RUN   write what its model imagines as a dataset, marked as generated   (--out DIR)
  data           recorded episodes of many formats: info, stats, check, view, convert
  scenario       robot tasks in simulated worlds: new, show, list, export, check, view
  optimise WHAT  solve a scenario by gradient, by samples, or by a learnt policy
  demo           learn, judge and report a robot task in some minutes
  envs           environments there are
  models         model families there are

`reverie COMMAND --help` lists the options."""


STDOUT = 1

_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": runs.train,
    "compare": compare.compare,
    "evaluate": evaluation.evaluate,
    "returns": runs.returns,
    "imagine": runs.imagine,
    "plan": runs.plan,
    "dream": dream.dream,
    "play": play.play,
    "report": runs.report,
    "collect": data.collect,
    "generate": generate.generate,
    "data": data.data,
    "scenario": scenarios.scenario,
    "optimise": scenarios.optimise,
    "demo": runs.demo,
    "envs": runs.envs,
    "models": runs.models,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 where it succeeded, 1 where it failed, 2 where it was called wrongly."""
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read what is printed has left: `reverie envs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
        return 1


def _run(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from reverie import __version__

        print(f"reverie {__version__}")
        return 0
    command, rest = arguments[0], arguments[1:]
    if command not in _COMMANDS:
        return wrong(f"there is no command {command!r}.\n\n{USAGE}")
    try:
        return _COMMANDS[command](rest)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if type(error).__module__ == "builtins" and isinstance(error, RuntimeError):
            raise
        if isinstance(error, BrokenPipeError) and _unread():
            raise
        notes = " ".join(getattr(error, "__notes__", ()))
        print(f"reverie {command}: {error} {notes}".rstrip(), file=sys.stderr)
        return 1


def _unread() -> bool:
    """Whether the other end of the standard output is closed; False where that cannot be told."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(STDOUT, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
