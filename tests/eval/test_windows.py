"""Windows lie inside one episode, do not overlap, and spread over the episodes."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reverie.core.model import Batch
from reverie.eval import windows


def episode(number: int, rows: int) -> dict[str, Any]:
    flags = np.zeros((3, rows), bool)
    flags[0, 0] = flags[1, -1] = True
    return {
        "where": np.stack([np.full(rows, number), np.arange(rows)], 1).astype(np.float32),
        "action": np.zeros((rows, 1), np.float32),
        "reward": np.arange(rows, dtype=np.float32),
        "first": flags[0],
        "last": flags[1],
        "terminated": flags[2],
    }


def check_inside(found: windows.Windows, length: int) -> None:
    where = found.batch.obs["where"]
    assert (where[:, :, 0] == where[:, :1, 0]).all()
    torch.testing.assert_close(
        where[:, :, 1] - where[:, :1, 1], torch.arange(length).float().expand(len(where), -1)
    )
    pairs = {(int(e), int(t)) for e, t in where.flatten(0, 1)}
    assert len(pairs) == where.shape[0] * length


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(2, 9), st.integers(0, 9))
def test_windows_of_episodes(rows: list[int], length: int, seed: int) -> None:
    whole = [episode(i, n) for i, n in enumerate(rows)]
    if max(rows) < length:
        with pytest.raises(ValueError, match="No episode has"):
            windows.from_episodes(whole, length, seed=seed)
        return
    found = windows.from_episodes(whole, length, seed=seed)
    assert len(found.episode) == sum(n // length for n in rows)
    assert (found.batch.obs["where"][:, 0, 0].long() == found.episode).all()
    check_inside(found, length)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.integers(1, 12), min_size=1), min_size=1, max_size=3),
    st.booleans(),
    st.integers(0, 5),
)
def test_windows_of_a_batch_split_at_episode_bounds(
    streams: list[list[int]], marked: bool, seed: int
) -> None:
    length = min(sum(s) for s in streams)
    number, rows = 0, []
    for stream in streams:
        parts = [episode(number + i, n) for i, n in enumerate(stream)]
        number += len(stream)
        rows.append({k: np.concatenate([p[k] for p in parts])[:length] for k in parts[0]})
        if not marked:  # only `last` says where an episode ends
            rows[-1]["first"][:] = False
    batch = windows.from_episodes(rows, length).batch if length > 1 else None
    pieces = [len(list(g)) for r in rows for _, g in itertools.groupby(r["where"][:, 0])]
    expected = sum(n // 3 for n in pieces)
    if batch is None or not expected:
        return
    found = windows.from_batch(batch, 3, seed=seed)
    assert len(found.episode) == expected
    check_inside(found, 3)


def test_few_windows_come_from_many_episodes() -> None:
    found = windows.from_episodes([episode(i, 40) for i in range(6)], 5, count=6, seed=1)
    assert found.episode.tolist() == [0, 1, 2, 3, 4, 5]
    assert len(set(found.batch.obs["where"][:, 0, 1].tolist())) > 1
    again = windows.from_episodes([episode(i, 40) for i in range(6)], 5, count=6, seed=1)
    torch.testing.assert_close(again.batch.obs["where"], found.batch.obs["where"])


def test_store_is_read_only_where_needed() -> None:
    class Store:
        def __init__(self) -> None:
            self.whole = {f"e{i}": episode(i, 20) for i in range(3)}
            self.asked = 0

        def episodes(self) -> list[Any]:
            info = type("Info", (), {})
            found = []
            for name, rows in self.whole.items():
                entry = info()
                entry.name, entry.rows = name, len(rows["reward"])
                found.append(entry)
            return found

        def read(self, name: str, start: int, stop: int) -> dict[str, Any]:
            self.asked += stop - start
            return {k: v[start:stop] for k, v in self.whole[name].items()}

    store = Store()
    found = windows.from_store(store, 6, count=4)
    assert store.asked == 24
    check_inside(found, 6)


def test_a_sensor_missing_in_one_episode_only_is_marked_there_only() -> None:
    one, two = episode(0, 4), episode(1, 4)
    one["where.present"] = np.array([True, False, True, True])
    batch: Batch = windows.from_episodes([one, two], 4).batch
    assert batch.obs["where.present"].tolist() == [[True, False, True, True], [True] * 4]


def test_rows_without_reward_are_refused() -> None:
    rows = episode(0, 4)
    del rows["terminated"]
    with pytest.raises(ValueError, match="lack terminated"):
        windows.from_episodes([rows], 3)
