"""What a check found, and all of it in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (error) or doubtful (warning)."""

    severity: Severity
    kind: str
    """For example "not finite"; findings of one kind are told together."""
    message: str
    """What was found, what was expected, what to do."""
    episode: str = ""
    """Where; empty where the whole dataset is meant."""
    start: int = -1
    """First row concerned; -1 where no row is."""
    stop: int = -1
    """One behind the last row."""
    sensor: str = ""
    """Or "action", "reward"; empty where none is meant."""

    @property
    def where(self) -> str:
        """Episode and rows, for a person."""
        parts = [f"episode {self.episode}"] if self.episode else []
        if self.start >= 0:
            several = self.stop - self.start > 1
            parts.append(f"rows {self.start}-{self.stop - 1}" if several else f"row {self.start}")
        return ", ".join(parts) or "everywhere"


@dataclass(frozen=True)
class Alignment:
    """How well the action of each lag explains what changed, -5..5 decisions; see
    `checks/alignment.py`."""

    lags: tuple[int, ...]
    r2: tuple[float, ...]
    """Share of the change explained that the state before does not explain."""
    low: tuple[float, ...]
    """Lower end of its 95 % interval (bootstrap over pieces of episodes)."""
    high: tuple[float, ...]
    best: int
    """The lag of the highest; 0 where no other is significantly better."""
    suspect: int = 0
    """`best`, or a lag above 0 that is better and may be due to a policy that reacts."""


@dataclass(frozen=True)
class Report:
    """All findings in a dataset."""

    where: str
    episodes: int
    rows: int
    seconds: float
    """World time recorded [s]."""
    findings: tuple[Finding, ...]
    alignment: Alignment | None = None
    """None where there is too little data to tell."""

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(found.severity == "error" for found in self.findings)

    @property
    def warnings(self) -> int:
        """How many are warnings."""
        return len(self.findings) - self.errors

    @property
    def ok(self) -> bool:
        """Whether there are no errors."""
        return not self.errors

    def kinds(self) -> Mapping[tuple[Severity, str, str], list[Finding]]:
        """Findings of one severity, kind and sensor, errors first."""
        found: dict[tuple[Severity, str, str], list[Finding]] = {}
        for one in sorted(self.findings, key=lambda f: f.severity):
            found.setdefault((one.severity, one.kind, one.sensor), []).append(one)
        return found

    def summary(self) -> str:
        """What a person reads: a line for each kind, with its first case in full."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield (
            f"{self.where}: {self.episodes} episodes, {self.rows} rows, {self.seconds / 60:.1f} "
            f"minutes. {_many(self.errors, 'error')}, {_many(self.warnings, 'warning')}."
        )
        for (severity, kind, sensor), found in self.kinds().items():
            first = found[0]
            name = f" {sensor}:" if sensor else ""
            yield f"{severity:8}{kind}:{name} {first.where}: {first.message}"
            others = sorted({one.episode for one in found[1:] if one.episode})
            if len(found) > 1:
                more = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
                yield f"{'':8}and {len(found) - 1} more like it, in episodes {more}"
        if self.alignment is not None:
            best = self.alignment.lags.index(self.alignment.best)
            yield (
                f"Actions and what they change: lag {self.alignment.best}, R^2 "
                f"{self.alignment.r2[best]:.2f} ({self.alignment.low[best]:.2f} to "
                f"{self.alignment.high[best]:.2f})."
            )

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {**asdict(self), "errors": self.errors, "warnings": self.warnings, "ok": self.ok}


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
