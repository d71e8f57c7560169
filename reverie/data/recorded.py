"""Reverie's own episode store as a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from reverie.core.spec import Space
from reverie.data.container import Array
from reverie.data.datasets import About, ActionInfo, DatasetError, Episode
from reverie.data.serial import from_json
from reverie.data.store import EpisodeStore

TASKS = "episode_tasks"
"""Entry of a store's meta with the words of each episode's task, by its name."""


STORE = "reverie store"
"""`About.format` of one."""


def recognises(place: Path | str) -> bool:
    """Whether an episode store is there."""
    return (Path(place) / "store.json").is_file()


def open(place: Path | str) -> Recorded:
    """The store in a directory, to read only."""
    return Recorded(place)


class Recorded:
    """An episode store, open to read only; another process may be writing to it."""

    def __init__(self, place: Path | str) -> None:
        try:
            self.store = EpisodeStore.open(place)
        except FileNotFoundError as error:
            raise DatasetError(place, "store.json", str(error)) from error
        meta = self.store.meta
        self.where = str(place)
        self.obs: Mapping[str, Space] = self.store.schema.obs
        self.action = self.store.schema.action
        if not isinstance(meta.get("dt"), int | float) or not meta["dt"] > 0:
            raise DatasetError(
                Path(place) / "store.json",
                "meta.dt",
                f"it is {meta.get('dt')!r} and must be the positive time of a decision in seconds; "
                'make stores with meta={"dt": seconds}.',
            )
        if not isinstance(meta.get(TASKS, {}), dict):
            problem = "it must be an object, from names of episodes to words."
            raise DatasetError(Path(place) / "store.json", f"meta.{TASKS}", problem)
        about = from_json(ActionInfo, meta.get("action", {}), f"{place}/store.json, meta.action")
        extra = {k: v for k, v in meta.items() if k not in ("dt", "env", "action", TASKS)}
        source = str(meta.get("env", ""))
        self.about = About(STORE, float(meta["dt"]), source, about, extra)

    def episodes(self) -> Sequence[Episode]:
        """All episodes."""
        tasks = self.store.meta.get(TASKS, {})
        return [
            Episode(e.name, e.rows, str(tasks.get(e.name, "")), e.complete)
            for e in self.store.episodes()
        ]

    def read(
        self, name: str, start: int = 0, stop: int | None = None, only: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Rows of an episode; see `Dataset.read`."""
        found = self.store.read(name, start, stop)
        left_out = {n for n in self.obs if only is not None and n not in only}
        return {n: v for n, v in found.items() if n.removesuffix(".present") not in left_out}

    def close(self) -> None:
        """Nothing stays open."""
