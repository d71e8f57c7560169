import json

import pytest

from reverie.data.datasets import DatasetError
from reverie.data.lerobot import layout
from tests.data.lerobot import made


def parsed(**changes):
    return layout.parse_info(json.dumps(made.info() | changes), "info.json")


def test_info_is_what_the_format_says():
    info = parsed(robot_type="arm", total_episodes=4)
    assert (info.version, info.fps, info.dt, info.robot_type) == ("v3.0", 10.0, 0.1, "arm")
    assert (info.total_episodes, info.chunks_size, info.is_old) == (4, 1000, False)
    assert info.features["observation.state"].names == ("x", "y", "z")
    assert info.features["action"].shape == (2,)
    assert info.has_outcomes
    assert not info.final_observation
    assert parsed(codebase_version="v2.1").is_old


def test_defaults_of_the_writer_are_templates_that_the_reader_takes():
    for template in (layout.DATA_PATH, layout.VIDEO_PATH, layout.EPISODES_PATH):
        assert layout.checked_template(template, "info.json", "path") == template
    values = {"video_key": "observation.images.top", "chunk_index": 1, "file_index": 23}
    assert (
        layout.fill(layout.VIDEO_PATH, "info.json", "video_path", **values)
        == "videos/observation.images.top/chunk-001/file-023.mp4"
    )


@pytest.mark.parametrize(
    ("shape", "names", "expected"),
    [
        ([32, 48, 3], ["height", "width", "channels"], (3, 32, 48)),
        ([32, 48, 3], ["height", "width", "channel"], (3, 32, 48)),
        ([3, 32, 48], ["channels", "height", "width"], (3, 32, 48)),
        ([3, 32, 48], None, (3, 32, 48)),
        ([32, 48, 1], None, (1, 32, 48)),
        ([3, 4, 3], ["channels", "height", "width"], (3, 4, 3)),
    ],
)
def test_axes_of_pictures_come_in_either_order(shape, names, expected):
    features = {"observation.image": {"dtype": "image", "shape": shape, "names": names}}
    assert parsed(features=features).features["observation.image"].picture_shape() == expected


def test_names_come_in_three_forms():
    forms = [["a", "b"], {"motors": ["a", "b"]}, {"b": 1, "a": 0}, [["a", "b"]]]
    for names in forms:
        feature = {"dtype": "float32", "shape": [2], "names": names}
        assert parsed(features={"action": feature}).features["action"].names == ("a", "b")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("codebase_version", "v1.6"),
        ("codebase_version", 3),
        ("fps", 0),
        ("fps", float("nan")),
        ("fps", True),
        ("fps", "30"),
        ("features", []),
        ("features", {"a/b": {"dtype": "float32", "shape": [1]}}),
        ("features", {"a": {"dtype": 3, "shape": [1]}}),
        ("features", {"a": {"dtype": "float32", "shape": [-1]}}),
        ("features", {"a": {"dtype": "float32", "shape": [1 << 40]}}),
        ("features", {"a": {"dtype": "video", "shape": [32, 48, 7]}}),
        ("features", {"a": {"dtype": "image", "shape": [32, 48]}}),
        ("total_episodes", None),
        ("chunks_size", 0),
        ("reverie", []),
        ("reverie", {"dt": -1}),
    ],
)
def test_a_wrong_field_is_named(field, value):
    with pytest.raises(DatasetError, match=field) as error:
        parsed(**{field: value})
    assert error.value.file == "info.json"


@pytest.mark.parametrize(
    "template",
    [
        "../{chunk_index}.parquet",
        "data/../../{file_index}.parquet",
        "/etc/{chunk_index}",
        "~/{chunk_index}",
        "s3://elsewhere/{chunk_index}",
        "data\\..\\{chunk_index}",
        "data/{chunk_index.__class__}.parquet",
        "data/{chunk_index[0]}.parquet",
        "data/{chunk_index!r}.parquet",
        "data/{chunk_index:>999999999}.parquet",
        "data/{chunk_index:0999999999d}.parquet",
        "data/{video_key:>9}.parquet",
        "data/{home}.parquet",
        "data/{}.parquet",
        "data/{chunk_index",
        "",
    ],
)
def test_a_template_that_leads_out_or_does_more_than_fill_in_numbers_is_refused(template):
    with pytest.raises(DatasetError, match="data_path"):
        parsed(data_path=template)
    with pytest.raises(DatasetError, match="video_path"):
        parsed(video_path=template)


def test_a_filled_template_is_checked_again():
    with pytest.raises(DatasetError, match="leads out"):
        layout.fill("videos/{video_key}/x.mp4", "info.json", "video_path", video_key="..")
    with pytest.raises(DatasetError, match="cannot be filled"):
        layout.fill("data/{episode_index}", "info.json", "data_path", chunk_index=0)


def test_no_json():
    for text in ("{", "[]", "[" * 100_000):
        with pytest.raises(DatasetError, match=r"info\.json"):
            layout.parse_info(text, "info.json")
