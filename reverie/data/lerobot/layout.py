"""Where a LeRobot dataset keeps what: its files, its features, and `meta/info.json`.

Two versions are known, v3.0 (many episodes per file) and v2.1 (one file per episode):

    meta/info.json                              both
    meta/episodes/chunk-000/file-000.parquet    v3.0      meta/episodes.jsonl    v2.1
    meta/tasks.parquet                          v3.0      meta/tasks.jsonl       v2.1
    data/..., videos/...                        by the templates `data_path`, `video_path` of info

Everything here is parsed from a stranger's JSON: templates may use a few numbers and nothing else,
and a path never leads out of the dataset.

Source: the format as `huggingface/lerobot` 0.4.4 writes it (`src/lerobot/datasets`).
"""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from reverie.data.datasets import DatasetError

VERSIONS = ("v3.0", "v2.1", "v2.0")
"""Of `codebase_version`; v2.0 differs from v2.1 only in its statistics, which are not read."""

INFO_PATH = "meta/info.json"
STATS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
EPISODES_DIR = "meta/episodes"
OLD_TASKS_PATH = "meta/tasks.jsonl"
OLD_EPISODES_PATH = "meta/episodes.jsonl"

FILE_PATTERN = "chunk-{chunk_index:03d}/file-{file_index:03d}"
EPISODES_PATH = f"{EPISODES_DIR}/{FILE_PATTERN}.parquet"
DATA_PATH = f"data/{FILE_PATTERN}.parquet"
VIDEO_PATH = f"videos/{{video_key}}/{FILE_PATTERN}.mp4"

CHUNKS_SIZE = 1000
"""Most files in one chunk; in v2.1, most episodes."""
DATA_FILES_SIZE_IN_MB = 100
VIDEO_FILES_SIZE_IN_MB = 200

BOOKKEEPING: Mapping[str, str] = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
"""Columns of every data file, each of shape (1,), with their dtypes."""

ACTIONS = ("action", "actions")
"""Keys of the action; the second is that of some converters."""
REWARD, DONE, SUCCESS, TRUNCATED = "next.reward", "next.done", "next.success", "next.truncated"
OUTCOMES = (REWARD, DONE, SUCCESS, TRUNCATED)
"""What the action taken at a frame led to."""

OURS = "reverie"
"""Key of info.json under which Reverie's writer keeps what the format has no place for: `obs`
(LeRobot key -> {"name", "space"}), `action` (space), `action_info`, `dt` [s] and
`final_observation` (the last frame of an episode carries what was sensed at its end, and no
action)."""

PICTURES = ("image", "video")

_MOST_VALUES = 1 << 28
"""Of one sensor in one row."""
_FIELDS = {"chunk_index", "file_index", "video_key", "episode_chunk", "episode_index"}
_FORMAT = re.compile(r"(0?\d{1,2})?d?")


@dataclass(frozen=True)
class Feature:
    """One column or one camera."""

    key: str
    dtype: str
    """Of numpy, or "video", "image", "string"."""
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()
    """Of the entries; of the axes where it is a picture."""

    @property
    def is_picture(self) -> bool:
        """Whether it is filmed or stored as pictures."""
        return self.dtype in PICTURES

    def picture_shape(self) -> tuple[int, int, int]:
        """`(C, h, w)`, from axes in whichever order; names decide, then the axis that is 1 to 4."""
        shape = self.shape
        first = self.names[:1] and self.names[0].startswith("channel")
        last = self.names[-1:] and self.names[-1].startswith("channel")
        if first or (not last and shape[-1] > 4 >= shape[0]):
            return (shape[0], shape[1], shape[2])
        return (shape[2], shape[0], shape[1])


@dataclass(frozen=True)
class Info:
    """`meta/info.json`, checked."""

    where: str
    version: str
    fps: float
    features: Mapping[str, Feature]
    total_episodes: int
    chunks_size: int
    data_path: str
    video_path: str
    robot_type: str
    ours: Mapping[str, Any]
    """What Reverie's writer left under `OURS`; empty in everybody else's datasets."""

    @property
    def is_old(self) -> bool:
        """Whether each episode has files of its own (v2.x)."""
        return self.version != "v3.0"

    @property
    def final_observation(self) -> bool:
        """Whether the last frame of an episode carries only what was sensed at its end."""
        return self.ours.get("final_observation") is True

    @property
    def dt(self) -> float:
        """World time per frame [s]."""
        return float(self.ours.get("dt", 1 / self.fps))

    @property
    def has_outcomes(self) -> bool:
        """Whether rewards or endings were recorded."""
        return any(key in self.features for key in OUTCOMES)


def parse_info(text: str | bytes, where: str) -> Info:
    """`meta/info.json`; `where` is its place, for errors.

    Raises:
        DatasetError: it is no JSON, lacks a field, or has one of another type; the error names it.
    """
    value = parse_json(text, where)
    if not isinstance(value, dict):
        raise DatasetError(where, "", "it must be a JSON object.")
    version = _get(value, "codebase_version", str, where)
    if version not in VERSIONS:
        raise DatasetError(
            where,
            "codebase_version",
            f"{version!r} is not read; known are {', '.join(VERSIONS)}. Convert it with LeRobot's "
            "own scripts (lerobot.datasets.v30.convert_dataset_v21_to_v30 and its ancestors).",
        )
    fps = _get(value, "fps", int | float, where)
    if not (math.isfinite(fps) and fps > 0):
        raise DatasetError(where, "fps", f"it is {fps} and must be a positive number.")
    features = _features(_get(value, "features", dict, where), where)
    data_path = checked_template(_get(value, "data_path", str, where), where, "data_path")
    video_path = value.get("video_path") or ""
    if any(f.dtype == "video" for f in features.values()):
        video_path = checked_template(_get(value, "video_path", str, where), where, "video_path")
    ours = value.get(OURS, {})
    if not isinstance(ours, dict):
        raise DatasetError(where, OURS, "it must be a JSON object.")
    found = _positive(ours.get("dt", 1 / fps))
    if not found:
        raise DatasetError(where, f"{OURS}.dt", f"{ours['dt']!r} is no positive time in seconds.")
    total = _get(value, "total_episodes", int, where)
    chunks_size = value.get("chunks_size", CHUNKS_SIZE)
    if not isinstance(chunks_size, int) or chunks_size < 1:
        raise DatasetError(where, "chunks_size", f"{chunks_size!r} is no positive number.")
    robot = str(value.get("robot_type") or "")
    return Info(
        where, version, float(fps), features, total, chunks_size, data_path, video_path, robot, ours
    )


def parse_json(text: str | bytes, where: str) -> Any:
    """JSON, or an error that names the file."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(where, "", f"it is no JSON: {error}") from error


def checked_template(template: str, where: str, field: str) -> str:
    """A path template, if it uses numbers and the camera's key alone and stays in the dataset.

    `str.format` would reach attributes of its arguments: `{chunk_index.__class__}` is refused here.
    """
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise DatasetError(where, field, f"{template!r} is no path template: {error}") from error
    for _, name, form, conversion in parts:
        plain = name is None or (name in _FIELDS and not conversion)
        if not plain or (form and (name == "video_key" or not _FORMAT.fullmatch(form))):
            raise DatasetError(
                where,
                field,
                f"{template!r} has the field {name!r}; fields are {sorted(_FIELDS)}, the numbers "
                "with a format such as :03d.",
            )
    sample = template.format(**{name: "x" if name == "video_key" else 0 for name in _FIELDS})
    return template if inside(sample, where, field) else ""


def fill(template: str, where: str, field: str, **values: int | str) -> str:
    """The path of one file, relative to the dataset.

    Raises:
        DatasetError: the template asks for a value that there is none of, or leads outside.
    """
    try:
        path = template.format(**values)
    except (KeyError, ValueError) as error:
        raise DatasetError(
            where, field, f"{template!r} cannot be filled from {sorted(values)}: {error!r}."
        ) from error
    return inside(path, where, field)


def inside(path: str, where: str, field: str) -> str:
    """A relative path, if it stays in the dataset.

    Raises:
        DatasetError: it is absolute, has a ".." or is an address.
    """
    parts = PurePosixPath(path).parts
    strange = any(letter in path for letter in "\\\0:*?[")
    if not parts or strange or path.startswith(("/", "~")) or ".." in parts:
        raise DatasetError(
            where, field, f"{path!r} leads out of the dataset or is no plain path below it."
        )
    return path


def _features(value: Mapping[str, Any], where: str) -> dict[str, Feature]:
    found = {}
    for key, each in value.items():
        at = f"features.{key}"
        if not key or set(key) & set("/\\\0"):
            raise DatasetError(where, at, "a key is not empty and has no slashes.")
        if not isinstance(each, dict):
            raise DatasetError(where, at, "it must be a JSON object.")
        dtype, shape = each.get("dtype"), each.get("shape")
        if not isinstance(dtype, str):
            raise DatasetError(where, f"{at}.dtype", f"it is {dtype!r}, not a name.")
        sizes = shape if isinstance(shape, list) else [0]
        whole = all(type(n) is int and n > 0 for n in sizes)
        if not whole or len(sizes) > 5 or math.prod(sizes) > _MOST_VALUES:
            raise DatasetError(where, f"{at}.shape", f"it is {shape!r}, not a list of sizes.")
        feature = Feature(key, dtype, tuple(sizes) or (1,), _names(each.get("names")))
        if feature.is_picture and (len(sizes) != 3 or feature.picture_shape()[0] not in (1, 3)):
            raise DatasetError(
                where, f"{at}.shape", f"{shape} is no grey or colour picture (height, width, 1/3)."
            )
        found[key] = feature
    return found


def _names(value: Any) -> tuple[str, ...]:
    """Names come as a list, as {"motors": [...]} or as {name: index}."""
    if isinstance(value, dict) and value and all(type(v) is int for v in value.values()):
        return tuple(str(name) for name in sorted(value, key=lambda name: value[name]))
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return ()
    flat = [part for each in value for part in (each if isinstance(each, list) else [each])]
    return tuple(str(part) for part in flat)


def _positive(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value > 0


def _get(value: Mapping[str, Any], name: str, kind: Any, where: str) -> Any:
    found = value.get(name)
    if not isinstance(found, kind) or isinstance(found, bool):
        given = "missing" if name not in value else repr(found)[:60]
        raise DatasetError(where, name, f"it is {given}; a {kind} is needed.")
    return found
