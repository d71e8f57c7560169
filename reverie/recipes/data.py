"""Recorded episodes for a run: which part of them, in which units, and what was in them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from reverie.core.spec import Space
from reverie.data import EpisodeStore
from reverie.data.container import write_json
from reverie.data.convert import meta, optional, rows
from reverie.data.datasets import About, ActionInfo, Dataset, open_dataset
from reverie.data.recorded import Recorded
from reverie.data.scaling import ActionScaling, Scaled
from reverie.data.schema import Schema
from reverie.data.serial import from_json, to_json
from reverie.data.shift import explain, shift
from reverie.data.statistics import Statistics, measure
from reverie.data.view import View
from reverie.envs import EnvConfig, make
from reverie.learn.directory import RunDirectory

STREAM = 1000
"""Stream of a run's store that recorded episodes are copied to; environments have lower ones."""


@dataclass(frozen=True)
class DataConfig:
    """Recorded episodes to learn from."""

    path: str = ""
    """Directory, file or fsspec address of a dataset in any format that `reverie data info` reads;
    empty: learn from acting alone. --data PATH is short for --data.path PATH."""
    sensors: tuple[str, ...] = ()
    """Names of those to learn from; empty for all."""
    size: tuple[int, int] = (0, 0)
    """Height and width that pictures are resized to; 0 0 leaves them."""
    actions: Literal["auto", "bounds", "minmax", "quantiles", "none"] = "auto"
    """What is scaled to -1..1: the space's bounds, what was recorded, its 1 % to 99 % quantiles, or
    nothing. auto: the environment's own bounds, else those of the data, and nothing where actions
    are in -1..1 already."""
    episodes: int = 0
    """How many, from the first on; 0 for all."""


@dataclass(frozen=True)
class Known:
    """What a run knows of the data it learnt from; kept in its directory and its checkpoints, so
    that its model is not asked about data in other units."""

    about: About
    scaling: ActionScaling
    """From the actions as they were recorded to those that were learnt."""
    statistics: Statistics
    """Of what was learnt: chosen sensors, scaled actions."""
    episodes: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same."""
        return {
            "about": to_json(self.about),
            "scaling": self.scaling.to_json(),
            "statistics": self.statistics.to_json(),
            "episodes": self.episodes,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Known:
        """The inverse of `to_json`."""
        return Known(
            _about(value["about"]),
            ActionScaling.from_json(value["scaling"]),
            Statistics.from_json(value["statistics"]),
            int(value["episodes"]),
        )


def _about(value: Mapping[str, Any]) -> About:
    action = from_json(ActionInfo, value["action"], "about.action")
    return About(str(value["format"]), float(value["dt"]), str(value["source"]), action)


def opened(config: DataConfig, scaling: ActionScaling | None = None) -> Dataset:
    """The dataset that a config names: chosen sensors and episodes, resized pictures, and actions
    scaled as told, or by the given scaling (that of a model).

    Raises:
        DatasetError: it is not there, or damaged.
        ValueError: it has no such sensor, or actions in other units than the given scaling's.
    """
    dataset = View(open_dataset(config.path), config.sensors, config.size, config.episodes)
    done = dataset.about.action
    if scaling is not None and done.low:
        _require_same(done, scaling, config.path)
        return dataset
    return Scaled(dataset, _scaling(config, dataset) if scaling is None else scaling)


def _scaling(config: DataConfig, dataset: Dataset) -> ActionScaling:
    space = dataset.action
    if config.actions != "auto":
        return ActionScaling.of(dataset, config.actions)
    low, high = (np.broadcast_to(bound, space.size) for bound in (space.low, space.high))
    if space.discrete or dataset.about.action.low or ((low == -1) & (high == 1)).all():
        return ActionScaling()
    return ActionScaling.of(dataset, "bounds")


def _require_same(done: ActionInfo, scaling: ActionScaling, where: str) -> None:
    if scaling.identity or (
        len(done.low) == len(scaling.low)
        and np.allclose((done.low, done.high), (scaling.low, scaling.high), rtol=1e-4, atol=1e-6)
    ):
        return
    raise ValueError(
        f"The actions in {where} were scaled with -1 for {done.low} and 1 for {done.high}, but the "
        f"model learnt with -1 for {scaling.low} and 1 for {scaling.high}; use the data as it was "
        "recorded, in the robot's units."
    )


def native_scaling(env: EnvConfig) -> ActionScaling | None:
    """What -1 and 1 stand for in an environment, in its simulator's units; None where it does not
    say, or the action is a choice."""
    made = make(env)
    try:
        native = getattr(made, "native", None)
        if native is None or made.action.discrete:
            return None
        ones = np.ones(made.action.shape, np.float32)
        low, high = native(-ones), native(ones)
        return (
            ActionScaling(tuple(low.tolist()), tuple(high.tolist())) if (low < high).all() else None
        )
    finally:
        made.close()


def for_environment(config: DataConfig, env: EnvConfig) -> Dataset:
    """Recorded episodes to go on from in an environment: its actions mean the same in both.

    Raises:
        ValueError: the recorded actions cannot be told in the environment's, or a decision lasts
            longer or shorter in it.
    """
    native = native_scaling(env) if config.actions == "auto" else None
    plain = View(open_dataset(config.path), config.sensors, config.size, config.episodes)
    if native is None or plain.about.action.low or _is_unit(plain.action):
        plain.close()
        dataset = opened(config)
        if native is not None and dataset.about.action.low:
            _require_same(dataset.about.action, native, config.path)
        return dataset
    return Scaled(plain, native)


def _is_unit(space: Space) -> bool:
    low, high = (np.broadcast_to(bound, space.size) for bound in (space.low, space.high))
    return space.discrete or bool(((low == -1) & (high == 1)).all())


@contextmanager
def as_store(dataset: Dataset, directory: RunDirectory) -> Iterator[tuple[EpisodeStore, Known]]:
    """What `opened` gave as a store to learn from: its own where it is one and is used whole, else
    a copy in the run's directory, made once."""
    kept, place = directory.path / "data.json", directory.path / "data"
    if _is_whole_store(dataset):
        yield EpisodeStore.open(dataset.where), _known(kept, dataset)
        return
    if not kept.exists():
        shutil.rmtree(place, ignore_errors=True)
    missing = optional(dataset, dataset.episodes(), dataset.obs)
    said, spaces = meta(dataset, dataset.episodes(), STREAM), (dataset.obs, dataset.action)
    with EpisodeStore(place, *spaces, meta=said, optional=missing) as store:
        if not kept.exists():
            copy(dataset, store)
        yield store, _known(kept, dataset)


def take_in(
    config: DataConfig, env: EnvConfig, store: EpisodeStore, directory: RunDirectory
) -> Known:
    """Copy recorded episodes into the store of a run that will act in `env`, once.

    Raises:
        ValueError: the data and the environment differ in sensors, actions or time.
    """
    kept = directory.path / "data.json"
    if kept.exists():
        return Known.from_json(json.loads(kept.read_text()))
    with closing(for_environment(config, env)) as dataset:
        dt = float(store.meta["dt"])
        if not np.isclose(dataset.about.dt, dt, rtol=0.02):
            raise ValueError(
                f"A decision lasts {dataset.about.dt:g} s in {config.path} and {dt:g} s in "
                f"{env.name}; choose --env.repeat so that they agree."
            )
        copy(dataset, store)
        return _known(kept, dataset)


def copy(dataset: Dataset, store: EpisodeStore) -> int:
    """Rows of all episodes into a store, as its stream `STREAM`; returns how many.

    Raises:
        ValueError: the dataset lacks sensors of the store, or has them in other shapes.
    """
    missing = optional(dataset, dataset.episodes(), dataset.obs)
    there = Schema(dataset.obs, dataset.action, missing)
    store.schema.require_equal(there, f"the data {dataset.where}")
    count = 0
    for episode in dataset.episodes():
        for _, row in rows(dataset, episode, dataset.obs):
            store.append(STREAM, row)
            count += 1
        store.flush()
    return count


def _known(path: Path, dataset: Dataset) -> Known:
    """What is known of a dataset: measured once, then read."""
    if not path.exists():
        scaling = dataset.scaling if isinstance(dataset, Scaled) else ActionScaling()
        about = replace(dataset.about, extra={})
        known = Known(about, scaling, measure(dataset), len(dataset.episodes()))
        write_json(path, known.to_json())
    return Known.from_json(json.loads(path.read_text()))


def _is_whole_store(dataset: Dataset) -> bool:
    if not isinstance(dataset, Scaled) or not dataset.scaling.identity:
        return False
    view = dataset.dataset
    return isinstance(view, View) and view.whole and isinstance(view.dataset, Recorded)


@contextmanager
def closing(dataset: Dataset) -> Iterator[Dataset]:
    """Closes it at the end."""
    try:
        yield dataset
    finally:
        dataset.close()


def require_alike(known: Known, dataset: Dataset, where: str) -> None:
    """Refuse data whose sensors are in other units than those a model learnt from.

    Raises:
        ValueError: they are; the message says which and by what factor.
    """
    found = shift(known.statistics, measure(dataset, frames=64))
    if found:
        raise ValueError(explain(found, "the data that the model learnt from", where))
