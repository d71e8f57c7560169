import json

import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data.schema import Schema
from tests.data.rows import ACTION, PROPRIO, SENSORS, row


def test_a_schema_survives_json():
    schema = Schema(SENSORS, ACTION, ["wrist"])
    again = Schema.from_json(json.loads(json.dumps(schema.to_json())))
    assert again.signature == schema.signature
    assert again.entries == schema.entries and again.file_rows == schema.file_rows


def test_large_sensors_are_compressed_and_small_ones_are_not():
    schema = Schema(SENSORS, ACTION)
    assert schema.blocked.keys() == {"front", "wrist", "depth", "range"}
    assert set(schema.plain) == schema.entries.keys() - schema.blocked.keys()


def test_a_row_is_taken_with_what_numpy_casts_without_harm():
    schema = Schema({"pose": Space((3,)), "image": Space((3, 4, 4), "uint8")}, ACTION)
    given = {
        "pose": np.arange(3, dtype=np.float64),
        "image": np.zeros((3, 4, 4), np.uint8),
        "action": [0.0, 1.0],
        "reward": np.float64(1),
        "first": np.True_,
        "last": False,
        "terminated": False,
    }
    assert schema.check_row(given).keys() == schema.entries.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pose": np.zeros(4, np.float32)}, r"'pose' has shape \(4,\).*\(3,\)"),
        ({"front": np.zeros((3, 24, 20), np.float32)}, "'front' has dtype float32.*uint8"),
        ({"front": np.zeros((3, 24, 20), np.int64)}, "'front' has dtype int64.*uint8"),
        ({"text": 1.5}, "'text' has dtype float64.*int64"),
        ({"first": 1}, "'first' has dtype int64.*bool"),
        ({"action": np.array([np.nan, 0])}, "finite"),
        ({"reward": np.inf}, "finite"),
        ({"terminated": True}, "terminated but not last"),
        ({"sonar": 1.0}, r"unknown \['sonar'\]"),
        ({"front.present": False}, "optional="),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_name(change, message):
    schema = Schema(SENSORS, ACTION)
    with pytest.raises(ValueError, match=message):
        schema.check_row({**row(SENSORS, 0, 0, 3, 10), **change})


def test_a_missing_sensor_is_refused_unless_it_is_optional():
    given = row(SENSORS, 0, 0, 3, 10)
    del given["wrist"]
    with pytest.raises(ValueError, match=r"missing \['wrist'\].*optional="):
        Schema(SENSORS, ACTION).check_row(given)
    checked = Schema(SENSORS, ACTION, ["wrist"]).check_row(given)
    assert not checked["wrist.present"] and not checked["wrist"].any()


@pytest.mark.parametrize("name", ["reward", "first", "x.present", "x.crc", "__metadata__"])
def test_names_that_files_need_cannot_be_sensors(name):
    with pytest.raises(ValueError, match="cannot be called"):
        Schema({name: Space((2,))}, ACTION)


def test_an_optional_name_must_be_a_sensor():
    with pytest.raises(ValueError, match="'wrst'"):
        Schema(SENSORS, ACTION, ["wrst"])


def test_different_spaces_are_named_with_both_shapes():
    mine = Schema({"pose": Space((4,)), "extra": Space(())}, ACTION)
    with pytest.raises(ValueError) as caught:
        mine.require_equal(Schema(PROPRIO, ACTION), "the store")
    message = str(caught.value)
    assert "'pose': stored float32 (3,), given float32 (4,)" in message
    assert "'extra': stored nothing" in message
    assert "'height'" in message


def test_the_signature_tells_what_can_be_read_alike():
    base = Schema(PROPRIO, ACTION).signature
    assert base == Schema(dict(reversed(PROPRIO.items())), ACTION).signature
    assert base != Schema(PROPRIO, Space((3,))).signature
    assert base != Schema(PROPRIO, ACTION, ["pose"]).signature
    assert base != Schema({**PROPRIO, "pose": Space((3,), "int64")}, ACTION).signature
