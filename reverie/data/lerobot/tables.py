"""Rows of parquet files as arrays: one group of rows at a time, kept in a cache of bounded bytes.

Shapes: `N` rows of a group, `T` rows asked for, `...` the shape of one value.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from reverie.core.spec import Space
from reverie.data.container import Array
from reverie.data.datasets import DatasetError
from reverie.data.lerobot.place import Place, damaged

EPISODE = "episode_index"

_OPEN_FILES = 16


class Rows(NamedTuple):
    """Where an episode lies in a file."""

    start: int
    stop: int


class _File(NamedTuple):
    """An open parquet file."""

    handle: BinaryIO
    parquet: Any


class _Index(NamedTuple):
    """What is where in a file; it is kept after the file is closed."""

    starts: Array
    """First row of each group, and the number of all rows: int64 `[groups + 1]`."""
    episodes: Mapping[int, Rows]


class Tables:
    """The data files of a dataset.

    Args:
        place: where they are.
        columns: space of each column of numbers that may be asked for.
        pictures: columns of encoded pictures, which stay bytes.
        budget: bytes of decoded rows that are kept.
    """

    def __init__(
        self, place: Place, columns: Mapping[str, Space], pictures: Collection[str], budget: int
    ) -> None:
        self._place = place
        self._columns = columns
        self._pictures = frozenset(pictures)
        self._budget = budget
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._indices: dict[str, _Index] = {}
        self._cache: OrderedDict[tuple[str, int, str], tuple[Any, int]] = OrderedDict()
        self._held = 0

    def read(
        self, path: str, episode: int, frames: int, start: int, stop: int, names: list[str]
    ) -> dict[str, Any]:
        """Frames start..stop of an episode: `[T, ...]` of each column, or a list of T encoded
        pictures.

        Args:
            path: the file.
            episode: its number.
            frames: how many there must be.
            start: first frame.
            stop: one past the last.
            names: the columns.

        Raises:
            DatasetError: the file is damaged, lacks a column or the episode, or has another
                number of frames of it.
        """
        index = self._index(path)
        rows = index.episodes.get(episode)
        if rows is None or rows.stop - rows.start != frames:
            number = 0 if rows is None else rows.stop - rows.start
            raise DatasetError(
                self._place.name(path),
                EPISODE,
                f"episode {episode} has {number} rows here and {frames} by the table of episodes.",
            )
        first, last = rows.start + start, rows.start + stop
        found: dict[str, list[Any]] = {name: [] for name in names}
        low = int(np.searchsorted(index.starts, first, "right")) - 1
        for group in range(low, len(index.starts) - 1):
            begin = int(index.starts[group])
            if begin >= last:
                break
            for name, parts in found.items():
                part = self._column(path, group, name)
                parts.append(part[max(first - begin, 0) : last - begin])
        return {name: _joined(parts) for name, parts in found.items()}

    def close(self) -> None:
        """Give back open files and what is kept."""
        for file in self._files.values():
            file.handle.close()
        self._files.clear()
        self._cache.clear()
        self._held = 0

    __del__ = close

    def _file(self, path: str) -> _File:
        found = self._files.pop(path, None)
        if found is None:
            found = _opened(self._place, path)
            while len(self._files) >= _OPEN_FILES:
                self._files.popitem(last=False)[1].handle.close()
        self._files[path] = found
        return found

    def _index(self, path: str) -> _Index:
        if path not in self._indices:
            where = self._place.name(path)
            self._indices[path] = _indexed(
                self._file(path).parquet, where, self._place.local is None
            )
        return self._indices[path]

    def _column(self, path: str, group: int, name: str) -> Any:
        key = (path, group, name)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key][0]
        where, file = self._place.name(path), self._file(path)
        if name not in file.parquet.schema_arrow.names:
            raise DatasetError(where, name, "the column is missing.")
        array: Any
        with damaged(where, name, *parquet_kinds()):
            column = file.parquet.read_row_group(group, columns=[name], use_threads=False).column(
                name
            )
            if name in self._pictures:
                array, size = _pictures(column), int(column.nbytes)
            else:
                array = _numbers(column, self._columns[name])
                size = array.nbytes
        expected = int(np.diff(self._index(path).starts)[group])
        if len(array) != expected:
            raise DatasetError(
                where, name, f"a group of {expected} rows has {len(array)} values of it."
            )
        self._cache[key] = (array, size)
        self._held += size
        while self._held > self._budget and len(self._cache) > 1:
            self._held -= self._cache.popitem(last=False)[1][1]
        return array


def parquet_file(source: BinaryIO) -> Any:
    """A parquet file, or an error that says how to get pyarrow.

    Read it without threads: a process that ends while pyarrow starts some is aborted.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            'LeRobot datasets need pyarrow, which is missing: pip install "reverie[data]".'
        ) from error
    return pyarrow.parquet.ParquetFile(source, pre_buffer=False)


def parquet_kinds() -> tuple[type[BaseException], ...]:
    """The errors that pyarrow raises for damaged files, where it is installed."""
    try:
        import pyarrow
    except ImportError:
        return ()
    return (pyarrow.ArrowException, KeyError)


def _opened(place: Place, path: str) -> _File:
    handle = place.open(path)
    try:
        with damaged(place.name(path), "", *parquet_kinds()):
            return _File(handle, parquet_file(handle))
    except BaseException:
        handle.close()
        raise


def _indexed(parquet: Any, where: str, far: bool) -> _Index:
    """Where episodes are in a file; of one at an address, no more is read than must be."""
    if EPISODE not in parquet.schema_arrow.names:
        raise DatasetError(where, EPISODE, "the column is missing.")
    with damaged(where, EPISODE, *parquet_kinds()):
        groups = range(parquet.metadata.num_row_groups)
        counts = [parquet.metadata.row_group(group).num_rows for group in groups]
        if far:
            parts = [np.zeros(0, np.int64), *(_of_group(parquet, group) for group in groups)]
            episodes = np.concatenate(parts)
        else:
            column = parquet.read([EPISODE], use_threads=False).column(EPISODE)
            episodes = _numbers(column, Space((), "int64"))
    return _Index(np.cumsum([0, *counts]), _spans(episodes, where))


def _of_group(parquet: Any, group: int) -> Array:
    """The number of the episode of each row of a group, `[N]`.

    LeRobot writes a group for each episode: the table of contents, which is read already, then
    tells that the least number and the greatest are equal.
    """
    about = parquet.metadata.row_group(group)
    paths = {about.column(n).path_in_schema: n for n in range(about.num_columns)}
    told = about.column(paths[EPISODE]).statistics if EPISODE in paths else None
    if told is not None and told.has_min_max and told.min == told.max and not told.null_count:
        return np.full(about.num_rows, told.min, np.int64)
    table = parquet.read_row_group(group, columns=[EPISODE], use_threads=False)
    return _numbers(table.column(EPISODE), Space((), "int64"))


def _spans(episodes: Array, where: str) -> dict[int, Rows]:
    """Episode -> its rows, from the number of the episode of each row, `[N]`."""
    edges = [0, *(np.flatnonzero(np.diff(episodes)) + 1).tolist(), len(episodes)]
    found: dict[int, Rows] = {}
    for start, stop in itertools.pairwise(edges):
        if start == stop:
            continue
        index = int(episodes[start])
        if index in found:
            raise DatasetError(where, EPISODE, f"rows of episode {index} lie in two places.")
        found[index] = Rows(start, stop)
    return found


def _numbers(column: Any, space: Space) -> Array:
    """A column as `[N, ...]` in the dtype of its space; lists may be nested or flat.

    Raises:
        ValueError: a value is missing, is no number, or has another number of entries.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    values = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    rows, size = len(values), 1
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    while True:
        if values.null_count:
            raise ValueError(f"{values.null_count} values are missing (null).")
        kind = values.type
        if pa.types.is_fixed_size_list(kind):
            size *= kind.list_size
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            lengths = pc.unique(pc.list_value_length(values)).to_pylist()
            if len(lengths) > 1:
                raise ValueError(f"its lists have different lengths, {sorted(lengths)[:5]}.")
            size *= lengths[0] if lengths else 1
        else:
            break
        values = values.flatten()
    whole = pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    if not (whole or pa.types.is_floating(kind)):
        raise ValueError(f"it holds {kind}, not numbers; such columns are not read.")
    if not whole and not space.dtype.startswith("float"):
        raise ValueError(f"it holds {kind}; info.json says {space.dtype}.")
    if rows and size != math.prod(space.shape):
        raise ValueError(f"it has {size} entries per row; info.json says {list(space.shape)}.")
    array = values.to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(array, space.dtype).reshape(rows, *space.shape)


def _pictures(column: Any) -> list[bytes | None]:
    """A column of encoded pictures, plain or as {"bytes", "path"}, as a list of N.

    Raises:
        ValueError: it holds something else.
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        column = pa.chunked_array(
            [chunk.field("bytes") for chunk in column.chunks], kind.field("bytes").type
        )
        kind = column.type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise ValueError(f"it holds {kind}, not pictures; such columns are not read.")
    found: list[bytes | None] = column.to_pylist()
    return found


def _joined(parts: list[Any]) -> Any:
    """Consecutive rows; always a copy."""
    if isinstance(parts[0], list):
        return [each for part in parts for each in part]
    return np.concatenate(parts)
