"""The families, by name; each is imported when it is first asked for."""

from __future__ import annotations

import importlib
from types import ModuleType

FAMILIES: dict[str, str] = {
    "dreamer": "reverie.models.dreamer",
    "oracle": "reverie.models.oracle",
    "physics": "reverie.models.physics",
    "tdmpc2": "reverie.models.tdmpc2",
    "unisim": "reverie.models.unisim",
}
"""Name of a family -> its module. A new family adds one line here."""


def family(name: str) -> ModuleType:
    """The module of a family.

    Raises:
        ValueError: no family has that name; the message lists those there are.
    """
    if name not in FAMILIES:
        raise ValueError(f"No model family is called {name!r}; there are: {', '.join(FAMILIES)}.")
    return importlib.import_module(FAMILIES[name])
