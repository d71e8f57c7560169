"""The part files of one directory: which there are, reading them, setting bad ones aside."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from pathlib import Path

from reverie.data import codec
from reverie.data.container import (
    PARTIAL,
    Array,
    Bytes,
    CorruptFileError,
    read_header,
    sync,
    write_atomic,
)
from reverie.data.part import SUFFIX, Key, Part, Table, part_of, read_blocks, read_table
from reverie.data.schema import Schema

SET_ASIDE = "set_aside"
"""Folder inside a store for files that cannot be used."""


class StoreWarning(UserWarning):
    """Something in a store could not be used; the rest is."""


class Shelf:
    """Part files in a directory.

    Args:
        directory: where the files are.
        schema: what each must hold.
        cache_bytes: most bytes of tables kept in memory.
        writable: whether files may be written, moved and removed; otherwise bad ones are skipped.
    """

    def __init__(self, directory: Path, schema: Schema, cache_bytes: int, writable: bool) -> None:
        if schema.blocked:
            codec.require()
        self.directory = directory
        self.parts: dict[Key, Part] = {}
        self.writable = writable
        self.cached_bytes = 0
        self._schema = schema
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[Key, Table] = OrderedDict()
        self._scan()

    def path(self, key: Key) -> Path:
        """Where a part is or will be."""
        return self.directory / (key.name + SUFFIX)

    def _where(self, key: Key) -> str:
        return f"{self.directory}/{key.name}{SUFFIX}"  # a Path takes longer than reading the file

    def _scan(self) -> None:
        bad = []
        for path in sorted(self.directory.iterdir()):
            if not path.name.endswith((SUFFIX, PARTIAL)):
                continue
            try:
                if path.name.endswith(PARTIAL):
                    if not self.writable:
                        continue  # another process may be writing it
                    raise CorruptFileError(path, "was not written to its end")
                part = part_of(read_header(path), self._schema, path)
                if part.key != Key.parse(path.name):
                    raise CorruptFileError(path, f"holds part {part.key.name}")
                self.parts[part.key] = part
            except (CorruptFileError, OSError) as error:
                reason = error.reason if isinstance(error, CorruptFileError) else str(error)
                bad.append(f"{path.name} {reason}")
                if self.writable:
                    self._move_aside(path)
        if bad:
            place = f"moved to {self.directory / SET_ASIDE}" if self.writable else "skipped"
            warnings.warn(
                f"{len(bad)} of the files in {self.directory} cannot be used and were {place}: "
                f"{'; '.join(bad)}. The rest is used.",
                StoreWarning,
                stacklevel=5,
            )

    def _move_aside(self, path: Path) -> Path:
        folder = self.directory / SET_ASIDE
        folder.mkdir(exist_ok=True)
        target, number = folder / path.name, 0
        while target.exists():
            number += 1
            target = folder / f"{path.name}.{number}"
        path.replace(target)
        sync(folder)
        return target

    def set_aside(self, key: Key, reason: str) -> None:
        """Stop using a part, move its file, and warn with its name and the reason."""
        self.parts.pop(key, None)
        self._uncache(key)
        path, place = self.path(key), "skipped"
        if self.writable and path.exists():
            place = f"moved to {self._move_aside(path)}"
        warnings.warn(
            f"{path.name} {reason}; it was {place}. The rest is used.", StoreWarning, stacklevel=4
        )

    def write(self, part: Part, chunks: list[Bytes]) -> None:
        """Put a finished part on disk, whole or not at all.

        Where a file of that name holds other rows it goes to `set_aside/` first, with a warning.
        """
        path = self.path(part.key)
        data = b"".join(chunks)
        same = False
        if path.exists():
            same = path.read_bytes() == data
            if not same and not self._same_rows(path, part):
                self.set_aside(part.key, "was recorded before with other rows")
        if not same:
            write_atomic(path, [data])
        self._uncache(part.key)
        self.parts[part.key] = part
        later = part.key._replace(part=part.key.part + 1)
        while part.ended and later in self.parts:
            self.set_aside(later, "belongs to an older recording of its episode")
            later = later._replace(part=later.part + 1)

    def _same_rows(self, path: Path, part: Part) -> bool:
        """Whether a file holds the rows of a part in memory, though not byte by byte."""
        buffer = part.buffer
        assert buffer is not None
        try:
            old = part_of(read_header(path), self._schema, path)
            if old.rows != part.rows:
                return False
            table = read_table(path, old, self._schema)
            for name, values in buffer.plain().items():
                if values.tobytes() != table.plain[name].tobytes():
                    return False
            for name, mine in self._schema.empty(part.rows).items():
                if name in self._schema.blocked:
                    theirs = mine.copy()
                    buffer.read(name, 0, part.rows, mine)
                    read_blocks(path, table, self._schema, name, 0, part.rows, theirs)
                    if mine.tobytes() != theirs.tobytes():
                        return False
        except CorruptFileError:
            return False
        return True

    def remove(self, key: Key) -> None:
        """Delete a part and its file."""
        self.parts.pop(key, None)
        self._uncache(key)
        if self.writable:
            self.path(key).unlink(missing_ok=True)

    def table(self, part: Part) -> Table:
        """All of a part but its large sensors, from the cache or the disk."""
        key = part.key
        found = self._cache.get(key)
        if found is not None:
            self._cache.move_to_end(key)
            return found
        try:
            table = read_table(self._where(key), part, self._schema)
        except FileNotFoundError as error:
            raise CorruptFileError(self.path(key), "is gone from the disk") from error
        if table.size <= self._cache_bytes:
            self._cache[key] = table
            self.cached_bytes += table.size
            while self.cached_bytes > self._cache_bytes:
                self.cached_bytes -= self._cache.popitem(last=False)[1].size
        return table

    def _uncache(self, key: Key) -> None:
        table = self._cache.pop(key, None)
        if table is not None:
            self.cached_bytes -= table.size

    def read_large(
        self, part: Part, table: Table, name: str, start: int, stop: int, out: Array
    ) -> None:
        """Rows of a large sensor into `out` `[stop - start, ...]`."""
        read_blocks(self._where(part.key), table, self._schema, name, start, stop, out)
