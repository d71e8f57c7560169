"""HDF5 files of strangers: arrays by path, read in slices, and nothing from outside the file.

An HDF5 file can name other files: external links, arrays with external storage, virtual arrays. All
are refused by name, as is what is no array of numbers. Soft links are followed inside the file.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from reverie.data.container import Array
from reverie.data.datasets import DatasetError

_LINKS = 8
"""Most soft links on one path."""
_GROUPS = 2048
_ARRAYS = 128
"""Most groups and arrays that stay open."""
_CACHE = 1 << 20
"""Bytes of chunks that HDF5 keeps of each open array."""
_ROOM = 1 << 30
_RATIO = 2000
"""An array may claim so many bytes, or so many for each that the file holds; gzip reaches 1032."""


def h5py() -> Any:
    """The module, or an error that says how to get it."""
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise ImportError(
            'Reading HDF5 files needs h5py, which is missing: pip install "reverie[data]".'
        ) from error


class Known(NamedTuple):
    """An array that was found good."""

    shape: tuple[int, ...]
    dtype: Any
    place: str
    """Its own path, without links."""


class Hdf5:
    """A file, open to read. Paths in it are told with slashes, "" for its root.

    Raises:
        DatasetError: it is no HDF5 file, or cut.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._h5py = h5py()
        self._groups: dict[str, Any] = {}
        """Groups that were found, by path."""
        self._known: dict[tuple[str, str], Known] = {}
        """Arrays that were found good, by path and kinds."""
        self._open: OrderedDict[str, Any] = OrderedDict()
        """Arrays that were read last, by their own path."""
        with self._reading(""):
            self._file = self._h5py.File(path, "r", rdcc_nbytes=_CACHE)

    def close(self) -> None:
        """Close it; calling twice does nothing."""
        self._groups.clear()
        self._open.clear()
        self._file.close()

    @contextlib.contextmanager
    def _reading(self, field: str) -> Iterator[None]:
        """What goes wrong in HDF5, as a DatasetError."""
        try:
            yield
        except DatasetError:
            raise
        except (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError) as error:
            text = " ".join(str(error).split())[:200]
            raise DatasetError(self.path, field, f"HDF5 cannot read it ({text}).") from error

    def find(self, path: str) -> Any | None:
        """The group or array at a path, or None."""
        if path in self._groups:
            return self._groups[path]
        parts, done, links = path.split("/") if path else [], list[str](), 0
        at = self._file
        h5l = self._h5py.h5l
        above = path.rpartition("/")[0]
        if above in self._groups:
            at, parts, done = self._groups[above], parts[-1:], parts[:-1]
        with self._reading(path):
            while parts:
                part = parts.pop(0)
                kind = self._link(at, part)
                if kind is None:
                    return None
                if kind == h5l.TYPE_HARD:
                    at = at[part]
                    done.append(part)
                    continue
                link = at.get(part, getlink=True)
                if kind != h5l.TYPE_SOFT:
                    problem = f"it is a link to another file ({link.filename}), which is not read."
                    raise DatasetError(self.path, "/".join([*done, part]), problem)
                links += 1
                if links > _LINKS:
                    raise DatasetError(self.path, path, f"more than {_LINKS} links lead there.")
                base = [] if link.path.startswith("/") else done
                parts = [*base, *(p for p in link.path.split("/") if p and p != "."), *parts]
                at, done = self._file, []
        if isinstance(at, self._h5py.Group):
            if len(self._groups) >= _GROUPS:
                self._groups.clear()
            self._groups[path] = at
        return at

    def _link(self, at: Any, name: str) -> int | None:
        """The kind of link that has a name in a group; None where there is none."""
        if not isinstance(at, self._h5py.Group) or name == ".":
            return None
        links, key = at.id.links, name.encode()
        return int(links.get_info(key).type) if links.exists(key) else None

    def names(self, path: str) -> list[str]:
        """Names in a group; empty where there is no such group."""
        group = self.find(path)
        if not isinstance(group, self._h5py.Group):
            return []
        with self._reading(path):
            return [str(name) for name in group]

    def has(self, path: str) -> bool:
        """Whether an array or a group is there."""
        return self.find(path) is not None

    def arrays(self, path: str, depth: int = 3) -> list[str]:
        """Paths of the arrays in a group and in those inside it, relative to it, sorted."""
        found = []
        for name in sorted(self.names(path)):
            inner = f"{path}/{name}"
            if not isinstance(self.find(inner), self._h5py.Group):
                found.append(name)
            elif depth > 1:
                found += [f"{name}/{leaf}" for leaf in self.arrays(inner, depth - 1)]
        return found

    def attribute(self, path: str, name: str) -> str | int | float | None:
        """Text or a number that is attached to a group or an array; None where there is none."""
        at = self.find(path)
        if at is None:
            return None
        with self._reading(f"{path}@{name}"):
            value = at.attrs.get(name)
        if isinstance(value, bytes):
            return value.decode(errors="replace")
        if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
            value = value.item()
        return value if isinstance(value, str | int | float) else None

    def attribute_json(self, path: str, name: str) -> dict[str, Any]:
        """An attached text that is a JSON object; empty where there is none.

        Raises:
            DatasetError: it is no JSON object.
        """
        text = self.attribute(path, name)
        if text is None:
            return {}
        try:
            value = json.loads(str(text))
        except (ValueError, RecursionError) as error:
            raise DatasetError(self.path, f"{path}@{name}", f"it is no JSON ({error}).") from error
        if not isinstance(value, dict):
            raise DatasetError(self.path, f"{path}@{name}", f"it is {value!r}; expected an object.")
        return value

    def array(self, path: str, kinds: str = "biuf") -> Known:
        """What is known of the array at a path, checked to lie in this file and to hold such kinds
        of values.

        Raises:
            DatasetError: there is none; the message says what is there.
        """
        if (path, kinds) in self._known:
            return self._known[path, kinds]
        found = self.find(path)
        if found is None:
            raise DatasetError(self.path, path, "it is missing.")
        if not isinstance(found, self._h5py.Dataset):
            raise DatasetError(self.path, path, "it is a group; an array is expected.")
        with self._reading(path):
            made = found.id.get_create_plist()
            virtual = made.get_layout() == self._h5py.h5d.VIRTUAL
            if virtual or made.get_external_count():
                problem = "its values lie in other files, which are not read."
                raise DatasetError(self.path, path, problem)
            dtype, shape = found.dtype, found.shape
            if dtype.kind not in kinds or shape is None:
                problem = f"it holds {_describe(dtype, shape)}; numbers are expected."
                raise DatasetError(self.path, path, problem)
            held, claimed = found.id.get_storage_size(), math.prod(shape) * dtype.itemsize
        if claimed > max(_ROOM, _RATIO * held):
            problem = f"it claims {claimed} bytes of which the file holds {held}."
            raise DatasetError(self.path, path, problem)
        known = self._known[path, kinds] = Known(tuple(shape), dtype, str(found.name))
        return known

    def _slice(self, known: Known, start: int, stop: int) -> Any:
        """Entries of an array that was found good."""
        if known.place not in self._open:
            self._open[known.place] = self._file[known.place]
            while len(self._open) > _ARRAYS:
                self._open.popitem(last=False)
        self._open.move_to_end(known.place)
        return self._open[known.place][start:stop]

    def rows(self, path: str, kinds: str = "biuf") -> int:
        """Length of the first axis of an array.

        Raises:
            DatasetError: it has no axis.
        """
        shape = self.array(path, kinds).shape
        if not shape:
            raise DatasetError(self.path, path, "it is one number; an array over time is expected.")
        return shape[0]

    def read(self, path: str, start: int, stop: int) -> Array:
        """Entries start..stop of an array of numbers."""
        array = self.array(path)
        with self._reading(path):
            values: Array = self._slice(array, start, stop)
        return values

    def texts(self, path: str, start: int, stop: int) -> list[str]:
        """Entries start..stop of an array of texts."""
        array = self.array(path, "OS")
        if array.dtype.kind == "O" and self._h5py.check_string_dtype(array.dtype) is None:
            problem = f"it holds {_describe(array.dtype, array.shape)}; texts are expected."
            raise DatasetError(self.path, path, problem)
        with self._reading(path):
            return [
                bytes(value).decode(errors="replace") for value in self._slice(array, start, stop)
            ]

    def blobs(self, path: str, start: int, stop: int) -> list[bytes]:
        """Entries start..stop of an array of byte strings, for example files of pictures: uint8
        `[n, bytes]`, or of varying lengths."""
        array = self.array(path, "uO")
        flat = array.dtype == "uint8" and len(array.shape) == 2
        if not flat and self._h5py.check_vlen_dtype(array.dtype) != "uint8":
            problem = f"it holds {_describe(array.dtype, array.shape)}; bytes are expected."
            raise DatasetError(self.path, path, problem)
        with self._reading(path):
            return [value.tobytes() for value in self._slice(array, start, stop)]


def _describe(dtype: Any, shape: Any) -> str:
    kinds = {"O": "objects (texts, references or lists of varying length)", "V": "structures"}
    kind = kinds.get(dtype.kind, str(dtype))
    return "nothing" if shape is None else f"{kind} {list(shape)}"
