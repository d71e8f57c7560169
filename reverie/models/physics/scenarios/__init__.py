"""Procedural training scenarios: which task, in which world, and is it done?"""

from __future__ import annotations

from pathlib import Path

from reverie.models.physics.scenarios import scenario as _scenario
from reverie.models.physics.scenarios.arm import REACH
from reverie.models.physics.scenarios.clay import CUT, MOULD
from reverie.models.physics.scenarios.gripper import LIFT
from reverie.models.physics.scenarios.legged import WALK
from reverie.models.physics.scenarios.pour import POUR
from reverie.models.physics.scenarios.push import PUSH
from reverie.models.physics.scenarios.rope import ROPE
from reverie.models.physics.scenarios.scenario import (
    Draw,
    Judged,
    Kind,
    Scenario,
    Scene,
    begin,
    noise,
    world_model,
)
from reverie.models.physics.scenarios.soft import SQUEEZE
from reverie.models.physics.scenarios.stack import STACK
from reverie.models.physics.scenarios.textile import FOLD, HANG
from reverie.models.physics.scenarios.throw import THROW

__all__ = [
    "KINDS",
    "Draw",
    "Judged",
    "Kind",
    "Scenario",
    "Scene",
    "begin",
    "draw",
    "load",
    "noise",
    "scene",
    "world_model",
]

KINDS: dict[str, Kind] = {
    "reach": REACH,
    "push": PUSH,
    "lift": LIFT,
    "stack": STACK,
    "throw": THROW,
    "walk": WALK,
    "hang": HANG,
    "fold": FOLD,
    "rope": ROPE,
    "squeeze": SQUEEZE,
    "cut": CUT,
    "mould": MOULD,
    "pour": POUR,
}
"""By name. A new kind adds one line here."""


def draw(kind: str, seed: int = 0, difficulty: float = 0.5) -> Scenario:
    """The scenario of a seed; see `scenario.draw`."""
    return _scenario.draw(KINDS, kind, seed, difficulty)


def load(path: Path | str) -> Scenario:
    """A scenario from its file; see `scenario.read`."""
    return _scenario.read(KINDS, path)


def scene(given: Scenario) -> Scene:
    """The world and the task.

    Raises:
        ValueError: a number makes no sense.
    """
    _scenario.known(KINDS, given.kind)
    return KINDS[given.kind].scene(given.numbers)
