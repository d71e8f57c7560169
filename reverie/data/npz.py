"""NumPy's .npz files of strangers: arrays read in slices, nothing unpickled, nothing unpacked.

A file is a zip archive of .npy files. One that claims far more than it holds, names a path outside
itself, or holds Python objects is refused; nothing is written to the disk.
"""

from __future__ import annotations

import contextlib
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from reverie.data.container import Array
from reverie.data.datasets import DatasetError

_MOST_ENTRIES = 1000
_LONGEST_HEADER = 10_000
_ROOM = 256 << 20
_RATIO = 100
"""A file may unpack to so many bytes, or to so many times its length."""
_PIECE = 1 << 22


class Member(NamedTuple):
    """One array in a file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    offset: int
    """Bytes before its values."""


class Npz:
    """The arrays in a file, by name: opening reads their headers only.

    Raises:
        DatasetError: it is damaged or hostile; the message says which entry.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.arrays: dict[str, Member] = {}
        with self._reading(""), zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            self._check_sizes(entries)
            for entry in entries:
                name = self._name(entry)
                with self._reading(name), archive.open(entry) as file:
                    self.arrays[name] = self._header(file, name, entry.file_size)

    @contextlib.contextmanager
    def _reading(self, field: str) -> Iterator[None]:
        """What goes wrong in an archive, as a DatasetError."""
        try:
            yield
        except DatasetError:
            raise
        except (
            *(OSError, ValueError, EOFError, KeyError, RuntimeError, MemoryError, SyntaxError),
            *(NotImplementedError, zipfile.BadZipFile, zlib.error, struct.error),
        ) as error:
            text = " ".join(str(error).split())[:200]
            raise DatasetError(self.path, field, f"it cannot be read ({text}).") from error

    def _check_sizes(self, entries: list[zipfile.ZipInfo]) -> None:
        length = self.path.stat().st_size
        unpacked = sum(entry.file_size for entry in entries)
        packed = sum(entry.compress_size for entry in entries)
        problem = ""
        if len(entries) > _MOST_ENTRIES:
            problem = f"it has {len(entries)} entries; at most {_MOST_ENTRIES} are read."
        elif packed > length:
            problem = f"its entries take {packed} bytes and the file has {length}: they overlap."
        elif unpacked > _ROOM + _RATIO * length:
            problem = f"it claims to unpack to {unpacked} bytes from {length}."
        if problem:
            raise DatasetError(self.path, "", problem)

    def _name(self, entry: zipfile.ZipInfo) -> str:
        name = entry.filename.removesuffix(".npy")
        plain = re.fullmatch(r"[0-9A-Za-z_ .-]+", name) and entry.filename.endswith(".npy")
        if not plain or name.startswith(".") or name in self.arrays:
            problem = "an array needs a plain name of its own, ending in .npy, without a path."
            raise DatasetError(self.path, repr(entry.filename), problem)
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DatasetError(self.path, name, "it is packed otherwise than NumPy packs.")
        return name

    def _header(self, file: IO[bytes], name: str, size: int) -> Member:
        version = np.lib.format.read_magic(file)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in readers:
            raise ValueError(f"version {version} of .npy")
        shape, fortran, dtype = readers[version](file, max_header_size=_LONGEST_HEADER)
        if dtype.kind not in "biufU" or dtype.hasobject or any(n < 0 for n in shape):
            kind = "Python objects" if dtype.hasobject else str(dtype)
            problem = f"it holds {kind}; arrays of numbers are read, and nothing is unpickled."
            raise DatasetError(self.path, name, problem)
        offset = file.tell()
        claimed = math.prod(shape) * dtype.itemsize
        if offset + claimed != size:
            problem = f"its shape {shape} asks for {claimed} bytes and it has {size - offset}."
            raise DatasetError(self.path, name, problem)
        return Member(dtype, tuple(shape), bool(fortran), offset)

    def read(self, name: str, start: int, stop: int) -> Array:
        """Entries start..stop of an array along its first axis."""
        member = self.arrays[name]
        count = member.shape[0]
        whole = member.fortran and len(member.shape) > 1
        low, high = (0, count) if whole else (start, stop)
        size = math.prod(member.shape[1:]) * member.dtype.itemsize
        data = self._bytes(name, member.offset + low * size, (high - low) * size)
        flat = np.frombuffer(data, member.dtype)
        if whole:
            return flat.reshape(member.shape, order="F")[start:stop]
        return flat.reshape(high - low, *member.shape[1:])

    def single(self, name: str) -> Any:
        """The one value of an array without axes, as Python has it."""
        member = self.arrays[name]
        data = self._bytes(name, member.offset, member.dtype.itemsize)
        return np.frombuffer(data, member.dtype)[0].item() if data else ""

    def _bytes(self, name: str, offset: int, count: int) -> bytes:
        with (
            self._reading(name),
            zipfile.ZipFile(self.path) as archive,
            archive.open(f"{name}.npy") as file,
        ):
            skip = offset
            while skip > 0:
                skip -= len(file.read(min(skip, _PIECE))) or skip
            data = file.read(count)
            file.read(1)  # At the end, the checksum is compared.
        if len(data) != count:
            raise DatasetError(self.path, name, f"it has {len(data)} bytes of {count}.")
        return data
