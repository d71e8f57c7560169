"""How much data does it take? Errors against the number of episodes learnt from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from reverie.eval.nulls import from_null, to_null
from reverie.eval.score import Curve


class Needed(NamedTuple):
    """How many episodes are enough."""

    episodes: int
    falling: bool
    """These are the most that were tried, so that more may help still."""


@dataclass(frozen=True)
class DataCurve:
    """Errors of models that differ in nothing but the number of episodes they learnt from."""

    episodes: tuple[int, ...]
    """Rising."""
    error: Curve
    """At each of these numbers, on the same windows; NaN where a model failed."""
    seconds: tuple[float, ...] = ()
    """What learning took [s]."""

    def __post_init__(self) -> None:
        if list(self.episodes) != sorted(set(self.episodes)) or not self.episodes:
            raise ValueError(
                f"The numbers of episodes of a data curve are {self.episodes}; give at least one, "
                "each once, rising."
            )
        if len(self.error.mean) != len(self.episodes):
            raise ValueError(
                f"A data curve has {len(self.error.mean)} errors for {len(self.episodes)} numbers "
                "of episodes."
            )

    def needed(self, within: float = 0.1, least: float = 0.0) -> Needed | None:
        """The fewest episodes whose error is at most `1 + within` times the smallest, or at most
        `least`, which is as good as none; None where nothing was measured."""
        known = [e for e in self.error.mean if math.isfinite(e)]
        if not known:
            return None
        limit = max((1 + within) * min(known), least)
        enough = next(n for n, e in zip(self.episodes, self.error.mean, strict=True) if e <= limit)
        return Needed(enough, enough == self.episodes[-1] and len(self.episodes) > 1)

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same (NaN as null)."""
        result: dict[str, Any] = to_null(asdict(self))
        return result

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> DataCurve:
        """The inverse of `to_json`."""
        curve = value["error"]
        ends = (tuple(from_null(v) for v in curve[k]) for k in ("mean", "low", "high"))
        return DataCurve(tuple(value["episodes"]), Curve(*ends), tuple(value["seconds"]))
