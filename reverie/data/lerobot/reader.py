"""LeRobot datasets as datasets: rows shifted so that a row holds the action that led there.

Frame t of LeRobot holds what was sensed at t, the action taken then and what it led to (`next.*`):

    row 0: sensors of frame 0, zeros for its action and reward
    row t: sensors of frame t, action and `next.reward` of frame t - 1

An episode of L frames has

* L rows where nothing is recorded of what actions led to; its last action has no row;
* L + 1 rows where `next.reward`, `next.done`, `next.success` or `next.truncated` are features: the
  last row has the action and the outcome of the last frame. LeRobot does not record what was
  sensed after it, so the sensors of the last frame are **repeated** there: nothing may be learnt
  from the last step's prediction of them;
* L rows where Reverie recorded it: its last frame holds what was sensed at the end, and no action,
  so that nothing is lost and nothing is repeated.

The last row is `terminated` where `next.done` is set at the last action and `next.truncated` is
not.

Shapes: `L` frames of an episode, `T` rows asked for, `C h w` a picture.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reverie.core.spec import Space
from reverie.data.container import Array
from reverie.data.datasets import About, Episode
from reverie.data.lerobot import naming
from reverie.data.lerobot.episodes import Record, load_records, load_tasks
from reverie.data.lerobot.layout import DONE, INFO_PATH, REWARD, TRUNCATED, parse_info
from reverie.data.lerobot.picture import decode
from reverie.data.lerobot.place import Place
from reverie.data.lerobot.tables import Tables
from reverie.data.lerobot.video import Films, Window

CACHE_BYTES = 256 << 20

_TIME = "timestamp"
_OUTCOMES = {REWARD: Space(()), DONE: Space((), "bool"), TRUNCATED: Space((), "bool")}


def recognises(place: Path | str) -> bool:
    """Whether a LeRobot dataset is in a directory or at an fsspec address."""
    return Place(place).exists(INFO_PATH)


def open(
    place: Path | str, *, threads: int | None = None, cache_bytes: int = CACHE_BYTES
) -> LeRobotDataset:
    """A LeRobot dataset, v3.0 or v2.1, in a directory or at an fsspec address; see
    `LeRobotDataset`."""
    return LeRobotDataset(place, threads=threads, cache_bytes=cache_bytes)


class LeRobotDataset:
    """A LeRobot dataset, open to read; only its tables in `meta/` have been read.

    It is for one thread at a time. A process forked from this one opens the files anew, and one
    that gets it sent opens the dataset there, so that workers may read, too:

        DataLoader(windows, 8, collate_fn=dataset.read_many, num_workers=2)

    Args:
        place: a directory or an fsspec address.
        threads: how many films are decoded at once; None takes one per processor, at most four.
        cache_bytes: of decoded rows (not of films) that are kept.

    Raises:
        DatasetError: it is none, or its tables are damaged.
    """

    def __init__(
        self,
        place: Path | str,
        *,
        threads: int | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._place = Place(place)
        self.where = str(place)
        self._info = info = parse_info(self._place.read(INFO_PATH), self._place.name(INFO_PATH))
        self._names = naming.sensors(info)
        self._action_key = naming.action_key(info)
        self.obs: Mapping[str, Space] = naming.spaces(info, self._names)
        self.action = naming.action_space(info)
        self._records = {each.name: each for each in load_records(self._place, info)}
        self.about = About(
            f"lerobot {info.version}",
            info.dt,
            info.robot_type,
            naming.action_info(info),
            {
                "fps": info.fps,
                "tasks": load_tasks(self._place, info),
                "keys": {name: key for key, name in self._names.items()},
                "left_out": naming.left_out(info, self._names),
            },
        )
        self._columns = {key: self.obs[name] for key, name in self._names.items()}
        self._columns |= {k: s for k, s in _OUTCOMES.items() if k in info.features}
        self._columns[self._action_key] = self.action
        if _TIME in info.features:
            self._columns[_TIME] = Space((), "float64")
        self._threads = threads or min(4, os.cpu_count() or 1)
        self._cache_bytes = cache_bytes
        self._start()

    def episodes(self) -> Sequence[Episode]:
        """All episodes, in the order of their numbers."""
        return [Episode(each.name, self._rows(each), each.task) for each in self._records.values()]

    def read(
        self, name: str, start: int = 0, stop: int | None = None, only: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Rows of an episode; see `Dataset.read`, and above for what a row is."""
        return self.read_many([(name, start, stop)], only)[0]

    def read_many(
        self,
        windows: Sequence[tuple[str, int, int | None]],
        only: Sequence[str] | None = None,
    ) -> list[dict[str, Array]]:
        """Rows of several episodes at once, `(name, start, stop)` each, as `read` gives them; the
        films of all of them are decoded side by side."""
        if os.getpid() != self._process:
            self._start()
        films: list[Window] = []
        found = [self._begin(*window, only, films) for window in windows]
        self._films.fill(films)
        return found

    def timestamps(self, name: str) -> Array:
        """When each row of an episode was sensed, as it was recorded [s]; the row beyond the last
        frame comes one dt after it."""
        record = self._record(name)
        if _TIME not in self._columns:
            return np.asarray(np.arange(self._rows(record)) * self._info.dt)
        seconds = self._read(record, 0, record.frames, [_TIME])[_TIME]
        more = self._rows(record) - record.frames
        return np.append(seconds, seconds[-1:] + self._info.dt) if more else seconds

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process, it is opened there."""
        made = functools.partial(
            LeRobotDataset, threads=self._threads, cache_bytes=self._cache_bytes
        )
        return made, (self.where,)

    def close(self) -> None:
        """Close all files, and forget what was kept."""
        if os.getpid() == self._process:
            self._tables.close()
            self._films.close()

    def _start(self) -> None:
        """Files and threads of this process; those of another cannot be shared after a fork."""
        self._process = os.getpid()
        features = self._info.features
        pictures = [key for key in self._names if features[key].is_picture]
        self._tables = Tables(self._place, self._columns, pictures, self._cache_bytes)
        self._films = Films(self._place, self._info.fps, self._threads)

    def _rows(self, record: Record) -> int:
        more = self._info.has_outcomes and not self._info.final_observation
        return record.frames + more

    def _record(self, name: str) -> Record:
        record = self._records.get(name)
        if record is None:
            raise KeyError(f"There is no episode {name!r} in {self.where}; see episodes().")
        return record

    def _begin(
        self,
        name: str,
        start: int,
        stop: int | None,
        only: Sequence[str] | None,
        films: list[Window],
    ) -> dict[str, Array]:
        """Rows, of which films are still to be decoded: they are added to `films`."""
        record = self._record(name)
        total = self._rows(record)
        stop = total if stop is None else stop
        if not 0 <= start <= stop <= total:
            raise IndexError(
                f"Episode {name!r} has {total} rows; rows {start} to {stop} are not in it."
            )
        keys = [key for key, n in self._names.items() if only is None or n in only]
        rows = self._sensed(record, start, stop, keys, films)
        rows |= self._done(record, start, stop, total)
        at = np.arange(start, stop)
        rows |= {"first": at == 0, "last": at == total - 1}
        rows["terminated"] = rows.pop("terminated")
        return rows

    def _sensed(
        self, record: Record, start: int, stop: int, keys: list[str], films: list[Window]
    ) -> dict[str, Array]:
        """Sensors in rows start..stop; the row beyond the last frame repeats it."""
        rows = {self._names[key]: self._blank(self._columns[key], stop - start) for key in keys}
        if start == stop:
            return rows
        frames = np.minimum(np.arange(start, stop), record.frames - 1)
        first, last = int(frames[0]), int(frames[-1]) + 1
        timed = _TIME in self._columns and any(key in record.clips for key in keys)
        columns = [key for key in keys if key not in record.clips] + [_TIME] * timed
        found = self._read(record, first, last, columns)
        seconds = found.pop(_TIME, np.arange(first, last) / self._info.fps)[frames - first]
        for key in keys:
            out, what = rows[self._names[key]], f"{key} of {record.name}"
            if key in record.clips:
                clip = record.clips[key]
                films.append(Window(clip.file, clip.start + seconds, out, what, first))
            elif self._info.features[key].is_picture:
                for at, frame in enumerate(frames):
                    where = f"{what}, frame {frame}"
                    decode(found[key][frame - first], out[at], self._place.name(record.file), where)
            else:
                out[...] = found[key][frames - first]
        return rows

    def _done(self, record: Record, start: int, stop: int, total: int) -> dict[str, Array]:
        """Action, reward and end in rows start..stop: those of the frames before them."""
        number = stop - start
        rows = {
            "action": self._blank(self.action, number),
            "reward": np.zeros(number, np.float32),
            "terminated": np.zeros(number, np.bool_),
        }
        skipped = int(start == 0)
        if number <= skipped:
            return rows
        keys = [self._action_key, *(key for key in _OUTCOMES if key in self._columns)]
        found = self._read(record, start + skipped - 1, stop - 1, keys)
        rows["action"][skipped:] = found[self._action_key]
        if REWARD in found:
            rows["reward"][skipped:] = found[REWARD]
        if DONE in found and stop == total:
            rows["terminated"][-1] = found[DONE][-1] and not found.get(TRUNCATED, [False])[-1]
        return rows

    def _read(self, record: Record, start: int, stop: int, keys: list[str]) -> dict[str, Array]:
        return self._tables.read(record.file, record.index, record.frames, start, stop, keys)

    @staticmethod
    def _blank(space: Space, number: int) -> Array:
        return np.zeros((number, *space.shape), space.dtype)
