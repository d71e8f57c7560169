"""NaN and JSON: a number that could not be measured is NaN in Python and null in JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def to_null(value: Any) -> Any:
    """The same lists and objects with null for numbers that are not finite; tuples become lists."""
    if isinstance(value, Mapping):
        return {k: to_null(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_null(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_null(value: float | None) -> float:
    """NaN for null."""
    return math.nan if value is None else float(value)
