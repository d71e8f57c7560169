"""Reverie: world models of robots behind one interface.

Every public name is imported on first use, so that `import reverie` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # What a type checker sees; tests/test_import.py holds it to the table below.
    from reverie.core import rollout as rollout
    from reverie.core import tree as tree
    from reverie.core.check import WorldModelError as WorldModelError
    from reverie.core.check import check_world_model as check_world_model
    from reverie.core.model import Agent as Agent
    from reverie.core.model import Batch as Batch
    from reverie.core.model import Clip as Clip
    from reverie.core.model import Featured as Featured
    from reverie.core.model import Obs as Obs
    from reverie.core.model import Policy as Policy
    from reverie.core.model import Sequential as Sequential
    from reverie.core.model import Trainable as Trainable
    from reverie.core.model import Transition as Transition
    from reverie.core.model import WorldModel as WorldModel
    from reverie.core.model import WorldModelLoss as WorldModelLoss
    from reverie.core.spec import Space as Space
    from reverie.core.spec import Spec as Spec
    from reverie.models.references import cite as cite
    from reverie.recipes.run import load as load

__version__ = "0.1.0"

_NAMES = {
    "reverie.core.check": "WorldModelError check_world_model",
    "reverie.core.model": (
        "Agent Batch Clip Featured Obs Policy Sequential Trainable Transition WorldModel "
        "WorldModelLoss"
    ),
    "reverie.core.spec": "Space Spec",
    "reverie.models.references": "cite",
    "reverie.recipes.run": "load",
}
"""Where each public name lives. No name may be that of a room: `reverie.imagine` is a package."""

_MODULES = {"rollout": "reverie.core.rollout", "tree": "reverie.core.tree"}
"""Modules that are read by their own name: `reverie.rollout.imagine(...)`."""

_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted({*_HOME, *_MODULES})  # noqa: PLE0605 (made from the tables)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = import_module(_MODULES[name])
    else:
        raise AttributeError(f"module 'reverie' has no attribute {name!r}; it has {__all__}.")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
