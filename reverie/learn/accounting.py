"""Steps, counted under the same names everywhere, and how many updates experience pays for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class Counters:
    """How far a run is."""

    frames: int = 0
    """Simulator frames, action repeat included."""
    decisions: int = 0
    """Actions chosen and carried out; the row of a reset is none."""
    updates: int = 0
    """Gradient steps."""
    seconds: float = 0.0
    """Time spent running, over all resumptions."""

    def to_json(self) -> dict[str, int | float]:
        """The four numbers by name."""
        return asdict(self)


class TrainRatio:
    """Replayed rows per decision, kept exactly: updates = floor(ratio x decisions / rows).

    One update replays batch x length rows. Decisions before the one given to `begin` pay for
    nothing: those of the prefill in DreamerV3, none in TD-MPC2. Integers only: a resumed run owes
    the same updates at the same decisions.
    """

    def __init__(self, ratio: float, batch: int, length: int) -> None:
        if not ratio >= 0:
            raise ValueError(f"The train ratio is {ratio}; replayed rows per decision are >= 0.")
        if batch < 1 or length < 1:
            raise ValueError(f"A batch of {batch} x {length} rows is empty; both must be >= 1.")
        self.per_decision = Fraction(str(ratio)) / (batch * length)
        self.start: int | None = None
        self.done = 0

    def begin(self, decisions: int) -> None:
        """Count from this decision on; a second call changes nothing."""
        if self.start is None:
            self.start = decisions

    def owed(self, decisions: int) -> int:
        """Updates to make now."""
        if self.start is None:
            return 0
        due = self.per_decision * (decisions - self.start)
        return max(0, due.numerator // due.denominator - self.done)

    def paid(self, updates: int = 1) -> None:
        """Note updates that were made."""
        self.done += updates

    def state_dict(self) -> dict[str, Any]:
        """JSON object with the count so far."""
        return {"ratio": str(self.per_decision), "start": self.start, "done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue a count. Under another ratio or batch the count waits for a new `begin`: what
        was done before is neither caught up nor waited for."""
        same = Fraction(state["ratio"]) == self.per_decision
        self.start = state["start"] if same else None
        self.done = state["done"] if same else 0
