"""Are the episodes whole, different, and in time?

Legend: `T` rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from reverie.data.checks.finding import Finding
from reverie.data.checks.recording import Recording, runs
from reverie.data.container import Array

LONGER = 4.0
"""Times the median length from which on an episode is said to differ a lot."""
SHARED = 16
"""Rows in a row that, found in two episodes, are no coincidence."""


class Endings:
    """Flags: the first row, the last row, the termination, the rows without action."""

    def see(self, recording: Recording) -> Iterator[Finding]:
        """What is wrong with the flags of an episode."""
        rows, name = recording.rows, recording.episode.name
        count = len(rows["reward"])
        if count < 2:
            message = f"{count} rows hold no action; leave the episode out."
            yield Finding("error", "short", message, name, 0, count)
            return
        for flag, wrong, told in (
            ("first", rows["first"][1:], "is marked first, in the midst of the episode"),
            ("last", rows["last"][:-1], "is marked last, before the end of the episode"),
            ("terminated", rows["terminated"] & ~rows["last"], "is terminated, but not last"),
        ):
            if wrong.any():
                at = int(wrong.argmax()) + int(flag == "first")
                message = f"a row {told}: two episodes were joined, or an end is not recorded."
                yield Finding("error", "ending", message, name, at, at + 1)
        if not rows["first"][0]:
            yield Finding("error", "ending", "the first row is not marked first.", name, 0, 1)
        if recording.episode.complete and not rows["last"][-1]:
            message = "the last row is not marked last, though the episode is said to be complete."
            yield Finding("error", "ending", message, name, count - 1, count)
        if not recording.episode.complete:
            message = "its end was not recorded: the recorder was cut off."
            yield Finding("warning", "incomplete", message, name, count - 1, count)
        if rows["action"][0].any() or rows["reward"][0] != 0:
            message = "row 0, which no action led to, holds an action or a reward; shift by one?"
            yield Finding("error", "ending", message, name, 0, 1, sensor="action")

    def finish(self) -> Iterator[Finding]:
        """Nothing more."""
        yield from ()


class Lengths:
    """Episodes that differ a lot in length, and tasks that are missing."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._tasks: dict[str, str] = {}

    def see(self, recording: Recording) -> Iterator[Finding]:
        """Notes its length and its task."""
        self._rows[recording.episode.name] = len(recording.rows["reward"])
        self._tasks[recording.episode.name] = recording.episode.task
        yield from ()

    def finish(self) -> Iterator[Finding]:
        """Episodes beside the median; tasks where others have one."""
        lengths = np.array(list(self._rows.values()))
        middle = float(np.median(lengths)) if len(lengths) else 0.0
        for name, rows in self._rows.items():
            away = max(rows / middle, middle / max(rows, 1)) if middle else 1.0
            if len(lengths) >= 5 and away > LONGER and rows >= 2:
                message = (
                    f"{rows} rows, where half of the episodes have fewer than {middle:.0f}: was it "
                    "broken off, or was the recorder left running?"
                )
                yield Finding("warning", "length", message, name, 0, rows)
        empty = [name for name, task in self._tasks.items() if not task.strip()]
        if len(empty) < len(self._tasks):
            for name in empty:
                message = "no task, though other episodes have one in words."
                yield Finding("warning", "no task", message, name)


class Repeats:
    """Episodes that hold rows of another one.

    Rows are compared by a hash over all small sensors, the action and digests of the pictures; a
    window of 16 rows by a hash of theirs. Of each episode every 16th window is remembered and all
    are looked up, so that any 31 rows in a row that were copied are found.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, int]] = {}
        self._whole: dict[int, str] = {}
        rng = np.random.default_rng(0)
        self._odd = rng.integers(0, 1 << 63, 1 << 16, dtype=np.uint64) * np.uint64(2) + np.uint64(1)

    def see(self, recording: Recording) -> Iterator[Finding]:
        """Compares with the episodes before."""
        rows, name = self._hashes(recording), recording.episode.name
        if len(rows) < 2:
            return
        whole = hash(rows.tobytes())
        if whole in self._whole:
            message = f"a copy of episode {self._whole[whole]}; leave one of them out."
            yield Finding("error", "duplicate", message, name, 0, len(rows))
            return
        self._whole[whole] = name
        windows = self._windows(rows)
        # A window that occurs twice in one episode holds rows that do not tell moments apart.
        if len(np.unique(windows)) == len(windows):
            yield from self._shared(name, windows)
            for start in range(0, len(windows), SHARED):
                self._seen.setdefault(int(windows[start]), (name, start))

    def _shared(self, name: str, windows: Array) -> Iterator[Finding]:
        found = [self._seen.get(int(window)) for window in windows]
        mask = np.array([one is not None for one in found])
        if mask.any():
            first, last = int(mask.argmax()), len(mask) - 1 - int(mask[::-1].argmax())
            other, row = found[first] or ("", 0)
            message = (
                f"holds the rows of episode {other} from its row {row + 1} on: were they cut from "
                "one recording with an overlap? A test episode must not be in the training data."
            )
            yield Finding("error", "duplicate", message, name, first + 1, last + 1 + SHARED)

    def _hashes(self, recording: Recording) -> Array:
        """`[T]` uint64: sum of the row's bytes, each times an odd number of its own."""
        count = len(recording.rows["reward"])
        total = np.zeros(count, np.uint64)
        parts = [v for _, v in sorted(recording.rows.items()) if v.dtype.kind != "b"]
        parts += [f.digest for _, f in sorted(recording.frames.items())]
        offset = 0
        for part in parts:
            flat = np.ascontiguousarray(part).reshape(count, -1).view(np.uint8).reshape(count, -1)
            index = (offset + np.arange(flat.shape[1])) % len(self._odd)
            total += flat.astype(np.uint64) @ self._odd[index]
            offset += flat.shape[1]
        return total

    def _windows(self, rows: Array) -> Array:
        """`[T - 17]` hashes of 16 rows each; row 0, which has no action, is left out."""
        inner = rows[1:]
        count = max(len(inner) - SHARED + 1, 0)
        total = np.zeros(count, np.uint64)
        for k in range(SHARED):
            total += inner[k : k + count] * self._odd[k]
        return total

    def finish(self) -> Iterator[Finding]:
        """Nothing more."""
        yield from ()


class Times:
    """Times at which rows were recorded, where the format has them."""

    def __init__(self, dt: float, timestamps: Callable[[str], Array] | None) -> None:
        self._dt, self._timestamps = dt, timestamps

    def see(self, recording: Recording) -> Iterator[Finding]:
        """Jumps, and a rate that is not the declared one."""
        if self._timestamps is None or len(recording.rows["reward"]) < 3:
            return
        name = recording.episode.name
        steps = np.diff(np.asarray(self._timestamps(name), np.float64))
        known = steps[np.isfinite(steps)]
        usual = float(np.median(known)) if len(known) else np.nan
        if not abs(usual - self._dt) <= 0.05 * self._dt:
            message = (
                f"rows are {usual:.4g} s apart where the dataset says {self._dt:.4g} s: a wrong "
                "rate makes every speed wrong."
            )
            yield Finding("error", "rate", message, name, 0, len(steps) + 1)
        away = np.abs(steps - usual)
        for start, stop in runs(~(away <= 0.5 * self._dt))[:3]:
            message = (
                f"{steps[start]:.4g} s between two rows that should be {usual:.4g} s apart: rows "
                "are missing, or the clock was set. Cut the episode there."
            )
            yield Finding("error", "time jump", message, name, start, stop + 1)
        near = away[away <= 0.5 * self._dt]
        jitter = float(near.mean()) if len(near) else 0.0
        if jitter > 0.1 * self._dt:
            message = (
                f"rows are on average {jitter:.3g} s off their time (dt {self._dt:.4g} s); record "
                "at a steady rate, or resample."
            )
            yield Finding("warning", "jitter", message, name, 0, len(steps) + 1)

    def finish(self) -> Iterator[Finding]:
        """Nothing more."""
        yield from ()
