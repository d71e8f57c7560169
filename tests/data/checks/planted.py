"""What a check says of a dataset with one fault."""

from __future__ import annotations

import numpy as np

from reverie.data.check import Finding, check
from tests.data.memory import Memory


def found(data: Memory) -> set[tuple[str, str, str]]:
    """Severity, kind and sensor of all findings."""
    return {(one.severity, one.kind, one.sensor) for one in check(data).findings}


def only(data: Memory, severity: str, kind: str, sensor: str = "") -> Finding:
    """The one finding, which is this."""
    findings = check(data).findings
    assert [(f.severity, f.kind, f.sensor) for f in findings] == [(severity, kind, sensor)]
    return findings[0]


def place(finding: Finding) -> tuple[str, int, int]:
    """Where it is: episode, first row, one behind the last."""
    return finding.episode, finding.start, finding.stop


def late(data: Memory, steps: int) -> Memory:
    """The dataset with every action recorded so many steps too late."""
    for rows in data.rows:
        moved = np.zeros_like(rows["action"])
        if steps > 0:
            moved[1 + steps :] = rows["action"][1:-steps]
        elif steps < 0:
            moved[1:steps] = rows["action"][1 - steps :]
        else:
            moved = rows["action"]
        rows["action"] = moved
    return data
