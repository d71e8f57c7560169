"""Which episodes a LeRobot dataset on disk has, and how more are added so that it is always whole.

What is in a dataset is what `meta/episodes/` lists. A group of finished episodes is added so:

1. New versions of all files that change are written beside the old ones as `<name>.partial`, each
   whole and fsynced: the last data file with more rows at its end, the last film of each camera
   with more frames at its end, tasks, statistics, the last episodes file with more rows, info. A
   disk that is full is noticed here, where nothing has changed yet.
2. Data, films, tasks and statistics are renamed over the old ones. A reader that comes now finds
   the old episodes where they were; frames at the end of a file that no episode names are nobody's.
3. The episodes file is renamed over the old one. This one rename adds the group, all of it.
4. info.json is renamed over the old one, with the new totals. Between 3 and 4 it tells of fewer
   episodes than there are, never of more.

Killed at any instant, the dataset opens, in Reverie and in LeRobot (which reads all of `data/` and
trusts the totals of info.json), with the old episodes or the new ones. The next writer that opens
it finishes step 4, cuts frames that are nobody's and removes `.partial` files.

A file is begun anew where it would grow above the sizes of `SizeConfig`, so that rewriting it costs
a bounded time; LeRobot's own limits (100 MB of data, 200 MB of film) are never reached.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reverie.data.container import Array, sync, write_json
from reverie.data.datasets import DatasetError
from reverie.data.lerobot import layout
from reverie.data.lerobot.encode import Reel, describe, join, joinable
from reverie.data.lerobot.frames import Robot, arrow_schema, bookkeeping, require_arrow, table
from reverie.data.lerobot.listing import (
    SizeConfig,
    Slot,
    State,
    Tail,
    episodes_schema,
    plain,
    read_state,
    task_table,
    tidy,
)
from reverie.data.lerobot.staging import Staged, kept_rows, write_json_synced, write_table
from reverie.data.lerobot.statistics import Stats, joined, summary
from reverie.data.lerobot.take import Finished

if TYPE_CHECKING:
    import pyarrow as pa

_GROUP_BYTES = 4 << 20
_GROUP_ROWS = 8192


@dataclass
class Entry:
    """An episode that is being added."""

    number: int
    start: int
    """Of its first frame in the dataset."""
    episode: Finished
    ways: Mapping[str, Array]
    """Its bookkeeping columns."""
    place: dict[str, Any] = field(default_factory=dict)
    """In which files it is."""

    @functools.cached_property
    def stats(self) -> dict[str, Stats]:
        """Of all its features."""
        ways = {key: summary(value) for key, value in self.ways.items()}
        return {**self.episode.stats, **ways}

    def row(self) -> dict[str, Any]:
        """Its row in a file of episodes."""
        stats = {
            f"stats/{key}/{name}": value.tolist()
            for key, each in self.stats.items()
            for name, value in each.items()
        }
        return {
            "episode_index": self.number,
            "tasks": [self.episode.task],
            "length": self.episode.length,
            "dataset_from_index": self.start,
            "dataset_to_index": self.start + self.episode.length,
            **self.place,
            **stats,
        }

    def pieces(self, schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
        """Its rows in a data file, so many at a time."""
        columns = {**self.episode.columns, **self.ways}
        for start in range(0, self.episode.length, rows):
            stop = min(start + rows, self.episode.length)
            shown = {key: spool.read(start, stop) for key, spool in self.episode.pictures.items()}
            part = {key: value[start:stop] for key, value in columns.items()}
            yield table(schema, part, shown)


def _stored_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


class Journal:
    """The committed state of a dataset, and the one way to change it.

    Args:
        root: folder of the dataset; `recover` reads one that is there.
        robot: what is recorded.
        sizes: how large files grow.
    """

    def __init__(self, root: Path, robot: Robot, sizes: SizeConfig) -> None:
        self.root, self.robot, self.sizes = root, robot, sizes
        self.state = State()
        self.info: dict[str, Any] = {
            "codebase_version": "v3.0",
            "robot_type": robot.name or None,
            "total_episodes": 0,
            "total_frames": 0,
            "total_tasks": 0,
            "chunks_size": layout.CHUNKS_SIZE,
            "data_files_size_in_mb": layout.DATA_FILES_SIZE_IN_MB,
            "video_files_size_in_mb": layout.VIDEO_FILES_SIZE_IN_MB,
            "fps": robot.fps,
            "splits": {},
            "data_path": layout.DATA_PATH,
            "video_path": layout.VIDEO_PATH if robot.filmed else None,
            "features": robot.features(),
            layout.OURS: robot.ours(),
        }

    def begin(self) -> None:
        """A new dataset without episodes."""
        staged = Staged(self.root)
        empty = staged.path(Slot().fill(layout.EPISODES_PATH))
        write_table(empty, episodes_schema(self.robot), [], 1)
        staged.swap()
        write_json(self.root / layout.INFO_PATH, self.info)

    def resume(self) -> None:
        """Go on with the dataset that is there; finish or undo what a killed writer was doing.

        Raises:
            ValueError: it was recorded from another robot, or not by Reverie.
            DatasetError: it is damaged.
        """
        path = self.root / layout.INFO_PATH
        text = path.read_bytes()
        layout.parse_info(text, str(path))
        stored = json.loads(text)
        self._require_equal(stored)
        self.state = read_state(self.root, self.robot)
        if self.state.episodes < stored["total_episodes"]:
            raise DatasetError(
                path,
                "total_episodes",
                f"it tells of {stored['total_episodes']} episodes, and {layout.EPISODES_DIR} lists "
                f"{self.state.episodes}; restore the folder from a copy.",
            )
        self.info = stored
        tidy(self.root, self.state)
        self._cut_data()
        if not self.state.episodes:
            return
        self.info = self._facts(self.state, [])
        staged = Staged(self.root)
        current = {layout.INFO_PATH: self.info, layout.STATS_PATH: plain(self.state.stats)}
        for name, value in current.items():
            if _stored_json(self.root / name) != value:
                write_json_synced(staged.path(name), value)
        staged.swap()

    def _require_equal(self, stored: Mapping[str, Any]) -> None:
        """Compare what is stored with what shall be recorded."""
        if layout.OURS not in stored:
            raise ValueError(
                f"{self.root} is a LeRobot dataset that Reverie did not record, so that it has no "
                "final observations; convert it into a new folder, and append to that."
            )
        bare = {k: {**v, "info": None} for k, v in stored["features"].items()}
        mine = {k: {**v, "info": None} for k, v in self.info["features"].items()}
        wrong = {k for k in bare.keys() | mine.keys() if bare.get(k) != mine.get(k)}
        before, now = stored[layout.OURS], self.info[layout.OURS]
        wrong |= {k for k in ("obs", "action", "dt") if before.get(k) != now[k]}
        if wrong:
            raise ValueError(
                f"{self.root} was recorded from another robot, or with video instead of pictures: "
                f"{', '.join(sorted(wrong))} differ. Use the same one, or another folder."
            )

    def _cut_data(self) -> None:
        """Rows that no episode names, at the end of the last data file."""
        arrow = require_arrow()
        tail = self.state.data
        name = tail.slot.fill(layout.DATA_PATH)
        if not tail.length or arrow.parquet.read_metadata(self.root / name).num_rows == tail.length:
            return
        staged = Staged(self.root)
        pieces = kept_rows(self.root / name, tail.length, _GROUP_ROWS)
        write_table(staged.path(name), arrow_schema(self.robot), pieces, _GROUP_ROWS)
        staged.swap()

    def commit(self, episodes: Sequence[Finished]) -> None:
        """Add episodes, all of them or none.

        Raises:
            OSError: they could not be written; the dataset is as it was.
        """
        content, listing, info = (Staged(self.root) for _ in range(3))
        try:
            state, facts = self._stage(episodes, content, listing)
            write_json_synced(info.path(layout.INFO_PATH), facts)
            content.swap()
            listing.swap()
            self.state, self.info = state, facts
            info.swap()
        except BaseException:
            for staged in (content, listing, info):
                staged.discard()
            raise

    def _stage(
        self, episodes: Sequence[Finished], content: Staged, listing: Staged
    ) -> tuple[State, dict[str, Any]]:
        """Write what changes; return what will be on disk, and info.json."""
        before = self.state
        tasks = {**before.tasks}
        for episode in episodes:
            tasks.setdefault(episode.task, len(tasks))
        entries, start = [], before.frames
        for number, episode in enumerate(episodes, before.episodes):
            count, task = episode.length, tasks[episode.task]
            ways = bookkeeping(count, start, number, task, self.robot.fps)
            entries.append(Entry(number, start, episode, ways))
            start += count
        data = self._stage_data(entries, content)
        films = {key: self._stage_films(key, entries, content) for key in self.robot.filmed}
        stats = dict(before.stats)
        for entry in entries:
            stats = joined(stats, entry.stats)
        write_json_synced(content.path(layout.STATS_PATH), plain(stats))
        if len(tasks) > len(before.tasks):
            known = task_table(tasks)
            write_table(content.path(layout.TASKS_PATH), known.schema, [known], len(tasks))
        listed, table_ = self._stage_listing(entries, listing)
        last = entries[-1].number + 1
        after = State(last, start, tasks, stats, data, films, listed, table_)
        return after, self._facts(after, episodes)

    def _stage_data(self, entries: Sequence[Entry], staged: Staged) -> Tail:
        """The data files that change, with the rows of new episodes at their ends."""
        tail = self.state.data
        files: dict[Slot, list[Entry]] = {}
        for entry in entries:
            size = entry.episode.table_bytes
            if tail.length and tail.size + size > self.sizes.data_mb * 2**20:
                tail = Tail(tail.slot.after(self.sizes.per_chunk))
            files.setdefault(tail.slot, []).append(entry)
            tail = Tail(tail.slot, tail.length + entry.episode.length, tail.size + size)
            entry.place |= {"data/chunk_index": tail.slot.chunk, "data/file_index": tail.slot.file}
        schema = arrow_schema(self.robot)
        for slot, members in files.items():
            name = slot.fill(layout.DATA_PATH)
            keep = self.state.data.length if slot == self.state.data.slot else 0
            per_row = members[0].episode.table_bytes // members[0].episode.length
            rows = max(1, min(_GROUP_ROWS, _GROUP_BYTES // per_row))
            old = kept_rows(self.root / name, keep, rows)
            new = (piece for member in members for piece in member.pieces(schema, rows))
            write_table(staged.path(name), schema, itertools.chain(old, new), rows)
        return tail

    def _stage_films(self, key: str, entries: Sequence[Entry], staged: Staged) -> Tail:
        """The films of a camera that change, with the frames of new episodes at their ends."""
        tail = self.state.films.get(key, Tail())
        reels: dict[Slot, list[Reel]] = {}
        fps = self.robot.fps
        for entry in entries:
            new = Reel(entry.episode.films[key], entry.episode.length)
            size = new.path.stat().st_size
            old = Reel(self.root / tail.slot.fill(layout.VIDEO_PATH, video_key=key), tail.length)
            held = reels.setdefault(tail.slot, [old] if old.frames else [])
            full = tail.size + size > self.sizes.video_mb * 2**20
            if held and (full or not joinable(held[0].path, new.path)):
                tail = Tail(tail.slot.after(self.sizes.per_chunk))
                held = reels.setdefault(tail.slot, [])
            held.append(new)
            begin, end = tail.length / fps, (tail.length + new.frames) / fps
            tail = Tail(tail.slot, tail.length + new.frames, tail.size + size)
            names = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
            values = (*tail.slot, begin, end)
            place = zip((f"videos/{key}/{name}" for name in names), values, strict=True)
            entry.place.update(place)
        for slot, parts in reels.items():
            if any(part.path.parent != self._film_folder(key, slot) for part in parts):
                target = staged.path(slot.fill(layout.VIDEO_PATH, video_key=key))
                join(parts, target, fps)
                sync(target)
        return tail

    def _film_folder(self, key: str, slot: Slot) -> Path:
        return (self.root / slot.fill(layout.VIDEO_PATH, video_key=key)).parent

    def _stage_listing(self, entries: Sequence[Entry], staged: Staged) -> tuple[Slot, pa.Table]:
        """The file of episodes that names the new ones, too."""
        arrow = require_arrow()
        slot, old = self.state.listed, self.state.listing
        if slot is None:
            slot = Slot()
        elif old is None or old.num_rows + len(entries) > self.sizes.episodes:
            slot, old = slot.after(self.sizes.per_chunk), None
        here = {"meta/episodes/chunk_index": slot.chunk, "meta/episodes/file_index": slot.file}
        schema = episodes_schema(self.robot)
        rows = [{**entry.row(), **here} for entry in entries]
        whole = arrow.Table.from_pylist(rows, schema)
        if old is not None:
            whole = arrow.concat_tables([old, whole]).combine_chunks()
        path = staged.path(slot.fill(layout.EPISODES_PATH))
        write_table(path, schema, [whole], whole.num_rows)
        return slot, whole

    def _facts(self, state: State, episodes: Sequence[Finished]) -> dict[str, Any]:
        """info.json with these totals."""
        features = dict(self.info["features"])
        for key in self.robot.filmed:
            if not features[key].get("info") and episodes:
                told = describe(episodes[0].films[key], self.robot.fps)
                features[key] = {**features[key], "info": told}
        return {
            **self.info,
            "total_episodes": state.episodes,
            "total_frames": state.frames,
            "total_tasks": len(state.tasks),
            "splits": {"train": f"0:{state.episodes}"},
            "features": features,
        }
