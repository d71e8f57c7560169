"""Are two datasets in the same units? Their statistics, compared entry by entry.

A task or a policy changes values by a little; a unit, a sign or a zero point that differs changes
them beyond what is plausible. An entry is said to differ

* in scale, where both its spread q99 - q01 and its largest magnitude differ by a factor of more
  than 8 (57.3: degrees against radians; 1000: mm against m);
* in sign, where its quantiles match once they are mirrored, and do not match as they are;
* in offset, where the ranges q01..q99 lie apart by more than either is wide.

Entries that hardly move in either are left out: nothing can be said of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from reverie.data.container import Array
from reverie.data.statistics import Statistics, Summary

Kind = Literal["absent", "shape", "scale", "sign", "offset"]

FACTOR = 8.0
"""Beyond this a spread is no longer plausible."""

_UNITS = (
    (180 / math.pi, "radians", "degrees"),
    (1000.0, "m", "mm"),
    (100.0, "m, or 0..1,", "cm, or percent"),
    (255.0, "0..1", "0..255"),
)
_ZEROS = (
    *((math.pi / 2, "pi / 2"), (math.pi, "pi"), (2 * math.pi, "2 pi")),
    *((90.0, "90 degrees"), (180.0, "180 degrees"), (360.0, "360 degrees")),
)
_FEWEST = 20


@dataclass(frozen=True)
class Shift:
    """Entries of one sensor (or of the action) that differ in the same way."""

    name: str
    """Of the sensor; "action" for the action."""
    kind: Kind
    entries: tuple[int, ...]
    """Which; empty where all are meant."""
    factor: float
    """How many times larger the second is; 1 but for a scale."""
    message: str
    """For a person."""


def shift(first: Statistics, second: Statistics) -> tuple[Shift, ...]:
    """What differs beyond plausibility: `second`'s values seen from `first`'s.

    Only sensors that `first` has are compared (a model needs those that it was fitted to).
    Pictures are compared by their channels alone: their values have one scale.
    """
    found: list[Shift] = []
    for name, one in [*first.obs.items(), ("action", first.action)]:
        other = second.action if name == "action" else second.obs.get(name)
        if other is None:
            found.append(Shift(name, "absent", (), 1.0, f"{name} is missing in the second."))
        elif len(one.mean) != len(other.mean) or one.kind != other.kind:
            sizes = f"{len(one.mean)} ({one.kind}) in the first, {len(other.mean)} ({other.kind})"
            message = f"{name} has another number of entries: {sizes} in the second."
            found.append(Shift(name, "shape", (), 1.0, message))
        elif one.kind == "vector":
            found.extend(_of_vector(name, one, other))
    return tuple(found)


def _of_vector(name: str, one: Summary, other: Summary) -> Iterator[Shift]:
    """Differences of one sensor, entries that differ alike told together."""
    if min(one.count, other.count) < _FEWEST:
        return
    alike: dict[tuple[Kind, str], list[tuple[int, float]]] = {}
    for index in range(len(one.mean)):
        difference = _of_entry(_Range(one, index), _Range(other, index))
        if difference is not None:
            kind, factor, reason = difference
            alike.setdefault((kind, reason), []).append((index, factor))
    for (kind, reason), members in alike.items():
        entries = tuple(index for index, _ in members)
        factor = float(np.exp(np.mean([np.log(f) for _, f in members])))
        which = ", ".join(one.entry(index) for index in entries)
        what = {
            "scale": f"vary {factor:.3g} times as much in the second",
            "sign": "have the opposite sign in the second",
            "offset": "lie elsewhere in the second",
        }[kind]
        plural = "entries" if len(entries) > 1 else "entry"
        yield Shift(name, kind, entries, factor, f"{name} {plural} {which}: {what}; {reason}.")


class _Range:
    """Where one entry lies."""

    def __init__(self, summary: Summary, index: int) -> None:
        self.quantiles: Array = np.array([row[index] for row in summary.quantiles])
        self.low, self.high = float(self.quantiles[0]), float(self.quantiles[-1])
        if not self.high - self.low > 1e-9 * max(abs(self.low), abs(self.high)):
            self.low, self.high = summary.low[index], summary.high[index]
        self.spread = self.high - self.low
        self.size = max(abs(self.low), abs(self.high))
        self.moves = self.spread > 1e-6 * self.size  # False for NaN


def _of_entry(one: _Range, other: _Range) -> tuple[Kind, float, str] | None:
    """Kind, factor and reason of a difference, or None."""
    if not (one.moves and other.moves):
        return None
    ratio, size = other.spread / one.spread, other.size / one.size
    if min(ratio, size) > FACTOR or max(ratio, size) < 1 / FACTOR:
        return "scale", ratio, _unit(ratio)
    if _mirrored(one.quantiles, other.quantiles, max(one.spread, other.spread)):
        return "sign", 1.0, "an axis or a joint counts the other way round"
    gap = max(other.low - one.high, one.low - other.high)
    if gap > max(one.spread, other.spread):
        return "offset", 1.0, _zero(float(other.quantiles[2] - one.quantiles[2]))
    return None


def _mirrored(one: Array, other: Array, spread: float) -> bool:
    """Whether quantiles `[Q]` match those of -x within 15 % of the spread, and miss those of x by
    half of it."""
    apart = np.abs(other - one).max() / spread
    turned = np.abs(other + one[::-1]).max() / spread
    return bool(turned < 0.15 and apart > 0.5)


def _unit(ratio: float) -> str:
    """The units that a factor hints at."""
    large = max(ratio, 1 / ratio)
    factor, small_unit, large_unit = min(_UNITS, key=lambda unit: abs(math.log(large / unit[0])))
    if abs(math.log(large / factor)) > math.log(1.3):
        return "no change of units explains the factor, so compare what the entry means"
    here, there = (large_unit, small_unit) if ratio > 1 else (small_unit, large_unit)
    return f"it looks like {here} where the first has {there}"


def _zero(offset: float) -> str:
    """The change of a zero point that an offset hints at."""
    for value, words in _ZEROS:
        if abs(abs(offset) - value) < 0.1 * value:
            return f"by {offset:.3g}, about {words}: another zero point"
    return f"by {offset:.3g}: another zero point or frame"


def explain(shifts: Sequence[Shift], first: str, second: str) -> str:
    """One paragraph that says why `second` must not be used with `first`; empty where it may."""
    if not shifts:
        return ""
    lines = "\n".join(f"  {found.message}" for found in shifts)
    return (
        f"The values of {second} (the second) are not in the units of {first} (the first):\n"
        f"{lines}\nConvert the data, or fit a model to them."
    )
