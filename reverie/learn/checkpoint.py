"""Checkpoints: a directory of safetensors and JSON files each, complete or absent.

    checkpoints/00000007/
        <part>.safetensors   the tensors of a part, by name
        <part>.json          the rest of the part; {"$tensor": name} stands for a tensor
        <part>/              a part that writes itself, such as the replay
        manifest.json        written last: size and SHA-256 of each file, family, counters

Everything is written to a temporary directory, flushed to the disk and renamed, so that a kill or a
full disk at any moment leaves the checkpoints before it as they were. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from reverie.data.container import sync
from reverie.nn.state import misfit

FORMAT = 1
_MANIFEST = "manifest.json"
_TEMPORARY, _CONDEMNED = ".writing-", ".removing-"


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written, read, or used for what it was asked for."""


class Checkpoint:
    """One complete, verified checkpoint."""

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self.path = path
        self.family = str(manifest["family"])
        """The name of the model family that wrote it."""
        self.about: dict[str, Any] = dict(manifest["about"])
        """JSON object that the writer added: counters, spaces, device, recipe."""
        self.parts: tuple[str, ...] = tuple(manifest["parts"])

    def part(self, name: str) -> Any:
        """A part as it was saved: dicts, lists, numbers, tensors; arrays come back as arrays."""
        if name not in self.parts:
            raise CheckpointError(
                f"Checkpoint {self.path} has no part {name!r}; it has {', '.join(self.parts)}."
            )
        tensors = load_file(self.path / f"{name}.safetensors")
        return _join(json.loads((self.path / f"{name}.json").read_text()), tensors)

    def folder(self, name: str) -> Path:
        """The directory of a part that wrote itself."""
        path = self.path / name
        if name not in self.parts or not path.is_dir():
            raise CheckpointError(f"Checkpoint {self.path} has no folder {name!r}.")
        return path

    def require_family(self, family: str) -> None:
        """Raise where another family wrote this checkpoint."""
        if family != self.family:
            raise CheckpointError(
                f"Checkpoint {self.path} is of family {self.family!r}, and {family!r} was asked "
                f"for; use a run directory of {family!r}, or build {self.family!r}."
            )


class Checkpoints:
    """The checkpoints of a run, newest last."""

    def __init__(self, directory: Path | str, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"Checkpoints keep is {keep}; keep at least 1.")
        self.directory = Path(directory)
        self.keep = keep

    def paths(self) -> list[Path]:
        """The checkpoint directories, oldest first, whether or not they are intact."""
        if not self.directory.is_dir():
            return []
        return sorted(p for p in self.directory.iterdir() if p.name.isdigit())

    def save(self, parts: Mapping[str, Any], family: str, about: Mapping[str, Any]) -> Path:
        """Write a checkpoint and drop all but the newest `keep`.

        A part is a tree of dicts with string keys, lists, numbers, strings, tensors and arrays; or
        a function that writes files into the directory it is given (hard links to files that never
        change are welcome: they are not read again).
        Raises `CheckpointError` where it cannot be written; what was there before stays.
        """
        names = [int(p.name) for p in self.paths()]
        final = self.directory / f"{max(names, default=0) + 1:08d}"
        temporary = self.directory / f"{_TEMPORARY}{final.name}"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            _write(temporary, parts, family, about, self._known())
            temporary.rename(final)
            sync(self.directory)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(_cannot_write(self.directory, error)) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for path in self.paths()[: -self.keep]:
            self._remove(path)
        return final

    def latest(self, folders: bool = False) -> Checkpoint | None:
        """The newest intact checkpoint; None where there is none at all.

        What parts wrote themselves may be large: its content is verified only with `folders`. A
        damaged one is reported by a warning that names the file, set aside, and the one before
        is taken. Raises `CheckpointError` where all are damaged.
        """
        damage = []
        for path in reversed(self.paths()):
            try:
                return load(path, folders)
            except CheckpointError as error:
                damage.append(str(error))
                warnings.warn(f"{error} Trying the checkpoint before it.", stacklevel=2)
        if damage:
            raise CheckpointError(
                f"No intact checkpoint is left in {self.directory}: " + " ".join(damage)
            )
        return None

    def tidy(self) -> None:
        """Remove what a killed process left half-written or half-removed. Only for the process
        that owns the run."""
        if not self.directory.is_dir():
            return
        for path in self.directory.iterdir():
            if path.name.startswith((_TEMPORARY, _CONDEMNED)):
                shutil.rmtree(path, ignore_errors=True)

    def set_aside_after(self, checkpoint: Checkpoint) -> None:
        """Rename the (damaged) checkpoints newer than this one, so that they are not counted."""
        for path in self.paths():
            if path.name > checkpoint.path.name:
                target = path.with_name(f"{path.name}.damaged")
                shutil.rmtree(target, ignore_errors=True)
                path.rename(target)

    def _known(self) -> dict[int, tuple[int, str]]:
        """Size and digest of the newest checkpoint's files by inode."""
        found = {}
        for path in self.paths()[-1:]:
            try:
                for name, entry in json.loads((path / _MANIFEST).read_text())["files"].items():
                    found[(path / name).stat().st_ino] = (entry["bytes"], entry["sha256"])
            except (OSError, ValueError, KeyError, TypeError):
                return {}
        return found

    def _remove(self, path: Path) -> None:
        condemned = path.with_name(_CONDEMNED + path.name)
        path.rename(condemned)  # first: a kill in the middle must not leave half a checkpoint
        shutil.rmtree(condemned, ignore_errors=True)


def load(path: Path | str, folders: bool = False) -> Checkpoint:
    """The checkpoint in this directory, verified as in `Checkpoints.latest`.

    Raises `CheckpointError` naming what is wrong.
    """
    path = Path(path)
    try:
        manifest = json.loads((path / _MANIFEST).read_text())
        if manifest["format"] != FORMAT:
            raise CheckpointError(
                f"Checkpoint {path} has format {manifest['format']}, and this version of Reverie "
                f"reads format {FORMAT}; use the version that wrote it."
            )
        for name, entry in manifest["files"].items():
            _verify(path / name, entry, content=folders or "/" not in name)
        return Checkpoint(path, manifest)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"Checkpoint {path} is incomplete: {error.filename} is missing."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"Checkpoint {path} is damaged: {_MANIFEST}: {error!r}.") from error


def load_weights(module: Any, state: Mapping[str, Tensor], source: str = "the checkpoint") -> None:
    """Copy weights into a module whose names and shapes must be equal; else say which are not."""
    if problems := misfit(module.state_dict(), state):
        raise CheckpointError(
            f"The weights of {source} do not fit this model: {problems}. "
            "Build the model with the configuration that trained it (size, sensors, actions)."
        )
    module.load_state_dict(state)


def _write(
    directory: Path,
    parts: Mapping[str, Any],
    family: str,
    about: Mapping[str, Any],
    known: Mapping[int, tuple[int, str]],
) -> None:
    for name, value in parts.items():
        if callable(value):
            (directory / name).mkdir()
            value(directory / name)
            continue
        tensors: dict[str, Tensor] = {}
        skeleton = _split(value, tensors, "")
        save_file(tensors, directory / f"{name}.safetensors")
        (directory / f"{name}.json").write_text(json.dumps(skeleton))
    files = {}
    for path in _files(directory):
        status = path.stat()
        size, digest = known.get(status.st_ino, (-1, ""))
        if size != status.st_size or status.st_nlink == 1:
            sync(path)
            digest = _digest(path)
        name = path.relative_to(directory).as_posix()
        files[name] = {"bytes": status.st_size, "sha256": digest}
    manifest = {
        "format": FORMAT,
        "family": family,
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "parts": list(parts),
        "about": about,
        "files": files,
    }
    (directory / _MANIFEST).write_text(json.dumps(manifest, indent=1))
    sync(directory / _MANIFEST)
    sync(directory)


def _files(directory: Path) -> Iterator[Path]:
    """All files below, in a fixed order; each directory is flushed."""
    for path in sorted(directory.iterdir()):
        if path.is_dir():
            yield from _files(path)
            sync(path)
        else:
            yield path


def _split(value: Any, tensors: dict[str, Tensor], name: str) -> Any:
    """JSON of a tree, with its tensors moved to `tensors` under their path, joined by dots."""
    if isinstance(value, Tensor | np.ndarray):
        tensors[name] = _plain(value, tensors)
        return {"$array" if isinstance(value, np.ndarray) else "$tensor": name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key.startswith("$"):
                raise TypeError(f"Key {key!r} in {name or 'a checkpoint'} is no plain string.")
        return {k: _split(v, tensors, f"{name}.{k}" if name else k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_split(v, tensors, f"{name}.{i}" if name else str(i)) for i, v in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name or 'A checkpoint'} holds a {type(value).__name__}, which is no data.")


def _plain(value: Tensor | np.ndarray, others: Mapping[str, Tensor]) -> Tensor:
    """The value on the CPU, in one block of its own: safetensors refuses shared memory."""
    if isinstance(value, np.ndarray):
        array = np.asarray(value, order="C")
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    tensor = value.detach().cpu().contiguous()
    storage = tensor.untyped_storage()
    whole = storage.nbytes() == tensor.nbytes
    shared = any(t.untyped_storage().data_ptr() == storage.data_ptr() for t in others.values())
    return tensor if whole and not shared else tensor.clone()


def _join(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if "$tensor" in value:
            return tensors[value["$tensor"]]
        if "$array" in value:
            return tensors[value["$array"]].numpy()
        return {k: _join(v, tensors) for k, v in value.items()}
    if isinstance(value, list):
        return [_join(v, tensors) for v in value]
    return value


def _verify(path: Path, entry: Mapping[str, Any], content: bool) -> None:
    size = path.stat().st_size
    if size != entry["bytes"]:
        raise CheckpointError(f"{path} is damaged: {size} bytes, {entry['bytes']} were written.")
    if content and _digest(path) != entry["sha256"]:
        raise CheckpointError(f"{path} is damaged: its checksum is not the one that was written.")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cannot_write(directory: Path, error: Exception) -> str:
    try:
        free = f"{shutil.disk_usage(directory).free / 1e6:.0f} MB are free there"
    except OSError:
        free = "the directory cannot be read"
    return (
        f"The checkpoint could not be written to {directory} ({error}; {free}). Earlier "
        "checkpoints are intact; free some space."
    )
