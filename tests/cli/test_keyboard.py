"""Driving by the keys of a real (pseudo) terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from reverie.cli.keyboard import blocks
from reverie.data.datasets import open_dataset


def test_an_episode_is_driven_by_keys_in_a_terminal(tmp_path: Path) -> None:
    out = tmp_path / "driven"
    words = [
        "--env",
        "toy:pendulum",
        "--policy",
        "keyboard",
        "--episodes",
        "1",
        "--format",
        "store",
    ]
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "reverie.cli", "collect", str(out), *words],
        stdin=child,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    seen, until = b"", time.monotonic() + 90
    while b"episode 0" not in seen and time.monotonic() < until and process.poll() is None:
        time.sleep(0.05)
        seen += process.stdout.read() or b""
    for _ in range(10):
        os.write(parent, b"\x1b[C")  # the right arrow
        time.sleep(0.05)
        process.stdout.read()
    os.write(parent, b"\n")
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
        seen += process.stdout.read() or b""
    process.stdout.close()
    os.close(parent)
    os.close(child)
    assert process.returncode == 0, seen.decode(errors="replace")[-2000:]
    assert "▀" in seen.decode(errors="replace")
    dataset = open_dataset(out)
    (episode,) = dataset.episodes()
    actions = dataset.read(episode.name)["action"][1:]
    assert set(np.unique(actions)) <= {0.0, 1.0}
    assert (actions == 1).sum() >= 3


def test_without_a_terminal_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "reverie.cli",
            "collect",
            str(tmp_path / "a"),
            "--policy",
            "keyboard",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 1
    assert "needs a terminal" in done.stderr


def test_a_picture_is_half_as_many_lines_of_blocks() -> None:
    picture = np.zeros((4, 3, 3), np.uint8)
    picture[0, 0] = (255, 0, 0)
    text = blocks(picture)
    assert text.plain == "▀▀▀\n▀▀▀\n"
    assert str(text.spans[0].style) == "rgb(255,0,0) on rgb(0,0,0)"
