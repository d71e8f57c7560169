"""How long decisions take, and when a search must stop to be in time."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

REMEMBERED = 100_000
"""Decisions whose times are kept."""

RECENT = 50
"""Iterations from whose times that of the next one is foreseen."""

MARGIN = 1.1


class Timing(NamedTuple):
    """What the decisions so far took."""

    decisions: int
    """How many were planned."""
    iterations: float
    """Mean number of iterations of a search."""
    p50: float
    """Median time of a decision [ms], sensing included."""
    p95: float
    p99: float
    worst: float
    frequency: float
    """Decisions per second that the median time allows [Hz]."""
    fallbacks: int
    """Decisions for which no iteration fitted into the budget: the last plan went on."""
    late: int
    """Decisions that took longer than the budget."""


class Clock:
    """Measures decisions and their iterations, and holds them to a budget [ms]; 0 for none.

    An iteration is foreseen to take a tenth longer than the slowest of the recent ones: a search
    that stops early loses little, one that stops late misses the robot's deadline.
    """

    def __init__(self, budget: float = 0.0) -> None:
        if not 0 <= budget < math.inf:
            raise ValueError(f"The time budget is {budget} ms; give 0 for none, or more.")
        self.budget = budget
        self._times: deque[float] = deque(maxlen=REMEMBERED)
        self._counts: deque[int] = deque(maxlen=REMEMBERED)
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._tail: deque[float] = deque(maxlen=RECENT)
        self._begun = self._mark = 0.0
        self._fallbacks = self._late = 0

    def begin(self) -> None:
        """A decision begins."""
        self._begun = time.perf_counter()
        self._mark = 0.0

    def enough(self, made: int) -> bool:
        """Whether the next iteration would be late; called before each."""
        now = time.perf_counter()
        if made:
            self._recent.append(now - self._mark)
        self._mark = now
        if not self.budget or not self._recent:
            return False
        needed = MARGIN * (max(self._recent) + max(self._tail, default=0.0))
        return (now - self._begun + needed) * 1e3 > self.budget

    def end(self, iterations: int) -> None:
        """The decision is made."""
        now = time.perf_counter()
        if iterations:
            self._tail.append(max(now - self._mark - max(self._recent, default=0.0), 0.0))
        taken = (now - self._begun) * 1e3
        self._times.append(taken)
        self._counts.append(iterations)
        if not iterations:  # one slow moment must not end planning for good
            self._fallbacks += 1
            for times in (self._recent, self._tail):
                if times:
                    times.remove(max(times))
        self._late += bool(self.budget) and taken > self.budget

    def forget(self) -> None:
        """Forget all decisions, but not how long iterations take."""
        self._times.clear()
        self._counts.clear()
        self._fallbacks = self._late = 0

    def timing(self) -> Timing:
        """What the decisions so far took; zeros before the first."""
        times = sorted(self._times)
        half = percentile(times, 0.5)
        return Timing(
            decisions=len(times),
            iterations=sum(self._counts) / max(len(self._counts), 1),
            p50=half,
            p95=percentile(times, 0.95),
            p99=percentile(times, 0.99),
            worst=times[-1] if times else 0.0,
            frequency=1e3 / half if half else 0.0,
            fallbacks=self._fallbacks,
            late=self._late,
        )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of sorted values that at least this share does not exceed; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
