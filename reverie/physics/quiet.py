"""Silence for C code that writes to the standard error by itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(really: bool = True) -> Iterator[None]:
    """What this process, its C code included, writes to file descriptor 2 within is dropped."""
    if not really:
        yield
        return
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
