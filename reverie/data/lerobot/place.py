"""The files of a dataset, on this machine or at an fsspec address (`s3://...`, `memory://...`)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from reverie.data.datasets import DatasetError


class Place:
    """A directory. Files in it have paths relative to it, with `/` on every machine."""

    def __init__(self, where: Path | str) -> None:
        self.where = str(where).rstrip("/") or "/"
        self.local: Path | None = None if "://" in self.where else Path(self.where).absolute()
        self._system: Any = None
        if self.local is None:
            import fsspec

            try:
                self._system, self._root = fsspec.core.url_to_fs(self.where)
            except ValueError as error:
                raise DatasetError(self.where, "", f"no such kind of address: {error}") from error

    def name(self, path: str) -> str:
        """A file's full name, for errors."""
        return f"{self.where}/{path}"

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        if self.local is not None:
            return (self.local / path).is_file()
        return bool(self._system.isfile(f"{self._root}/{path}"))

    def open(self, path: str) -> BinaryIO:
        """A file, open to read and seek.

        Raises:
            DatasetError: it is not there or cannot be read.
        """
        try:
            if self.local is not None:
                return (self.local / path).open("rb")
            return cast("BinaryIO", self._system.open(f"{self._root}/{path}", "rb"))
        except OSError as error:
            raise DatasetError(self.name(path), "", _why(error)) from error

    def read(self, path: str) -> bytes:
        """All bytes of a file."""
        with self.open(path) as file, damaged(self.name(path), ""):
            return file.read()

    def below(self, folder: str, ending: str) -> list[str]:
        """The files in the folders of a folder whose names end so, in the order of their names."""
        if self.local is not None:
            found = (self.local / folder).glob(f"*/*{ending}")
            return sorted(p.relative_to(self.local).as_posix() for p in found)
        with damaged(self.name(folder), ""):
            paths = self._system.glob(f"{self._root}/{folder}/*/*{ending}")
        return sorted("/".join([folder, *str(path).split("/")[-2:]]) for path in paths)


@contextlib.contextmanager
def damaged(file: str, field: str, *kinds: type[BaseException]) -> Iterator[None]:
    """Turns what a library says of a damaged file into a `DatasetError` that names it.

    Args:
        file: its name.
        field: what was being read.
        kinds: errors of the library, besides those of Python.
    """
    known: tuple[type[BaseException], ...] = (OSError, ValueError, EOFError, OverflowError, *kinds)
    try:
        yield
    except DatasetError:
        raise
    except known as error:
        raise DatasetError(file, field, _why(error)) from error


def _why(error: BaseException) -> str:
    """What happened, in one line."""
    if isinstance(error, FileNotFoundError):
        return "the file is missing."
    if isinstance(error, io.UnsupportedOperation):
        return f"the file cannot be read out of order: {error}."
    return f"it cannot be read, {type(error).__name__}: {' '.join(str(error).split())[:300]}"
