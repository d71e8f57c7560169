import json

import pyarrow.parquet as pq
import pytest

from reverie.data.datasets import DatasetError
from reverie.data.lerobot import listing
from reverie.data.lerobot.journal import Journal
from reverie.data.lerobot.listing import Slot, State, Tail, read_state
from tests.data.lerobot.toy import SEEN, SMALL, finished, robot


def test_slots_go_on_in_the_next_folder():
    assert Slot(0, 0).after(2) == Slot(0, 1)
    assert Slot(0, 1).after(2) == Slot(1, 0)
    assert Slot(1, 12).fill("chunk-{chunk_index:03d}/file-{file_index:03d}") == "chunk-001/file-012"


def test_tasks_are_a_pandas_frame_with_tasks_as_its_index():
    table = listing.task_table({"wave": 1, "open": 0, "": 2})
    assert table["task"].to_pylist() == ["open", "wave", ""]
    assert table["task_index"].to_pylist() == [0, 1, 2]
    told = json.loads(table.schema.metadata[b"pandas"])
    assert told["index_columns"] == ["task"]
    assert [column["name"] for column in told["columns"]] == ["task_index", "task"]


def test_what_a_journal_wrote_is_what_is_listed(tmp_path):
    toy = robot(SEEN)
    journal = Journal(tmp_path / "data", toy, SMALL)
    journal.begin()
    assert read_state(journal.root, toy) == State()
    for number, length in enumerate((5, 9, 7, 8, 6)):
        journal.commit([finished(toy, tmp_path, number, length, f"task {number % 2}")])
    found, known = read_state(journal.root, toy), journal.state
    for name in ("episodes", "frames", "tasks", "listed"):
        assert getattr(found, name) == getattr(known, name), name
    assert found.listing.equals(known.listing)
    assert (found.data.slot, found.data.length) == (known.data.slot, known.data.length)
    for key, tail in known.films.items():
        assert (found.films[key].slot, found.films[key].length) == (tail.slot, tail.length)
    assert listing.plain(found.stats) == listing.plain(known.stats)


def test_files_come_in_the_order_of_their_numbers(tmp_path):
    for name in ("chunk-001/file-000", "chunk-000/file-010", "chunk-000/file-002", "x/file-000"):
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "chunk-000/file-003.parquet.partial").touch()
    found = [tuple(slot) for slot, _ in listing.files(tmp_path, ".parquet")]
    assert found == [(0, 2), (0, 10), (1, 0)]


def test_what_a_killed_writer_left_goes_and_the_rest_stays(tmp_path):
    kept = ["data/chunk-000/file-001.parquet", "videos/a/chunk-000/file-000.mp4", "notes.txt"]
    gone = [
        *("data/chunk-000/file-002.parquet", "videos/a/chunk-001/file-000.mp4"),
        *("videos/b/chunk-000/file-000.mp4", "meta/info.json.partial", ".recording/000001/x.mp4"),
    ]
    for name in kept + gone:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    films = {"a": Tail(Slot(0, 0), 9)}
    listing.tidy(tmp_path, State(episodes=3, data=Tail(Slot(0, 1), 9), films=films))
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert left == set(kept)


def test_a_damaged_listing_is_named(tmp_path):
    toy = robot()
    journal = Journal(tmp_path / "data", toy, SMALL)
    journal.begin()
    journal.commit([finished(toy, tmp_path, 0, 5)])
    path = journal.root / "meta/episodes/chunk-000/file-000.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(DatasetError, match=r"file-000\.parquet"):
        read_state(journal.root, toy)
    path.write_bytes(whole)
    (journal.root / "data/chunk-000/file-000.parquet").unlink()
    with pytest.raises(DatasetError, match="an episode is listed to be in it"):
        read_state(journal.root, toy)


def test_the_listing_has_lerobots_columns(tmp_path):
    toy = robot(SEEN)
    journal = Journal(tmp_path / "data", toy, SMALL)
    journal.begin()
    journal.commit([finished(toy, tmp_path, 0, 5), finished(toy, tmp_path, 1, 4)])
    table = pq.read_table(journal.root / "meta/episodes/chunk-000/file-000.parquet")
    rows = table.to_pylist()
    assert [row["dataset_from_index"] for row in rows] == [0, 5]
    assert [row["dataset_to_index"] for row in rows] == [5, 9]
    film = "videos/observation.images.front"
    assert [row[f"{film}/from_timestamp"] for row in rows] == [0, 0.25]
    assert [row[f"{film}/to_timestamp"] for row in rows] == [0.25, 0.45]
    assert rows[1]["stats/index/min"] == [5] and rows[1]["stats/next.done/max"] == [True]
    picture = rows[0]["stats/observation.images.grey/mean"]
    assert len(picture) == 3 and len(picture[0]) == 1 and len(picture[0][0]) == 1
