"""A subject of a bench in a process of its own, which prints JSON in its last line."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any


def run(command: list[str], folder: Path | None = None, **env: str) -> dict[str, Any]:
    """What it prints.

    Raises:
        RuntimeError: it fails; with the end of what it says.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **env},
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
