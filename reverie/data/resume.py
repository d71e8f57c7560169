"""Saving and loading where a replay stands, so that the samples after it are bitwise the same.

A checkpoint holds the state of the sampler, the list of the parts that are sampled, the rows of
open episodes, and the latents (see `Latents.save`). Finished episodes stay where they are, in the
store.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reverie.data.container import Array, read_tensors, write_atomic, write_json, write_tensors
from reverie.data.part import SUFFIX, Key, Part, reopen
from reverie.data.shelf import StoreWarning
from reverie.data.streams import Stretch

if TYPE_CHECKING:
    from reverie.data.replay import Replay

_STATE = "replay.json"
_ARRAYS = "replay.safetensors"
_FORMAT = "reverie.replay/1"


def save(replay: Replay, directory: Path) -> None:
    """Write the state of a replay into a directory that holds none."""
    store = replay.store
    store.flush()
    directory.mkdir(parents=True, exist_ok=True)
    latents, arrays = replay.latents.save(directory)
    for part in store.opened.values():
        write_atomic(directory / (part.key.name + SUFFIX), store.encode(part), directory=False)
    write_tensors(directory / _ARRAYS, {**_tables(replay), **arrays})
    state = {
        "format": _FORMAT,
        "schema": store.schema.signature,
        "settings": _settings(replay),
        "generator": replay.rng.bit_generator.state,
        "rows_taken": store.rows_taken,
        "next_uid": replay.next_uid,
        "opened": [part.key.name for part in store.opened.values()],
        "latents": latents,
    }
    write_json(directory / _STATE, state)
    replay.retired.checkpoint(directory / _STATE)


def _settings(replay: Replay) -> dict[str, Any]:
    """What must be the same when the state is loaded."""
    latent = {n: [f.stored, list(f.shape)] for n, f in replay.latents.fields.items()}
    return {"length": replay.config.length, "context": replay.config.context, "latent": latent}


def _tables(replay: Replay) -> dict[str, Array]:
    streams = replay.streams.items()
    parts = [(*p.key, p.rows, u) for _, s in streams for u, p in zip(s.uids, s.parts, strict=True)]
    return {
        "parts": _table(parts, 5),
        "cursors": _table(list(replay.store.cursors.values()), 3),
        "running": _table([(name,) for name, s in streams if s.running], 1),
        "queue": _table(list(replay.queue), 4),
        "gathering": _table(list(replay.gathering.values()), 4),
    }


def _table(rows: list[Any], width: int) -> Array:
    return np.array(rows, np.int64).reshape(len(rows), width)


def load(replay: Replay, directory: Path) -> None:
    """Read the state of a replay from a directory; see `Replay.load`."""
    state, arrays = _read(replay, directory)
    store = replay.store
    opened = [reopen(directory / (name + SUFFIX), store.schema) for name in state["opened"]]
    cursors = {key[0]: Key(*key) for key in arrays["cursors"].tolist()}
    replay.clear()
    replay.latents.load(directory, state["latents"], arrays)
    store.rewind(cursors, opened, int(state["rows_taken"]))
    left = _enter(replay, arrays["parts"].tolist(), {part.key: part for part in opened})
    replay.retired.checkpoint(directory / _STATE, left if replay.config.delete else ())
    for (name,) in arrays["running"].tolist():
        if name in replay.streams:
            replay.streams[name].running = True
    replay.queue.extend(Stretch(*row) for row in arrays["queue"].tolist())
    replay.gathering = {row[0]: Stretch(*row) for row in arrays["gathering"].tolist()}
    replay.next_uid = int(state["next_uid"])
    replay.rng.bit_generator.state = state["generator"]


def _read(replay: Replay, directory: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    try:
        state = json.loads((directory / _STATE).read_text())
        if state["format"] != _FORMAT:
            raise ValueError(f"format is {state['format']!r}, expected {_FORMAT!r}")
        arrays, _ = read_tensors(directory / _ARRAYS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"The state of the replay in {directory} cannot be read ({error}). "
            "Resume from another checkpoint."
        ) from error
    if state["schema"] != replay.store.schema.signature:
        raise ValueError(
            f"The replay in {directory} was saved over a store with other spaces than "
            f"{replay.store.directory}. Resume with the environment of that run."
        )
    mine, theirs = _settings(replay), state["settings"]
    for name, value in mine.items():
        if value != theirs[name]:
            raise ValueError(
                f"The replay in {directory} was saved with {name} {theirs[name]}, not {value}. "
                "Resume with the settings of that run."
            )
    return state, arrays


def _enter(replay: Replay, listed: list[list[int]], opened: dict[Key, Part]) -> list[Key]:
    """Sample from the parts that were sampled; of the rest on disk, note what was recorded later
    and return what had left."""
    on_disk, lost = replay.store.shelf.parts, []
    keys = set()
    for *fields, rows, uid in sorted(listed, key=lambda row: row[-1]):
        key = Key(*fields)
        keys.add(key)
        part = opened.get(key) or on_disk.get(key)
        if part is None or part.rows != rows:
            lost.append(key.name)
            replay.latents.drop(uid)
        else:
            replay.enter(part, uid)
    if lost:
        warnings.warn(
            f"{len(lost)} of the episodes that the checkpoint sampled are not in "
            f"{replay.store.directory} as they were: {', '.join(lost)}. Training goes on without "
            "them; the resumed run will differ from one that was not interrupted.",
            StoreWarning,
            stacklevel=5,
        )
    cursors = replay.store.cursors
    rest = on_disk.keys() - (keys - opened.keys())
    replay.later = {k for k in rest if k >= cursors.get(k.stream, Key(k.stream, 0, 0))}
    return sorted(rest - replay.later)
