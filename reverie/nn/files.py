"""A model as two files: weights as safetensors, the rest as JSON; nothing is unpickled.

    <directory>/
        model.json            format, family, the model's description, size and SHA-256 of weights
        model.safetensors     every parameter and buffer, by name

The directory appears complete or not at all. Nothing here knows which family it writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reverie.nn.state import misfit

FORMAT = 1
_ABOUT, _TENSORS = "model.json", "model.safetensors"
_READING = (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError)


class WeightsError(RuntimeError):
    """A model's files cannot be written, read, or used."""


class Parts(NamedTuple):
    """What the files of a model say."""

    about: dict[str, Any]
    """What was given to `write`."""
    tensors: dict[str, Tensor]
    """Every parameter and buffer, on the CPU."""


def write(
    directory: Path | str, family: str, about: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> Path:
    """Write a model into a new (or empty) directory; `about` is JSON.

    Raises:
        WeightsError: something is there already, or it cannot be written; nothing is overwritten.
    """
    target = Path(directory)
    if target.exists() and not (target.is_dir() and next(target.iterdir(), None) is None):
        raise WeightsError(f"{target} is not empty; give a new directory, nothing is overwritten.")
    draft = target.with_name(f".writing-{target.name}-{os.getpid()}")
    try:
        draft.mkdir(parents=True)
        save_file({k: x.detach().cpu().contiguous() for k, x in tensors.items()}, draft / _TENSORS)
        head = {"format": FORMAT, "family": family, **about, "weights": measured(draft / _TENSORS)}
        (draft / _ABOUT).write_text(json.dumps(head, indent=1) + "\n")
        for path in (draft / _TENSORS, draft / _ABOUT, draft):
            _synced(path)
        draft.rename(target)
        _synced(target.parent)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"The model could not be written to {target}: {error}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def read(directory: Path | str, family: str) -> Parts:
    """What `write` wrote, checked.

    Raises:
        WeightsError: no model is there, it is of another family or format, or a file is damaged.
    """
    about, tensors = Path(directory) / _ABOUT, Path(directory) / _TENSORS
    if not about.is_file():
        raise WeightsError(f"No model is in {directory}: {_ABOUT} is missing.")
    with damage(about):
        head = dict(json.loads(about.read_text()))
        made, kind = head["format"], head["family"]
        wanted = {key: head["weights"][key] for key in ("bytes", "sha256")}
    if kind != family:
        raise WeightsError(
            f"The model in {directory} is of family {kind!r}, not {family!r}; load it with its own."
        )
    if made != FORMAT:
        raise WeightsError(
            f"The model in {directory} has format {made}, and this version of Reverie reads format "
            f"{FORMAT}; use the version that wrote it."
        )
    if not tensors.is_file():
        raise WeightsError(f"{tensors} is missing; copy both files of the model.")
    found = measured(tensors)
    if found["bytes"] != wanted["bytes"]:
        raise WeightsError(
            f"{tensors} is damaged: it has {found['bytes']} bytes, {wanted['bytes']} were written; "
            "copy both files again."
        )
    if found != wanted:
        raise WeightsError(
            f"{tensors} is damaged or of another model: its checksum is not the one that was "
            "written; copy both files again."
        )
    with damage(tensors):
        return Parts(head, load_file(tensors))


def install(model: nn.Module, tensors: Mapping[str, Tensor], directory: Path | str) -> None:
    """Give a model the weights that were read from a directory, in the precision they have.

    Raises:
        WeightsError: names or shapes do not fit the model; the message says which.
    """
    if problems := misfit(model.state_dict(), tensors):
        raise WeightsError(
            f"The weights in {directory} do not fit their configuration: {problems}."
        )
    for dtype in {x.dtype for x in tensors.values() if x.is_floating_point()} - {torch.float32}:
        model.to(dtype)
    model.load_state_dict(tensors)


def measured(path: Path) -> dict[str, Any]:
    """Size and checksum of a file."""
    with path.open("rb") as file:
        return {
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


@contextlib.contextmanager
def damage(path: Path | str) -> Iterator[None]:
    """Whatever goes wrong while a file is read is told with its name."""
    try:
        yield
    except _READING as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise WeightsError(f"{path} is damaged: {reason}.") from error


def _synced(path: Path) -> None:
    """Wait until a file is on the disk, or a directory's renames are."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
