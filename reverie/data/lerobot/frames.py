"""Rows of a robot as frames of LeRobot: which feature is what, and an episode as a table.

Row t holds what was sensed at t and the action that led there; frame t holds what was sensed at t
and the action taken then. So with D actions

    rows    obs_0  | a_0, r_0, obs_1 | ... | a_{D-1}, r_{D-1}, obs_D
    frames  obs_0, a_0, r_0 | ... | obs_{D-1}, a_{D-1}, r_{D-1} | obs_D, a_{D-1}, 0

both are D + 1; the last frame carries the final observation, repeats an action, and has reward 0.
`next.done` is true in the last two (nothing follows them), `next.truncated` where it was no end of
the task. The first row's action and reward are zeros by contract, and have no place in a frame.

Shapes: `n` frames, `C h w` image.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reverie.core.spec import Space
from reverie.data.container import Array
from reverie.data.datasets import ActionInfo
from reverie.data.lerobot import layout
from reverie.data.schema import Schema
from reverie.data.serial import to_json

if TYPE_CHECKING:
    import pyarrow as pa

AXES = ["height", "width", "channels"]
MOST_AXES = 5
"""Of a tensor in a LeRobot table."""
OUTCOME_DTYPES = {layout.REWARD: "float32", layout.DONE: "bool", layout.TRUNCATED: "bool"}


def require_arrow() -> Any:
    """pyarrow, or an error that names the extra."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "LeRobot datasets are tables that pyarrow writes; pip install 'reverie[data]'."
        ) from error
    return pyarrow


@dataclass(frozen=True)
class Robot:
    """What is recorded, and how LeRobot calls it."""

    schema: Schema
    dt: float
    """World time per decision [s]."""
    about: ActionInfo
    name: str
    """Of the robot."""
    video: bool
    """Whether cameras are filmed; else each picture is a PNG in the table."""

    @property
    def fps(self) -> int:
        """Frames per second as LeRobot counts them: a whole number, so 1 / dt is rounded; `dt`
        itself stands in info.json, too."""
        return max(1, round(1 / self.dt))

    @property
    def keys(self) -> dict[str, str]:
        """LeRobot's key of each sensor: `observation.images.<name>` of a camera (uint8 of one or
        three channels), `observation.state` of the only other sensor, `observation.<name>` where
        there are several. A slash in a name is a dot in its key."""
        cameras = {name for name, space in self.schema.obs.items() if is_camera(space)}
        alone = len(self.schema.obs) - len(cameras) == 1
        return {
            name: f"observation.images.{name.replace('/', '.')}"
            if name in cameras
            else f"observation.{'state' if alone else name.replace('/', '.')}"
            for name in self.schema.obs
        }

    @property
    def cameras(self) -> dict[str, str]:
        """Key -> name of each camera."""
        return {k: n for n, k in self.keys.items() if is_camera(self.schema.obs[n])}

    @property
    def filmed(self) -> dict[str, str]:
        """Those whose pictures are in films; empty without video."""
        return self.cameras if self.video else {}

    @property
    def columns(self) -> dict[str, Space]:
        """Every feature of the tables that is no picture."""
        return {
            **{key: self.schema.obs[n] for n, key in self.keys.items() if key not in self.cameras},
            "action": self.schema.action,
            **{key: Space((), dtype) for key, dtype in OUTCOME_DTYPES.items()},
            **{key: Space((), dtype) for key, dtype in layout.BOOKKEEPING.items()},
        }

    def features(self) -> dict[str, dict[str, Any]]:
        """`features` of info.json."""
        kind = "video" if self.video else "image"
        found: dict[str, dict[str, Any]] = {}
        for key, name in self.cameras.items():
            channels, height, width = self.schema.obs[name].shape
            found[key] = {"dtype": kind, "shape": [height, width, channels], "names": AXES}
        for key, space in self.columns.items():
            found[key] = {"dtype": space.dtype, "shape": list(space.shape) or [1], "names": None}
        names = self.about.names
        found["action"]["names"] = list(names) if len(names) == self.schema.action.size else None
        return found

    def ours(self) -> dict[str, Any]:
        """What LeRobot has no place for, under `layout.OURS` of info.json."""
        spaces = self.schema.obs
        return {
            "final_observation": True,
            "obs": {k: {"name": n, "space": spaces[n].to_json()} for n, k in self.keys.items()},
            "action": self.schema.action.to_json(),
            "action_info": to_json(self.about),
            "dt": self.dt,
        }


def is_camera(space: Space) -> bool:
    """Whether a sensor is a picture that LeRobot knows: grey or colour."""
    return space.is_image and space.shape[0] in (1, 3)


def robot_of(
    obs: Mapping[str, Space], action: Space, dt: float, about: ActionInfo, name: str, video: bool
) -> Robot:
    """A checked `Robot`.

    Raises:
        ValueError: a name that cannot be a key or a folder, two sensors of one key, more axes than
            a table takes, or a time that is not positive.
    """
    if not (np.isfinite(dt) and dt > 0):
        raise ValueError(f"dt is {dt}; give the positive time of one decision in seconds.")
    found = Robot(Schema(obs, action), float(dt), about, name, video)
    for sensor, space in {**found.schema.obs, "action": action}.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+([./][A-Za-z0-9_-]+)*", sensor):
            raise ValueError(
                f"A sensor is called {sensor!r}; in a LeRobot dataset that names a column or a "
                "folder: use letters, digits, '_', '-' and single dots or slashes."
            )
        if len(space.shape) > MOST_AXES:
            raise ValueError(
                f"{sensor!r} has {len(space.shape)} axes; a LeRobot table takes {MOST_AXES}. "
                "Flatten it."
            )
    keys = list(found.keys.values())
    clash = sorted({key for key in keys if keys.count(key) > 1})
    if clash:
        raise ValueError(
            f"Sensors {sorted(found.keys)} clash: several would be {clash} in a LeRobot dataset. "
            "Rename one of them."
        )
    names = about.names
    if names and len(names) != action.size:
        raise ValueError(f"ActionInfo has {len(names)} names for an action of {action.size}.")
    return found


def outcomes(reward: Array, terminated: bool) -> dict[str, Array]:
    """`next.*` of an episode from the rewards of its rows `[n]`, the first of which is empty."""
    count = len(reward)
    done = np.arange(count) >= count - 2
    return {
        layout.REWARD: np.append(reward[1:], 0).astype(np.float32),
        layout.DONE: done,
        layout.TRUNCATED: done & (not terminated),
    }


def taken(action: Array) -> Array:
    """The action taken at each frame `[n, ...]` from the one that led to each row."""
    return np.concatenate([action[1:], action[-1:]])


def bookkeeping(count: int, start: int, episode: int, task: int, fps: int) -> dict[str, Array]:
    """The columns by which LeRobot finds its way, for `count` frames that begin at `start` of the
    whole dataset."""
    frame = np.arange(count, dtype=np.int64)
    return {
        "timestamp": (frame / fps).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.full(count, episode, np.int64),
        "index": start + frame,
        "task_index": np.full(count, task, np.int64),
    }


def arrow_schema(robot: Robot) -> pa.Schema:
    """Of a data file, with what the `datasets` package wants to know of each column."""
    arrow = require_arrow()
    fields: list[Any] = []
    known: dict[str, Any] = {}
    for key in {} if robot.video else robot.cameras:
        fields.append(arrow.field(key, _picture_type(arrow)))
        known[key] = {"_type": "Image"}
    for key, space in robot.columns.items():
        kind = _plain_type(arrow, space.dtype)
        value: dict[str, Any] = {"dtype": space.dtype, "_type": "Value"}
        if len(space.shape) == 1 and space.size > 1:
            kind = arrow.list_(arrow.field("element", kind), space.size)
            value = {"feature": value, "length": space.size, "_type": "List"}
        elif len(space.shape) > 1:
            for _ in space.shape:
                kind = arrow.list_(arrow.field("element", kind))
            axes = len(space.shape)
            value = {
                "shape": list(space.shape),
                "dtype": space.dtype,
                "_type": f"Array{axes}D",
            }
        fields.append(arrow.field(key, kind))
        known[key] = value
    text = json.dumps({"info": {"features": known}})
    return arrow.schema(fields, metadata={"huggingface": text})


def _plain_type(arrow: Any, dtype: str) -> Any:
    return arrow.bool_() if dtype == "bool" else arrow.from_numpy_dtype(np.dtype(dtype))


def _picture_type(arrow: Any) -> Any:
    return arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])


def table(
    schema: pa.Schema, columns: Mapping[str, Array], pictures: Mapping[str, list[bytes]]
) -> pa.Table:
    """Frames as a table: columns `[n, ...]`, and the pictures of each camera as PNG files."""
    arrow = require_arrow()
    arrays = []
    for field in schema:
        if field.name in pictures:
            items = [{"bytes": each, "path": None} for each in pictures[field.name]]
            arrays.append(arrow.array(items, field.type))
        else:
            arrays.append(_nested(arrow, columns[field.name], field.type))
    return arrow.Table.from_arrays(arrays, schema=schema)


def _nested(arrow: Any, values: Array, kind: Any) -> Any:
    """`[n, ...]` as an arrow column of lists in lists."""
    if arrow.types.is_fixed_size_list(kind):
        return arrow.FixedSizeListArray.from_arrays(arrow.array(values.reshape(-1)), type=kind)
    if not arrow.types.is_list(kind):
        return arrow.array(values.reshape(-1), kind)
    inner = _nested(arrow, values.reshape(-1, *values.shape[2:]), kind.value_type)
    ends = np.arange(0, len(values) * values.shape[1] + 1, values.shape[1], dtype=np.int32)
    return arrow.ListArray.from_arrays(ends, inner, type=kind)
