"""A recorder killed with SIGKILL at random moments, and what its LeRobot dataset holds after each.

A second process records episodes of known content as fast as it can, one after another, and tells
of each one that is on the disk. It is killed at a moment drawn at random. Before anything repairs
it, the dataset is then opened by Reverie's reader, and with `--peer` by the LeRobot package, and
every episode in it is compared with what was recorded: numbers bit by bit, pictures by the number
that is drawn into each. Every episode that was told of must be there. Then the recorder goes on.

    PYTHONPATH=. python bench/lerobot_kill.py
    PYTHONPATH=. python bench/lerobot_kill.py --kills 20 --peer PYTHON_WITH_LEROBOT --out FILE

Columns: seconds that the recorder ran, episodes it had told of, episodes that are there, frames
that were compared by each reader, and the files that the kill left half-written. Exit status 1 if
an episode is lost or differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from reverie.core.spec import Space
from reverie.data.datasets import open_dataset
from reverie.data.lerobot.listing import SizeConfig
from reverie.data.lerobot.writer import LeRobotWriter
from reverie.viz.provenance import provenance

OBS = {
    "pose": Space((3,), low=-3, high=3, unit="rad"),
    "count": Space((), "int64"),
    "front": Space((3, 32, 48), "uint8"),
    "wrist": Space((1, 32, 48), "uint8"),
}
ACTION = Space((2,), low=-1, high=1)
TASKS = ("put the cup on the plate", "open the drawer", "wave")
DT = 0.05
BITS = 24
"""Of the number in a picture: 4 x 6 squares, dark or bright."""

PEER = """
import contextlib, json, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from lerobot.datasets.lerobot_dataset import LeRobotDataset
for line in sys.stdin:
    request = json.loads(line)
    with contextlib.redirect_stdout(sys.stderr):
        found = LeRobotDataset("reverie/kill", root=request["root"], video_backend="pyav")
        frames = [found[i] for i in range(len(found))]
    stacked = {}
    for key in frames[0]:
        if key != "task":
            stacked[key] = np.stack([f[key].numpy() for f in frames])
    stacked["task"] = np.array([f["task"] for f in frames])
    np.savez(request["out"], **stacked)
    print(len(found), flush=True)
"""


def stamp(number: int, channels: int) -> np.ndarray:
    """A picture `(C, 32, 48)` that shows a number, whatever a codec does to it."""
    bits = (number >> np.arange(BITS)) & 1
    squares = np.where(bits, 200, 55).astype(np.uint8).reshape(4, 6)
    return np.broadcast_to(squares.repeat(8, 0).repeat(8, 1), (channels, 32, 48))


def stamped(pictures: np.ndarray) -> np.ndarray:
    """The numbers in pictures `[n, C, 32, 48]`."""
    squares = pictures.astype(np.float64).mean(1).reshape(-1, 4, 8, 6, 8).mean((2, 4))
    return ((squares.reshape(-1, BITS) > 128) << np.arange(BITS)).sum(1)


def length(number: int) -> int:
    """Rows of an episode."""
    return 12 + number * 7 % 23


def episode(number: int) -> dict[str, np.ndarray]:
    """Every row of an episode, as it must be read."""
    rows, rng = length(number), np.random.default_rng(number)
    step = np.arange(rows)
    codes = number * 100 + step
    action = rng.uniform(-1, 1, (rows, 2)).astype(np.float32)
    action[0] = 0
    return {
        "pose": rng.normal(size=(rows, 3)).astype(np.float32),
        "count": codes,
        "front": np.stack([stamp(int(code), 3) for code in codes]),
        "wrist": np.stack([stamp(int(code) + 7, 1) for code in codes]),
        "action": action,
        "reward": (step * (number % 5)).astype(np.float32),
        "first": step == 0,
        "last": step == rows - 1,
        "terminated": (step == rows - 1) & (number % 2 == 1),
    }


def record(directory: Path, video: bool) -> None:
    """Record for ever; a line on standard output for each episode that is on the disk."""
    sizes = SizeConfig(data_mb=0.1, video_mb=0.1, episodes=40)
    writer = LeRobotWriter(
        directory, OBS, ACTION, dt=DT, robot="toy", video=video, codec="h264", sizes=sizes
    )
    number = told = writer.episodes
    while True:
        rows = episode(number)
        for t in range(length(number)):
            row = {name: value[t] for name, value in rows.items()}
            writer.append(0, row, task=TASKS[number % len(TASKS)])
            while told < writer.episodes:
                told += 1
                os.write(1, b"%d\n" % told)
        number += 1
        if number % 3 == 0:
            writer.flush()


def compare(found: dict[str, np.ndarray], number: int, where: str) -> int:
    """Check what a reader gives for an episode; returns its frames."""
    expected = episode(number)
    for name, value in expected.items():
        if name in ("front", "wrist"):
            same = np.array_equal(stamped(found[name]), stamped(value))
        else:
            same = np.array_equal(found[name], value)
        if not same:
            raise AssertionError(f"{where}, episode {number}: {name} differs")
    return length(number)


def check_own(directory: Path) -> tuple[int, int]:
    """Episodes and frames that Reverie reads, all of them compared."""
    dataset = open_dataset(directory, "lerobot")
    frames = 0
    for number, each in enumerate(dataset.episodes()):
        if each.task != TASKS[number % len(TASKS)]:
            raise AssertionError(f"Reverie, episode {number}: its task is {each.task!r}")
        frames += compare(dataset.read(each.name), number, "Reverie")
    count = len(dataset.episodes())
    dataset.close()
    return count, frames


def rows_of(found: Any, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """Frames of LeRobot as the rows that were recorded: actions led to what is sensed."""
    action, reward = found["action"][chosen], found["next.reward"][chosen]
    done, cut = found["next.done"][chosen], found["next.truncated"][chosen]
    step = found["frame_index"][chosen]
    rows = len(step)
    pictures = {
        name: np.rint(found[f"observation.images.{name}"][chosen] * 255)
        for name in ("front", "wrist")
    }
    return {
        "pose": found["observation.pose"][chosen],
        "count": found["observation.count"][chosen],
        **pictures,
        "action": np.concatenate([np.zeros_like(action[:1]), action[:-1]]),
        "reward": np.concatenate([np.zeros_like(reward[:1]), reward[:-1]]),
        "first": step == 0,
        "last": done & (step == rows - 1),
        "terminated": done & ~cut & (step == rows - 1),
    }


def check_peer(peer: subprocess.Popen[str], directory: Path, scratch: Path) -> tuple[int, int]:
    """Episodes and frames that LeRobot reads, all of them compared."""
    out = scratch / "peer.npz"
    assert peer.stdin is not None and peer.stdout is not None
    peer.stdin.write(json.dumps({"root": str(directory), "out": str(out)}) + "\n")
    peer.stdin.flush()
    if not peer.stdout.readline():
        raise AssertionError("LeRobot cannot open or read the dataset; its error stands above")
    with np.load(out, allow_pickle=False) as content:
        found = {name: content[name] for name in content.files}
    numbers = np.unique(found["episode_index"])
    frames = 0
    for number in numbers:
        chosen = found["episode_index"] == number
        if set(found["task"][chosen]) != {TASKS[number % len(TASKS)]}:
            raise AssertionError(f"LeRobot, episode {number}: {found['task'][chosen]}")
        frames += compare(rows_of(found, chosen), int(number), "LeRobot")
    return len(numbers), frames


def killed(directory: Path, video: bool, patience: float) -> tuple[float, int]:
    """Record until a moment; seconds it ran since its first episode, and the episodes told of."""
    words = [sys.executable, __file__, "--record", str(directory), *([] if video else ["--png"])]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        told = [process.stdout.readline()]
        begin = time.monotonic()
        time.sleep(patience)
        process.send_signal(signal.SIGKILL)
        ran = time.monotonic() - begin
        told += process.stdout.readlines()
    finally:
        process.kill()
        process.wait()
    lines = [line for line in told if line.endswith(b"\n")]
    if not lines:
        raise AssertionError("The recorder ended by itself; its error stands above")
    return ran, int(lines[-1])


def kills(options: argparse.Namespace, scratch: Path) -> Iterator[dict[str, Any]]:
    """One result after each kill."""
    draw = random.Random(options.seed)
    environment = {**os.environ, "HF_HOME": str(scratch / "hf"), "HF_HUB_OFFLINE": "1"}
    peer = None
    if options.peer:
        words = [options.peer, "-c", PEER]
        pipe = subprocess.PIPE
        peer = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environment)
    directory = scratch / "dataset"
    try:
        for _ in range(options.kills):
            ran, told = killed(directory, not options.png, draw.uniform(0, options.seconds))
            half = sorted(str(p.relative_to(directory)) for p in directory.rglob("*.partial"))
            there, frames = check_own(directory)
            if there < told:
                raise AssertionError(f"{told} episodes were on the disk, {there} are there")
            result = {"seconds": ran, "told": told, "there": there, "frames": frames, "half": half}
            if peer is not None:
                seen, result["peer_frames"] = check_peer(peer, directory, scratch)
                if seen < told:
                    raise AssertionError(f"{told} episodes were there, LeRobot finds {seen}")
                result["peer_there"] = seen
            yield result
    finally:
        if peer is not None:
            peer.kill()
            peer.wait()


def main() -> int:
    """Print the table; write JSON where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.5, help="longest time to a kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--png", action="store_true", help="pictures as PNG, not as films")
    parser.add_argument("--peer", help="a Python that has lerobot")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.record:
        record(options.record, not options.png)
    results, problem = [], ""
    print("kill  ran/s  told there  frames  LeRobot  half-written")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            for result in kills(options, Path(scratch)):
                results.append(result)
                print(
                    f"{len(results):>4} {result['seconds']:>6.2f} {result['told']:>5} "
                    f"{result['there']:>5} {result['frames']:>7} "
                    f"{result.get('peer_frames', '-'):>8}  {len(result['half'])}",
                    flush=True,
                )
        except AssertionError as error:
            problem = str(error)
    print(problem or f"{len(results)} kills: no episode lost, every frame as recorded.")
    if options.out:
        content = {"kills": results, "problem": problem, "seed": options.seed, **provenance()}
        options.out.write_text(json.dumps(content, indent=1))
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
