import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reverie.data.lerobot.staging import Staged, kept_rows, write_json_synced, write_table

SCHEMA = pa.schema([("x", pa.int64())])


def table(start, stop):
    return pa.table({"x": list(range(start, stop))}, SCHEMA)


def test_new_versions_take_the_place_of_old_ones_together(tmp_path):
    (tmp_path / "a").write_text("old")
    staged = Staged(tmp_path)
    staged.path("a").write_text("new")
    staged.path("deep/down/b").write_text("new")
    assert (tmp_path / "a").read_text() == "old"
    assert not (tmp_path / "deep/down/b").exists()
    staged.swap()
    assert (tmp_path / "a").read_text() == (tmp_path / "deep/down/b").read_text() == "new"
    assert not list(tmp_path.rglob("*.partial"))


def test_what_is_discarded_leaves_the_old_versions(tmp_path):
    (tmp_path / "a").write_text("old")
    staged = Staged(tmp_path)
    staged.path("a").write_text("new")
    staged.path("b")
    staged.discard()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


def test_json_is_read_back(tmp_path):
    write_json_synced(tmp_path / "a", {"task": "Tür öffnen", "n": [1, 2.5]})
    assert json.loads((tmp_path / "a").read_text()) == {"task": "Tür öffnen", "n": [1, 2.5]}


def test_rows_are_grouped_anew(tmp_path):
    path = tmp_path / "a"
    pieces = [table(0, 3), table(3, 4), table(4, 15), table(15, 17)]
    write_table(path, SCHEMA, iter(pieces), rows=5)
    with pq.ParquetFile(path) as file:
        assert file.read()["x"].to_pylist() == list(range(17))
        groups = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    assert groups == [5, 5, 5, 2]


@pytest.mark.parametrize("count", [0, 1, 5, 6, 17])
def test_the_first_rows_of_a_file_are_kept(tmp_path, count):
    path = tmp_path / "a"
    write_table(path, SCHEMA, [table(0, 17)], rows=4)
    found = [x for piece in kept_rows(path, count, 5) for x in piece["x"].to_pylist()]
    assert found == list(range(count))


def test_rows_that_are_lost_are_noticed(tmp_path):
    path = tmp_path / "a"
    write_table(path, SCHEMA, [table(0, 17)], rows=4)
    with pytest.raises(OSError, match="lacks 3 rows"):
        list(kept_rows(path, 20, 5))
