"""Recorded episodes in whatever form they are kept: what every reader offers, and which one reads.

Rows are those of the episode store, in every format: row t holds what arrived at t and the action
that led there, so an episode of D actions has D + 1 rows, the first with zeros for its action. A
format that keeps the action *taken at* t beside what was sensed at t is shifted by its reader.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from reverie.core.spec import Space
from reverie.data.container import Array

ActionKind = Literal["unknown", "absolute", "delta", "velocity", "effort"]

FORMATS: dict[str, str] = {
    "store": "reverie.data.recorded",
    "lerobot": "reverie.data.lerobot",
    "minari": "reverie.data.minari",
    "robomimic": "reverie.data.robomimic",
    "aloha": "reverie.data.aloha",
    "folder": "reverie.data.folder",
}
"""Name of a format -> the module that reads it, which offers `recognises(place)` and
`open(place)`; in this order they are asked."""


class DatasetError(ValueError):
    """A dataset is damaged or cannot be read; the message names the file and the field in it."""

    def __init__(self, file: Path | str, field: str, problem: str) -> None:
        where = f"{file}, {field}" if field else str(file)
        super().__init__(f"{where}: {problem}")
        self.file, self.field, self.problem = str(file), field, problem


@dataclass(frozen=True)
class ActionInfo:
    """What the numbers of an action mean."""

    kind: ActionKind = "unknown"
    """A target (absolute), a change of the present pose (delta), a velocity or an effort."""
    frame: str = ""
    """In which they are told: joint, base, tool, world; empty where unknown."""
    names: tuple[str, ...] = ()
    """Of the entries; empty, or one each."""
    low: tuple[float, ...] = ()
    """The robot's units that -1 stands for, entry by entry, where actions were scaled to -1..1;
    empty where they are told as they were recorded."""
    high: tuple[float, ...] = ()
    """The robot's units that 1 stands for."""
    units: tuple[str, ...] = ()
    """Of the entries as the robot takes them, for example "rad"; empty, or one each."""

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or any(
            not low < high for low, high in zip(self.low, self.high, strict=False)
        ):
            raise ValueError(
                f"ActionInfo low {self.low} and high {self.high} must have one entry for each of "
                "the action, each low below its high."
            )


@dataclass(frozen=True)
class About:
    """Where a dataset comes from."""

    format: str
    """For example "lerobot v3.0"."""
    dt: float
    """World time per decision [s]."""
    source: str = ""
    """Robot or environment; empty where it does not say."""
    action: ActionInfo = field(default_factory=ActionInfo)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What else the format says, as JSON."""


@dataclass(frozen=True)
class Episode:
    """One recorded episode."""

    name: str
    """For `Dataset.read`."""
    rows: int
    """One more than actions."""
    task: str = ""
    """In words; empty where there are none."""
    complete: bool = True
    """Whether its end was recorded."""


class Dataset(Protocol):
    """Episodes to read; nothing is read before it is asked for.

    A reader raises `DatasetError` where a file is damaged, and runs nothing from it.
    """

    where: str
    """The place it was opened from."""
    obs: Mapping[str, Space]
    """Space of each sensor; an image is uint8 `(C, h, w)`."""
    action: Space
    about: About

    def episodes(self) -> Sequence[Episode]:
        """All episodes, in their order."""
        ...

    def read(
        self, name: str, start: int = 0, stop: int | None = None, only: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Rows start..stop of an episode: each sensor, `action`, `reward`, `first`, `last`,
        `terminated`, every entry `[stop - start, ...]`, in the dtypes of `Schema`.

        `only` names the sensors that are wanted (pictures cost most); the others are left out.

        Raises:
            KeyError: there is no episode of that name.
            IndexError: it has no such rows.
            DatasetError: a file is damaged.
        """
        ...

    def close(self) -> None:
        """Give back open files."""
        ...


def open_dataset(place: Path | str, format: str = "") -> Dataset:
    """The dataset in a directory, a file or at an fsspec address (`s3://...`), in the format given
    or in the first that recognises it.

    Raises:
        DatasetError: nothing is there, no format recognises it, or it is damaged.
        ValueError: there is no such format.
    """
    if format and format not in FORMATS:
        raise ValueError(f"There is no format {format!r}; there are: {', '.join(FORMATS)}.")
    if "://" not in str(place) and not Path(place).exists():
        raise DatasetError(place, "", "nothing is there; give a directory or a file of a dataset.")
    for name in [format] if format else FORMATS:
        module = importlib.import_module(FORMATS[name])
        if format or module.recognises(place):
            found: Dataset = module.open(place)
            return found
    raise DatasetError(
        place,
        "",
        f"it is in none of the formats {', '.join(FORMATS)}. A LeRobot dataset has meta/info.json, "
        "an episode store store.json, Minari data/main_data.hdf5, robomimic a group 'data' in an "
        ".hdf5 file, and a folder of episodes .npz files.",
    )
