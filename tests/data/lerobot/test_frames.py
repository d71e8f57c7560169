import json
import sys

import numpy as np
import pyarrow as pa
import pytest

from reverie.core.spec import Space
from reverie.data.datasets import ActionInfo
from reverie.data.lerobot import frames
from tests.data.lerobot.toy import ACTION, OBS, POSE, SEEN, robot


def test_an_action_belongs_to_the_frame_at_which_it_was_taken():
    action = np.array([[0, 0], [1, 2], [3, 4], [5, 6]], np.float32)
    assert frames.taken(action).tolist() == [[1, 2], [3, 4], [5, 6], [5, 6]]
    found = frames.outcomes(np.array([0, 1, 2, 3], np.float32), terminated=False)
    assert found["next.reward"].tolist() == [1, 2, 3, 0]
    assert found["next.done"].tolist() == [False, False, True, True]
    assert found["next.truncated"].tolist() == [False, False, True, True]
    assert not frames.outcomes(np.zeros(4), terminated=True)["next.truncated"].any()


def test_an_episode_without_actions_is_one_frame():
    assert frames.taken(np.zeros((1, 2))).tolist() == [[0, 0]]
    found = frames.outcomes(np.zeros(1), terminated=False)
    assert [value.tolist() for value in found.values()] == [[0], [True], [True]]


def test_sensors_are_called_as_lerobot_expects():
    assert robot(POSE).keys == {"pose": "observation.state"}
    assert robot(SEEN).keys == {
        "pose": "observation.state",
        "front": "observation.images.front",
        "grey": "observation.images.grey",
    }
    several = robot({"state": Space((2,)), "environment_state": Space((3,))})
    assert list(several.keys.values()) == ["observation.state", "observation.environment_state"]
    stack = robot({"stack": Space((9, 8, 8), "uint8"), "speed": Space(())})
    assert stack.cameras == {}


def test_features_tell_shape_dtype_and_names():
    features = robot(SEEN).features()
    front = features["observation.images.front"]
    assert front == {"dtype": "video", "shape": [32, 48, 3], "names": frames.AXES}
    assert features["action"] == {"dtype": "float32", "shape": [2], "names": ["x", "y"]}
    assert features["next.reward"] == {"dtype": "float32", "shape": [1], "names": None}
    assert robot(SEEN, video=False).features()["observation.images.grey"]["dtype"] == "image"


@pytest.mark.parametrize(("dt", "fps"), [(0.05, 20), (0.03, 33), (0.02, 50), (3.0, 1)])
def test_fps_is_the_nearest_whole_number(dt, fps):
    assert robot(dt=dt).fps == fps
    assert robot(dt=dt).ours()["dt"] == dt


def test_a_table_holds_the_values_in_their_shapes():
    toy = robot()
    schema = frames.arrow_schema(toy)
    rng = np.random.default_rng(0)
    columns = {
        key: rng.integers(0, 2, (5, *space.shape)).astype(space.dtype)
        for key, space in toy.columns.items()
    }
    table = frames.table(schema, columns, {})
    assert table.schema.equals(schema)
    for key, value in columns.items():
        assert table[key].to_pylist() == value.tolist(), key
    assert table.schema.field("observation.pose").type == pa.list_(
        pa.field("element", pa.float32()), 3
    )


def test_a_table_says_what_the_datasets_package_asks():
    told = json.loads(
        frames.arrow_schema(robot({**OBS, **SEEN}, video=False)).metadata[b"huggingface"]
    )
    features = told["info"]["features"]
    value = {"dtype": "float32", "_type": "Value"}
    assert features["observation.images.front"] == {"_type": "Image"}
    assert features["observation.pose"] == {"feature": value, "length": 3, "_type": "List"}
    assert features["observation.height"] == value
    assert features["observation.map"] == {"shape": [2, 3], "dtype": "float32", "_type": "Array2D"}
    assert features["observation.layers"]["_type"] == "Array3D"
    filmed = json.loads(frames.arrow_schema(robot(SEEN)).metadata[b"huggingface"])
    assert "observation.images.front" not in filmed["info"]["features"]


def test_bookkeeping_counts_in_the_episode_and_in_the_dataset():
    found = frames.bookkeeping(3, start=10, episode=2, task=1, fps=4)
    assert {name: value.tolist() for name, value in found.items()} == {
        "timestamp": [0, 0.25, 0.5],
        "frame_index": [0, 1, 2],
        "episode_index": [2, 2, 2],
        "index": [10, 11, 12],
        "task_index": [1, 1, 1],
    }


@pytest.mark.parametrize("name", ["a//b", "..", "a..b", "", "a b", "*", ".hidden"])
def test_a_name_that_is_no_folder_is_refused(name):
    with pytest.raises(ValueError, match="letters, digits"):
        robot({name: Space((3,))})


def test_sensors_of_one_key_are_refused():
    both = {"front": SEEN["front"], "images.front": Space((2,)), "pose": Space((3,))}
    with pytest.raises(ValueError, match=r"several would be \['observation.images.front'\]"):
        robot(both)


def test_what_no_table_holds_is_refused():
    with pytest.raises(ValueError, match=r"6 axes.*Flatten"):
        robot({"deep": Space((1,) * 6)})
    with pytest.raises(ValueError, match="positive time"):
        robot(dt=0.0)
    with pytest.raises(ValueError, match="3 names for an action of 2"):
        frames.robot_of(POSE, ACTION, 0.1, ActionInfo(names=("a", "b", "c")), "", True)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"reverie\[data\]"):
        frames.require_arrow()


def test_a_slash_in_a_name_is_a_dot_in_its_key() -> None:
    obs = {"arm/pose": Space((2,)), "arm/rate": Space((2,)), "cam/left": Space((3, 8, 8), "uint8")}
    found = frames.robot_of(obs, Space((1,)), 0.1, ActionInfo(), "", True)
    assert list(found.keys.values()) == [
        *("observation.arm.pose", "observation.arm.rate", "observation.images.cam.left")
    ]
    assert found.ours()["obs"]["observation.arm.pose"]["name"] == "arm/pose"
