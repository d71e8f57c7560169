import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reverie.core.spec import Space
from reverie.data.datasets import DatasetError
from reverie.data.lerobot.place import Place
from reverie.data.lerobot.tables import Tables
from tests.data.lerobot import made

SPACES = {
    "v": Space((3,)),
    "m": Space((2, 2)),
    "s": Space((1,)),
    "n": Space((), "int64"),
    "b": Space((1,), "bool"),
}


def write(root, group=4, **columns):
    """Episodes 3 (7 rows) and 1 (5 rows) in one file."""
    n = np.arange(12)
    plain = {"episode_index": np.repeat([3, 1], [7, 5]), "n": n}
    made.save_table(root / "a.parquet", pa.table(plain | columns), row_group_size=group)
    return Tables(Place(root), SPACES, ["p"], 1 << 20)


def numbers(count, *shape):
    return np.arange(count * int(np.prod(shape)), dtype=np.float32).reshape(count, *shape)


@pytest.mark.parametrize("group", [1, 4, 7, 100])
def test_rows_of_an_episode_whatever_the_groups(tmp_path, group):
    tables = write(tmp_path, group)
    for start in range(6):
        for stop in range(start + 1, 6):
            found = tables.read("a.parquet", 1, 5, start, stop, ["n"])["n"]
            assert found.tolist() == list(range(7 + start, 7 + stop))
    assert tables.read("a.parquet", 3, 7, 0, 7, ["n"])["n"].tolist() == list(range(7))


def test_every_way_in_which_numbers_are_kept(tmp_path):
    v, m = numbers(12, 3), numbers(12, 2, 2)
    ways = [
        {"v": pa.FixedSizeListArray.from_arrays(v.ravel(), 3)},
        {"v": pa.array(list(v))},
        {"v": pa.array(v.astype(np.float64).tolist(), pa.large_list(pa.float64()))},
        {"m": pa.array(m.tolist())},
        {"m": pa.array(m.reshape(12, 4).tolist())},
        {"s": m[:, 0, 0]},
        {"s": pa.array(m[:, 0, :1].tolist())},
        {"b": np.arange(12) % 2 == 1},
        {"b": pa.array([[t % 2] for t in range(12)])},
    ]
    truth = {"v": v, "m": m, "s": m[:, 0, :1], "b": np.arange(12)[:, None] % 2 == 1}
    for columns in ways:
        (name,) = columns
        found = write(tmp_path, **columns).read("a.parquet", 1, 5, 1, 5, [name])[name]
        assert found.dtype == SPACES[name].dtype
        np.testing.assert_array_equal(found, truth[name][8:])


def test_what_is_returned_is_the_readers_own(tmp_path):
    tables = write(tmp_path)
    tables.read("a.parquet", 1, 5, 0, 5, ["n"])["n"][:] = 0
    assert tables.read("a.parquet", 1, 5, 0, 5, ["n"])["n"].tolist() == list(range(7, 12))


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"v": pa.array([[1.0, 2.0, 3.0]] * 11 + [None])}, "missing"),
        ({"v": pa.array([[1.0, 2.0, 3.0]] * 11 + [[1.0, None, 3.0]])}, "missing"),
        ({"v": pa.array([[1.0, 2.0, 3.0]] * 10 + [[1.0, 2.0], [1.0] * 4])}, "lengths"),
        ({"v": pa.array([[1.0, 2.0]] * 12)}, "2 entries"),
        ({"v": ["text"] * 12}, "not numbers"),
        ({"v": [b"\x80\x04K\x01."] * 12}, "not numbers"),
        ({"v": [{"a": 1}] * 12}, "not numbers"),
        ({"n": np.linspace(0, 1, 12)}, "int64"),
        ({"p": np.arange(12)}, "not pictures"),
        ({"p": ["path.png"] * 12}, "not pictures"),
        ({}, "the column is missing"),
    ],
)
def test_what_is_no_number_is_refused_by_name(tmp_path, columns, problem):
    (name,) = columns or ("s",)
    with pytest.raises(DatasetError, match=problem) as error:
        write(tmp_path, group=100, **columns).read("a.parquet", 1, 5, 0, 5, [name])
    assert error.value.field == name
    assert error.value.file.endswith("a.parquet")


def test_pictures_stay_bytes(tmp_path):
    plain = [bytes([t]) for t in range(12)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    nested = pa.array([{"bytes": each, "path": None} for each in plain], kind)
    for column in (plain, nested):
        found = write(tmp_path, p=column).read("a.parquet", 1, 5, 1, 4, ["p"])
        assert found == {"p": plain[8:11]}


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([3] * 7 + [1] * 4 + [2], "has 4 rows here and 5"),
        ([3] * 7 + [2] * 5, "has 0 rows here and 5"),
        ([3] * 6 + [1] * 5 + [3], "two places"),
    ],
)
def test_a_file_that_disagrees_with_the_table_of_episodes(tmp_path, rows, problem):
    tables = write(tmp_path, episode_index=np.array(rows))
    with pytest.raises(DatasetError, match=problem):
        tables.read("a.parquet", 1, 5, 0, 5, ["n"])


def test_torn_and_missing_files(tmp_path):
    write(tmp_path)
    path = tmp_path / "a.parquet"
    whole = path.read_bytes()
    for torn in (whole[:-9], whole[: len(whole) // 2], b"", whole[:40] + bytes(60) + whole[100:]):
        path.write_bytes(torn)
        with pytest.raises(DatasetError, match=r"a\.parquet"):
            Tables(Place(tmp_path), SPACES, [], 1).read("a.parquet", 1, 5, 0, 5, ["n"])
    with pytest.raises(DatasetError, match=r"b\.parquet: the file is missing"):
        Tables(Place(tmp_path), SPACES, [], 1).read("b.parquet", 1, 5, 0, 5, ["n"])


def test_groups_are_read_once_and_the_cache_is_bounded(tmp_path, monkeypatch):
    read = []
    plain = pq.ParquetFile.read_row_group

    def counted(self, group, **words):
        read.append(group)
        return plain(self, group, **words)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    tables = write(tmp_path)  # groups of 4 rows: 4 x 8 bytes each
    for _ in range(3):
        tables.read("a.parquet", 1, 5, 0, 1, ["n"])  # row 7
    assert read == [1]
    small = Tables(Place(tmp_path), SPACES, [], 70)  # two groups
    read.clear()
    for episode, frames, frame in (
        (3, 7, 0),
        (3, 7, 4),
        (3, 7, 0),
        (1, 5, 4),
        (3, 7, 0),
        (3, 7, 4),
    ):
        small.read("a.parquet", episode, frames, frame, frame + 1, ["n"])
    assert read == [0, 1, 2, 1]


def test_files_in_use_stay_few(tmp_path):
    tables = write(tmp_path)
    content = (tmp_path / "a.parquet").read_bytes()
    opened = []
    for number in range(40):
        (tmp_path / f"{number}.parquet").write_bytes(content)
        tables.read(f"{number}.parquet", 1, 5, 0, 5, ["n"])
        opened.append(tables._file(f"{number}.parquet").handle)
    assert sum(not handle.closed for handle in opened) == 16
    (tmp_path / "0.parquet").unlink()  # what is kept needs no file
    assert tables.read("0.parquet", 1, 5, 0, 2, ["n"])["n"].tolist() == [7, 8]
    tables.close()
    assert all(handle.closed for handle in opened)
