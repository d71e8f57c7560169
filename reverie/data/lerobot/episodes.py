"""Which episodes a LeRobot dataset has, and where the rows and films of each lie.

v3.0 keeps one row per episode in `meta/episodes/*/*.parquet`, v2.1 one line in
`meta/episodes.jsonl`. Statistics, which fill most of these tables, are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reverie.data.datasets import DatasetError
from reverie.data.lerobot.layout import (
    EPISODES_DIR,
    EPISODES_PATH,
    INFO_PATH,
    OLD_EPISODES_PATH,
    OLD_TASKS_PATH,
    TASKS_PATH,
    Info,
    fill,
    parse_json,
)
from reverie.data.lerobot.place import Place, damaged
from reverie.data.lerobot.tables import parquet_file, parquet_kinds


@dataclass(frozen=True)
class Clip:
    """Where a camera's pictures of one episode lie."""

    file: str
    start: float
    """Time of the first of them in the film [s]."""


@dataclass(frozen=True)
class Record:
    """One episode."""

    index: int
    frames: int
    task: str
    file: str
    """The parquet file with its rows."""
    clips: Mapping[str, Clip]
    """By feature key."""

    @property
    def name(self) -> str:
        """For `Dataset.read`."""
        return f"episode_{self.index:06d}"


def load_records(place: Place, info: Info) -> list[Record]:
    """All episodes in the order of their numbers.

    Raises:
        DatasetError: a table is damaged, lacks a column, has a number twice, or holds fewer
            episodes than info.json says.
    """
    cameras = [key for key, feature in info.features.items() if feature.dtype == "video"]
    found = {}
    for where, row in _old_rows(place) if info.is_old else _rows(place, info, cameras):
        record = (_old_record if info.is_old else _record)(info, row, where, cameras)
        if record.index in found:
            raise DatasetError(where, "episode_index", f"{record.index} is there twice.")
        found[record.index] = record
    if len(found) < info.total_episodes:
        raise DatasetError(
            place.name(INFO_PATH),
            "total_episodes",
            f"it says {info.total_episodes}, and the tables of episodes have {len(found)}: a file "
            "is missing, or the recorder was not closed (LeRobot's finalize()).",
        )
    return [found[index] for index in sorted(found)]


def load_tasks(place: Place, info: Info) -> list[str]:
    """All tasks in words; none where the file is not there, as episodes tell theirs themselves."""
    path = OLD_TASKS_PATH if info.is_old else TASKS_PATH
    if not place.exists(path):
        return []
    if info.is_old:
        return [str(row.get("task", "")) for _, row in _lines(place, path)]
    with damaged(place.name(path), "task", *parquet_kinds()), place.open(path) as file:
        table = parquet_file(file).read(use_threads=False)
        texts = [name for name in table.column_names if name != "task_index"]
        return [str(text) for text in table.column(texts[0]).to_pylist()] if texts else []


def _rows(place: Place, info: Info, cameras: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    numbers = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    numbers += [f"videos/{key}/{name}" for key in cameras for name in ("chunk_index", "file_index")]
    wanted = [*numbers, *(f"videos/{key}/from_timestamp" for key in cameras)]
    paths = place.below(EPISODES_DIR, ".parquet") or _numbered(place, info.total_episodes)
    if not paths:
        raise DatasetError(place.name(EPISODES_DIR), "", "there is no table of episodes in it.")
    for path in paths:
        where = place.name(path)
        with damaged(where, "", *parquet_kinds()), place.open(path) as file:
            parquet = parquet_file(file)
            there = set(parquet.schema_arrow.names)
            lacking = [name for name in wanted if name not in there]
            if lacking:
                raise DatasetError(where, lacking[0], "the column is missing.")
            table = parquet.read([*wanted, *({"tasks"} & there)], use_threads=False)
            columns = {name: table.column(name).to_pylist() for name in table.column_names}
        for values in zip(*columns.values(), strict=True):
            yield where, dict(zip(columns, values, strict=True))


def _numbered(place: Place, most: int) -> list[str]:
    """The tables of episodes by their numbers, at most so many, where a server lists no folders."""
    found: list[str] = []
    for chunk in range(most):
        before = len(found)
        for file in range(most - before):
            path = EPISODES_PATH.format(chunk_index=chunk, file_index=file)
            if not place.exists(path):
                break
            found.append(path)
        if len(found) == before:
            break
    return found


def _record(info: Info, row: Mapping[str, Any], where: str, cameras: list[str]) -> Record:
    def path(template: str, field: str, kind: str, **values: str) -> str:
        chunk = _count(row, f"{kind}/chunk_index", where)
        file = _count(row, f"{kind}/file_index", where)
        return fill(template, info.where, field, chunk_index=chunk, file_index=file, **values)

    clips = {
        key: Clip(
            path(info.video_path, "video_path", f"videos/{key}", video_key=key),
            _time(row, f"videos/{key}/from_timestamp", where),
        )
        for key in cameras
    }
    data = path(info.data_path, "data_path", "data")
    index, frames = _count(row, "episode_index", where), _length(row, where)
    return Record(index, frames, _task(row), data, clips)


def _old_rows(place: Place) -> Iterator[tuple[str, dict[str, Any]]]:
    return _lines(place, OLD_EPISODES_PATH)


def _old_record(info: Info, row: Mapping[str, Any], where: str, cameras: list[str]) -> Record:
    index = _count(row, "episode_index", where)
    numbers = {"episode_chunk": index // info.chunks_size, "episode_index": index}
    clips = {
        key: Clip(fill(info.video_path, info.where, "video_path", video_key=key, **numbers), 0.0)
        for key in cameras
    }
    data = fill(info.data_path, info.where, "data_path", **numbers)
    return Record(index, _length(row, where), _task(row), data, clips)


def _lines(place: Place, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(place.read(path).splitlines(), 1):
        if line.strip():
            where = f"{place.name(path)} line {number}"
            row = parse_json(line, where)
            if not isinstance(row, dict):
                raise DatasetError(where, "", "it must be a JSON object.")
            yield where, row


def _count(row: Mapping[str, Any], name: str, where: str) -> int:
    value = row.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # tables that pandas joined
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 40:
        raise DatasetError(where, name, f"it is {value!r}, not a number from 0 on.")
    return value


def _length(row: Mapping[str, Any], where: str) -> int:
    frames = _count(row, "length", where)
    if not frames:
        raise DatasetError(where, "length", "an episode without frames.")
    return frames


def _time(row: Mapping[str, Any], name: str, where: str) -> float:
    value = row.get(name)
    if not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise DatasetError(where, name, f"it is {value!r}, not a time in seconds.")
    return float(value)


def _task(row: Mapping[str, Any]) -> str:
    tasks = row.get("tasks") or []
    return "; ".join(map(str, tasks)) if isinstance(tasks, list) else str(tasks)
