"""Latents of recorded rows: what the model made of each row when it last read it.

They live in an unnamed scratch file (freed by the system when the process ends) in pages of 64
rows, so that memory holds two bytes per row and the disk only what was written. A checkpoint holds
them as a chain of immutable segments: each `save` writes the rows that changed since the save
before and hard-links the older segments; when the chain would be more than twice as long as the
data, the data are written anew.
"""

from __future__ import annotations

import itertools
import math
import os
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reverie.core.spec import Space
from reverie.data.container import (
    Array,
    CorruptFileError,
    Handle,
    as_bytes,
    link,
    make_header,
    read_header,
    sync,
    write_atomic,
)

PAGE = 64
"""Rows that are allocated together."""

PRECISIONS = ("float16", "float32")

_SEGMENTS = "latents-*"
_STRIDE = 64  # pages handled at once while saving and loading


class Field(NamedTuple):
    """Where one latent lies in a stored row."""

    shape: tuple[int, ...]
    stored: str
    """dtype on disk."""
    given: torch.dtype
    """dtype for the model."""
    start: int
    stop: int


class Latents:
    """Stored latents by part and row.

    Args:
        spaces: each latent of one row; `{}` stores nothing.
        directory: where scratch file and segments go; made where it does not exist.
        precision: how float32 latents are stored, "float16" (range 65504, 11 bits) or "float32".
    """

    def __init__(self, spaces: Mapping[str, Space], directory: Path, precision: str) -> None:
        if precision not in PRECISIONS:
            raise ValueError(
                f"latent precision {precision!r} is unknown; choose one of {PRECISIONS}."
            )
        self.fields: dict[str, Field] = {}
        self.width = 0
        for name, space in spaces.items():
            stored = precision if space.dtype == "float32" else space.dtype
            size = space.size * np.dtype(stored).itemsize
            self.width += -self.width % np.dtype(stored).itemsize
            end = self.width + size
            self.fields[name] = Field(space.shape, stored, space.torch_dtype, self.width, end)
            self.width = end
        self.width += -self.width % 8
        self._directory = directory
        self._segments: list[tuple[str, int, int]] = []  # file name, rows, CRC-32
        self._serial = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._pages: dict[int, list[int]] = {}
        self._free: list[int] = []
        self._end = 0
        self._known = np.zeros(0, bool)
        self._dirty = np.zeros(0, bool)
        if self.fields:
            self._directory.mkdir(parents=True, exist_ok=True)
            descriptor, path = tempfile.mkstemp(prefix="latents-scratch-", dir=self._directory)
            Path(path).unlink()
            self._file = Handle(descriptor)

    # -- rows ------------------------------------------------------------------------------------

    def pack(self, values: Mapping[str, Any], axes: int) -> Array:
        """Latents with `axes` leading axes as bytes `[rows, width]`.

        Raises ValueError where a name or shape is not as declared, or a value is not finite.
        """
        if values.keys() != self.fields.keys():
            raise ValueError(
                f"The latents given are {sorted(values)}; the replay stores {sorted(self.fields)}."
            )
        packed: Array | None = None
        for name, field in self.fields.items():
            value = torch.as_tensor(values[name]).detach()
            if tuple(value.shape[axes:]) != field.shape:
                raise ValueError(
                    f"Latent {name!r} has shape {tuple(value.shape)}; expected {axes} leading axes "
                    f"and {field.shape}."
                )
            rows = value.cpu().reshape(math.prod(value.shape[:axes]), -1)
            if packed is None:
                packed = np.zeros((len(rows), self.width), np.uint8)
            stored = _store_as(name, rows, field.stored)
            packed[:, field.start : field.stop] = stored.view(np.uint8).reshape(len(rows), -1)
        assert packed is not None
        return packed

    def unpack(self, packed: Array) -> dict[str, Tensor]:
        """The inverse of `pack`: each latent `[rows, ...]`."""
        tree = {}
        for name, field in self.fields.items():
            part = np.ascontiguousarray(packed[:, field.start : field.stop])
            value = torch.from_numpy(part.view(field.stored)).to(field.given)
            tree[name] = value.reshape(len(packed), *field.shape)
        return tree

    def write(self, part: int, row: int, packed: Array) -> None:
        """Store packed rows `[n, width]` from a row of a part on."""
        for slot, low, high in self._runs(part, row, len(packed), allocate=True):
            os.pwrite(self._file.descriptor, as_bytes(packed[low:high]), slot * self.width)
            self._known[slot : slot + high - low] = True
            self._dirty[slot : slot + high - low] = True

    def read(self, part: int, row: int, out: Array) -> bool:
        """One row into `out` `[width]`; False, and `out` untouched, where it was never stored."""
        for slot, _, _ in self._runs(part, row, 1, allocate=False):
            if self._known[slot]:
                out[:] = np.frombuffer(
                    os.pread(self._file.descriptor, self.width, slot * self.width), np.uint8
                )
                return True
        return False

    def drop(self, part: int) -> None:
        """Forget a part; its pages are used again."""
        for page in self._pages.pop(part, ()):
            if page >= 0:
                self._known[page * PAGE : (page + 1) * PAGE] = False
                self._dirty[page * PAGE : (page + 1) * PAGE] = False
                self._free.append(page)

    def _runs(
        self, part: int, row: int, count: int, allocate: bool
    ) -> Iterator[tuple[int, int, int]]:
        """(slot in the file, first and past-last row of the request) for each page touched."""
        pages = self._pages.setdefault(part, []) if allocate else self._pages.get(part, [])
        done = 0
        while done < count:
            index, inside = divmod(row + done, PAGE)
            size = min(PAGE - inside, count - done)
            if allocate:
                pages.extend([-1] * (index + 1 - len(pages)))
                if pages[index] < 0:
                    pages[index] = self._allocate()
            if index < len(pages) and pages[index] >= 0:
                yield pages[index] * PAGE + inside, done, done + size
            done += size

    def _allocate(self) -> int:
        if self._free:
            return self._free.pop()
        page = self._end
        self._end += 1
        if self._end * PAGE > len(self._known):
            more = np.zeros(max(16 * PAGE, len(self._known)), bool)
            self._known = np.concatenate([self._known, more])
            self._dirty = np.concatenate([self._dirty, more])
        return page

    # -- checkpoints -----------------------------------------------------------------------------

    def save(self, directory: Path) -> tuple[dict[str, Any], dict[str, Array]]:
        """Put what `load` needs into a directory: segment files there, and the values returned."""
        if not self.fields:
            return {"segments": []}, {}
        used = self._end * PAGE
        changed = np.flatnonzero(self._dirty[:used])
        known = np.flatnonzero(self._known[:used])
        segments = list(self._segments)
        if sum(rows for _, rows, _ in segments) + len(changed) > 2 * len(known):
            segments, changed = [], known
        if len(changed):
            segments.append(self._write_segment(changed))
        for name, _, _ in segments:
            link(self._directory / name, directory / name)
        sync(directory)
        self._segments = segments
        self._dirty[:] = False
        kept = {name for name, _, _ in segments}
        for path in self._directory.glob(_SEGMENTS):
            if path.name not in kept:
                path.unlink()
        parts = sorted(self._pages)
        arrays: dict[str, Array] = {
            "latent_parts": np.array(parts, np.int64),
            "latent_counts": np.array([len(self._pages[p]) for p in parts], np.int64),
            "latent_pages": np.array([page for p in parts for page in self._pages[p]], np.int64),
            "latent_known": np.packbits(self._known[:used]),
        }
        return {"segments": self._segments, "serial": self._serial, "end": self._end}, arrays

    def _write_segment(self, slots: Array) -> tuple[str, int, int]:
        self._serial += 1
        name, crc = f"latents-{self._serial:06d}.safetensors", 0
        layout = {"slots": ("int64", slots.shape), "values": ("uint8", (len(slots), self.width))}

        def chunks() -> Iterator[memoryview | bytes]:
            nonlocal crc
            yield make_header(layout, {"format": "reverie.latents/1"})
            for chunk in itertools.chain([as_bytes(slots)], self._rows_at(slots)):
                crc = zlib.crc32(chunk, crc)
                yield chunk

        write_atomic(self._directory / name, chunks())
        return name, len(slots), crc

    def _rows_at(self, slots: Array) -> Iterator[memoryview]:
        """The stored bytes of rows in ascending slots, some pages at a time."""
        span = _STRIDE * PAGE
        for first in range(0, self._end * PAGE, span):
            low, high = np.searchsorted(slots, (first, first + span))
            if low < high:
                data = os.pread(self._file.descriptor, span * self.width, first * self.width)
                rows = np.frombuffer(data, np.uint8)
                if len(rows) < span * self.width:  # a part of the file that was never written
                    rows = np.concatenate([rows, np.zeros(span * self.width - len(rows), np.uint8)])
                yield as_bytes(rows.reshape(span, self.width)[slots[low:high] - first])

    def load(self, directory: Path, value: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Go back to what `save` put into a directory; raises `CorruptFileError` if damaged."""
        self.clear()
        if not self.fields:
            return
        for old in self._directory.glob(_SEGMENTS):
            old.unlink()
        self._segments = [(str(n), int(rows), int(crc)) for n, rows, crc in value["segments"]]
        self._serial, self._end = int(value["serial"]), int(value["end"])
        used = self._end * PAGE
        self._known = np.unpackbits(arrays["latent_known"], count=used).astype(bool)
        self._dirty = np.zeros(used, bool)
        pages = iter(arrays["latent_pages"].tolist())
        for part, count in zip(
            arrays["latent_parts"].tolist(), arrays["latent_counts"].tolist(), strict=True
        ):
            self._pages[part] = list(itertools.islice(pages, count))
        taken = {page for pages_ in self._pages.values() for page in pages_}
        self._free = [page for page in reversed(range(self._end)) if page not in taken]
        for name, rows, crc in self._segments:
            link(directory / name, self._directory / name)
            self._read_segment(self._directory / name, rows, crc)

    def _read_segment(self, path: Path, rows: int, crc: int) -> None:
        header = read_header(path)
        if header.tensors["values"].shape != (rows, self.width):
            raise CorruptFileError(path, f"does not hold {rows} latents of {self.width} bytes")
        with path.open("rb") as file:
            file.seek(header.size)
            data = file.read(8 * rows)
            found, slots = zlib.crc32(data), np.frombuffer(data, np.int64)
            step = _STRIDE * PAGE
            for first in range(0, rows, step):
                some = slots[first : first + step]
                data = file.read(len(some) * self.width)
                found = zlib.crc32(data, found)
                breaks = np.flatnonzero(np.diff(some) != 1) + 1
                for low, high in itertools.pairwise([0, *breaks.tolist(), len(some)]):
                    os.pwrite(
                        self._file.descriptor,
                        memoryview(data)[low * self.width : high * self.width],
                        int(some[low]) * self.width,
                    )
        if found != crc:
            raise CorruptFileError(path, "its latents do not match their checksum")


def _store_as(name: str, rows: Tensor, dtype: str) -> Array:
    if dtype in PRECISIONS:
        limit = torch.finfo(getattr(torch, dtype)).max
        low, high = torch.aminmax(rows) if rows.numel() else (torch.zeros(()), torch.zeros(()))
        if not (-limit <= float(low) and float(high) <= limit):  # also where one is NaN
            raise ValueError(
                f"Latent {name!r} has a value that is not finite or beyond {dtype}'s {limit:g}; "
                'check the model, or store latents with precision "float32".'
            )
    converted: Array = rows.to(getattr(torch, dtype)).contiguous().numpy()
    return converted
