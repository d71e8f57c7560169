r"""A run killed with SIGKILL at random moments and resumed, against one that nobody kills.

Both are processes of the command line. The second is killed when its log reaches updates drawn at
random, after a further random fraction of an update, and started again with the same command each
time. Every number in the two logs but the clock must be equal, bit by bit, and so must the recorded
episodes; an episode that was finished when the process was killed must still be there.

    python bench/resume.py
    python bench/resume.py --env dmc:walker_walk --size 12m --kills 5 --json resume.json
    python bench/resume.py --command "python -m my.program --run {run}"

Columns: at which update it was killed, at which update it went on, the updates it repeated, the
episodes that were finished at the kill, and those of them that were lost. The last lines tell how
many updates and episodes were compared and the first difference. Exit status 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from reverie.data import EpisodeStore
from reverie.learn.checkpoint import Checkpoints
from reverie.learn.log import read

ROOT = Path(__file__).resolve().parents[1]


class Kill(NamedTuple):
    """One interruption."""

    updates: int
    """In the log when the process was killed."""
    resumed: int
    """Updates of the checkpoint it went on from."""
    episodes: list[str]
    """Complete then, by name."""


def command(options: argparse.Namespace, run: Path) -> list[str]:
    """What is started."""
    if options.command:
        return [word.format(run=run) for word in shlex.split(options.command)]
    training = {
        "frames": options.frames,
        "prefill.decisions": options.prefill,
        "train-ratio": options.ratio,
        "log.every": 1,
        "log.progress": "off",
        "checkpoint.seconds": options.seconds,
        "device.device": "cpu",
        "device.threads": options.threads,
    }
    flags = [
        word for name, value in training.items() for word in (f"--training.{name}", str(value))
    ]
    environment = ["--env", options.env, "--env.repeat", str(options.repeat)]
    family = [sys.executable, "-m", "reverie.cli", "train", options.family, "--size", options.size]
    return [*family, "--run", str(run), *environment, *flags]


@contextmanager
def started(words: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process, its output in a file; killed with its workers where the block is left."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            words, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def finish(words: list[str], log: Path) -> None:
    """From start to end; raises SystemExit with the output where it failed."""
    with started(words, log) as process:
        if process.wait():
            raise SystemExit(f"The run failed:\n{log.read_text(errors='replace')[-3000:]}")


def updates(run: Path) -> int:
    """How many updates the log of a run has."""
    path = run / "log.jsonl"
    return len(read(path, "fit")) if path.exists() else 0


def saved(run: Path) -> int:
    """Updates of the newest checkpoint."""
    newest = Checkpoints(run / "checkpoints").latest()
    return int(newest.about["counters"]["updates"]) if newest else 0


def complete(run: Path) -> dict[str, Any]:
    """The finished episodes on the disk."""
    if not (run / "episodes" / "store.json").exists():
        return {}
    return {e.name: e for e in EpisodeStore.open(run / "episodes").episodes() if e.complete}


def interrupted(options: argparse.Namespace, run: Path, total: int, pace: float) -> list[Kill]:
    """Run with kills until the end."""
    chance = random.Random(options.seed)
    moments = sorted(chance.randint(1, total - 1) for _ in range(options.kills))
    log, words, kills = run.with_suffix(".txt"), command(options, run), []
    for drawn in moments:
        moment = max(drawn, saved(run) + 1)  # not while it only starts again
        with started(words, log) as process:
            while updates(run) < moment and process.poll() is None:
                time.sleep(0.02)
            time.sleep(chance.uniform(0, 2 * pace))
            if process.poll() is not None:
                break  # it ended first; what is wrong with it the next start will say
        kills.append(Kill(updates(run), saved(run), sorted(complete(run))))
    finish(words, log)
    return kills


def numbers(run: Path) -> list[dict[str, Any]]:
    """All lines of the log without the clock and without notes."""
    lines = [line for line in read(run / "log.jsonl") if line["kind"] != "note"]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def difference(whole: Path, killed: Path) -> str | None:
    """The first one between two runs, or None."""
    for a, b in zip(numbers(whole), numbers(killed), strict=False):
        if a != b:
            names = [name for name in a if a[name] != b.get(name)]
            return f"log: {a['kind']} at update {a['updates']}: {', '.join(names)}"
    if len(numbers(whole)) != len(numbers(killed)):
        return f"log: {len(numbers(whole))} lines and {len(numbers(killed))}"
    ours, theirs = complete(whole), complete(killed)
    if ours != theirs:
        return f"episodes: {sorted(set(ours.items()) ^ set(theirs.items()))[0]}"
    stores = [EpisodeStore.open(run / "episodes") for run in (whole, killed)]
    for name in ours:
        a, b = (store.read(name) for store in stores)
        if any(a[key].tobytes() != b[key].tobytes() for key in a):
            return f"rows of episode {name}"
    return None


def commit() -> str:
    """Of this working tree, or "unknown"."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", default="dreamer")
    parser.add_argument("--env", default="dmc:cartpole_swingup")
    parser.add_argument("--repeat", type=int, default=2, help="simulator frames per decision")
    parser.add_argument("--size", default="1m")
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--prefill", type=int, default=1000, help="random decisions first")
    parser.add_argument("--ratio", type=float, default=64.0, help="replayed rows per decision")
    parser.add_argument("--seconds", type=float, default=10.0, help="between checkpoints")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    parser.add_argument("--command", help="another program that trains in {run}")
    parser.add_argument("--json", type=Path, help="write the result here too")
    return parser.parse_args()


def main() -> int:
    """Run both and compare."""
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        words, began = command(options, whole), time.monotonic()
        print("running:", shlex.join(words), flush=True)
        finish(words, whole.with_suffix(".txt"))
        passed, total = time.monotonic() - began, updates(whole)
        if total < 2:
            raise SystemExit(f"The run made {total} updates; give it more frames.")
        kills = interrupted(options, killed, total, passed / total)
        found, kept = difference(whole, killed), complete(killed)
        lost = [[name for name in kill.episodes if name not in kept] for kill in kills]
        print(f"{'killed at':>10}{'resumed at':>12}{'repeated':>10}{'episodes':>10}{'lost':>6}")
        for kill, names in zip(kills, lost, strict=True):
            row = (kill.updates, kill.resumed, kill.updates - kill.resumed, len(kill.episodes))
            print("{:>10}{:>12}{:>10}{:>10}{:>6}".format(*row, len(names)))
        print(f"compared {total} updates and {len(kept)} episodes; difference: {found or 'none'}")
        result = {
            "command": shlex.join(command(options, Path("RUN"))).replace(sys.executable, "python"),
            "kills": [{"killed": kill.updates, "resumed": kill.resumed} for kill in kills],
            "updates": total,
            "episodes": len(kept),
            "lost": sum(len(names) for names in lost),
            "difference": found,
            "seed": options.seed,
            "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
            "torch": torch.__version__,
            "commit": commit(),
        }
    print(json.dumps(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return int(found is not None or any(lost) or not kills)


if __name__ == "__main__":
    raise SystemExit(main())
