"""On what it was run: hardware, versions and commit, for every published number."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("torch", "numpy", "mujoco", "dm_control", "gymnasium")


def provenance() -> dict[str, str]:
    """Names and values, without anything that tells who ran it or where."""
    return {
        "Commit": commit(),
        "Versions": ", ".join(_versions()),
        "System": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "Processor": f"{processor()}, {cores()} core{'s' if cores() > 1 else ''} usable",
        "Memory": _memory(),
    }


def commit() -> str:
    """The commit of the source tree the package is imported from, and whether it was changed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "not a git checkout"
    try:
        name = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{name}, with changes that are not committed" if changed else name


def processor() -> str:
    """What the processor calls itself."""
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine() or "unknown"


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def _versions() -> list[str]:
    found = []
    for name in ("reverie", *_PACKAGES):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            if name in sys.modules:
                found.append(f"{name} {getattr(sys.modules[name], '__version__', '(unpackaged)')}")
    return found


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "unknown"
    return f"{size / 2**30:.0f} GiB"
