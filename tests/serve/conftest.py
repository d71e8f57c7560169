"""One run with pictures, and one server of it, for all tests of this room that need one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.served import Server, pixel_run, serving


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pixel_run(tmp_path_factory.mktemp("played") / "run")


@pytest.fixture(scope="session")
def server(run: Path) -> Iterator[Server]:
    with serving(run, "--beside", "--patience", "3") as made:
        yield made
