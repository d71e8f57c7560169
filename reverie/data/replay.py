"""Sequences of recorded rows to learn from, and where sampling stands, exactly.

A sequence is T consecutive rows of one stream. It begins anywhere, inside an episode too, and runs
over the ends of episodes; `first` says where a new one begins. Every row that has T - 1 rows after
it is equally likely, or likelier the more its pictures move (`motion`). With the online queue each
new stretch of T rows is given once before that.
"""

from __future__ import annotations

import itertools
import math
import shutil
import tempfile
import weakref
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reverie.core.model import Batch
from reverie.core.spec import Space
from reverie.data import resume
from reverie.data.container import CorruptFileError
from reverie.data.latents import PRECISIONS, Latents
from reverie.data.motion import Motion
from reverie.data.part import Key, Part
from reverie.data.retired import Retired
from reverie.data.store import EpisodeStore
from reverie.data.streams import Stream, Stretch


class Sample(NamedTuple):
    """A batch to learn from."""

    batch: Batch
    """B sequences of T rows."""
    state: Any
    """The latent stored with the row before each sequence, `{name: [B, ...]}`, as it was when the
    model last read that row; zeros where `known` is False. `()` where no latents are stored."""
    known: Tensor
    """`[B]` bool: False where the sequence begins an episode, or the row before was never given a
    latent or is not recorded. A model starts from its initial state there."""
    ids: Any
    """Which rows these are, for `Replay.write_back`."""


@dataclass(frozen=True)
class ReplayConfig:
    """How recorded rows are sampled."""

    batch: int = 16
    """Sequences in a batch."""
    length: int = 64
    """Rows in a sequence."""
    context: int = 1
    """1: sequences start from the latent stored with the row before; 0: from the initial state."""
    capacity: int = 1_000_000
    """Most rows to sample from; the oldest finished episodes go first."""
    online: bool = True
    """Whether new rows are sampled once before any others."""
    delete: bool = False
    """Whether episodes beyond the capacity are deleted, once no checkpoint needs them."""
    precision: str = "float16"
    """How latents are stored: float16 or float32."""
    motion: float = 0.0
    """Sequences are drawn by how much their pictures move, to this power; 0: all alike."""

    def __post_init__(self) -> None:
        if self.batch < 1 or self.length < 1:
            raise ValueError(
                f"replay batch {self.batch} and length {self.length} must both be at least 1."
            )
        if self.context not in (0, 1):
            raise ValueError(f"replay context is {self.context}; it is 0 or 1 rows.")
        if self.capacity < self.length:
            raise ValueError(
                f"replay capacity is {self.capacity} rows, less than one sequence of {self.length}."
            )
        if self.precision not in PRECISIONS:
            raise ValueError(f"replay precision {self.precision!r} is none of {PRECISIONS}.")
        if not 0 <= self.motion < math.inf:
            raise ValueError(f"replay motion is {self.motion}; it is a number of at least 0.")

    def build(
        self,
        store: EpisodeStore,
        *,
        seed: int,
        latent: Mapping[str, Space] | None = None,
        fresh: bool = False,
    ) -> Replay:
        """The replay of a store that samples like this."""
        return Replay(
            store,
            batch=self.batch,
            length=self.length,
            context=self.context,
            seed=seed,
            latent=latent,
            online=self.online,
            capacity=self.capacity,
            delete=self.delete,
            precision=self.precision,
            motion=self.motion,
            fresh=fresh,
        )


class Replay:
    """Samples sequences from a store, and appends to it.

    Args:
        store: where the rows are; open to read only, this replay samples recorded episodes only.
        batch: this and length, context, capacity, online, delete, precision, motion: ReplayConfig.
        seed: of the choice of sequences.
        latent: space of each latent stored with a row; None stores none.
        fresh: begin as if the store were empty: episodes in it are not sampled until they are
            recorded again or `adopt_later` takes them in. For a run that starts over.
        scratch: directory for latents; None is `latents/` in the store, or a temporary directory
            for a store open to read only.

    A file found to be damaged while sampling is set aside with a `StoreWarning`, and other rows are
    drawn. One thread at a time may use a replay.
    """

    def __init__(
        self,
        store: EpisodeStore,
        *,
        batch: int = 16,
        length: int = 64,
        context: int = 1,
        seed: int = 0,
        latent: Mapping[str, Space] | None = None,
        online: bool = True,
        capacity: int = 1_000_000,
        delete: bool = False,
        precision: str = "float16",
        motion: float = 0.0,
        fresh: bool = False,
        scratch: Path | str | None = None,
    ) -> None:
        self.config = ReplayConfig(
            batch, length, context, capacity, online, delete, precision, motion
        )
        self.store = store
        self.rng = np.random.default_rng(seed)
        if scratch is None and not store.writable:
            scratch = tempfile.mkdtemp(prefix="reverie-latents-")
            weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        place = store.directory / "latents" if scratch is None else Path(scratch)
        self.latents = Latents(latent if latent and context else {}, place, precision)
        self.clear()
        if fresh:
            self.later |= store.shelf.parts.keys()
            store.rewind({}, [], 0)
        else:
            self._adopt(store.parts())

    def clear(self) -> None:
        """Sample from nothing; the store keeps its files."""
        self.motion = Motion(self.store, self.config.motion) if self.config.motion else None
        self.streams: dict[int, Stream] = {}
        self.later: set[Key] = set()
        """Parts on disk that were written after the state that was loaded: not sampled."""
        self.queue: deque[Stretch] = deque(maxlen=self.config.capacity // self.config.length + 1)
        """Fresh sequences that were not sampled yet."""
        self.gathering: dict[int, Stretch] = {}
        """Per stream, fresh rows that are no whole sequence yet."""
        self.order: dict[int, int] = {}
        """Stream of each part that can be sampled, by its number here, oldest first."""
        self.retired = Retired(self.store.shelf.remove)
        """Parts beyond the capacity, where they are to be deleted."""
        self.next_uid = 0
        self.rows = 0
        """Rows that can be sampled from, those at the end of a stream included."""

    def _adopt(self, parts: Iterable[Part]) -> None:
        """Sample from recorded parts too, the oldest first to leave."""
        aged: list[tuple[int, Key, Part]] = []
        age: dict[int, int] = {}
        for part in parts:  # in order of key: a part is never younger than the next of its stream
            stream = part.key.stream
            age[stream] = max(age.get(stream, 0), part.age)
            aged.append((age[stream], part.key, part))
        opened = self.store.opened
        for _, key, part in sorted(aged, key=lambda a: (opened.get(a[1].stream) is a[2], *a[:2])):
            self.enter(part)
            self.streams[key.stream].running = opened.get(key.stream) is part
        self._evict(later=True)  # a checkpoint that is about to be loaded may list them

    def enter(self, part: Part, uid: int | None = None) -> int:
        """Sample from one more part, the newest of its stream; returns its number here."""
        uid = self.next_uid if uid is None else uid
        self.next_uid = max(self.next_uid, uid + 1)
        self.streams.setdefault(part.key.stream, Stream()).add(uid, part)
        self.order[uid] = part.key.stream
        self.rows += part.rows
        return uid

    def adopt_later(self) -> int:
        """Sample also from what was recorded after the loaded state; returns the rows gained.

        For a robot, whose past cannot be recorded again. A repeatable environment records the same
        episodes again instead. Where an open episode of the state was finished later, the later
        record replaces it.
        """
        before, touched = self.rows, {key.stream for key in self.later}
        found = [
            self.store.shelf.parts[k] for k in sorted(self.later) if k in self.store.shelf.parts
        ]
        self.later = set()
        rest = []
        for part in found:
            stream, opened = (
                self.streams.get(part.key.stream),
                self.store.opened.get(part.key.stream),
            )
            if stream and opened and opened.key == part.key and part.rows >= opened.rows:
                stream.replace(stream.uids[-1], part)
                self.rows += part.rows - opened.rows
                del self.store.opened[part.key.stream]
            else:
                if opened:
                    self.store.cut(part.key.stream)
                rest.append(part)
        for name in touched:
            if name in self.streams:
                self.streams[name].running = False
            self.gathering.pop(name, None)
        self._adopt(rest)
        self.store.skip_recorded(touched)
        self.store.settle()
        return self.rows - before

    # -- collecting ------------------------------------------------------------------------------

    def append(
        self, stream: int, row: Mapping[str, Any], latent: Mapping[str, Any] | None = None
    ) -> None:
        """One row of one stream, see `EpisodeStore.append`, and what the model made of it."""
        packed = None if latent is None or not self.latents.fields else self.latents.pack(latent, 0)
        part = self.store.take(stream, row)
        known = self.streams.setdefault(stream, Stream())
        if known.parts and known.parts[-1] is part:
            uid = known.uids[-1]
            self.rows += 1
        else:
            uid = self.enter(part)
        known.running = not part.ended
        if packed is not None:
            self.latents.write(uid, part.rows - 1, packed)
        if self.config.online:
            self._gather_fresh(stream, uid, part.rows - 1)
        self._evict()
        self.store.settle()

    def _gather_fresh(self, stream: int, uid: int, row: int) -> None:
        fresh = self.gathering.get(stream, Stretch(stream, uid, row, 0))
        fresh = fresh._replace(rows=fresh.rows + 1)
        if fresh.rows == self.config.length:
            self.queue.append(fresh)
            self.gathering.pop(stream, None)
        else:
            self.gathering[stream] = fresh

    def _evict(self, later: bool = False) -> None:
        """Let the oldest finished parts go until the capacity holds; `later`: delete them later."""
        while self.rows > self.config.capacity:
            for uid, name in self.order.items():
                part = self.streams[name].parts[0]
                if part is not self.store.opened.get(name) and self.streams[name].uids[0] == uid:
                    break
            else:
                return
            self._drop(uid)
            if self.config.delete:
                self.retired.add(part.key, later)

    def _drop(self, uid: int) -> None:
        stream = self.order.pop(uid)
        part = self.streams[stream].drop(uid)
        assert part is not None
        self.rows -= part.rows
        self.latents.drop(uid)
        fresh = self.gathering.get(stream)
        if fresh is not None and fresh.uid == uid:
            del self.gathering[stream]

    # -- sampling --------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether there is at least one sequence to sample."""
        return any(stream.rows >= self.config.length for stream in self.streams.values())

    def sample(self) -> Sample:
        """B sequences of T rows; raises ValueError while there is no sequence."""
        while True:
            try:
                return self._read(self._draw())
            except CorruptFileError as error:
                self._lose(error)

    def _lose(self, error: CorruptFileError) -> None:
        """Go on without a damaged file."""
        key = Key.parse(error.path.name)
        for uid, name in self.order.items():
            index = self.streams[name].index_of(uid)
            if index is not None and self.streams[name].parts[index].key == key:
                self.store.shelf.set_aside(key, error.reason)
                self._drop(uid)
                return
        raise error

    def _draw(self) -> list[tuple[Stream, int, int]]:
        """For each sequence its stream, the index of its first part and the row in it."""
        starts: list[tuple[Stream, int, int]] = []
        batch, length = self.config.batch, self.config.length
        while self.queue and len(starts) < batch:
            fresh = self.queue.popleft()
            stream = self.streams[fresh.stream]
            index = stream.index_of(fresh.uid)
            if index is not None and stream.holds(index, fresh.row, length):
                starts.append((stream, index, fresh.row))
        streams = [s for _, s in sorted(self.streams.items()) if s.rows >= length]
        if not streams:
            longest = max((s.rows for s in self.streams.values()), default=0)
            raise ValueError(
                f"There is nothing to sample yet: a sequence is {length} consecutive rows of one "
                f"stream, and the longest of {len(self.streams)} streams has {longest}. Record "
                "more rows first, or choose a smaller length."
            )
        ends = [0, *itertools.accumulate(s.rows - length + 1 for s in streams)]
        count = batch - len(starts)
        if self.motion is None:
            positions = self.rng.integers(ends[-1], size=count).tolist()
        else:
            positions = self.motion.draw(self.rng, streams, length, count)
        for position in positions:
            which = bisect_right(ends, position) - 1
            starts.append((streams[which], *streams[which].locate(position - ends[which])))
        return starts

    def _read(self, starts: list[tuple[Stream, int, int]]) -> Sample:
        batch, length = self.config.batch, self.config.length
        out = self.store.schema.empty(batch, length)
        ids: list[tuple[int, int, int, int]] = []
        packed = np.zeros((batch, self.latents.width), np.uint8)
        known = np.zeros(batch, bool)
        for b, (stream, index, row) in enumerate(starts):
            at = 0
            for run in stream.runs(index, row, length):
                end = at + run.stop - run.start
                self.store.read_part(run.part, run.start, run.stop, out, (b, slice(at, end)))
                if run.begins and run.start == 0:  # rows before are lost: an episode begins here
                    out["first"][b, at] = True
                    out["action"][b, at] = 0
                    out["reward"][b, at] = 0
                if run.ends and run.stop == run.part.rows:  # rows after are lost: it ends here
                    out["last"][b, end - 1] = True
                ids.append((run.uid, run.start, b * length + at, b * length + end))
                at = end
            before = stream.before(index, row) if self.latents.fields else None
            if before is not None:
                known[b] = self.latents.read(*before, packed[b])
        tensors = {name: torch.from_numpy(values) for name, values in out.items()}
        heads = {name: tensors.pop(name) for name in Batch._fields[1:]}
        state = self.latents.unpack(packed) if self.latents.fields else ()
        return Sample(Batch(tensors, **heads), state, torch.from_numpy(known), ids)

    def write_back(self, ids: Any, latents: Mapping[str, Any]) -> None:
        """Store what the model now makes of a sample's rows: `{name: [B, T, ...]}`, by its ids."""
        if not self.latents.fields:
            return
        packed = self.latents.pack(latents, 2)
        for uid, row, low, high in ids:
            if uid in self.order:
                self.latents.write(uid, row, packed[low:high])

    # -- checkpoints -----------------------------------------------------------------------------

    def save(self, directory: Path | str) -> None:
        """Write into a directory all that `load` needs to go on exactly here."""
        resume.save(self, Path(directory))

    def load(self, directory: Path | str) -> None:
        """Go on exactly where `save` was called, in this or another process, over the same store.

        Episodes that were written after that stay on disk but are not sampled until they are
        recorded again (a repeatable environment does, row by row the same), or `adopt_later`.
        """
        resume.load(self, Path(directory))
