"""Where the ticks of an axis stand, and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

_STEPS = (1.0, 2.0, 5.0, 10.0)
_RAISED = str.maketrans(
    "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)
_MINUS = "\u2212"


@dataclass(frozen=True)
class Axis:
    """A scale from data to pixels, and its ticks."""

    low: float
    high: float
    start: float
    """Pixel of `low`."""
    stop: float
    """Pixel of `high`; may lie before `start`, as on a y axis."""
    log: bool = False
    ticks: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    @classmethod
    def fit(
        cls,
        values: Sequence[float],
        start: float,
        stop: float,
        *,
        count: int = 5,
        log: bool = False,
        zero: bool = False,
        snug: bool = False,
    ) -> Self:
        """The axis that holds all finite values, with about `count` ticks.

        `zero` includes 0; `snug` ends at the data rather than at a tick. A log axis ignores values
        that are not positive.
        """
        known = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
        low, high = (min(known), max(known)) if known else (1.0, 10.0)
        if log:
            low, high, ticks = _log(low, high, count)
            return cls(low, high, start, stop, True, ticks, tuple(power(t) for t in ticks))
        if zero:
            low, high = min(low, 0.0), max(high, 0.0)
        if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
            low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
        step = _step(high - low, count)
        if not snug:
            low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        ticks = tuple(k * step for k in range(first, last + 1))
        return cls(low, high, start, stop, False, ticks, tuple(number(t, step) for t in ticks))


def _step(span: float, count: int) -> float:
    """The distance of 1, 2 or 5 times a power of ten that gives about `count` ticks."""
    rough = span / max(count, 1)
    size = 10.0 ** math.floor(math.log10(rough))
    return size * next(s for s in _STEPS if s * size >= rough * (1 - 1e-9))


def _log(low: float, high: float, count: int) -> tuple[float, float, tuple[float, ...]]:
    """Ends and ticks of a log axis: powers of ten, or 1, 2, 5 where fewer than two fit."""
    if high / low < 2:
        low, high = low / 2, high * 2
    exponents = range(math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9) + 1)
    every = max(1, math.ceil(len(exponents) / (count + 2)))
    inside = [
        10.0**e for e in exponents if e % every == 0 and low <= 10.0**e * 1.001 <= high * 1.01
    ]
    if len(inside) < 2:
        around = range(exponents.start - 1, exponents.stop + 1)
        fine = [m * 10.0**e for e in around for m in (1, 2, 5)]
        low = max(t for t in fine if t <= low * 1.001)
        high = min(t for t in fine if t >= high * 0.999)
        inside = [t for t in fine if low <= t <= high]
    return low, high, tuple(inside)


def number(value: float, step: float) -> str:
    """A tick label with as many digits as the step needs: 0.25, 40, 12k, 1.5M."""
    if value == 0 or abs(value) < step * 1e-9:
        return "0"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * (1 - 1e-9) and step >= size / 10 * (1 - 1e-9):
            return number(value / size, step / size).removesuffix(".0") + letter
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if digits > 4:
        return power(value)
    return f"{value:.{digits}f}".replace("-", _MINUS)


def power(value: float) -> str:
    """A number of any size in few letters: 0.02, 500, 10\u207b\u2075, 3\u00b710\u2076."""
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    if -3 <= exponent <= 3:
        return f"{value:.{max(0, -exponent)}f}".replace("-", _MINUS)
    factor = value / 10.0**exponent
    raised = "10" + str(exponent).translate(_RAISED)
    if abs(factor - 1) < 1e-6:
        return raised
    return f"{factor:.3g}\u00b7{raised}".replace("-", _MINUS)


def amount(value: float, digits: int = 3) -> str:
    """A measured number for reading: `digits` significant ones or more, thousands set apart."""
    if not math.isfinite(value):
        return "\u2013"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if exponent < -4 or exponent > 8:
        return power(float(f"{value:.{digits - 1}e}"))
    return f"{value:,.{max(0, digits - 1 - exponent)}f}".replace("-", _MINUS)


def duration(seconds: float) -> str:
    """A time as people say it: 42 s, 8 min 12 s, 3 h 05 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
