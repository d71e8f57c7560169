"""Episodes on disk: what the robot sensed and did, one file per part of an episode.

A file is written once, when its rows are complete, and is whole or absent (write, fsync, rename).
An episode of at most `file_rows` rows (about 1,000) is one file; a longer one is several parts, so
that a robot which never ends its episode loses little when it is switched off. Memory holds the
open parts, their pictures compressed, and a cache limited in bytes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from reverie.core.spec import Space
from reverie.data.container import Array, Bytes, Handle, write_json
from reverie.data.part import Buffer, Key, Part
from reverie.data.schema import Schema
from reverie.data.shelf import Shelf

_SCHEMA = "store.json"
_LOCK = ".lock"
_FORMAT = "reverie.store/1"


class StorageError(OSError):
    """An episode could not be written; it stays in memory and will be tried again."""


@dataclass(frozen=True)
class EpisodeInfo:
    """One recorded episode."""

    name: str
    """For `EpisodeStore.read`."""
    stream: int
    """Which robot or environment it comes from."""
    index: int
    """Its number in that stream."""
    rows: int
    ret: float
    """Sum of the rewards."""
    complete: bool
    """False while it is recorded, or where its end was lost."""


class EpisodeStore:
    """A directory of episodes: append rows, read slices.

    Args:
        directory: made where it does not exist.
        obs: space of each sensor; an existing store must have been made with equal ones.
        action: space of the action.
        meta: JSON object that describes the source (environment, dt); kept from the first opening.
        optional: sensors that may be missing in some rows.
        cache_bytes: most bytes of file content kept in memory.
        file_rows: most rows in one file, for a new store; None chooses about 1,000 rows or 64 MiB.

    One process at a time writes to a directory; any number read it with `EpisodeStore.open`.
    Files that are damaged, half-written or of another schema are moved to `set_aside/` and named in
    a `StoreWarning`; a store opened with `open` leaves them where they are and skips them.
    """

    def __init__(
        self,
        directory: Path | str,
        obs: Mapping[str, Space],
        action: Space,
        *,
        meta: Mapping[str, Any] | None = None,
        optional: Iterable[str] = (),
        cache_bytes: int = 256 << 20,
        file_rows: int | None = None,
    ) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.schema = Schema(obs, action, optional, file_rows)
        self.meta: dict[str, Any] = dict(meta or {})
        path = self.directory / _SCHEMA
        if path.exists():
            stored, self.meta = _read_schema(path)
            self.schema.require_equal(stored, str(self.directory))
            self.schema = stored
        self._lock: Handle | None = _acquire(self.directory / _LOCK)
        if not path.exists():
            write_json(path, {"format": _FORMAT, "meta": self.meta, **self.schema.to_json()})
        self._begin(cache_bytes)

    @classmethod
    def open(cls, directory: Path | str, *, cache_bytes: int = 256 << 20) -> EpisodeStore:
        """An existing store, to read only; another process may be writing to it."""
        store = cls.__new__(cls)
        store.directory = Path(directory)
        path = store.directory / _SCHEMA
        if not path.exists():
            raise FileNotFoundError(
                f"{store.directory} is no episode store: it has no {_SCHEMA}. Give the directory "
                "that EpisodeStore(directory, obs, action) made."
            )
        store.schema, store.meta = _read_schema(path)
        store._lock = None
        store._begin(cache_bytes)
        return store

    def _begin(self, cache_bytes: int) -> None:
        self.shelf = Shelf(self.directory, self.schema, cache_bytes, self.writable)
        self.opened: dict[int, Part] = {}
        """The part that each stream is adding rows to."""
        self.unwritten: list[Part] = []
        """Closed parts that are not on disk yet."""
        self.cursors: dict[int, Key] = {}
        """The part to which the next row of each stream belongs."""
        self.rows_taken = 0
        """Rows ever appended."""
        self._due = False
        self.skip_recorded()

    @property
    def writable(self) -> bool:
        """Whether rows can be appended."""
        return self._lock is not None

    @property
    def memory_bytes(self) -> int:
        """Bytes held in memory: the cache and the parts that are not on disk."""
        parts = [*self.opened.values(), *self.unwritten]
        return self.shelf.cached_bytes + sum(p.buffer.size for p in parts if p.buffer is not None)

    # -- writing ---------------------------------------------------------------------------------

    def append(self, stream: int, row: Mapping[str, Any]) -> None:
        """One row of one stream; a row with `last` closes its episode and writes it.

        `row` holds each sensor, `action`, `reward`, `first`, `last`, `terminated`, and for optional
        sensors `"<name>.present"`. Raises ValueError for a row that does not fit, which is not
        taken, and StorageError where a finished episode could not be written: the row *is* taken.
        """
        self.take(stream, row)
        self.settle()

    def take(self, stream: int, row: Mapping[str, Any]) -> Part:
        """`append` without the writing, which `settle` does; returns the part that holds the row.

        A row with `first` while an episode is running ends that one: its final row becomes `last`.
        """
        if not self.writable:
            raise ValueError(
                f"{self.directory} is open to read only; use EpisodeStore() to append."
            )
        checked = self.schema.check_row(row)
        part = self.opened.get(stream)
        cursor = self.cursors.setdefault(stream, Key(stream, 0, 0))
        if checked["first"]:
            self.cut(stream)
            part, cursor = None, self.cursors[stream]
        elif part is None and cursor.part == 0:
            raise ValueError(
                f"Stream {stream} expects the first row of an episode, with first=True: "
                "the row before was the last of its episode, or there was none."
            )
        if part is None:
            part = self.opened[stream] = Part(cursor, buffer=Buffer(self.schema))
        assert part.buffer is not None
        part.buffer.append(checked)
        part.rows += 1
        part.ret += float(checked["reward"])
        part.ended = bool(checked["last"])
        self.rows_taken += 1
        if part.ended or part.rows == self.schema.file_rows:
            self._close(part)
        return part

    def cut(self, stream: int) -> None:
        """End the episode that a stream is recording, if any, where it is; `settle` writes it."""
        part, cursor = self.opened.get(stream), self.cursors[stream]
        if part is not None:
            assert part.buffer is not None
            part.buffer.end_here()
            part.ended = True
            self._close(part)
        elif cursor.part > 0:
            self.cursors[stream] = Key(stream, cursor.episode + 1, 0)

    def _close(self, part: Part) -> None:
        stream, episode, number = part.key
        part.age = self.rows_taken
        del self.opened[stream]
        self.unwritten.append(part)
        self._due = True
        self.cursors[stream] = (
            Key(stream, episode + 1, 0) if part.ended else Key(stream, episode, number + 1)
        )

    def settle(self) -> None:
        """`flush`, where a part was completed since it was last tried."""
        if self._due:
            self.flush()

    def flush(self) -> None:
        """Write what is complete and not on disk yet; raises StorageError where that fails."""
        self._due = False
        while self.unwritten:
            part = self.unwritten[0]
            assert part.buffer is not None
            try:
                self.shelf.write(part, part.buffer.encode(part))
            except OSError as error:
                free = shutil.disk_usage(self.directory).free / 2**20
                raise StorageError(
                    error.errno,
                    f"Episode {part.key.name} ({part.rows} rows) could not be written to "
                    f"{self.directory} ({error.strerror or error}; {free:.0f} MiB are free). It "
                    "stays in memory and is tried again when the next episode ends; make room",
                ) from error
            self.unwritten.pop(0)
            part.buffer = None

    def finish(self) -> None:
        """End the episodes that are being recorded where they are, and write them."""
        for stream in list(self.opened):
            self.cut(stream)
        self.flush()

    def close(self) -> None:
        """Write what is complete and let another process write here. Open episodes are dropped."""
        self.flush()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> EpisodeStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except StorageError as problem:
            if error is None:
                raise
            error.add_note(f"Closing the store failed, too: {problem}")

    # -- where each stream stands ----------------------------------------------------------------

    def skip_recorded(self, streams: Iterable[int] | None = None) -> None:
        """Let streams (default: all) go on after the last episode that they have on disk."""
        chosen = None if streams is None else set(streams)
        for key, part in self.shelf.parts.items():
            if chosen is None or key.stream in chosen:
                after = Key(key.stream, key.episode + 1, 0)
                self.cursors[key.stream] = max(after, self.cursors.get(key.stream, after))
            self.rows_taken = max(self.rows_taken, part.age)

    def rewind(self, cursors: Mapping[int, Key], opened: Iterable[Part], rows_taken: int) -> None:
        """Go back to where each stream stood; files written since are replaced as they recur."""
        self.cursors = dict(cursors)
        self.opened = {part.key.stream: part for part in opened}
        self.unwritten = []
        self.rows_taken = rows_taken

    # -- reading ---------------------------------------------------------------------------------

    def parts(self) -> list[Part]:
        """All parts, on disk and in memory, ordered by stream and time."""
        found = {**self.shelf.parts, **{p.key: p for p in self._in_memory()}}
        return [found[key] for key in sorted(found)]

    def _in_memory(self) -> Iterator[Part]:
        yield from self.unwritten
        yield from self.opened.values()

    def episodes(self) -> list[EpisodeInfo]:
        """All recorded episodes, those still being recorded included."""
        return [
            EpisodeInfo(
                name=name,
                stream=parts[0].key.stream,
                index=parts[0].key.episode,
                rows=sum(p.rows for p in parts),
                ret=sum(p.ret for p in parts),
                complete=parts[0].key.part == 0 and parts[-1].ended,
            )
            for name, parts in self._episodes().items()
        ]

    def _episodes(self) -> dict[str, list[Part]]:
        """Consecutive parts of one episode, by name; where a part is lost, the parts after it stand
        under a name of their own."""
        found: dict[str, list[Part]] = {}
        run: list[Part] = []
        for part in self.parts():
            stream, episode, number = part.key
            if not run or run[-1].key != Key(stream, episode, number - 1):
                extra = f"-{number:04d}" if number else ""
                run = found[f"{stream:04d}-{episode:08d}{extra}"] = []
            run.append(part)
        return found

    def read(self, name: str, start: int = 0, stop: int | None = None) -> dict[str, Array]:
        """Rows start..stop of an episode: every entry `[stop - start, ...]`, with its flags.

        Raises KeyError for an unknown name, IndexError for rows that are not there, and
        `CorruptFileError` where the file is damaged.
        """
        parts = self._episodes().get(name, [])
        if not parts:
            raise KeyError(f"{self.directory} has no episode {name!r}; see episodes().")
        total = sum(part.rows for part in parts)
        stop = total if stop is None else stop
        if not 0 <= start <= stop <= total:
            raise IndexError(f"Episode {name} has rows 0..{total}; {start}..{stop} were asked for.")
        out = self.schema.empty(stop - start)
        offset = 0
        for part in parts:
            low, high = max(start - offset, 0), min(stop - offset, part.rows)
            if low < high:
                at = offset + low - start
                self.read_part(part, low, high, out, slice(at, at + high - low))
            offset += part.rows
        return out

    def read_part(
        self, part: Part, start: int, stop: int, out: Mapping[str, Array], where: Any
    ) -> None:
        """Rows start..stop of a part into the place `where` of each entry of `out`."""
        if part.buffer is not None:
            for name, values in part.buffer.plain().items():
                out[name][where] = values[start:stop]
            for name in self.schema.blocked:
                part.buffer.read(name, start, stop, out[name][where])
            return
        table = self.shelf.table(part)
        for name, values in table.plain.items():
            out[name][where] = values[start:stop]
        for name in self.schema.blocked:
            self.shelf.read_large(part, table, name, start, stop, out[name][where])

    def encode(self, part: Part) -> list[Bytes]:
        """The file that a part in memory would be, for a checkpoint."""
        assert part.buffer is not None
        return part.buffer.encode(part)


def _read_schema(path: Path) -> tuple[Schema, dict[str, Any]]:
    try:
        value = json.loads(path.read_text())
        if value["format"] != _FORMAT:
            raise ValueError(f"format is {value['format']!r}")
        return Schema.from_json(value), dict(value["meta"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged or of another version, expected {_FORMAT!r} ({error}). Restore it "
            "from a copy, or from another store that was recorded with the same sensors."
        ) from error


def _acquire(path: Path) -> Handle:
    """The lock of the one process that may write; the system frees it when the process ends."""
    import fcntl

    handle = Handle(os.open(path, os.O_RDWR | os.O_CREAT, 0o666))
    try:
        fcntl.lockf(handle.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(handle.descriptor, 20, 0).decode().strip() or "unknown"
        raise RuntimeError(
            f"{path.parent} is being written by another process (id {holder}). End it first, or "
            "read the store with EpisodeStore.open."
        ) from error
    os.truncate(handle.descriptor, 0)
    os.pwrite(handle.descriptor, str(os.getpid()).encode(), 0)
    return handle
