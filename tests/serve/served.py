"""The real server in a process of its own, and clients that talk to it as a page does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from reverie.envs import EnvConfig
from reverie.recipes.run import train
from reverie.serve.packet import unpack
from tests.recipes.conftest import tiny

ENV = EnvConfig("toy:pendulum", pixels=True, size=(64, 64), max_decisions=60)


def pixel_run(place: Path) -> Path:
    """A Dreamer that has looked at pictures for some updates."""
    recipe = tiny(place, env=ENV)
    train(recipe)
    return Path(recipe.run)


class Server:
    """`reverie play` as a person starts it."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process, self.address = process, address
        self.port = int(re.search(r":(\d+)/", address)[1])  # type: ignore[index]

    @property
    def megabytes(self) -> float:
        """Memory that it holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def serving(target: Path | str, *options: str) -> AbstractContextManager[Server]:
    return started("-m", "reverie.cli", "play", str(target), "--port", "0", *options)


def of_tests(module: str, *words: str) -> tuple[str, ...]:
    """Python's options to run a module of these tests, where a package that is installed may bring
    another `tests`."""
    here = Path(__file__).parents[1]
    script = (
        "import runpy, sys, types; tests = types.ModuleType('tests'); "
        f"tests.__path__ = [{str(here)!r}]; sys.modules['tests'] = tests; "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return ("-c", script, *words)


@contextmanager
def started(*words: str) -> Iterator[Server]:
    """A Python process that says where it serves."""
    command = [sys.executable, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("Play at "), line + process.stdout.read()
        yield Server(process, line.removeprefix("Play at ").strip())
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


class Player:
    """A page without a picture: it answers frames, and keeps what it is told."""

    def __init__(self, server: Server, query: str = "", **headers: str) -> None:
        address = f"ws://127.0.0.1:{server.port}/play{query}"
        self.socket = connect(address, additional_headers=headers, max_size=None, proxy=None)
        self.texts: list[dict[str, Any]] = []
        self.heads: list[dict[str, Any]] = []
        self.pictures: dict[str, bytes] = {}

    def send(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def read(self) -> None:
        """One message."""
        said = self.socket.recv(timeout=15)
        if isinstance(said, str):
            self.texts.append(json.loads(said))
            return
        head, self.pictures = unpack(said)
        self.heads.append(head)
        self.send(kind="got", frame=head["frame"])

    def until(
        self, true: Callable[[Mapping[str, Any]], bool], seconds: float = 20
    ) -> dict[str, Any]:
        """The first head from now on for which something is true."""
        end, seen = time.monotonic() + seconds, len(self.heads)
        while True:
            self.read()
            for head in self.heads[seen:]:
                if true(head):
                    return head
            seen = len(self.heads)
            assert time.monotonic() < end, self.heads[-1:] + self.texts

    def told(self, kind: str, seconds: float = 20) -> dict[str, Any]:
        """The next text of a kind."""
        seen, end = len(self.texts), time.monotonic() + seconds
        while True:
            self.read()
            for text in self.texts[seen:]:
                if text["kind"] == kind:
                    return text
            seen = len(self.texts)
            assert time.monotonic() < end, self.texts

    def watch(self, seconds: float) -> list[dict[str, Any]]:
        """The heads of so many seconds."""
        end, seen = time.monotonic() + seconds, len(self.heads)
        while time.monotonic() < end:
            self.read()
        return self.heads[seen:]

    @contextmanager
    def answering(self) -> Iterator[None]:
        """It answers frames as they come while something else takes its time."""
        done, problems = threading.Event(), []

        def answer() -> None:
            try:
                while not done.is_set():
                    self.read()
            except Exception as problem:
                problems.append(problem)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
        if problems:
            raise problems[0]

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
