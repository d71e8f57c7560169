"""Files that change together: written beside the old ones, then renamed over them.

Each new version is `<name>.partial` until it is whole and on the disk; a killed process leaves the
old version, or the new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reverie.data.container import PARTIAL, sync
from reverie.data.lerobot.frames import require_arrow

if TYPE_CHECKING:
    import pyarrow as pa


class Staged:
    """New versions of files, ready to take the place of the old ones."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pairs: list[tuple[Path, Path]] = []

    def path(self, name: str) -> Path:
        """Where to write the new version of a file."""
        final = self.root / name
        final.parent.mkdir(parents=True, exist_ok=True)
        partial = final.with_name(final.name + PARTIAL)
        partial.unlink(missing_ok=True)
        self.pairs.append((partial, final))
        return partial

    def swap(self) -> None:
        """Let the new versions take the place of the old ones, on the disk, too."""
        for partial, final in self.pairs:
            partial.replace(final)
        folders = {final.parent for _, final in self.pairs}
        for folder in sorted({up for f in folders for up in (f, *f.parents)}):
            if folder == self.root or self.root in folder.parents:
                sync(folder)
        self.pairs = []

    def discard(self) -> None:
        """Forget those that were not swapped in."""
        for partial, _ in self.pairs:
            partial.unlink(missing_ok=True)


def write_table(path: Path, schema: pa.Schema, pieces: Iterable[pa.Table], rows: int) -> None:
    """A parquet file of tables one after another, in groups of about so many rows, on the disk."""
    arrow = require_arrow()
    with path.open("wb") as file:
        with arrow.parquet.ParquetWriter(file, schema, compression="snappy") as writer:
            for piece in _regrouped(arrow, pieces, rows):
                writer.write_table(piece.cast(schema), row_group_size=rows)
        file.flush()
        os.fsync(file.fileno())


def _regrouped(arrow: Any, pieces: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    held: list[Any] = []
    for piece in pieces:
        held.append(piece)
        while sum(each.num_rows for each in held) >= rows:
            whole = arrow.concat_tables(held)
            yield whole.slice(0, rows)
            held = [whole.slice(rows)] if whole.num_rows > rows else []
    if held:
        yield arrow.concat_tables(held)


def kept_rows(path: Path, count: int, rows: int) -> Iterator[pa.Table]:
    """The first `count` rows of a data file, so many at a time."""
    arrow = require_arrow()
    if not count:
        return
    with arrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows):
            piece = arrow.Table.from_batches([batch]).slice(0, count)
            yield piece
            count -= piece.num_rows
            if not count:
                return
    raise OSError(f"{path} lacks {count} rows of its episodes; restore it from a copy.")


def write_json_synced(path: Path, value: Any) -> None:
    """A JSON file, on the disk when this returns."""
    with path.open("wb") as file:
        file.write(json.dumps(value, indent=4, ensure_ascii=False).encode())
        file.flush()
        os.fsync(file.fileno())
