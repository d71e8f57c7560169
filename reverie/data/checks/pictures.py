"""Do the cameras see? Frozen, repeated and blank frames.

A frame that equals the one before is no fault where nothing moves, or too little for a pixel to
change. So the small sensors are asked. Frames are frozen where one of their entries covers a fifth
of its range in the episode meanwhile; a frame is a repeat where one changes by a hundredth from a
row to the next. Where there are no such sensors the robot moves where its action is not zero.

Legend: `T` rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from reverie.data.checks.finding import Finding
from reverie.data.checks.recording import Frames, Recording, runs
from reverie.data.container import Array
from reverie.data.schema import FLAGS, PRESENT

FROZEN = 10
"""Frames in a row that are the same while the robot moves."""
REPEATED = 0.05
"""Share of the frames that repeat the one before while the robot moves, and are not frozen."""
MOVED, COVERED = 0.01, 0.2
"""Change of an entry from row to row, and within frozen frames, as shares of its range."""

_DARK, _BRIGHT, _FLAT = 2, 253, 2


class Pictures:
    """All three, for every large sensor."""

    def __init__(self) -> None:
        self._moving: dict[str, int] = {}
        self._repeats: dict[str, int] = {}
        self._first: dict[str, tuple[str, int]] = {}

    def see(self, recording: Recording) -> Iterator[Finding]:
        """Frozen and blank frames; repeated ones are counted."""
        path = paths(recording)
        moving = moves(recording, path)
        for name, frames in recording.frames.items():
            there = recording.present(name)
            same = frames.digest[1:] == frames.digest[:-1]
            same &= there[1:] & there[:-1]
            yield from self._frozen(recording, name, same, moving, path)
            if frames.digest.size and recording.frames[name].strange.sum() == 0:
                yield from _blank(recording, name, frames, there)

    def _frozen(
        self, recording: Recording, name: str, same: Array, moving: Array, path: Array
    ) -> Iterator[Finding]:
        repeats = same & moving
        for start, stop in runs(same):
            if stop - start + 1 < FROZEN:
                continue
            covered = np.ptp(path[start : stop + 1], 0).max(initial=0) > COVERED
            if not (covered if path.shape[1] else moving[start:stop].mean() > 0.5):
                continue
            repeats[start:stop] = False
            message = (
                f"the same picture in {stop - start + 1} rows in a row while the robot moves: the "
                "camera hung. Leave these rows out."
            )
            where = recording.episode.name
            yield Finding("error", "frozen", message, where, start, stop + 1, sensor=name)
        self._moving[name] = self._moving.get(name, 0) + int(moving.sum())
        self._repeats[name] = self._repeats.get(name, 0) + int(repeats.sum())
        if repeats.any():
            first = int(repeats.argmax()) + 1
            self._first.setdefault(name, (recording.episode.name, first))

    def finish(self) -> Iterator[Finding]:
        """Cameras that are slower than the robot."""
        for name, (episode, row) in self._first.items():
            share = self._repeats[name] / max(self._moving[name], 1)
            if share >= REPEATED:
                message = (
                    f"{share:.0%} of the frames in which the robot moves repeat the one before, "
                    "first here: the camera is slower than the decisions, or frames were lost."
                )
                yield Finding(
                    "warning", "repeated frames", message, episode, row, row + 1, sensor=name
                )


def _blank(recording: Recording, name: str, frames: Frames, there: Array) -> Iterator[Finding]:
    """Stretches of frames of one colour: black, white, or another."""
    if frames.low.dtype != np.uint8:
        return
    flat = (frames.high.astype(np.int64) - frames.low <= _FLAT) & there
    for start, stop in runs(flat):
        mean = float(frames.mean[start])
        colour = "black" if mean <= _DARK else "white" if mean >= _BRIGHT else f"grey ({mean:.0f})"
        message = (
            f"{stop - start} of {len(flat)} frames are plain {colour}: no picture arrived, or the "
            "lens was covered. Leave these rows out."
        )
        yield Finding("error", "blank", message, recording.episode.name, start, stop, sensor=name)


def paths(recording: Recording) -> Array:
    """`[T, D]` entries of the small sensors of floats that change, each in units of its range."""
    count = len(recording.rows["reward"])
    parts = [np.zeros((count, 0))]
    for name, values in recording.rows.items():
        other = name in ("action", "reward", *FLAGS) or name.endswith(PRESENT)
        flat = values.reshape(count, -1)
        if count and not other and values.dtype.kind == "f" and np.isfinite(flat).all():
            wide = flat.astype(np.float64)
            reach = np.ptp(wide, 0)
            parts.append(wide[:, reach > 0] / reach[reach > 0])
    return np.concatenate(parts, 1)


def moves(recording: Recording, path: Array) -> Array:
    """`[T - 1]`, whether the robot moves between a row and the next."""
    if not path.shape[1]:
        action = recording.rows["action"]
        moving: Array = (action.reshape(len(action), -1)[1:] != 0).any(1)
        return moving
    return np.asarray((np.abs(np.diff(path, axis=0)) > MOVED).any(1))
