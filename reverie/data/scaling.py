"""Actions in a robot's own units, and in the -1..1 in which policies and models act.

    normalise(a) = 2 (a - low) / (high - low) - 1,    restore(u) = low + (u + 1) (high - low) / 2

entry by entry, as `envs/adapter.py` does it for a simulator.

Legend: `T` rows, `A` action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from reverie.core.spec import Space
from reverie.data import serial
from reverie.data.container import Array
from reverie.data.datasets import About, Dataset, Episode
from reverie.data.statistics import QUANTILES, Statistics, Summary, measure

How = Literal["bounds", "minmax", "quantiles", "none"]

MARGIN = 0.05
"""Room left on each side of what was recorded, as a share of its range."""

_TOLERANCE = 1e-5


@dataclass(frozen=True)
class ActionScaling:
    """Units of the robot that -1 and 1 stand for, entry by entry; both empty: left as they are."""

    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        fine = len(self.low) == len(self.high) and all(
            np.isfinite((low, high)).all() and low < high
            for low, high in zip(self.low, self.high, strict=True)
        )
        if not fine:
            raise ValueError(
                f"ActionScaling low {self.low} and high {self.high} must be finite, one of each "
                "for each entry of the action, each low below its high."
            )

    @property
    def identity(self) -> bool:
        """Whether actions are left as they are."""
        return not self.low

    def normalise(self, action: Array) -> Array:
        """`[..., A]` in the robot's units -> in -1..1 (beyond it where the robot was beyond)."""
        if self.identity:
            return action
        low, high = self._bounds(action)
        unit: Array = 2 * (action.astype(np.float64) - low) / (high - low) - 1
        return unit.astype(_real(action.dtype))

    def restore(self, action: Array) -> Array:
        """The inverse of `normalise`."""
        if self.identity:
            return action
        low, high = self._bounds(action)
        native: Array = low + (action.astype(np.float64) + 1) / 2 * (high - low)
        return native.astype(_real(action.dtype))

    def _bounds(self, action: Array) -> tuple[Array, Array]:
        if action.shape[-1:] != (len(self.low),):
            raise ValueError(
                f"An action of shape {action.shape} was given to a scaling of {len(self.low)} "
                f"entries; give [..., {len(self.low)}]."
            )
        return np.asarray(self.low), np.asarray(self.high)

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same."""
        value: dict[str, Any] = serial.to_json(self)
        return value

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ActionScaling:
        """The inverse of `to_json`.

        Raises:
            ValueError: it is something else.
        """
        return serial.from_json(ActionScaling, value, "action scaling")

    @staticmethod
    def of(
        dataset: Dataset, how: How = "bounds", statistics: Statistics | None = None
    ) -> ActionScaling:
        """The scaling of a dataset's actions.

        Args:
            dataset: its actions, discrete ones being left alone.
            how: "bounds" takes those of the action space, and where an entry has none, as "minmax"
                does, the smallest and largest value recorded; "quantiles" q01 and q99, which a few
                wild values do not move; both with `MARGIN`. "none" leaves actions alone.
            statistics: of the dataset; measured where they are needed and not given.

        An entry that never moved gets a range of 1 around where it was.

        Raises:
            ValueError: no finite action was recorded.
        """
        if how not in ("bounds", "minmax", "quantiles", "none"):
            raise ValueError(
                f"how is {how!r}; choose one of 'bounds', 'minmax', 'quantiles', 'none'."
            )
        space = dataset.action
        if how == "none" or space.discrete:
            return ActionScaling()
        low, high = (np.broadcast_to(bound, space.size) for bound in (space.low, space.high))
        bounded = np.isfinite(low) & np.isfinite(high) & (how == "bounds")
        if not bounded.all():
            statistics = statistics or measure(dataset, frames=0)
            least, most = _recorded(statistics.action, how, dataset.where)
            low, high = np.where(bounded, low, least), np.where(bounded, high, most)
        return ActionScaling(tuple(low.tolist()), tuple(high.tolist()))


def _recorded(action: Summary, how: How, where: str) -> tuple[Array, Array]:
    """Smallest and largest value of each entry as they were recorded, with a margin."""
    low, high = np.array(action.low), np.array(action.high)
    if not np.isfinite(low).all():
        empty = [action.entry(int(index)) for index in np.flatnonzero(~np.isfinite(low))]
        raise ValueError(
            f"{where}: no finite value of action entry {', '.join(empty)} was recorded, so nothing "
            "says how to scale it; record actions, or scale with how='none'."
        )
    if how == "quantiles":
        q01 = np.array(action.quantiles[QUANTILES.index(0.01)])
        q99 = np.array(action.quantiles[QUANTILES.index(0.99)])
        # A gripper that seldom opens has none.
        wide = q99 - q01 > 1e-9 * np.maximum(np.abs(q01), np.abs(q99))
        low, high = np.where(wide, q01, low), np.where(wide, q99, high)
    still = high - low <= 1e-9 * np.maximum(np.abs(low), np.abs(high))
    room = np.where(still, 0.5, MARGIN * (high - low))
    return low - room, high + room


def _real(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What a scaled action is kept in: whole numbers become float32."""
    return dtype if dtype.kind == "f" else np.dtype(np.float32)


class Scaled:
    """A dataset whose actions are in -1..1; everything else is as it was.

    Actions beyond the scaling are clipped to -1..1, and counted. Row 0, which stands for no action,
    keeps its zeros.

    Args:
        dataset: in the robot's units; closed with this one.
        scaling: of its actions.
    """

    def __init__(self, dataset: Dataset, scaling: ActionScaling) -> None:
        info = dataset.about.action
        if info.low and not scaling.identity:
            raise ValueError(
                f"The actions of {dataset.where} are scaled already: -1 stands for {info.low} and "
                f"1 for {info.high}. Read them as they are, or scale the robot's own."
            )
        if not scaling.identity and len(scaling.low) != dataset.action.size:
            raise ValueError(
                f"A scaling of {len(scaling.low)} entries was given for the action of "
                f"{dataset.where}, which has {dataset.action.size}; make one with "
                "ActionScaling.of(dataset)."
            )
        self.dataset, self.scaling = dataset, scaling
        self.where = dataset.where
        self.obs: Mapping[str, Space] = dataset.obs
        self.action: Space = dataset.action
        self.about: About = dataset.about
        if not scaling.identity:
            dtype = _real(np.dtype(dataset.action.dtype)).name
            self.action = Space(dataset.action.shape, dtype, -1.0, 1.0)
            told = replace(info, low=scaling.low, high=scaling.high)
            self.about = replace(dataset.about, action=told)
        self.seen = 0
        """Entries of actions that were read so far."""
        self.clipped = 0
        """How many of them were clipped."""
        if hasattr(dataset, "timestamps"):
            self.timestamps = dataset.timestamps

    def episodes(self) -> Sequence[Episode]:
        """All episodes, in their order."""
        return self.dataset.episodes()

    def read(
        self, name: str, start: int = 0, stop: int | None = None, only: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Rows start..stop of an episode; see `Dataset.read`."""
        rows = self.dataset.read(name, start, stop, only)
        if self.scaling.identity:
            return rows
        action = self.scaling.normalise(rows["action"])
        begins = int(start == 0 and len(action) > 0)
        action[:begins] = 0
        self.seen += action[begins:].size
        self.clipped += int((np.abs(action) > 1 + _TOLERANCE).sum())
        return {**rows, "action": np.clip(action, -1, 1)}

    def close(self) -> None:
        """Close the dataset."""
        self.dataset.close()
