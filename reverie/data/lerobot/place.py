"""The files of a dataset, on this machine or at an fsspec address (`s3://...`, `memory://...`)."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from reverie.data.datasets import DatasetError


class Place:
    """A directory. Files in it have paths relative to it, with `/` on every machine."""

    def __init__(self, where: Path | str) -> None:
        self.where = str(where).rstrip("/") or "/"
        self.local: Path | None = None if "://" in self.where else Path(self.where).absolute()
        self._connected: Any = None
        self._process = os.getpid()
        self._turn = threading.RLock()
        if self.local is None:
            self._connected, self._root = self._remote()

    @property
    def _system(self) -> Any:
        """The file system of an address; a connection is not shared with a forked process."""
        with self._turn:
            if self._process != os.getpid():
                self._connected, _ = self._remote()
                self._process = os.getpid()
        return self._connected

    @property
    def _source(self) -> Any:
        """Where files come from, behind a cache of them: a cache finds only what a folder lists,
        and many a server lists none."""
        from fsspec.implementations.cached import CachingFileSystem

        cached = isinstance(self._system, CachingFileSystem)
        return self._system.fs if cached else self._system

    def _remote(self) -> tuple[Any, str]:
        import fsspec

        try:
            system, root = fsspec.core.url_to_fs(self.where)
        except ValueError as error:
            raise DatasetError(self.where, "", f"no such kind of address: {error}") from error
        except ImportError as error:
            raise ImportError(
                f"{self.where} needs a package that fsspec does not bring along: {error}"
            ) from error
        return system, str(root)

    def name(self, path: str) -> str:
        """A file's full name, for errors."""
        return f"{self.where}/{path}"

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        if self.local is not None:
            return (self.local / path).is_file()
        try:
            return bool(self._source.info(f"{self._root}/{path}")["type"] == "file")
        except OSError:
            return False

    def open(self, path: str, *, blocks: bool = True) -> BinaryIO:
        """A file, open to read and seek.

        Args:
            path: of the file.
            blocks: whether what lies around a part that is read from an address is fetched with it
                and kept; False where the caller does so (`remote.RangeFile`).

        Raises:
            DatasetError: it is not there or cannot be read.
        """
        options = {} if blocks else {"cache_type": "none"}
        with damaged(self.name(path), ""):
            if self.local is not None:
                return (self.local / path).open("rb")
            # A cache loses files that two threads open.
            with self._turn if self._system is not self._source else contextlib.nullcontext():
                return cast("BinaryIO", self._system.open(f"{self._root}/{path}", "rb", **options))

    def read(self, path: str) -> bytes:
        """All bytes of a file."""
        with damaged(self.name(path), ""):
            if self.local is not None:
                return (self.local / path).read_bytes()
            return cast("bytes", self._system.cat_file(f"{self._root}/{path}"))

    def below(self, folder: str, ending: str) -> list[str]:
        """The files in the folders of a folder whose names end so, in the order of their names."""
        if self.local is not None:
            found = (self.local / folder).glob(f"*/*{ending}")
            return sorted(p.relative_to(self.local).as_posix() for p in found)
        with damaged(self.name(folder), ""):
            paths = self._source.glob(f"{self._root}/{folder}/*/*{ending}")
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
    except (*known, *_network()) as error:
        raise DatasetError(file, field, _why(error)) from error


def _network() -> tuple[type[BaseException], ...]:
    """Errors of http that are no OSError, where a dataset is read by it."""
    client = sys.modules.get("aiohttp")
    return (client.ClientError,) if client is not None else ()


def _why(error: BaseException) -> str:
    """What happened, in one line."""
    if isinstance(error, FileNotFoundError):
        cause = error.__cause__  # of fsspec, where a server did not answer
        return f"the file is missing{f' ({cause})' if cause else ''}."
    if "range requests" in str(error):
        return (
            "the server gives whole files only; put simplecache:: before the address to keep a "
            "copy of each file that is read."
        )
    if isinstance(error, io.UnsupportedOperation):
        return f"the file cannot be read out of order: {error}."
    return f"it cannot be read, {type(error).__name__}: {' '.join(str(error).split())[:300]}"
