"""Which recorded rows a model is asked to predict: windows that lie inside one episode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from reverie.core.model import Batch

_ROW = ("action", "reward", "first", "last", "terminated")


class Windows(NamedTuple):
    """N stretches of T rows, none of which crosses the end of an episode."""

    batch: Batch
    """`[N, T]`."""
    episode: Tensor
    """`[N]` int64: windows with one number come from one episode, and are not independent."""


class Stored(Protocol):
    """What `from_store` asks of an episode store."""

    def episodes(self) -> Sequence[Any]:
        """One entry per finished episode, each with `name` and `rows`."""
        ...

    def read(self, name: str, start: int, stop: int) -> Mapping[str, Any]:
        """Rows start to stop of an episode: observations and `action`, `reward`, `first`, ..."""
        ...


def from_batch(batch: Batch, length: int, count: int | None = None, seed: int = 0) -> Windows:
    """Windows of a recorded batch `[B, T]`, whose rows may hold parts of several episodes.

    An episode begins where `first` is set, and also after `last`, so that a row that follows an
    end without a mark is not taken for its continuation. At most `count` windows are kept.
    """
    starts = batch.first.bool().clone()
    starts[:, 0] = True
    starts[:, 1:] |= batch.last[:, :-1].bool()
    pieces = []
    for b, row in enumerate(starts.cpu().numpy()):
        edges = [*np.flatnonzero(row).tolist(), row.shape[0]]
        pieces += [(b, s, e) for s, e in pairwise(edges)]
    chosen = _choose([stop - start for _, start, stop in pieces], length, count, seed)

    def cut(x: Tensor) -> Tensor:
        spans = ((*pieces[i], offset) for i, offset in chosen)
        return torch.stack([x[b, s + offset : s + offset + length] for b, s, _, offset in spans])

    obs = {name: cut(value) for name, value in batch.obs.items()}
    rest = (cut(x) for x in batch[1:])
    return Windows(Batch(obs, *rest), torch.tensor([i for i, _ in chosen]))


def from_episodes(
    episodes: Iterable[Mapping[str, Any]], length: int, count: int | None = None, seed: int = 0
) -> Windows:
    """Windows of whole episodes in memory, each a mapping of arrays `[rows, ...]` (the names of the
    observations, `action`, `reward`, `first`, `last`, `terminated`)."""
    whole = list(episodes)
    chosen = _choose([len(e["reward"]) for e in whole], length, count, seed)
    rows = [
        {name: np.asarray(value)[offset : offset + length] for name, value in whole[i].items()}
        for i, offset in chosen
    ]
    return Windows(_batch(rows), torch.tensor([i for i, _ in chosen]))


def from_store(store: Stored, length: int, count: int | None = None, seed: int = 0) -> Windows:
    """Windows of an episode store; only the rows of the windows are read.

    A model that was trained on these episodes has seen the answers: prefer episodes played for
    the evaluation (`from_episodes`).
    """
    listed = list(store.episodes())
    chosen = _choose([e.rows for e in listed], length, count, seed)
    rows = [store.read(listed[i].name, offset, offset + length) for i, offset in chosen]
    return Windows(_batch(rows), torch.tensor([i for i, _ in chosen]))


def _choose(
    rows: Sequence[int], length: int, count: int | None, seed: int
) -> list[tuple[int, int]]:
    """(episode, first row) of windows that do not overlap, sorted.

    Windows are dealt to the episodes in turn, so that a few windows come from many episodes; where
    an episode has room to spare, its windows are shifted by a random number of rows.
    """
    if length < 2 or (count is not None and count < 1):
        raise ValueError(f"Windows need length >= 2 and count >= 1; got {length} and {count}.")
    rng = np.random.default_rng(seed)
    deals: list[tuple[int, int, int]] = []
    for episode in rng.permutation(len(rows)).tolist():
        fit, spare = divmod(rows[episode], length)
        shift = int(rng.integers(spare + 1)) if fit else 0
        order = rng.permutation(fit).tolist()
        deals += [(turn, episode, shift + k * length) for turn, k in enumerate(order)]
    if not deals:
        raise ValueError(
            f"No episode has {length} rows in a row (the longest of {len(rows)} has "
            f"{max(rows, default=0)}); shorten context and horizon, or record longer episodes."
        )
    deals.sort(key=lambda deal: deal[0])
    return sorted((episode, offset) for _, episode, offset in deals[:count])


def _batch(rows: Sequence[Mapping[str, Any]]) -> Batch:
    """Stack equal stretches of rows; a `.present` mark that only some have is true elsewhere."""
    missing = [name for name in _ROW if name not in rows[0]]
    if missing:
        raise ValueError(f"Recorded rows lack {', '.join(missing)}; found {', '.join(rows[0])}.")
    names = sorted({name for row in rows for name in row if name not in _ROW})

    def column(name: str) -> Tensor:
        if name.endswith(".present"):
            always = np.ones(len(rows[0]["reward"]), bool)
            return torch.from_numpy(np.stack([np.asarray(r.get(name, always)) for r in rows]))
        return torch.from_numpy(np.stack([np.asarray(r[name]) for r in rows]))

    action, reward, *flags = (column(name) for name in _ROW)
    obs = {name: column(name) for name in names}
    return Batch(obs, action.float(), reward.float(), *(flag.bool() for flag in flags))
