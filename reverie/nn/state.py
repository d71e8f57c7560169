"""Whether saved weights are those of a module."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def misfit(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """In what names and shapes `given` differs from `own`, the first five; empty if in nothing."""
    problems = [f"{name} is missing" for name in own if name not in given]
    problems += [f"{name} is not in this model" for name in given if name not in own]
    problems += [
        f"{name} has shape {tuple(given[name].shape)} and this model has {tuple(own[name].shape)}"
        for name in own
        if name in given and given[name].shape != own[name].shape
    ]
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    return "; ".join(problems[:5]) + more
