"""What a LeRobot dataset on disk lists: its episodes, tasks and statistics, and its last files.

Nothing here changes a file but `tidy`, which removes what a killed writer left.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reverie.data.container import PARTIAL
from reverie.data.datasets import DatasetError
from reverie.data.lerobot import layout
from reverie.data.lerobot.frames import Robot, require_arrow
from reverie.data.lerobot.statistics import NAMES, Stats, joined

if TYPE_CHECKING:
    import pyarrow as pa

SCRATCH = ".recording"
"""Folder for what is not finished; it goes when the writer is closed."""


@dataclass(frozen=True)
class SizeConfig:
    """How large files grow."""

    data_mb: float = 16.0
    """A data file, before compression. Adding an episode rewrites the last file."""
    video_mb: float = 64.0
    """A film."""
    episodes: int = 1000
    """Episodes listed in one file."""
    per_chunk: int = layout.CHUNKS_SIZE
    """Files in one folder."""


class Slot(NamedTuple):
    """Which file of its sort."""

    chunk: int = 0
    file: int = 0

    def after(self, per_chunk: int) -> Slot:
        """The next one."""
        full = self.file + 1 >= per_chunk
        return Slot(self.chunk + 1, 0) if full else Slot(self.chunk, self.file + 1)

    def fill(self, template: str, **values: str) -> str:
        """The path of the file, relative to the dataset."""
        return template.format(chunk_index=self.chunk, file_index=self.file, **values)


class Tail(NamedTuple):
    """The last file of its sort, as far as it belongs to episodes that are listed."""

    slot: Slot = Slot()
    length: int = 0
    """Rows or frames."""
    size: int = 0
    """Bytes."""


@dataclass(frozen=True)
class State:
    """What is on disk."""

    episodes: int = 0
    frames: int = 0
    tasks: Mapping[str, int] = field(default_factory=dict)
    stats: Mapping[str, Stats] = field(default_factory=dict)
    data: Tail = field(default_factory=Tail)
    films: Mapping[str, Tail] = field(default_factory=dict)
    listed: Slot | None = None
    """The last file of episodes; None where there is none."""
    listing: pa.Table | None = None
    """Its content, where more rows fit to it."""


def episodes_schema(robot: Robot) -> pa.Schema:
    """Of a file of episodes: where each one is, and its statistics."""
    arrow = require_arrow()
    whole, real = arrow.int64(), arrow.float64()

    def several(kind: Any, axes: int = 1) -> Any:
        return arrow.list_(arrow.field("element", several(kind, axes - 1))) if axes else kind

    fields = [("episode_index", whole), ("tasks", several(arrow.string())), ("length", whole)]
    fields += [("data/chunk_index", whole), ("data/file_index", whole)]
    fields += [("dataset_from_index", whole), ("dataset_to_index", whole)]
    for key in robot.filmed:
        fields += [(f"videos/{key}/{name}", whole) for name in ("chunk_index", "file_index")]
        fields += [(f"videos/{key}/{name}", real) for name in ("from_timestamp", "to_timestamp")]
    for key, axes in {**dict.fromkeys(robot.cameras, 3), **dict.fromkeys(robot.columns, 1)}.items():
        for name in NAMES:
            kind = real
            if name in ("min", "max") and key in robot.columns:
                kinds = {"b": arrow.bool_(), "i": whole, "u": whole}
                kind = kinds.get(np.dtype(robot.columns[key].dtype).kind, real)
            count = name == "count"
            fields.append((f"stats/{key}/{name}", several(whole) if count else several(kind, axes)))
    fields += [("meta/episodes/chunk_index", whole), ("meta/episodes/file_index", whole)]
    return arrow.schema(fields)


def task_table(tasks: Mapping[str, int]) -> pa.Table:
    """`meta/tasks.parquet`: a pandas frame with the tasks as its index, made without pandas."""
    arrow = require_arrow()
    names = sorted(tasks, key=lambda task: tasks[task])
    columns = {"task_index": arrow.array(range(len(names)), arrow.int64()), "task": names}
    told = {
        "index_columns": ["task"],
        "column_indexes": [_pandas_column(None, "unicode", {"encoding": "UTF-8"})],
        "columns": [_pandas_column("task_index", "int64"), _pandas_column("task", "unicode")],
        "creator": {"library": "pyarrow", "version": arrow.__version__},
        "pandas_version": "2.0.0",
    }
    return arrow.table(columns).replace_schema_metadata({"pandas": json.dumps(told)})


def _pandas_column(name: str | None, kind: str, more: Any = None) -> dict[str, Any]:
    stored = "object" if kind == "unicode" else kind
    return {
        "name": name,
        "field_name": name,
        "pandas_type": kind,
        "numpy_type": stored,
        "metadata": more,
    }


def plain(stats: Mapping[str, Stats]) -> dict[str, dict[str, Any]]:
    """Statistics as JSON."""
    return {k: {name: value.tolist() for name, value in v.items()} for k, v in stats.items()}


def read_state(root: Path, robot: Robot) -> State:
    """What is on disk, of a dataset whose info.json is already known to fit.

    Raises:
        DatasetError: a file is missing or damaged.
    """
    arrow = require_arrow()
    schema = episodes_schema(robot)
    names = [field.name for field in schema]
    episodes: list[dict[str, Any]] = []
    stats: dict[str, Stats] = {}
    listed, listing = None, None
    for slot, path in files(root / layout.EPISODES_DIR, ".parquet"):
        try:
            found = arrow.parquet.read_table(path, use_threads=False)
            rows = found.select(names).to_pylist()
        except (OSError, KeyError, arrow.ArrowException) as error:
            raise DatasetError(path, "", f"it cannot be read: {error}") from error
        episodes += [{k: v for k, v in row.items() if "stats/" not in k} for row in rows]
        for row in rows:
            stats = joined(stats, _stats_of(row, robot))
        listed, listing = slot, found if found.schema.equals(schema) else None
    if not episodes:
        return State()
    last = episodes[-1]
    data = _slot(last, "data")
    in_data = [e["length"] for e in episodes if _slot(e, "data") == data]
    films = {}
    for key in robot.filmed:
        slot = _slot(last, f"videos/{key}")
        path = root / slot.fill(layout.VIDEO_PATH, video_key=key)
        frames = round(last[f"videos/{key}/to_timestamp"] * robot.fps)
        films[key] = Tail(slot, frames, _size(path))
    path = root / data.fill(layout.DATA_PATH)
    return State(
        episodes=len(episodes),
        frames=last["dataset_to_index"],
        tasks=_read_tasks(root / layout.TASKS_PATH),
        stats=stats,
        data=Tail(data, sum(in_data), _size(path)),
        films=films,
        listed=listed,
        listing=listing,
    )


def _slot(row: Mapping[str, Any], what: str) -> Slot:
    return Slot(row[f"{what}/chunk_index"], row[f"{what}/file_index"])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DatasetError(path, "", f"an episode is listed to be in it: {error}") from error


def _stats_of(row: Mapping[str, Any], robot: Robot) -> dict[str, Stats]:
    keys = [*robot.cameras, *robot.columns]
    return {key: {name: np.asarray(row[f"stats/{key}/{name}"]) for name in NAMES} for key in keys}


def _read_tasks(path: Path) -> dict[str, int]:
    arrow = require_arrow()
    try:
        found = arrow.parquet.read_table(path, use_threads=False)
        (words,) = [name for name in found.column_names if name != "task_index"]
        numbers = found["task_index"].to_pylist()
        return dict(zip(found[words].to_pylist(), numbers, strict=True))
    except (OSError, KeyError, ValueError, arrow.ArrowException) as error:
        raise DatasetError(path, "task_index", f"it cannot be read: {error}") from error


def files(folder: Path, ending: str) -> Iterator[tuple[Slot, Path]]:
    """The numbered files in a folder, in order."""
    found = []
    for path in folder.glob(f"*/*{ending}"):
        chunk = re.fullmatch(r"chunk-(\d+)", path.parent.name)
        file = re.fullmatch(rf"file-(\d+){re.escape(ending)}", path.name)
        if chunk and file:
            found.append((Slot(int(chunk[1]), int(file[1])), path))
    yield from sorted(found)


def tidy(root: Path, state: State) -> None:
    """Remove what a killed writer left: scratch, half-written files, and files after the last ones
    that an episode names."""
    shutil.rmtree(root / SCRATCH, ignore_errors=True)
    for path in root.rglob(f"*{PARTIAL}"):
        path.unlink()
    last = state.data.slot if state.episodes else Slot(-1, -1)
    for slot, path in files(root / "data", ".parquet"):
        if slot > last:
            path.unlink()
    for folder in root.glob("videos/*"):
        tail = state.films.get(folder.name)
        for slot, path in files(folder, ".mp4"):
            if tail is None or slot > tail.slot:
                path.unlink()
