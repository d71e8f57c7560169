"""Any dataset to an episode store, or to LeRobot v3.0: row by row, some of them in memory.

While it works, `converting.json` lies in the target and says from what; the same call goes on there
after the last episode that is whole. What is there already is never written over.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from reverie.core.spec import Space
from reverie.data.container import PARTIAL, sync, write_json
from reverie.data.datasets import Dataset, DatasetError, Episode
from reverie.data.part import Key
from reverie.data.recorded import STORE, TASKS
from reverie.data.schema import PRESENT
from reverie.data.serial import to_json
from reverie.data.store import EpisodeStore

if TYPE_CHECKING:
    from reverie.data.lerobot.writer import LeRobotWriter

Target = Literal["store", "lerobot"]

MARKER = "converting.json"

_STREAM = 0
"""Of the target, to which all episodes go."""
_BLOCK_BYTES = 32 << 20
_BLOCK_ROWS = 512


@dataclass(frozen=True)
class Converted:
    """What a conversion wrote."""

    episodes: int
    """In the target, those of an earlier, cut-off call included."""
    rows: int
    resumed: int = 0
    """Episodes that an earlier call had written."""
    cut: int = 0
    """Episodes whose beginning or end was not recorded; in the target they begin and end where
    their rows do."""


class _Sink(Protocol):
    """Where rows go."""

    def done(self) -> int:
        """Whole episodes that are there."""
        ...

    def append(self, row: Mapping[str, Any], task: str) -> None:
        """One row; one with `last` ends its episode."""
        ...


def convert(
    source: Dataset,
    target: Path | str,
    format: Target = "store",
    *,
    episodes: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Converted:
    """Write episodes of a dataset to a directory.

    The time of a decision, the source, the meaning of actions and the episodes' tasks go with them.
    A store holds the same values, bit by bit; so does LeRobot but for pictures, which are filmed,
    and for the end of an episode without actions, which it takes for an end by time.

    Args:
        source: what is read.
        target: a directory that is not there, or empty, or that the same call was cut off in.
        format: "store" or "lerobot".
        episodes: names of those that are wanted, in this order; all if None.
        only: sensors that are wanted; all if None.
        progress: called with (episodes done, of how many, name) after each.

    Raises:
        FileExistsError: the target holds something else, or the start of another conversion.
        ValueError: there is no such sensor or format.
        KeyError: there is no such episode.
        DatasetError: the source is damaged, or holds what no dataset may: the target keeps what was
            whole before, and its marker.
    """
    target = Path(target)
    if format not in ("store", "lerobot"):
        raise ValueError(f"Format {format!r} is not written; choose store or lerobot.")
    chosen = _chosen(source, episodes)
    obs = {name: space for name, space in source.obs.items() if only is None or name in only}
    unknown = sorted(set(only or ()) - set(source.obs))
    if unknown or not obs:
        raise ValueError(f"only names {unknown or 'nothing'}; sensors are {sorted(source.obs)}.")
    _begin(target, _plan(source, format, chosen, obs))
    with _sink(source, target, format, chosen, obs) as sink:
        done = sink.done()
        cut = 0
        for number, episode in enumerate(chosen):
            first, last = _ends(source, episode, next(iter(obs)))
            cut += not (first and last)
            if number < done:
                continue
            for t, row in rows(source, episode, obs):
                try:
                    sink.append(row, episode.task)
                except ValueError as error:
                    raise DatasetError(
                        source.where, f"episode {episode.name}, row {t}", str(error)
                    ) from error
            if progress is not None:
                progress(number + 1, len(chosen), episode.name)
    (target / MARKER).unlink()
    sync(target)
    return Converted(len(chosen), sum(e.rows for e in chosen), min(done, len(chosen)), cut)


def _chosen(source: Dataset, episodes: Sequence[str] | None) -> list[Episode]:
    known = {episode.name: episode for episode in source.episodes()}
    missing = [name for name in episodes or () if name not in known]
    if missing:
        raise KeyError(f"{source.where} has no episodes {missing[:5]}; see episodes().")
    chosen = list(known.values()) if episodes is None else [known[name] for name in episodes]
    if len({e.name for e in chosen}) < len(chosen):
        raise ValueError("episodes names one twice; give each once.")
    if not chosen:
        raise ValueError(f"There are no episodes to convert in {source.where}.")
    return chosen


def _plan(
    source: Dataset, format: str, chosen: Sequence[Episode], obs: Mapping[str, Space]
) -> dict[str, Any]:
    """What a conversion is known by."""
    return {
        "source": source.where,
        "format": format,
        "episodes": [[episode.name, episode.rows] for episode in chosen],
        "obs": {name: space.to_json() for name, space in obs.items()},
        "dt": source.about.dt,
    }


def _begin(target: Path, plan: dict[str, Any]) -> None:
    """Mark the target, or find that the same conversion was cut off there."""
    marker = target / MARKER
    if marker.is_file():
        try:
            found = json.loads(marker.read_text())
        except ValueError:
            found = {}
        differs = [name for name, value in plan.items() if found.get(name) != value]
        if differs:
            raise FileExistsError(
                f"{target} holds the start of another conversion: {', '.join(differs)} differ. "
                "Repeat that one, or give another directory."
            )
        return
    unborn = marker.with_name(MARKER + PARTIAL)
    if target.exists() and (not target.is_dir() or set(target.iterdir()) - {unborn}):
        raise FileExistsError(f"{target} is there and not empty; give a directory that is not.")
    target.mkdir(parents=True, exist_ok=True)
    write_json(marker, plan)


def rows(
    source: Dataset, episode: Episode, obs: Mapping[str, Space]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of an episode; the first is `first` with no action, the final one is `last`."""
    size = sum(space.size * np.dtype(space.dtype).itemsize for space in obs.values())
    step = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // max(size, 1)))
    for start in range(0, episode.rows, step):
        stop = min(start + step, episode.rows)
        block = source.read(episode.name, start, stop, list(obs))
        for t in range(start, stop):
            row: dict[str, Any] = {name: values[t - start] for name, values in block.items()}
            if t == 0 and not row["first"]:
                row |= {"first": True, "action": np.zeros_like(row["action"])}
            row["last"] = t == episode.rows - 1
            yield t, row


def _ends(source: Dataset, episode: Episode, sensor: str) -> tuple[bool, bool]:
    """Whether the first row of an episode is its beginning, and its final row its end."""
    ends = [source.read(episode.name, t, t + 1, []) for t in (0, episode.rows - 1)]
    return bool(ends[0]["first"][0]), bool(ends[1]["last"][0])


# -------------------------------------------------------------------------------------------------
# Targets


@contextlib.contextmanager
def _sink(
    source: Dataset, target: Path, format: str, chosen: Sequence[Episode], obs: Mapping[str, Space]
) -> Iterator[_Sink]:
    about = source.about
    if format == "store":
        said = meta(source, chosen)
        missing = optional(source, chosen, obs)
        with EpisodeStore(target, obs, source.action, meta=said, optional=missing) as store:
            yield _StoreSink(store, chosen)
        return
    from reverie.data.lerobot.writer import LeRobotWriter

    options: dict[str, Any] = {"dt": about.dt, "about": about.action, "robot": about.source}
    with LeRobotWriter(target, obs, source.action, **options) as writer:
        yield _LeRobotSink(writer)


def meta(source: Dataset, chosen: Sequence[Episode], stream: int = _STREAM) -> dict[str, Any]:
    """What a store says of itself whose stream `stream` holds the chosen episodes."""
    about = source.about
    tasks = {f"{stream:04d}-{k:08d}": e.task for k, e in enumerate(chosen) if e.task}
    said = {"dt": about.dt, "env": about.source, "action": to_json(about.action), TASKS: tasks}
    if about.format == STORE:
        return {**about.extra, **said}
    return said | {"recorded": {"format": about.format, **about.extra}}


class _StoreSink:
    """An episode store."""

    def __init__(self, store: EpisodeStore, chosen: Sequence[Episode]) -> None:
        self._store = store
        self._rows = [episode.rows for episode in chosen]

    def done(self) -> int:
        """Whole episodes; the store goes on after them, over what is left of one that is not."""
        whole = 0
        for info in self._store.episodes():
            if not info.complete or info.index != whole or info.rows != self._rows[whole]:
                break
            whole += 1
        self._store.rewind({_STREAM: Key(_STREAM, whole, 0)}, [], self._store.rows_taken)
        return whole

    def append(self, row: Mapping[str, Any], task: str) -> None:
        """One row."""
        self._store.append(_STREAM, row)


class _LeRobotSink:
    """A LeRobot dataset."""

    def __init__(self, writer: LeRobotWriter) -> None:
        self._writer = writer

    def done(self) -> int:
        """Whole episodes."""
        return self._writer.episodes

    def append(self, row: Mapping[str, Any], task: str) -> None:
        """One row; ValueError where a sensor is missing in it, which LeRobot cannot say."""
        missing = [name for name, there in row.items() if name.endswith(PRESENT) and not there]
        if missing:
            raise ValueError(
                f"{missing[0].removesuffix(PRESENT)!r} is missing there, and LeRobot has no "
                "missing sensors; leave it out with only=, or convert to a store."
            )
        kept = {name: value for name, value in row.items() if not name.endswith(PRESENT)}
        self._writer.append(_STREAM, kept, task=task)


def optional(source: Dataset, chosen: Sequence[Episode], obs: Mapping[str, Space]) -> list[str]:
    """Sensors that may be missing in some rows, as the first row tells."""
    row = source.read(chosen[0].name, 0, 1, list(obs))
    return [name.removesuffix(PRESENT) for name in row if name.endswith(PRESENT)]
