"""Where Minari keeps the arrays of its episodes: one HDF5 file, or a table for each episode.

`n` entries. An array is found by an episode's name and keys: `("observations", "arm", 0)`. A table
(Arrow or Parquet) has one row more than actions; what is kept for actions is padded there.
"""

from __future__ import annotations

import importlib
import io
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from reverie.data.arrays import natural
from reverie.data.container import Array
from reverie.data.datasets import DatasetError
from reverie.data.hdf5 import Hdf5
from reverie.data.inside import inside
from reverie.data.lerobot.place import damaged

Keys = tuple[str | int, ...]

MAIN = "main_data.hdf5"

_TABLES = 4
"""Most tables kept."""


class Storage(Protocol):
    """The arrays of a dataset."""

    def names(self) -> list[str]:
        """Of the episodes, by number."""
        ...

    def count(self, episode: str, keys: Keys) -> int:
        """Entries of an array."""
        ...

    def values(
        self, episode: str, keys: Keys, shape: tuple[int, ...], picture: bool, start: int, stop: int
    ) -> Array:
        """Entries start..stop, `[n, *shape]`; pictures may be packed as JPEG."""
        ...

    def texts(self, episode: str, keys: Keys, start: int, stop: int) -> list[str]:
        """Entries start..stop of texts."""
        ...

    def wrong(self, episode: str, keys: Keys, problem: str) -> DatasetError:
        """An error that names the array."""
        ...

    def close(self) -> None:
        """Give back open files."""
        ...


class Hdf5Episodes:
    """`main_data.hdf5`: groups `episode_3/observations/arm/_index_0`."""

    def __init__(self, file: Hdf5) -> None:
        self._file = file

    def names(self) -> list[str]:
        """Of the episodes, by number."""
        found = [name for name in self._file.names("") if re.fullmatch(r"episode_\d+", name)]
        return sorted(found, key=natural)

    def count(self, episode: str, keys: Keys) -> int:
        """Entries of an array."""
        return self._file.rows(_path(episode, keys), "biufO")

    def values(
        self, episode: str, keys: Keys, shape: tuple[int, ...], picture: bool, start: int, stop: int
    ) -> Array:
        """Entries start..stop."""
        path = _path(episode, keys)
        if picture and len(self._file.array(path, "biufO").shape) <= 2:
            blobs = self._file.blobs(path, start, stop)
            return self._checked(episode, keys, unpacked(blobs, shape), shape)
        return self._checked(episode, keys, self._file.read(path, start, stop), shape)

    def _checked(
        self, episode: str, keys: Keys, values: Array | str, shape: tuple[int, ...]
    ) -> Array:
        if isinstance(values, str):
            raise self.wrong(episode, keys, values)
        if values.shape[1:] != shape:
            problem = f"its entries have shape {values.shape[1:]}; the space has {shape}."
            raise self.wrong(episode, keys, problem)
        return values

    def texts(self, episode: str, keys: Keys, start: int, stop: int) -> list[str]:
        """Entries start..stop of texts."""
        return self._file.texts(_path(episode, keys), start, stop)

    def wrong(self, episode: str, keys: Keys, problem: str) -> DatasetError:
        """An error that names the array."""
        return DatasetError(self._file.path, _path(episode, keys), problem)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TableEpisodes:
    """A folder `3` with a table `part-0.arrow` or `part-0.parquet` for each episode."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        self._kind = kind
        self._arrow = _pyarrow()
        self._tables: OrderedDict[str, Any] = OrderedDict()

    def names(self) -> list[str]:
        """Of the episodes, by number."""
        found = [p.name for p in self._folder.iterdir() if p.name.isdecimal() and p.is_dir()]
        return [f"episode_{name}" for name in sorted(found, key=natural)]

    def count(self, episode: str, keys: Keys) -> int:
        """Entries of an array."""
        self._column(episode, keys)
        return int(self._table(episode).num_rows) - (keys[0] != "observations")

    def values(
        self, episode: str, keys: Keys, shape: tuple[int, ...], picture: bool, start: int, stop: int
    ) -> Array:
        """Entries start..stop."""
        arrow, column = self._arrow, self._column(episode, keys).slice(start, stop - start)
        types, kind = arrow.types, column.type
        with self._reading(episode, keys):
            if picture and types.is_binary(kind):
                values = unpacked([blob or b"" for blob in column.to_pylist()], shape)
                if isinstance(values, str):
                    raise self.wrong(episode, keys, values)
                return values
            flat = column.flatten() if types.is_fixed_size_list(kind) else column
            plain = types.is_integer(flat.type) or types.is_floating(flat.type)
            if not (plain or types.is_boolean(flat.type)) or flat.null_count:
                raise self.wrong(episode, keys, f"it holds {kind}; numbers are expected.")
            numbers: Array = flat.to_numpy(zero_copy_only=False)
            if numbers.size != (stop - start) * int(np.prod(shape)):
                problem = (
                    f"an entry has {numbers.size / max(stop - start, 1):g} numbers, not {shape}."
                )
                raise self.wrong(episode, keys, problem)
            return numbers.reshape(stop - start, *shape)

    def texts(self, episode: str, keys: Keys, start: int, stop: int) -> list[str]:
        """Entries start..stop of texts."""
        column = self._column(episode, keys)
        if not self._arrow.types.is_string(column.type):
            raise self.wrong(episode, keys, f"it holds {column.type}; texts are expected.")
        return [text or "" for text in column.slice(start, stop - start).to_pylist()]

    def wrong(self, episode: str, keys: Keys, problem: str) -> DatasetError:
        """An error that names the array."""
        return DatasetError(self._file(episode), "/".join(map(str, keys)), problem)

    def close(self) -> None:
        """Forget the tables."""
        self._tables.clear()

    def _file(self, episode: str) -> Path:
        return self._folder / episode.removeprefix("episode_") / f"part-0.{self._kind}"

    def _reading(self, episode: str, keys: Keys) -> Any:
        where = "/".join(map(str, keys))
        return damaged(str(self._file(episode)), where, self._arrow.ArrowException, KeyError)

    def _table(self, episode: str) -> Any:
        if episode not in self._tables:
            file = inside(self._file(episode), self._folder)
            with self._reading(episode, ()):
                if self._kind == "parquet":
                    table = importlib.import_module("pyarrow.parquet").read_table(
                        file, use_threads=False
                    )
                else:
                    with self._arrow.memory_map(str(file)) as source:
                        table = self._arrow.ipc.open_file(source).read_all()
                table.validate(full=True)
            self._tables[episode] = table
            while len(self._tables) > _TABLES:
                self._tables.popitem(last=False)
        self._tables.move_to_end(episode)
        return self._tables[episode]

    def _column(self, episode: str, keys: Keys) -> Any:
        table = self._table(episode)
        with self._reading(episode, keys):
            column = table.column(str(keys[0])).combine_chunks()
            for key in keys[1:]:
                if not self._arrow.types.is_struct(column.type):
                    raise self.wrong(episode, keys, f"there is no {key!r}, but {column.type}.")
                column = column.field(str(key))
        return column


def unpacked(blobs: list[bytes], shape: tuple[int, ...]) -> Array | str:
    """Pictures `[n, *shape]` from JPEG files, or what is wrong with one."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "This Minari dataset holds JPEG pictures, which need Pillow: "
            'pip install "reverie[viz]".'
        ) from error
    out = np.empty((len(blobs), *shape), np.uint8)
    for number, blob in enumerate(blobs):
        try:
            picture = Image.open(io.BytesIO(blob), formats=["JPEG"])
            if (picture.height, picture.width) != shape[:2]:
                return f"a picture has {picture.height} x {picture.width} pixels, not {shape}."
            values = np.asarray(picture)
        except (OSError, SyntaxError, EOFError, ValueError, Image.DecompressionBombError) as error:
            return f"a picture is no JPEG ({error})."
        if values.shape != shape:
            return f"a picture has shape {values.shape}; the space has {shape}."
        out[number] = values
    return out


def _path(episode: str, keys: Keys) -> str:
    return "/".join([episode, *(f"_index_{k}" if isinstance(k, int) else k for k in keys)])


def _pyarrow() -> Any:
    try:
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise ImportError(
            'Minari tables need pyarrow, which is missing: pip install "reverie[data]".'
        ) from error
