import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reverie.data.datasets import DatasetError
from reverie.data.lerobot.episodes import load_records, load_tasks
from reverie.data.lerobot.layout import INFO_PATH, parse_info
from reverie.data.lerobot.place import Place
from tests.data.lerobot import made

TABLE = "meta/episodes/chunk-000/file-000.parquet"


def records(root):
    place = Place(root)
    info = parse_info(place.read(INFO_PATH), place.name(INFO_PATH))
    return load_records(place, info), load_tasks(place, info)


@pytest.fixture
def root(tmp_path):
    made.new(tmp_path, cameras=made.CAMERAS[:1])
    return tmp_path


def change(root, column, values):
    table = pq.read_table(root / TABLE)
    at = table.schema.get_field_index(column)
    table = table.remove_column(at)
    if values is not None:
        table = table.append_column(column, pa.array(values))
    pq.write_table(table, root / TABLE)


def test_many_episodes_to_a_file(root):
    found, tasks = records(root)
    assert tasks == ["push 0", "push 1"]
    assert [each.name for each in found] == ["episode_000000", "episode_000001", "episode_000002"]
    assert [each.frames for each in found] == [6, 9, 7]
    assert [each.task for each in found] == ["push 0", "push 1", "push 0"]
    assert [each.file for each in found] == [
        f"data/chunk-000/file-00{n}.parquet" for n in (0, 0, 1)
    ]
    clips = [each.clips["observation.images.top"] for each in found]
    assert [clip.start for clip in clips] == [0.0, 0.6, 0.0]
    assert clips[1].file == "videos/observation.images.top/chunk-000/file-000.mp4"


def test_tables_of_several_files_are_one(root):
    table = pq.read_table(root / TABLE)
    made.save_table(root / "meta/episodes/chunk-001/file-000.parquet", table.slice(0, 1))
    pq.write_table(table.slice(1), root / TABLE)
    assert [each.index for each in records(root)[0]] == [0, 1, 2]


def test_one_episode_to_a_file(tmp_path):
    made.old(tmp_path, cameras=made.CAMERAS[:1])
    found, tasks = records(tmp_path)
    assert tasks == ["push 0", "push 1"]
    assert [(each.frames, each.task) for each in found] == [
        (6, "push 0"),
        (9, "push 1"),
        (7, "push 0"),
    ]
    assert found[2].file == "data/chunk-001/episode_000002.parquet"
    clip = found[2].clips["observation.images.top"]
    assert (clip.file, clip.start) == (
        "videos/chunk-001/observation.images.top/episode_000002.mp4",
        0.0,
    )


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("length", None),
        ("length", [6, 0, 7]),
        ("length", ["6", "9", "7"]),
        ("episode_index", [0, 1, 1]),
        ("episode_index", [0, -1, 1]),
        ("data/file_index", [0, None, 1]),
        ("data/chunk_index", [0, 0.5, 1]),
        ("videos/observation.images.top/from_timestamp", [0.0, float("nan"), 0.0]),
        ("videos/observation.images.top/from_timestamp", None),
    ],
)
def test_a_damaged_column_is_named(root, column, values):
    change(root, column, values)
    with pytest.raises(DatasetError, match=column) as error:
        records(root)
    assert error.value.file.endswith(TABLE)


def test_numbers_that_pandas_made_to_floats_are_numbers(root):
    change(root, "data/file_index", [0.0, 0.0, 1.0])
    assert records(root)[0][2].file == "data/chunk-000/file-001.parquet"


def test_fewer_episodes_than_info_says_are_an_error_and_more_are_not(root):
    made.change(root, total_episodes=2)
    assert len(records(root)[0]) == 3
    made.change(root, total_episodes=4)
    with pytest.raises(DatasetError, match=r"total_episodes.*says 4.*have 3"):
        records(root)


def test_missing_and_torn_tables(root):
    (root / "meta/tasks.parquet").unlink()
    assert records(root)[1] == []
    whole = (root / TABLE).read_bytes()
    (root / TABLE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=TABLE):
        records(root)
    (root / TABLE).unlink()
    with pytest.raises(DatasetError, match="meta/episodes"):
        records(root)


def test_a_damaged_line_is_named(tmp_path):
    made.old(tmp_path, cameras=())
    path = tmp_path / "meta/episodes.jsonl"
    lines = path.read_text().splitlines()
    for bad in ("{", "3", json.dumps({"episode_index": 1})):
        path.write_text("\n".join([lines[0], bad, lines[2]]))
        with pytest.raises(DatasetError, match=r"episodes\.jsonl line 2"):
            records(tmp_path)
    path.unlink()
    with pytest.raises(DatasetError, match=r"episodes\.jsonl: the file is missing"):
        records(tmp_path)
