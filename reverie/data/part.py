"""A part: up to `file_rows` consecutive rows of one episode, in memory while open, then one file.

A file holds the plain entries as ordinary tensors `[rows, ...]` under their names, and each large
sensor as three tensors: `"<name>.blocks"` (LZ4 blocks, one after another), `"<name>.offsets"`
(where each block begins and the last one ends) and `"<name>.crc"` (CRC-32 of each block). Plain
entries and block tables come first, so that one read brings all of a part but its pictures; their
common CRC-32 stands in the metadata.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reverie.data import codec
from reverie.data.container import (
    Array,
    Bytes,
    CorruptFileError,
    Header,
    as_bytes,
    make_header,
    read_header,
)
from reverie.data.schema import Schema

FORMAT = "reverie.episode/1"
SUFFIX = ".safetensors"


class Key(NamedTuple):
    """Which rows a part holds; parts of one stream are ordered by it."""

    stream: int
    episode: int
    part: int

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return f"{self.stream:04d}-{self.episode:08d}-{self.part:04d}"

    @staticmethod
    def parse(name: str) -> Key | None:
        """The key in a file name, or None if it is none."""
        fields = name.removesuffix(SUFFIX).split("-")
        if len(fields) != 3 or not all(f.isascii() and f.isdigit() for f in fields):
            return None
        key = Key(int(fields[0]), int(fields[1]), int(fields[2]))
        return key if key.name + SUFFIX == name else None


class Field(NamedTuple):
    """Where one tensor lies in the tables of a file."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int


@functools.lru_cache(maxsize=4096)
def layout(schema: Schema, rows: int) -> tuple[list[Field], int]:
    """The tables of a file of so many rows, the widest dtypes first so that each lies aligned, and
    their bytes in all."""
    tensors: list[tuple[str, np.dtype[Any], tuple[int, ...]]] = []
    for name, count in schema.blocked.items():
        blocks = -(-rows // count)
        tensors.append((name + ".offsets", np.dtype(np.int64), (blocks + 1,)))
        tensors.append((name + ".crc", np.dtype(np.uint32), (blocks,)))
    for name in schema.plain:
        tensors.append((name, schema.dtypes[name], (rows, *schema.entries[name].shape)))
    fields, start = [], 0
    for name, dtype, shape in sorted(tensors, key=lambda tensor: -tensor[1].itemsize):
        fields.append(Field(name, dtype, shape, start))
        start += math.prod(shape) * dtype.itemsize
    return fields, start


class Table(NamedTuple):
    """All of a part but its large sensors."""

    plain: Mapping[str, Array]
    """Each plain entry, `[rows, ...]`."""
    offsets: Mapping[str, list[int]]
    """Where each block of a large sensor begins in the file, and where the last one ends."""
    crc: Mapping[str, list[int]]
    """Checksum of each block."""
    size: int
    """Bytes in memory."""


@dataclass(slots=True, eq=False)
class Part:
    """What is known of a part without reading it."""

    key: Key
    rows: int = 0
    ret: float = 0.0
    """Sum of the rewards."""
    ended: bool = False
    """Whether the final row is the last of its episode."""
    age: int = 0
    """How many rows the store had taken when the part was closed: older parts have smaller ones."""
    body: int = 0
    """Bytes of the file before the tables."""
    head: int = 0
    """Bytes of the file before the first block."""
    crc: int = 0
    """Checksum of the tables."""
    buffer: Buffer | None = None
    """The rows, while they are not on disk."""


class Buffer:
    """The rows of a part that is not on disk, large sensors compressed block by block."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._plain = self._allocate(64)
        self._blocks: dict[str, list[bytes]] = {name: [] for name in schema.blocked}
        self._tails = {
            name: np.empty((rows, *schema.entries[name].shape), schema.dtypes[name])
            for name, rows in schema.blocked.items()
        }
        self.rows = 0

    def _allocate(self, rows: int) -> dict[str, Array]:
        schema = self._schema
        return {
            n: np.empty((rows, *schema.entries[n].shape), schema.dtypes[n]) for n in schema.plain
        }

    @property
    def size(self) -> int:
        """Bytes in memory."""
        arrays = [*self._plain.values(), *self._tails.values()]
        packed = sum(len(b) for blocks in self._blocks.values() for b in blocks)
        return sum(a.nbytes for a in arrays) + packed

    def append(self, row: Mapping[str, Array]) -> None:
        """Take one checked row."""
        at = self.rows
        if at == len(self._plain["first"]):
            grown = self._allocate(2 * at)
            for name, values in self._plain.items():
                grown[name][:at] = values
            self._plain = grown
        for name, values in self._plain.items():
            values[at] = row[name]
        for name, tail in self._tails.items():
            count = len(tail)
            tail[at % count] = row[name]
            if at % count == count - 1:
                self._blocks[name].append(codec.encode(tail))
        self.rows = at + 1

    def load(self, plain: Mapping[str, Array], blocks: Mapping[str, list[bytes]]) -> None:
        """Take over the plain rows and the full blocks of a file; see `reopen`."""
        self.rows = len(plain["first"])
        self._plain = self._allocate(max(64, self.rows))
        for name, values in plain.items():
            self._plain[name][: self.rows] = values
        self._blocks = dict(blocks)

    def tail(self, name: str) -> Array:
        """The rows of a large sensor that do not fill a block yet, `[rows per block, ...]`."""
        return self._tails[name]

    def end_here(self) -> None:
        """Mark the final row as the last of its episode, cut off by something outside the task."""
        self._plain["last"][self.rows - 1] = True

    def plain(self) -> dict[str, Array]:
        """Each plain entry, `[rows, ...]`; a view."""
        return {name: values[: self.rows] for name, values in self._plain.items()}

    def read(self, name: str, start: int, stop: int, out: Array) -> None:
        """Rows of a large sensor into `out` `[stop - start, ...]`."""
        tail, blocks = self._tails[name], self._blocks[name]
        count = len(tail)
        for index in range(start // count, (stop - 1) // count + 1):
            rows = tail
            if index < len(blocks):
                rows = codec.decode(blocks[index], count, tail.dtype, tail.shape[1:])
            _copy(rows, index * count, start, stop, out)

    def encode(self, part: Part) -> list[Bytes]:
        """The file's header, tables and blocks."""
        tensors: dict[str, Array] = dict(self.plain())
        packed: dict[str, list[bytes]] = {}
        for name, tail in self._tails.items():
            blocks, rest = list(self._blocks[name]), self.rows % len(tail)
            if rest:
                blocks.append(codec.encode(tail[:rest]))
            packed[name] = blocks
            sizes = [0, *(len(b) for b in blocks)]
            tensors[name + ".offsets"] = np.cumsum(sizes, dtype=np.int64)
            tensors[name + ".crc"] = np.array([codec.checksum(b) for b in blocks], np.uint32)
        fields, size = layout(self._schema, self.rows)
        tables = [as_bytes(tensors[field.name]) for field in fields]
        part.crc = 0
        for table in tables:
            part.crc = zlib.crc32(table, part.crc)
        shapes = {field.name: (field.dtype.name, field.shape) for field in fields}
        for name, blocks in packed.items():
            shapes[name + ".blocks"] = ("uint8", (sum(len(b) for b in blocks),))
        head = make_header(shapes, _describe(self._schema, part))
        part.body, part.head = len(head), len(head) + size
        return [head, *tables, *(b for blocks in packed.values() for b in blocks)]


def _describe(schema: Schema, part: Part) -> dict[str, str]:
    return {
        "format": FORMAT,
        "schema": schema.signature,
        "key": part.key.name,
        "rows": str(part.rows),
        "return": repr(part.ret),
        "ended": str(int(part.ended)),
        "age": str(part.age),
        "codec": "lz4",
        "tables": f"{part.crc:08x}",
    }


def part_of(header: Header, schema: Schema, path: Path) -> Part:
    """What a file's header tells, checked against the store's schema."""
    told = header.metadata
    if told.get("format") != FORMAT:
        raise CorruptFileError(path, f"is {told.get('format')!r}, not {FORMAT!r}")
    if told.get("schema") != schema.signature:
        raise CorruptFileError(path, "was written with other sensors or another action space")
    try:
        part = Part(
            key=Key(*(int(field) for field in told["key"].split("-"))),
            rows=int(told["rows"]),
            ret=float(told["return"]),
            ended=told["ended"] == "1",
            age=int(told["age"]),
            body=header.size,
            crc=int(told["tables"], 16),
        )
        if part.rows < 1:
            raise ValueError("no rows")
        fields, size = layout(schema, part.rows)
        part.head = header.size + size
        for name, dtype, shape, start in fields:
            if header.tensors[name][:3] != (dtype, shape, header.size + start):
                raise ValueError(f"tensor {name!r} is not where it should be")
        start = part.head
        for name in schema.blocked:
            blocks = header.tensors[name + ".blocks"]
            if blocks.start != start:
                raise ValueError(f"the blocks of {name!r} are not where they should be")
            start = blocks.stop
    except (KeyError, ValueError, TypeError) as error:
        raise CorruptFileError(path, f"its header is not of this format ({error})") from error
    return part


def read_table(path: Path | str, part: Part, schema: Schema) -> Table:
    """Everything of a file but its blocks, in one read, checked bit by bit."""
    handle = os.open(path, os.O_RDONLY)
    try:
        data = os.pread(handle, part.head - part.body, part.body)
    finally:
        os.close(handle)
    if zlib.crc32(data) != part.crc:
        raise CorruptFileError(path, "its rows do not match their checksum")
    fields, _ = layout(schema, part.rows)
    arrays: dict[str, Array] = {f.name: np.ndarray(f.shape, f.dtype, data, f.start) for f in fields}
    offsets, crc, start = {}, {}, part.head
    for name in schema.blocked:
        offsets[name] = (arrays.pop(name + ".offsets") + start).tolist()
        crc[name] = arrays.pop(name + ".crc").tolist()
        start = offsets[name][-1]
    return Table(arrays, offsets, crc, len(data))


def read_blocks(
    path: Path | str,
    table: Table,
    schema: Schema,
    name: str,
    start: int,
    stop: int,
    out: Array,
) -> None:
    """Rows of a large sensor from a file into `out` `[stop - start, ...]`."""
    count, rows = schema.blocked[name], len(table.plain["first"])
    first, final = start // count, (stop - 1) // count
    offsets = table.offsets[name]
    begin, size = offsets[first], offsets[final + 1] - offsets[first]
    handle = os.open(path, os.O_RDONLY)
    try:
        data = memoryview(os.pread(handle, size, begin))
    finally:
        os.close(handle)
    for index in range(first, final + 1):
        packed = data[offsets[index] - begin : offsets[index + 1] - begin]
        if codec.checksum(packed) != table.crc[name][index]:
            raise CorruptFileError(path, f"block {index} of {name!r} does not match its checksum")
        held = min(count, rows - index * count)
        try:
            block = codec.decode(packed, held, schema.dtypes[name], schema.entries[name].shape)
        except ValueError as error:
            raise CorruptFileError(path, f"block {index} of {name!r}: {error}") from error
        _copy(block, index * count, start, stop, out)


def _copy(block: Array, at: int, start: int, stop: int, out: Array) -> None:
    """The rows of a block that begins at row `at` which lie in start..stop."""
    low, high = max(start, at), min(stop, at + len(block))
    out[low - start : high - start] = block[low - at : high - at]


def reopen(path: Path, schema: Schema) -> Part:
    """A part read back from a file into memory, where it grows as if it had never been written."""
    part = part_of(read_header(path), schema, path)
    table = read_table(path, part, schema)
    blocks: dict[str, list[bytes]] = {}
    with path.open("rb") as file:
        for name, count in schema.blocked.items():
            offsets = table.offsets[name]
            file.seek(offsets[0])
            full = part.rows // count
            blocks[name] = [file.read(b - a) for a, b in itertools.pairwise(offsets[: full + 1])]
    buffer = Buffer(schema)
    buffer.load(table.plain, blocks)
    for name, count in schema.blocked.items():
        rest = part.rows % count
        if rest:
            tail = buffer.tail(name)[:rest]
            read_blocks(path, table, schema, name, part.rows - rest, part.rows, tail)
    part.buffer = buffer
    return part
