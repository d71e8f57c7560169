"""Files that are whole or not there: a safetensors container with checksums, written atomically.

A file is `u64 header length | JSON header | tensors`. Each tensor is listed under its name with
dtype, shape and byte range, so any safetensors reader opens it. The header carries its own CRC-32
in its metadata (field `checksum`), which plain readers ignore.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Bytes = bytes | bytearray | memoryview

CODES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "uint32": "U32",
    "uint8": "U8",
    "bool": "BOOL",
}
"""numpy dtype names and how safetensors calls them."""

PARTIAL = ".partial"
"""Ending of a file that is still being written."""

_DTYPES = {code: np.dtype(name) for name, code in CODES.items()}
_BLANK = "00000000"
_LONGEST_HEADER = 1 << 20


class CorruptFileError(ValueError):
    """A file does not hold what was written to it, or is not of the expected kind."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path = Path(path)
        self.reason = reason
        super().__init__(f"{self.path.name}: {reason}")


class Tensor(NamedTuple):
    """Where one tensor lies in a file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    """First byte, counted from the beginning of the file."""
    stop: int


class Header(NamedTuple):
    """What a file says about itself."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    size: int
    """Bytes before the first tensor."""
    total: int
    """Bytes of the whole file."""


class Handle:
    """A file descriptor that is closed with its last reference."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def close(self) -> None:
        """Close it now; calling twice does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    __del__ = close


def make_header(
    tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]
) -> bytes:
    """The first bytes of a file whose tensors (name -> dtype name, shape) follow in this order."""
    entries: dict[str, Any] = {"__metadata__": {**metadata, "checksum": _BLANK}}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        size = math.prod(shape) * np.dtype(dtype).itemsize
        entries[name] = {
            "dtype": CODES[dtype],
            "shape": list(shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    mark = b'"checksum":"%s"' % _BLANK.encode()
    text = text.replace(mark, b'"checksum":"%08x"' % zlib.crc32(text), 1)
    return struct.pack("<Q", len(text)) + text


def parse_header(data: Bytes, path: Path | str, total: int) -> Header:
    """The inverse of `make_header` for a file of `total` bytes that begins with `data`.

    Raises `CorruptFileError` where the file is cut, changed, or no such container.
    """
    if len(data) < 8:
        raise CorruptFileError(path, f"has {total} bytes, too few for a header")
    (length,) = struct.unpack("<Q", bytes(data[:8]))
    if length > _LONGEST_HEADER or 8 + length > len(data):
        raise CorruptFileError(path, f"its header cannot be {length} bytes long")
    text = bytes(data[8 : 8 + length])
    try:
        entries = json.loads(text)
        metadata = entries.pop("__metadata__")
        claimed = metadata.pop("checksum")
        blank = text.replace(b'"checksum":"%s"' % claimed.encode(), _checksum_field(), 1)
        if int(claimed, 16) != zlib.crc32(blank):
            raise CorruptFileError(path, "its header does not match its checksum")
        tensors = {
            name: Tensor(
                _DTYPES[entry["dtype"]],
                tuple(entry["shape"]),
                8 + length + entry["data_offsets"][0],
                8 + length + entry["data_offsets"][1],
            )
            for name, entry in entries.items()
        }
    except CorruptFileError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError(path, f"its header is not readable ({error})") from error
    end = max((t.stop for t in tensors.values()), default=8 + length)
    if end != total:
        raise CorruptFileError(path, f"has {total} bytes where its header lists {end}")
    return Header(tensors, metadata, 8 + length, total)


def _checksum_field() -> bytes:
    return b'"checksum":"%s"' % _BLANK.encode()


def read_header(path: Path) -> Header:
    """The header of a file on disk, checked against its checksum and the file's length."""
    with path.open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        data = file.read(8)
        length = struct.unpack("<Q", data)[0] if len(data) == 8 else 0
        data += file.read(min(length, _LONGEST_HEADER))
    return parse_header(data, path, total)


def write_tensors(
    path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Arrays as one file, whole or not at all, with a checksum over their bytes."""
    arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    crc = 0
    for value in arrays.values():
        crc = zlib.crc32(as_bytes(value), crc)
    head = make_header(
        {name: (value.dtype.name, value.shape) for name, value in arrays.items()},
        {**(metadata or {}), "crc": f"{crc:08x}"},
    )
    write_atomic(path, [head, *(as_bytes(value) for value in arrays.values())])


def read_tensors(path: Path) -> tuple[dict[str, Array], Mapping[str, str]]:
    """The inverse of `write_tensors`; raises `CorruptFileError` where a bit differs."""
    with path.open("rb") as file:
        data = file.read()
    header = parse_header(data, path, len(data))
    if zlib.crc32(memoryview(data)[header.size :]) != int(header.metadata.get("crc", "0"), 16):
        raise CorruptFileError(path, "its content does not match its checksum")
    arrays = {name: view(data, tensor).copy() for name, tensor in header.tensors.items()}
    return arrays, header.metadata


def view(data: Bytes, tensor: Tensor) -> Array:
    """A tensor of a file whose bytes are `data`, without a copy."""
    count = math.prod(tensor.shape)
    return np.frombuffer(data, tensor.dtype, count, tensor.start).reshape(tensor.shape)


def as_bytes(array: Array) -> memoryview:
    """The bytes of a contiguous array, without a copy."""
    return memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]


def write_atomic(path: Path, chunks: Iterable[Bytes], directory: bool = True) -> None:
    """Write to a temporary file, fsync, rename to `path`, fsync the directory (or leave that to the
    caller, who has more to write there).

    Killed at any moment, `path` is absent, old and whole, or new and whole. Raises OSError where
    the disk is full; nothing half-written stays then.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if directory:
        sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """A JSON file, whole or not at all."""
    write_atomic(path, [json.dumps(value, indent=1).encode()])


def sync(path: Path) -> None:
    """Wait until a file is on the disk, or a directory's renames and removals are."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def link(source: Path, target: Path) -> None:
    """The same immutable file under another name: a hard link, or a copy across file systems."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        with source.open("rb") as file:
            write_atomic(target, iter(lambda: file.read(1 << 20), b""))
