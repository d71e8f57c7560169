import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reverie.core.spec import Space
from reverie.data import EpisodeStore, StorageError, StoreWarning, container
from tests.data.rows import ACTION, PROPRIO, SENSORS, episode, record, row, same, stored


def test_episodes_come_back_bit_by_bit(tmp_path):
    store = stored(tmp_path, SENSORS)
    for number in range(3):
        record(store, 0, number, 30 + number)
    record(store, 4, 0, 20)
    for source in (store, EpisodeStore.open(tmp_path)):
        listed = source.episodes()
        assert [(e.stream, e.index, e.rows, e.complete) for e in listed] == [
            (0, 0, 30, True),
            (0, 1, 31, True),
            (0, 2, 32, True),
            (4, 0, 20, True),
        ]
        for info in listed:
            rows = episode(SENSORS, info.stream, info.index, info.rows)
            assert info.ret == sum(r["reward"] for r in rows)
            same(source.read(info.name), rows)
            same(source.read(info.name, 7, 13), rows[7:13])


def test_float64_comes_back_bit_by_bit(tmp_path):
    # One sensor small enough to lie plain, one that is stored in compressed blocks.
    spaces = {"small": Space((3,), "float64"), "large": Space((900,), "float64")}
    store, random = stored(tmp_path, spaces), np.random.default_rng(0)
    obs = [{k: random.standard_normal(s.shape) for k, s in spaces.items()} for _ in range(9)]
    for t, values in enumerate(obs):
        store.append(0, {**row({}, 0, 0, t, 9), **values})
    (info,) = EpisodeStore.open(tmp_path).episodes()
    read = EpisodeStore.open(tmp_path).read(info.name)
    for name in spaces:
        assert read[name].dtype == np.float64
        np.testing.assert_array_equal(read[name], np.stack([values[name] for values in obs]))


def test_the_open_episode_is_read_too(tmp_path):
    store = stored(tmp_path, SENSORS)
    record(store, 0, 0, 30, stop=17)
    (info,) = store.episodes()
    assert (info.rows, info.complete) == (17, False)
    same(store.read(info.name), episode(SENSORS, 0, 0, 30)[:17])


@settings(max_examples=15)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    file_rows=st.integers(3, 20),
    data=st.data(),
)
def test_any_slice_of_an_episode_in_several_files(tmp_path_factory, lengths, file_rows, data):
    store = stored(tmp_path_factory.mktemp("store"), file_rows=file_rows)
    for number, length in enumerate(lengths):
        record(store, 0, number, length)
    number = data.draw(st.integers(0, len(lengths) - 1))
    start = data.draw(st.integers(0, lengths[number] - 1))
    stop = data.draw(st.integers(start + 1, lengths[number]))
    info = store.episodes()[number]
    assert info.rows == lengths[number] and info.complete
    same(
        store.read(info.name, start, stop), episode(PROPRIO, 0, number, lengths[number])[start:stop]
    )


def test_rows_that_do_not_exist_are_refused(tmp_path):
    store = stored(tmp_path)
    record(store, 0, 0, 10)
    name = store.episodes()[0].name
    with pytest.raises(IndexError, match=r"rows 0\.\.10"):
        store.read(name, 5, 11)
    with pytest.raises(KeyError, match="no episode 'x'"):
        store.read("x")


def test_streams_go_on_after_what_is_recorded(tmp_path):
    with stored(tmp_path) as store:
        record(store, 0, 0, 10)
        record(store, 1, 0, 10)
    with stored(tmp_path) as store:
        record(store, 0, 1, 12)
        assert [(e.stream, e.index) for e in store.episodes()] == [(0, 0), (0, 1), (1, 0)]


def test_rows_out_of_order_are_refused(tmp_path):
    store = stored(tmp_path)
    with pytest.raises(ValueError, match="first=True"):
        store.append(0, row(PROPRIO, 0, 0, 3, 10))
    record(store, 0, 0, 4)
    with pytest.raises(ValueError, match="first=True"):
        store.append(0, row(PROPRIO, 0, 0, 3, 10))
    record(store, 0, 1, 5)
    assert [e.rows for e in store.episodes()] == [4, 5]


@pytest.mark.parametrize("file_rows", [100, 7])
def test_an_episode_that_is_left_ends_at_its_final_row(tmp_path, file_rows):
    store = stored(tmp_path, file_rows=file_rows)
    record(store, 0, 0, 30, stop=10)
    record(store, 0, 1, 5)
    left, after = store.episodes()
    flags = store.read(left.name)
    assert (left.rows, left.complete, after.rows) == (10, True, 5)
    assert flags["last"].tolist() == [False] * 9 + [True]
    assert not flags["terminated"].any()


def test_finish_keeps_what_is_open(tmp_path):
    with stored(tmp_path) as store:
        record(store, 0, 0, 30, stop=10)
        store.finish()
    (info,) = EpisodeStore.open(tmp_path).episodes()
    assert (info.rows, info.complete) == (10, True)


def test_missing_sensors_are_masked(tmp_path):
    store = stored(tmp_path, SENSORS, optional=["wrist", "pose"])
    rows = episode(SENSORS, 0, 0, 12)
    for t, each in enumerate(rows):
        if t % 3 == 0:
            del each["wrist"]
        if t % 4 == 0:
            each["pose.present"] = False
        store.append(0, each)
    read = EpisodeStore.open(tmp_path).read(store.episodes()[0].name)
    assert read["wrist.present"].tolist() == [t % 3 != 0 for t in range(12)]
    assert read["pose.present"].tolist() == [t % 4 != 0 for t in range(12)]
    assert not read["wrist"][::3].any() and not read["pose"][::4].any()
    assert np.array_equal(read["wrist"][1], rows[1]["wrist"])


def test_changed_spaces_are_named_with_both_shapes(tmp_path):
    stored(tmp_path).close()
    with pytest.raises(ValueError, match=r"'pose': stored float32 \(3,\), given float32 \(4,\)"):
        EpisodeStore(tmp_path, {**PROPRIO, "pose": Space((4,))}, ACTION)
    with pytest.raises(ValueError, match=r"'action': stored float32 \(2,\), given float32 \(6,\)"):
        EpisodeStore(tmp_path, PROPRIO, Space((6,)))
    with pytest.raises(ValueError, match=r"'height': stored float32 .*given nothing"):
        EpisodeStore(tmp_path, {"pose": Space((3,))}, ACTION)


def test_meta_is_kept_from_the_first_opening(tmp_path):
    stored(tmp_path, meta={"dt": 0.025}).close()
    assert EpisodeStore.open(tmp_path).meta == {"dt": 0.025}
    with stored(tmp_path, meta={"dt": 1}) as store:
        assert store.meta == {"dt": 0.025}


def test_a_directory_without_a_store_and_a_damaged_one_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no episode store"):
        EpisodeStore.open(tmp_path)
    stored(tmp_path).close()
    (tmp_path / "store.json").write_text('{"format": "rev')
    with pytest.raises(ValueError, match=r"store\.json is damaged"):
        stored(tmp_path)


def test_a_store_open_to_read_takes_no_rows_and_touches_no_files(tmp_path):
    with stored(tmp_path) as store:
        record(store, 0, 0, 10)
    (tmp_path / "0000-00000007-0000.safetensors").write_bytes(b"broken")
    before = sorted(tmp_path.iterdir())
    with pytest.warns(StoreWarning, match=r"skipped: 0000-00000007-0000\.safetensors"):
        reader = EpisodeStore.open(tmp_path)
    with pytest.raises(ValueError, match="read only"):
        reader.append(0, row(PROPRIO, 0, 1, 0, 10))
    assert sorted(tmp_path.iterdir()) == before
    assert [e.rows for e in reader.episodes()] == [10]


def fill_disk(monkeypatch):
    """From now on nothing can be written; returns a function that makes room."""
    real = os.fsync

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(container.os, "fsync", full)
    return lambda: monkeypatch.setattr(container.os, "fsync", real)


def test_a_full_disk_is_said_and_the_episode_is_kept(tmp_path, monkeypatch):
    store = stored(tmp_path, SENSORS)
    record(store, 0, 0, 20)
    make_room = fill_disk(monkeypatch)
    record(store, 0, 1, 25, stop=24)
    with pytest.raises(StorageError, match=r"No space left on device.*stays in memory") as caught:
        store.append(0, row(SENSORS, 0, 1, 24, 25))
    assert caught.value.errno == errno.ENOSPC
    record(store, 0, 2, 30, stop=5)  # goes on, without an attempt at every row
    assert [p.name for p in tmp_path.glob("0000-*")] == ["0000-00000000-0000.safetensors"]
    assert [e.rows for e in store.episodes()] == [20, 25, 5]
    same(store.read(store.episodes()[1].name), episode(SENSORS, 0, 1, 25))
    make_room()
    for t in range(5, 30):
        store.append(0, row(SENSORS, 0, 2, t, 30))
    store.close()
    reader = EpisodeStore.open(tmp_path)
    for number, length in enumerate((20, 25, 30)):
        same(reader.read(reader.episodes()[number].name), episode(SENSORS, 0, number, length))


def test_a_full_disk_does_not_hide_why_the_writer_stopped(tmp_path, monkeypatch):
    with pytest.raises(KeyError, match="robot") as caught, stored(tmp_path, SENSORS) as store:
        fill_disk(monkeypatch)
        with pytest.raises(StorageError):
            record(store, 0, 0, 20)
        raise KeyError("robot")
    assert "No space left" in caught.value.__notes__[0]


WRITER = """
import sys
from pathlib import Path
from tests.data.rows import SENSORS, record, stored
store = stored(Path(sys.argv[1]), SENSORS, file_rows=16)
for number in range(10_000):
    record(store, number % 2, number // 2, 20 + number % 7)
    print(number, flush=True)
"""


@pytest.mark.parametrize("episodes", [1, 12])
def test_a_writer_that_is_killed_loses_only_its_open_episode(tmp_path, episodes):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(episodes)]
    with pytest.raises(RuntimeError, match=f"another process .id {process.pid}"):
        stored(tmp_path, SENSORS)  # while it lives nobody else writes
    assert len(EpisodeStore.open(tmp_path).episodes()) >= episodes
    os.kill(process.pid, signal.SIGKILL)
    told += [int(line) for line in process.stdout]
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    half_written = [p.name for p in tmp_path.glob("*.partial")]
    if half_written:
        with pytest.warns(StoreWarning, match=half_written[0]):
            store = stored(tmp_path, SENSORS)
    else:
        store = stored(tmp_path, SENSORS)
    found = {(e.stream, e.index): e for e in store.episodes()}
    assert len(told) <= len(found) <= len(told) + 2  # what is on disk of the last is good, too
    for number in told:
        assert found[number % 2, number // 2].complete
    for info in found.values():
        number = 2 * info.index + info.stream
        rows = episode(SENSORS, info.stream, info.index, 20 + number % 7)
        same(store.read(info.name), rows[: info.rows])
    record(store, 0, 99, 5)  # and recording goes on


def test_memory_is_bounded_in_bytes_not_in_rows(tmp_path):
    limit = 300_000
    with stored(tmp_path, SENSORS, cache_bytes=limit, file_rows=64) as store:
        for number in range(4):
            record(store, 0, number, 150)
        assert sum(p.stat().st_size for p in tmp_path.glob("0*")) > 8 * limit
        most = 0
        for info in store.episodes():
            store.read(info.name)
            most = max(most, store.memory_bytes)
        assert 0 < most <= limit
    store = stored(tmp_path / "still", SENSORS, cache_bytes=limit, file_rows=64)
    still = row(SENSORS, 0, 0, 1, 9)
    for t in range(1000):  # one episode without an end
        store.append(0, {**still, "first": t == 0})
        most = max(most, store.memory_bytes)
    assert most < 1_000_000 < 1000 * store.schema.row_bytes
