"""Commands about recorded episodes: collect them, look at them, convert and check them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.table import Table

from reverie.cli import terminal
from reverie.cli.terminal import parse, whole, wrong

USAGE = """usage: reverie data COMMAND PATH [options]

  info PATH           format, episodes, sensors, actions
  stats PATH          mean, spread and range of every entry
  check PATH          what is wrong with it; 1 where there are errors
  view PATH           one HTML page: film, curves, values, findings
  convert PATH OUT    to LeRobotDataset v3 or an episode store

PATH is a LeRobot dataset (v3.0 or v2.1), Minari, robomimic or ALOHA HDF5, a folder of mp4 and npz,
an episode store, or an fsspec address. `reverie data COMMAND --help` lists the options."""


@dataclass(frozen=True)
class InfoOptions:
    """What a dataset holds."""

    path: tyro.conf.Positional[str]
    """Directory, file or fsspec address."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True)
class StatsOptions(InfoOptions):
    """Mean, spread and range of every entry."""


@dataclass(frozen=True)
class CheckOptions(InfoOptions):
    """What is wrong with a dataset; the exit code is 1 where there are errors."""


@dataclass(frozen=True)
class ViewOptions:
    """One HTML page that shows a dataset."""

    path: tyro.conf.Positional[str]
    """Directory, file or fsspec address."""
    out: Path = Path("runs/data.html")
    """Where to write the page."""
    episode: str = ""
    """The one that is filmed; by default the first."""
    check: bool = True
    """Whether the data is checked, which reads all of it."""


@dataclass(frozen=True)
class ConvertOptions:
    """Write a dataset in another format; the same command goes on where it was cut off."""

    path: tyro.conf.Positional[str]
    """Directory, file or fsspec address."""
    out: tyro.conf.Positional[Path]
    """Directory to write."""
    format: Literal["lerobot", "store"] = "lerobot"
    """LeRobotDataset v3, or Reverie's episode store."""
    episodes: tuple[str, ...] = ()
    """Names of those to convert; by default all."""
    sensors: tuple[str, ...] = ()
    """Names of those to keep; by default all."""


def data(arguments: list[str]) -> int:
    """Commands about one dataset."""
    commands = {"info": info, "stats": stats, "check": check, "view": view, "convert": convert}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    if arguments[0] not in commands:
        return wrong(f"there is no command `data {arguments[0]}`.\n\n{USAGE}")
    return commands[arguments[0]](arguments[1:])


def info(arguments: list[str]) -> int:
    """Say what a dataset holds."""
    options = parse(InfoOptions, "data info", arguments)
    from reverie.data.datasets import open_dataset
    from reverie.data.serial import to_json

    dataset = open_dataset(options.path)
    episodes, about = dataset.episodes(), dataset.about
    tasks = sorted({e.task for e in episodes if e.task})
    rows = sum(e.rows for e in episodes)
    if options.json:
        spaces = {name: space.to_json() for name, space in dataset.obs.items()}
        print(
            json.dumps(
                {
                    **to_json(about),
                    "episodes": len(episodes),
                    "rows": rows,
                    "tasks": tasks,
                    "obs": spaces,
                    "space": dataset.action.to_json(),
                },
                indent=1,
            )
        )
        return 0
    console = terminal.console()
    source = f" of {about.source}" if about.source else ""
    seconds = about.dt * (rows - len(episodes))
    console.print(
        f"{about.format}{source}: {len(episodes):,} episodes, {rows:,} rows, "
        f"{seconds / 60:.1f} minutes at {1 / about.dt:g} Hz.",
        highlight=False,
    )
    table = terminal.table("entry", "type", "shape", "range", "unit", words=5)
    for name, space in {**dataset.obs, "action": dataset.action}.items():
        kind = "choice" if space.discrete else space.dtype
        table.add_row(name, kind, str(space.shape), _range(space), space.unit)
    console.print(table)
    action = about.action
    told = [action.kind, f"frame {action.frame}" if action.frame else ""]
    told += ["scaled to -1..1" if action.low else "", ", ".join(action.names)]
    console.print("Action: " + "; ".join(filter(None, told)), highlight=False)
    for task in tasks[:10]:
        console.print(f"Task: {task}", highlight=False)
    dataset.close()
    return 0


def _range(space: Any) -> str:
    def words(bound: Any) -> str:
        values = set(bound) if isinstance(bound, tuple) else {bound}
        return f"{values.pop():g}" if len(values) == 1 else "various"

    return f"{words(space.low)} to {words(space.high)}"


def stats(arguments: list[str]) -> int:
    """Measure every entry."""
    options = parse(StatsOptions, "data stats", arguments)
    from reverie.data.datasets import open_dataset
    from reverie.data.statistics import measure

    dataset = open_dataset(options.path)
    found = measure(dataset)
    dataset.close()
    if options.json:
        print(json.dumps(found.to_json(), indent=1))
        return 0
    columns = ("mean", "deviation", "smallest", "median", "largest", "missing")
    table = terminal.table("entry", *columns)
    summaries = {**found.obs, "action": found.action, "reward": found.reward}
    for name, summary in summaries.items():
        for k in range(len(summary.mean)):
            median = summary.quantiles[2][k]
            values = (summary.mean[k], summary.std[k], summary.low[k], median, summary.high[k])
            missing = f"{100 * summary.missing[k]:.2g} %"
            label = f"{name} {summary.entry(k)}" if len(summary.mean) > 1 else name
            table.add_row(label, *(f"{v:.4g}" for v in values), missing)
    terminal.console().print(table)
    return 0


def check(arguments: list[str]) -> int:
    """Say what is wrong with a dataset."""
    options = parse(CheckOptions, "data check", arguments)
    from reverie.data.check import check
    from reverie.data.datasets import open_dataset

    dataset = open_dataset(options.path)
    report = check(dataset)
    dataset.close()
    print(json.dumps(report.to_json(), indent=1) if options.json else report.summary())
    return 0 if report.ok else 1


def view(arguments: list[str]) -> int:
    """Write the page of a dataset."""
    options = parse(ViewOptions, "data view", arguments)
    from reverie.data.check import check
    from reverie.data.datasets import open_dataset
    from reverie.data.statistics import measure
    from reverie.viz.dataset import write

    dataset = open_dataset(options.path)
    report = check(dataset) if options.check else None
    print(write(dataset, options.out, options.episode, measure(dataset), report))
    dataset.close()
    return 0


def convert(arguments: list[str]) -> int:
    """Write a dataset in another format."""
    options = parse(ConvertOptions, "data convert", arguments)
    from reverie.data.convert import convert
    from reverie.data.datasets import open_dataset

    source = open_dataset(options.path)
    done = convert(
        source,
        options.out,
        options.format,
        episodes=options.episodes or None,
        only=options.sensors or None,
    )
    source.close()
    print(f"{options.out}: {done.episodes} episodes, {done.rows} rows.")
    return 0


def collect(arguments: list[str]) -> int:
    """Record an environment."""
    from reverie.recipes.collecting import Collecting, collect, drive

    words = [whole(word) for word in arguments]
    if words and not words[0].startswith("-"):
        words = ["--out", *words]
    config = parse(Collecting, "collect", words)
    console = terminal.console()
    if config.policy == "keyboard":
        from reverie.cli.keyboard import Keyboard

        with Keyboard() as keys:
            found = drive(config, keys)
    else:
        found = collect(config)
    console.print(_gathered(found))
    console.print(f"Look at it: reverie data view {config.out}", highlight=False)
    return 0


def _gathered(found: Any) -> Table:
    table = terminal.table("episodes", "decisions", "mean return", "lowest", "highest", "seconds")
    if found.returns:
        mean = sum(found.returns) / len(found.returns)
        numbers = (mean, min(found.returns), max(found.returns))
        values = [f"{v:.4g}" for v in numbers]
    else:
        values = ["", "", ""]
    counts = [f"{found.episodes:,}", f"{found.decisions:,}"]
    table.add_row(*counts, *values, f"{found.seconds:.1f}")
    return table
