"""Files of a directory that lie in it: a stranger's links lead nowhere else."""

from __future__ import annotations

from pathlib import Path

from reverie.data.datasets import DatasetError


def inside(file: Path, directory: Path) -> Path:
    """The file, if it lies in the directory when all links are followed.

    Raises:
        DatasetError: it is a link out of there. The directory itself may be one.
    """
    if not file.resolve().is_relative_to(directory.resolve()):
        problem = (
            f"it is a link out of {directory}, which is not followed; put a copy in its place."
        )
        raise DatasetError(file, "", problem)
    return file
