import numpy as np
import pytest

from reverie.data import CorruptFileError, StoreWarning
from reverie.data.part import Key
from tests.data.rows import PROPRIO, SENSORS, episode, record, row, same, stored


def written(directory, count=4, obs=SENSORS):
    with stored(directory, obs) as store:
        for number in range(count):
            record(store, 0, number, 20)
    return [directory / f"0000-{n:08d}-0000.safetensors" for n in range(count)]


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def flip_header(path):
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)


def half_write(path):
    path.rename(path.with_name(path.name + ".partial"))


def misname(path):
    content = path.read_bytes()
    path.with_name("0000-00000002-0000.safetensors").unlink()
    path.with_name("0000-00000002-0000.safetensors").write_bytes(content)


def foreign(path):
    written(path.parent / "other", obs=PROPRIO)
    path.write_bytes((path.parent / "other" / path.name).read_bytes())


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, "bytes where its header lists"),
        (empty, "too few"),
        (flip_header, "checksum|not readable"),
        (half_write, "not written to its end"),
        (foreign, "other sensors"),
    ],
)
def test_a_bad_file_is_named_and_set_aside_and_the_rest_is_used(tmp_path, damage, reason):
    paths = written(tmp_path)
    damage(paths[1])
    with pytest.warns(StoreWarning, match=rf"(?s){paths[1].name}.*({reason})"):
        store = stored(tmp_path, SENSORS)
    assert not paths[1].exists()
    assert [p.name.removesuffix(".partial") for p in (tmp_path / "set_aside").iterdir()] == [
        paths[1].name
    ]
    assert [e.index for e in store.episodes()] == [0, 2, 3]
    for info in store.episodes():
        same(store.read(info.name), episode(SENSORS, 0, info.index, 20))


def test_a_file_under_another_name_is_set_aside(tmp_path):
    paths = written(tmp_path)
    misname(paths[1])
    with pytest.warns(StoreWarning, match=r"00000002.* holds part 0000-00000001-0000"):
        store = stored(tmp_path, SENSORS)
    assert [e.index for e in store.episodes()] == [0, 1, 3]


@pytest.mark.parametrize("sensor", ["pose", "front"])
def test_a_flipped_bit_inside_is_found_when_it_is_read(tmp_path, sensor):
    paths = written(tmp_path, 1)
    store = stored(tmp_path, SENSORS)
    part = store.shelf.parts[Key(0, 0, 0)]
    content = bytearray(paths[0].read_bytes())
    content[part.head - 5 if sensor == "pose" else part.head + 500] ^= 4
    paths[0].write_bytes(content)
    with pytest.raises(CorruptFileError, match=paths[0].name):
        store.read(store.episodes()[0].name)


def test_set_aside_moves_and_warns_and_never_overwrites(tmp_path):
    paths = written(tmp_path, 2)
    store = stored(tmp_path, SENSORS)
    for _ in range(2):
        with pytest.warns(StoreWarning, match=f"{paths[0].name} is bad"):
            store.shelf.set_aside(Key(0, 0, 0), "is bad")
        paths[0].write_bytes(b"again")
    assert len(list((tmp_path / "set_aside").iterdir())) == 2
    assert [e.index for e in store.episodes()] == [1]


def test_the_same_episode_again_is_the_same_file(tmp_path):
    written(tmp_path, 2)
    before = {p.name: p.read_bytes() for p in tmp_path.glob("0*")}
    store = stored(tmp_path, SENSORS)
    store.rewind({}, [], 0)
    for number in range(2):
        record(store, 0, number, 20)
    assert {p.name: p.read_bytes() for p in tmp_path.glob("0*")} == before
    assert not (tmp_path / "set_aside").exists()


def test_other_rows_under_an_old_name_keep_the_older_file(tmp_path):
    paths = written(tmp_path, 2)
    old = paths[0].read_bytes()
    store = stored(tmp_path, SENSORS)
    store.rewind({}, [], 0)
    record(store, 0, 0, 20, stop=19, version=1)
    with pytest.warns(StoreWarning, match=f"{paths[0].name} was recorded before"):
        store.append(0, row(SENSORS, 0, 0, 19, 20, version=1))
    assert (tmp_path / "set_aside" / paths[0].name).read_bytes() == old
    same(store.read("0000-00000000"), episode(SENSORS, 0, 0, 20, version=1))


def test_the_same_rows_packed_otherwise_are_no_other_rows(tmp_path, monkeypatch):
    written(tmp_path, 1)
    store = stored(tmp_path, SENSORS)
    store.rewind({}, [], 0)
    monkeypatch.setattr("reverie.data.codec.LEVEL", 9)
    record(store, 0, 0, 20)
    assert not (tmp_path / "set_aside").exists()
    same(store.read("0000-00000000"), episode(SENSORS, 0, 0, 20))


def test_files_of_a_longer_record_do_not_follow_a_shorter_one(tmp_path):
    with stored(tmp_path, file_rows=8) as store:
        record(store, 0, 0, 30)
    store = stored(tmp_path, file_rows=8)
    store.rewind({}, [], 0)
    with pytest.warns(StoreWarning, match="older recording|recorded before"):
        record(store, 0, 0, 12)
    (info,) = store.episodes()
    assert (info.rows, info.complete) == (12, True)
    assert len(list((tmp_path / "set_aside").iterdir())) == 3


def test_the_cache_keeps_what_was_read_last_within_its_bytes(tmp_path):
    written(tmp_path, 4, PROPRIO)
    store = stored(tmp_path, PROPRIO)
    size = store.shelf.table(store.shelf.parts[Key(0, 0, 0)]).size
    store.close()
    store = stored(tmp_path, PROPRIO, cache_bytes=2 * size + 10)
    tables = [store.shelf.table(store.shelf.parts[Key(0, n, 0)]) for n in (0, 1, 0, 2)]
    assert store.memory_bytes <= 2 * size + 10
    assert store.shelf.table(store.shelf.parts[Key(0, 0, 0)]) is tables[0]
    assert store.shelf.table(store.shelf.parts[Key(0, 1, 0)]) is not tables[1]
    assert np.array_equal(tables[2].plain["reward"], tables[0].plain["reward"])


def test_a_file_that_vanished_is_said(tmp_path):
    paths = written(tmp_path, 1)
    store = stored(tmp_path, SENSORS)
    paths[0].unlink()
    with pytest.raises(CorruptFileError, match="gone"):
        store.read("0000-00000000")
