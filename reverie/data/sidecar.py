"""What a person says about data that does not say it itself: `reverie.json` beside it.

    {"dt": 0.05, "env": "my robot", "task": "push the T",
     "action": {"kind": "delta", "frame": "tool", "names": ["x", "y"]},
     "action_space": {"low": -1, "high": 1},
     "obs": {"pose": {"unit": "m"}}}

Every key may be left out; what stands there goes before what the data says. `dt` is the world time
per decision [s], `action` an `ActionInfo`, `action_space` and `obs` the bounds and units of spaces.
It is looked for inside a directory of data, and beside a file `x.hdf5` as `x.reverie.json`, then
as `reverie.json`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reverie.core.spec import Space
from reverie.data.datasets import ActionInfo, DatasetError
from reverie.data.inside import inside
from reverie.data.serial import from_json

NAME = "reverie.json"

_KINDS: dict[str, Any] = {
    "dt": int | float,
    "env": str,
    "task": str,
    "action": dict,
    "action_space": dict,
    "obs": dict,
}
_TOLD = ("low", "high", "unit")


@dataclass(frozen=True)
class Sidecar:
    """What such a file says; empty where there is none."""

    file: Path
    """Where it is, or should be."""
    dt: float | None = None
    env: str = ""
    task: str = ""
    """Of every episode that does not say its own."""
    action: ActionInfo | None = None
    action_space: Mapping[str, Any] = field(default_factory=dict)
    obs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def seconds(self, given: float | None, found: float | None) -> float:
        """World time per decision [s]: as given, else as told here, else as found in the data.

        Raises:
            DatasetError: none of them says it, or it is not positive.
        """
        for dt in (given, self.dt, found):
            if dt is not None:
                if not (math.isfinite(dt) and dt > 0):
                    raise DatasetError(self.file, "dt", f"it is {dt}; give seconds above 0.")
                return float(dt)
        raise DatasetError(
            self.file,
            "dt",
            "the data does not say how long a decision lasts. Write this file with "
            '{"dt": seconds}, for example {"dt": 0.05}, or give dt= to open.',
        )

    def actions(self, space: Space, info: ActionInfo | None = None) -> tuple[Space, ActionInfo]:
        """The action's space and meaning as the data says, with what is told here."""
        info = self.action or info or ActionInfo()
        for what, values in (("names", info.names), ("low", info.low)):
            if values and len(values) != space.size:
                problem = f"it has {len(values)} entries and the action {space.size}."
                raise DatasetError(self.file, f"action.{what}", problem)
        return _told(space, self.action_space, self.file, "action_space"), info

    def sensors(self, spaces: Mapping[str, Space]) -> dict[str, Space]:
        """Spaces of sensors with the bounds and units that are told here."""
        unknown = sorted(set(self.obs) - set(spaces))
        if unknown:
            problem = f"there are no sensors {unknown}; there are {sorted(spaces)}."
            raise DatasetError(self.file, "obs", problem)
        return {
            name: _told(space, self.obs.get(name, {}), self.file, f"obs.{name}")
            for name, space in spaces.items()
        }


def read_sidecar(place: Path) -> Sidecar:
    """What is told of the data in a directory or a file.

    Raises:
        DatasetError: the file is not understood; the message says what in it.
    """
    file = _find(place)
    if not file.is_file():
        return Sidecar(file)
    inside(file, place if place.is_dir() else place.parent)
    try:
        value = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(file, "", f"it is no JSON ({error}).") from error
    if not isinstance(value, dict) or not set(value) <= set(_KINDS):
        problem = (
            f"expected an object with keys among {', '.join(_KINDS)}; it is {str(value)[:80]}."
        )
        raise DatasetError(file, "", problem)
    for name, kind in _KINDS.items():
        if name in value and (not isinstance(value[name], kind) or isinstance(value[name], bool)):
            raise DatasetError(file, name, f"it is {value[name]!r}, of the wrong type.")
    try:
        if "action" in value:
            value["action"] = from_json(ActionInfo, value["action"], "action")
    except ValueError as error:
        raise DatasetError(file, "action", str(error)) from error
    return Sidecar(file, **value)


def _find(place: Path) -> Path:
    if place.is_dir():
        return place / NAME
    own, shared = place.with_suffix(f".{NAME}"), place.with_name(NAME)
    return shared if shared.is_file() and not own.is_file() else own


def _told(space: Space, told: Any, file: Path, field: str) -> Space:
    """A space with other bounds or another unit."""
    if not isinstance(told, dict) or not set(told) <= set(_TOLD):
        problem = f"expected an object with keys among {', '.join(_TOLD)}; it is {told!r}."
        raise DatasetError(file, field, problem)
    try:
        values: dict[str, Any] = {}
        for name, value in told.items():
            if name == "unit":
                values[name] = str(value)
            elif value is not None:
                many = isinstance(value, list)
                values[name] = tuple(float(v) for v in value) if many else float(value)
        return dataclasses.replace(space, **values)
    except (TypeError, ValueError) as error:
        raise DatasetError(file, field, str(error)) from error
