"""Are the numbers possible? NaN, bounds, entries that never change, saturated actions, rewards.

Legend: `T` rows, `D` entries of a sensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from reverie.core.spec import Space
from reverie.data.checks.finding import Finding, Severity
from reverie.data.checks.recording import Recording, is_small, runs
from reverie.data.container import Array

SATURATED = 0.3
"""Share of the rows at a bound from which on an entry of the action is said to be saturated."""
SWITCH = 0.9
"""Share from which on it is a switch (a gripper that is open or closed), which may be."""


def entries(recording: Recording, name: str) -> Array:
    """`[T, D]` of a sensor or the action; rows that hold no value (row 0 of the action and the
    reward, rows in which a sensor was not there) are left out by `valid`."""
    values = recording.rows[name]
    return values.reshape(len(values), -1)


def valid(recording: Recording, name: str) -> Array:
    """`[T]`, which rows hold a value."""
    if name in ("action", "reward"):
        return np.arange(len(recording.rows[name])) > 0
    return recording.present(name)


class Finite:
    """NaN and infinity."""

    def see(self, recording: Recording) -> Iterator[Finding]:
        """One finding for each sensor and episode."""
        for name, values in recording.rows.items():
            if values.dtype.kind == "f":
                strange = ~np.isfinite(entries(recording, name)).all(1) & recording.present(name)
                yield from self._found(recording, name, strange)
        for name, frames in recording.frames.items():
            strange = (frames.strange > 0) & recording.present(name)
            yield from self._found(recording, name, strange)

    def _found(self, recording: Recording, name: str, strange: Array) -> Iterator[Finding]:
        if not strange.any():
            return
        start, stop = runs(strange)[0]
        which = ""
        if name in recording.rows:
            row = np.atleast_1d(recording.rows[name][start]).reshape(-1)
            which = f", first in entry {int(np.flatnonzero(~np.isfinite(row))[0])}"
        message = (
            f"NaN or infinite in {int(strange.sum())} of {len(strange)} rows{which}; leave the "
            "episode out, or fill the gap from the rows beside it."
        )
        yield Finding(
            "error", "not finite", message, recording.episode.name, start, stop, sensor=name
        )

    def finish(self) -> Iterator[Finding]:
        """Nothing more."""
        yield from ()


class Bounds:
    """Values outside the bounds that a space declares; choices that are no one-hot vectors."""

    def __init__(self, spaces: Mapping[str, Space]) -> None:
        self._spaces = dict(spaces)

    def see(self, recording: Recording) -> Iterator[Finding]:
        """One finding for each sensor and episode."""
        for name, space in self._spaces.items():
            if name in recording.rows:
                values, there = entries(recording, name), valid(recording, name)
                outside = _outside(values, space)
                yield from self._found(recording, name, (outside > 0).any(1) & there, outside)
                if space.discrete:
                    yield from self._choices(recording, name, values, there)
            elif name in recording.frames and np.ndim(space.low) == np.ndim(space.high) == 0:
                frames = recording.frames[name]
                outside = _outside(np.stack([frames.low, frames.high], 1), space)
                rows = (outside > 0).any(1) & recording.present(name)
                yield from self._found(recording, name, rows, outside)

    def _found(
        self, recording: Recording, name: str, rows: Array, outside: Array
    ) -> Iterator[Finding]:
        if not rows.any():
            return
        start, stop = runs(rows)[0]
        entry = int(outside[rows].max(0).argmax())
        space = self._spaces[name]
        small = name in recording.rows
        which = f"entry {entry}" if small else "a value"
        index = entry if small else 0
        low, high = (float(np.broadcast_to(b, space.size)[index]) for b in (space.low, space.high))
        message = (
            f"{int(rows.sum())} of {len(rows)} rows lie outside the declared bounds, {which} by up "
            f"to {float(outside[rows][:, entry].max()):.3g} beyond {low:.4g} .. {high:.4g}; are "
            "the units those of the bounds?"
        )
        yield Finding(
            "error", "out of bounds", message, recording.episode.name, start, stop, sensor=name
        )

    def _choices(
        self, recording: Recording, name: str, values: Array, there: Array
    ) -> Iterator[Finding]:
        sums = values.sum(1)
        wrong = ~(((values == 0) | (values == 1)).all(1) & (sums == 1)) & there
        if wrong.any():
            start, stop = runs(wrong)[0]
            message = (
                f"{int(wrong.sum())} rows are no one-hot vectors (the first adds up to "
                f"{float(sums[start]):.3g}); a choice has a single 1."
            )
            yield Finding(
                "error", "no choice", message, recording.episode.name, start, stop, sensor=name
            )

    def finish(self) -> Iterator[Finding]:
        """Nothing more."""
        yield from ()


def _outside(values: Array, space: Space) -> Array:
    """By how much each value of `[T, D]` lies outside; 0 within, up to rounding, and for NaN."""
    low, high = (
        np.broadcast_to(np.asarray(bound, np.float64), space.size)
        for bound in (space.low, space.high)
    )
    if values.shape[1] != space.size:  # smallest and largest of a large sensor
        low, high = low[:1], high[:1]
    fine = np.isfinite(values)
    wide = np.where(fine, values, 0).astype(np.float64)
    room = 1e-5 * np.maximum(1, np.maximum(_finite(low), _finite(high)))
    beyond = np.maximum(low - room - wide, wide - high - room)
    out: Array = np.where(fine, np.maximum(beyond, 0), 0)
    return out


def _finite(bound: Array) -> Array:
    sizes: Array = np.where(np.isfinite(bound), np.abs(bound), 0)
    return sizes


class Constant:
    """Entries that have one value in all episodes."""

    def __init__(self, spaces: Mapping[str, Space], names: tuple[str, ...] = ()) -> None:
        """`names` are those of the entries of the action."""
        self._spaces = {n: s for n, s in spaces.items() if is_small(s) and not s.discrete}
        self._range: dict[str, tuple[Array, Array]] = {}
        self._rows = 0
        self._names = names

    def see(self, recording: Recording) -> Iterator[Finding]:
        """Widens the range of each entry."""
        for name in self._spaces:
            values = entries(recording, name)[valid(recording, name)].astype(np.float64)
            if len(values):
                low, high = np.fmin.reduce(values), np.fmax.reduce(values)
                before = self._range.get(name, (low, high))
                self._range[name] = np.fmin(before[0], low), np.fmax(before[1], high)
        self._rows += len(recording.rows["reward"])
        yield from ()

    def finish(self) -> Iterator[Finding]:
        """One finding for each sensor; an error where the action is always the same."""
        for name, (low, high) in self._range.items():
            still = np.flatnonzero(low == high)
            if not len(still) or self._rows < 3:
                continue
            told = ", ".join(self._entry(name, int(i)) for i in still[:6])
            told += ", ..." if len(still) > 6 else ""
            whole = len(still) == len(low)
            severity: Severity = "error" if whole and name == "action" else "warning"
            message = (
                f"{'nothing ever changes' if whole else 'never changing'}: entry {told} is always "
                f"{low[still[0]]:.4g}; is it connected? Nothing can be learned from it."
            )
            yield Finding(severity, "constant", message, sensor=name)

    def _entry(self, name: str, index: int) -> str:
        if name == "action" and index < len(self._names):
            return f"{index} ({self._names[index]})"
        return str(index)


class Saturated:
    """Actions that stand at their bounds too often, so that what was wanted is not recorded."""

    def __init__(self, space: Space) -> None:
        self._discrete = space.discrete
        bounds = [
            np.broadcast_to(b, space.size).astype(np.float64) for b in (space.low, space.high)
        ]
        self._declared = [np.isfinite(bound) for bound in bounds]
        self._room = 1e-6 * np.where(self._declared[0] & self._declared[1], np.ptp(bounds, 0), 0)
        self._ends = [
            np.where(known, b, -np.inf * sign)
            for known, b, sign in zip(self._declared, bounds, (-1, 1), strict=True)
        ]
        self._at = np.zeros((2, space.size))
        self._rows = 0

    def see(self, recording: Recording) -> Iterator[Finding]:
        """Counts rows at a bound, or at the smallest and the largest value seen so far."""
        values = entries(recording, "action")[1:].astype(np.float64)
        values = values[np.isfinite(values).all(1)]
        if len(values) and not self._discrete:
            self._rows += len(values)
            for side, least in enumerate((np.fmin, np.fmax)):
                end = least.reduce(values)
                further = ~self._declared[side] & (least(end, self._ends[side]) != self._ends[side])
                self._ends[side] = np.where(further, end, self._ends[side])
                self._at[side][further] = 0
                self._at[side] += (np.abs(values - self._ends[side]) <= self._room).sum(0)
        yield from ()

    def finish(self) -> Iterator[Finding]:
        """One finding for all entries."""
        share = self._at.sum(0) / max(self._rows, 1)
        found = np.flatnonzero((share >= SATURATED) & (share < SWITCH))
        if self._rows and len(found):
            told = ", ".join(f"{int(i)} ({share[i]:.0%} of the rows)" for i in found)
            message = (
                f"at a bound too often: entry {told}; what was wanted beyond it is not recorded. "
                "Was the action clipped, or scaled by too small a range?"
            )
            yield Finding("warning", "saturated", message, sensor="action")


class Reward:
    """Rewards that were never given."""

    def __init__(self) -> None:
        self._given = False
        self._rows = 0

    def see(self, recording: Recording) -> Iterator[Finding]:
        """Looks for one that is not zero."""
        reward = recording.rows["reward"][1:]
        self._rows += len(reward)
        self._given |= bool((reward != 0).any())
        yield from ()

    def finish(self) -> Iterator[Finding]:
        """One finding, or none."""
        if self._rows and not self._given:
            message = "0 in every row: no reward can be learned from this data."
            yield Finding("warning", "no reward", message, sensor="reward")
