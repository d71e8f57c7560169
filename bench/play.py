"""Minutes of play by five pages, one of which stalls and one of which is killed.

    python bench/play.py --minutes 10 --out bench/results/play.json

A small Dreamer on pictures of a pendulum (20 Hz, the simulator beside it) is served by
`reverie play` in a process of its own. Page 1 drives and 2 and 3 watch; after a fifth of the time
page 4 is stopped (SIGSTOP: it neither reads nor answers) and page 5 is killed (SIGKILL). Says what
frame rate the others held, how late frames came, and how the memory of the server moved.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from reverie.data import ReplayConfig
from reverie.envs import EnvConfig
from reverie.imagine import ActorCriticConfig
from reverie.learn.run import PrefillConfig, RunConfig
from reverie.models.dreamer import CellConfig, DreamerConfig, LatentConfig
from reverie.recipes.dreamer import DreamerRecipe
from reverie.recipes.run import train
from reverie.serve.packet import unpack
from reverie.viz.provenance import provenance

RATE = 20.0
CLIENT = """
import json, struct, sys
from websockets.sync.client import connect

with connect(f"ws://127.0.0.1:{sys.argv[1]}/play", max_size=None, proxy=None) as socket:
    for said in socket:
        if isinstance(said, bytes):
            head = json.loads(said[4 : 4 + struct.unpack_from("<I", said)[0]])
            socket.send(json.dumps({"kind": "got", "frame": head["frame"]}))
"""
"""A page as a process of its own, which begins at once."""


def small_run(place: Path) -> Path:
    """A Dreamer that has seen little: how it looks does not matter here, what it costs does."""
    recipe = DreamerRecipe(
        run=place,
        env=EnvConfig("toy:pendulum", pixels=True),
        size="custom",
        model=DreamerConfig(
            latent=LatentConfig(variables=8, classes=8),
            cell=CellConfig(deter=64, hidden=32, blocks=4),
            units=32,
            depth=8,
        ),
        behaviour=ActorCriticConfig(horizon=3, starts=2, units=8),
        replay=ReplayConfig(batch=2, length=8),
        training=RunConfig(frames=240, train_ratio=2, prefill=PrefillConfig(80)),
    )
    train(recipe)
    return place


class Page(threading.Thread):
    """One page: it answers frames and, if it drives, holds ever other actions."""

    def __init__(self, port: int, drives: bool) -> None:
        super().__init__(daemon=True)
        self.port, self.drives = port, drives
        self.arrivals: list[float] = []
        self.decisions: list[int] = []
        self.watching: list[int] = []
        self.problem = ""
        self.stopped = threading.Event()
        self.ready = threading.Event()

    def run(self) -> None:
        """Play until told to stop."""
        from websockets.sync.client import connect

        random, sent = np.random.default_rng(0), 0
        try:
            address = f"ws://127.0.0.1:{self.port}/play"
            with connect(address, max_size=None, proxy=None) as socket:
                while not self.stopped.is_set():
                    said = socket.recv(timeout=20)
                    if isinstance(said, str):
                        continue
                    head, _ = unpack(said)
                    socket.send(json.dumps({"kind": "got", "frame": head["frame"]}))
                    self.arrivals.append(time.perf_counter())
                    self.decisions.append(head["decisions"])
                    self.watching.append(head["watching"])
                    self.ready.set()
                    if self.drives:
                        sent += 1
                        action = [float(random.uniform(-1, 1))]
                        socket.send(json.dumps({"kind": "act", "action": action, "id": sent}))
                        if head["over"]:
                            socket.send(json.dumps({"kind": "reset"}))
        except Exception as error:
            self.problem = f"{type(error).__name__}: {error}"
            self.ready.set()

    def summary(self, begun: float) -> dict[str, Any]:
        """Frames per second from then on, in all and in the worst second; gaps between [ms]."""
        at = np.array([t for t in self.arrivals if t >= begun])
        gaps = 1000 * np.diff(at)
        seconds = np.bincount((at - begun).astype(int))[:-1]
        return {
            "rate": (len(at) - 1) / (at[-1] - at[0]),
            "worst_second": int(seconds.min()) if len(seconds) else 0,
            "gap_p99": float(np.quantile(gaps, 0.99)),
            "gap_max": float(gaps.max()),
            "problem": self.problem,
        }


def measure(run: Path, seconds: float, patience: float = 5.0) -> dict[str, Any]:
    """Serve a run, let five pages play for so long, and see; a page that is not heard of for
    `patience` seconds is let go."""
    command = [sys.executable, "-m", "reverie.cli", "play", str(run), "--beside", "--port", "0"]
    served = subprocess.Popen(
        [*command, "--patience", str(patience)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert served.stdout is not None
    others: list[subprocess.Popen[bytes]] = []
    try:
        line = served.stdout.readline()
        if "http" not in line:
            raise RuntimeError(f"The server said: {line}{served.stdout.read()}")
        port = int(re.search(r":(\d+)/", line)[1])  # type: ignore[index]
        pages = [Page(port, drives=k == 0) for k in range(3)]
        for page in pages:
            page.start()
            page.ready.wait(30)
        child = [sys.executable, "-c", CLIENT, str(port)]
        others = [subprocess.Popen(child, stderr=subprocess.DEVNULL) for _ in range(2)]
        return _watch(served, pages, others, seconds)
    finally:
        for other in others:
            other.kill()
            other.wait()
        served.terminate()
        served.wait(20)
        served.stdout.close()


def _watch(
    served: subprocess.Popen[str],
    pages: list[Page],
    others: list[subprocess.Popen[bytes]],
    seconds: float,
) -> dict[str, Any]:
    end = time.monotonic() + 60
    while pages[0].watching[-1] < 5 and time.monotonic() < end:
        time.sleep(0.1)
    together = pages[0].watching[-1]
    begun, memory = time.perf_counter(), [_megabytes(served.pid)]
    hurt = False
    while time.perf_counter() < begun + seconds:
        time.sleep(min(1.0, seconds / 10))
        memory.append(_megabytes(served.pid))
        if not hurt and time.perf_counter() > begun + seconds / 5:
            hurt = True
            os.kill(others[0].pid, signal.SIGSTOP)
            others[1].kill()
    crashed = served.poll() is not None
    left = pages[0].watching[-1]
    for page in pages:
        page.stopped.set()
        page.join(30)
    settled = memory[len(memory) // 5]
    return {
        "seconds": seconds,
        "model_rate": RATE,
        "pages_together": together,
        "pages_at_the_end": left,
        "pages": [page.summary(begun) for page in pages],
        "megabytes_begin": memory[0],
        "megabytes_settled": settled,
        "megabytes_end": memory[-1],
        "megabytes_most": max(memory),
        "megabytes_per_minute": (memory[-1] - settled) / (0.8 * seconds / 60),
        "crashed": crashed,
        "load": os.getloadavg()[1],
        "cores": os.cpu_count(),
    }


def _megabytes(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        result = measure(small_run(Path(place) / "run"), 60 * options.minutes)
    for k, page in enumerate(result["pages"]):
        print(
            f"page {k + 1}: {page['rate']:.2f} frames/s of {RATE:g}, worst second "
            f"{page['worst_second']}, gaps: 99 % within {page['gap_p99']:.0f} ms, longest "
            f"{page['gap_max']:.0f} ms {page['problem']}"
        )
    print(
        f"{result['pages_together']} pages, at the end {result['pages_at_the_end']}; memory "
        f"{result['megabytes_begin']:.1f} MB, {result['megabytes_settled']:.1f} after a fifth, "
        f"{result['megabytes_end']:.1f} at the end: {result['megabytes_per_minute']:+.2f} MB a "
        f"minute; {'it crashed' if result['crashed'] else 'no crash'}; load "
        f"{result['load']:.1f} on {result['cores']} cores"
    )
    if options.out:
        options.out.write_text(json.dumps({**result, **provenance()}, indent=1))


if __name__ == "__main__":
    main()
