"""The record of a run: one JSON line per event, and TensorBoard where asked for.

Every line has "kind", the four counters `frames decisions updates seconds`, and values:

    {"kind": "fit", ...}       means over the updates since the last such line
    {"kind": "episode", ...}   a finished training episode: stream, episode, return, decisions
    {"kind": "evaluate", ...}  evaluation episodes
    {"kind": "note", ...}      what a person should know: a resume, a warning
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reverie.learn.accounting import Counters


@dataclass(frozen=True)
class LogConfig:
    """What is recorded and shown."""

    every: int = 20
    """Updates per line of the log; 1 records each."""
    tensorboard: bool = False
    """Also write TensorBoard files (needs `pip install "reverie[tensorboard]"`)."""
    progress: Literal["auto", "live", "plain", "off"] = "auto"
    """The display: live in a terminal, else plain lines; auto chooses."""
    seconds: float = 5.0
    """Between plain lines [s]."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"LogConfig every is {self.every}; give at least 1 update.")
        if not self.seconds > 0:
            raise ValueError(f"LogConfig seconds is {self.seconds}; it must be positive.")
        if self.progress not in ("auto", "live", "plain", "off"):
            raise ValueError(
                f"Progress {self.progress!r} is unknown; choose auto, live, plain or off."
            )


class Log:
    """A file of JSON lines that is cut back where a run resumes, so that its curve is one curve.

    A line is written whole or not at all. On a full disk lines wait in memory and a warning is
    given once; they are written as soon as there is space.
    """

    def __init__(self, path: Path | str, size: int = 0) -> None:
        """Continue the file at `size` bytes: what is beyond came after the checkpoint."""
        self.path = Path(path)
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o644)
        found = os.fstat(self._file).st_size
        if found < size:
            warnings.warn(
                f"{self.path} has {found} bytes and its checkpoint saw {size}: lines are missing "
                "from the record (the run itself is not affected).",
                stacklevel=2,
            )
        self._size = min(size, found)
        self._waiting: list[bytes] = []
        os.ftruncate(self._file, self._size)

    def write(self, kind: str, counters: Counters, values: Mapping[str, Any]) -> None:
        """Append one line; numbers that are not finite become null."""
        entries = {"kind": kind, **counters.to_json(), **values}
        line = json.dumps({key: _plain(value) for key, value in entries.items()})
        warned = bool(self._waiting)
        self._waiting.append(line.encode() + b"\n")
        try:
            self._drain()
        except OSError as error:
            if not warned:
                warnings.warn(
                    f"{self.path} cannot be written ({error}); lines wait in memory.", stacklevel=2
                )

    def sync(self) -> int:
        """Wait until all lines are on the disk; the size to resume at. Raises `OSError`."""
        self._drain()
        os.fsync(self._file)
        return self._size

    def close(self) -> None:
        """Write what waits and close the file; what still cannot be written is given up."""
        if self._file < 0:
            return
        try:
            self._drain()
        except OSError as error:
            warnings.warn(f"{len(self._waiting)} lines of {self.path} are lost ({error}).")
        finally:
            os.close(self._file)
            self._file = -1

    def _drain(self) -> None:
        while self._waiting:
            line, written = self._waiting[0], 0
            try:
                while written < len(line):
                    written += os.pwrite(self._file, line[written:], self._size + written)
            except OSError:
                os.ftruncate(self._file, self._size)
                raise
            self._size += len(line)
            self._waiting.pop(0)


def read(path: Path | str, kind: str | None = None) -> list[dict[str, Any]]:
    """The lines of a log, all or of one kind; a last line that is not complete is left out."""
    entries = []
    for line in Path(path).read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            entry = json.loads(line)
            if kind is None or entry["kind"] == kind:
                entries.append(entry)
    return entries


class Means:
    """Running means by name between two lines of the log."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """Count these values in."""
        for name, value in values.items():
            entry = self._sums.setdefault(name, [0.0, 0])
            entry[0] += value
            entry[1] += 1

    def take(self) -> dict[str, float]:
        """The means so far; and begin anew."""
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums.clear()
        return means

    def state_dict(self) -> dict[str, list[float]]:
        """Sums and counts by name."""
        return {k: list(entry) for k, entry in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, list[float]]) -> None:
        """Continue."""
        self._sums = {k: list(entry) for k, entry in state.items()}


class TensorBoard:
    """The same values as TensorBoard scalars over frames."""

    def __init__(self, directory: Path | str, counters: Counters) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(
                'TensorBoard was asked for and is missing: pip install "reverie[tensorboard]".'
            ) from error
        purge = (counters.frames or counters.updates) + 1
        self._writer = SummaryWriter(str(directory), purge_step=purge)

    def write(self, kind: str, counters: Counters, values: Mapping[str, Any]) -> None:
        """One scalar per number."""
        for name, value in values.items():
            if isinstance(value, int | float):
                step = counters.frames or counters.updates
                self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Write what waits."""
        self._writer.close()


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
