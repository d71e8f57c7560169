"""A Dreamer model as files: weights as safetensors, everything else as JSON; nothing is unpickled.

    <directory>/
        model.json            format, family, config, spaces, size and SHA-256 of the weights
        model.safetensors     every parameter and buffer, by name

The directory appears complete or not at all. Checkpoints of a run in progress, with optimiser and
counters, are the learn room's; these files are what a finished model is shared as.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from reverie.core.spec import Space
from reverie.data.container import sync
from reverie.data.serial import from_json, to_json
from reverie.models.dreamer.config import DreamerConfig
from reverie.models.dreamer.model import Dreamer
from reverie.nn.state import misfit

FORMAT = 1
FAMILY = "dreamer"
_ABOUT, _TENSORS = "model.json", "model.safetensors"


class WeightsError(RuntimeError):
    """A model's files cannot be written, read, or used."""


def save(model: Dreamer, directory: Path | str) -> Path:
    """Write a model into a new (or empty) directory.

    Raises:
        WeightsError: something is there already, or it cannot be written; nothing is overwritten.
    """
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise WeightsError(
            f"{directory} is not empty; give a new directory, nothing is overwritten."
        )
    writing = directory.with_name(f".writing-{directory.name}-{os.getpid()}")
    try:
        writing.mkdir(parents=True)
        tensors = {k: x.detach().cpu().contiguous() for k, x in model.state_dict().items()}
        save_file(tensors, writing / _TENSORS)
        about = {"format": FORMAT, "family": FAMILY, **_describe(model)}
        about["weights"] = _measure(writing / _TENSORS)
        (writing / _ABOUT).write_text(json.dumps(about, indent=1) + "\n")
        for path in (writing / _TENSORS, writing / _ABOUT, writing):
            sync(path)
        writing.rename(directory)
        sync(directory.parent)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"The model could not be written to {directory}: {error}.") from error
    finally:
        shutil.rmtree(writing, ignore_errors=True)
    return directory


def load(directory: Path | str) -> Dreamer:
    """The model that `save` wrote, on the CPU, in the precision it was saved in.

    Raises:
        WeightsError: no model is there, it is of another family or format, a file is damaged, or
            names or shapes of its weights do not fit its configuration. The message says which.
    """
    directory = Path(directory)
    about = _read_about(directory)
    with _damage(directory / _ABOUT):
        expected = {k: about["weights"][k] for k in ("bytes", "sha256")}
        config = from_json(DreamerConfig, about["config"])
        spec = about["spec"]
        obs = {str(name): Space.from_json(space) for name, space in spec["obs"].items()}
        action, dt = Space.from_json(spec["action"]), float(spec["dt"])
    tensors = _read_tensors(directory / _TENSORS, expected)
    with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten
        model = Dreamer(obs, action, dt, config)
    _require_same(model.state_dict(), tensors, directory)
    for dtype in {x.dtype for x in tensors.values() if x.is_floating_point()} - {torch.float32}:
        model.to(dtype)
    model.load_state_dict(tensors)
    return model


def _describe(model: Dreamer) -> dict[str, Any]:
    spec = {
        "obs": {name: space.to_json() for name, space in model.spec.obs.items()},
        "action": model.spec.action.to_json(),
        "dt": model.spec.dt,
    }
    return {"config": to_json(model.config), "spec": spec}


def _read_about(directory: Path) -> dict[str, Any]:
    path = directory / _ABOUT
    if not path.is_file():
        raise WeightsError(f"No model is in {directory}: {_ABOUT} is missing.")
    with _damage(path):
        about = dict(json.loads(path.read_text()))
        found, family = about["format"], about["family"]
    if family != FAMILY:
        raise WeightsError(
            f"The model in {directory} is of family {family!r}, not {FAMILY!r}; load it with its "
            "own family."
        )
    if found != FORMAT:
        raise WeightsError(
            f"The model in {directory} has format {found}, and this version of Reverie reads "
            f"format {FORMAT}; use the version that wrote it."
        )
    return about


def _read_tensors(path: Path, expected: Mapping[str, Any]) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"{path} is missing; copy both files of the model.")
    found = _measure(path)
    if found["bytes"] != expected["bytes"]:
        raise WeightsError(
            f"{path} is damaged: it has {found['bytes']} bytes, {expected['bytes']} were written; "
            "copy it again."
        )
    if found["sha256"] != expected["sha256"]:
        raise WeightsError(
            f"{path} is damaged or of another model: its checksum is not the one that was written."
        )
    with _damage(path):
        return load_file(path)


def _require_same(own: Mapping[str, Tensor], given: Mapping[str, Tensor], directory: Path) -> None:
    if problems := misfit(own, given):
        raise WeightsError(
            f"The weights in {directory} do not fit their configuration: {problems}."
        )


def _measure(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Whatever goes wrong while a file is read is told with its name."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise WeightsError(f"{path} is damaged: {reason}.") from error
