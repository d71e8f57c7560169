import json

import pytest

from reverie.core.spec import Space
from reverie.data.datasets import ActionInfo, DatasetError
from reverie.data.lerobot import layout, naming
from tests.data.lerobot import made


def info(features, **changes):
    return layout.parse_info(json.dumps(made.info() | {"features": features} | changes), "info")


def sensors(*keys, **changes):
    return naming.sensors(info({key: made.feature("float32", 2) for key in keys}, **changes))


def test_names():
    found = sensors(
        *("observation.state", "observation.environment_state", "observation.arm.left.joints"),
        *("observation.images.top", "observation.image", "observation", "state"),
    )
    assert list(found.values()) == [
        *("observation_state", "environment_state", "arm_left_joints", "top", "image"),
        *("observation", "state"),
    ]


def test_names_that_clash_or_are_taken_become_full():
    assert sensors("observation.images.top", "observation.top") == {
        "observation.images.top": "observation_images_top",
        "observation.top": "observation_top",
    }
    assert sensors("observation.reward") == {"observation.reward": "observation_reward"}
    with pytest.raises(DatasetError, match="cannot be told apart"):
        sensors("observation.a.b", "observation.a_b")


def test_only_what_was_sensed_is_a_sensor():
    about = info(made.info()["features"] | {"action.raw": made.feature("float32", 2)})
    names = naming.sensors(about)
    assert set(names.values()) == {"top", "wrist", "state", "gripper", "count"}
    assert naming.left_out(about, names) == ["language", "action.raw"]


def test_spaces_of_strangers_have_no_bounds():
    about = info(
        {
            "observation.images.top": made.feature("video", 32, 48, 3),
            "observation.a": made.feature("float64", 2, 3),
            "observation.b": made.feature("bool", 1),
            "observation.c": made.feature("uint16", 4),
            "action": made.feature("float64", 2, names=["x", "y"]),
        }
    )
    assert naming.spaces(about, naming.sensors(about)) == {
        "top": Space((3, 32, 48), "uint8"),
        "a": Space((2, 3)),
        "b": Space((1,), "bool"),
        "c": Space((4,), "int64"),
    }
    assert naming.action_space(about) == Space((2,))
    assert naming.action_info(about) == ActionInfo(names=("x", "y"))


def test_reveries_own_spaces_come_back():
    joints = Space((), "float64", -1.5, 1.5, "rad")
    action = Space((2,), low=-1.0, high=(1.0, 2.0), unit="m")
    told = ActionInfo("delta", "tool", ("x", "y"))
    ours = {
        "obs": {"observation.state": {"name": "joints", "space": joints.to_json()}},
        "action": action.to_json(),
        "action_info": {"kind": "delta", "frame": "tool", "names": ["x", "y"]},
        "dt": 0.033,
    }
    features = {
        "observation.state": made.feature("float64", 1),
        "action": made.feature("float32", 2),
    }
    about = info(features, reverie=ours)
    names = naming.sensors(about)
    assert names == {"observation.state": "joints"}
    assert naming.spaces(about, names) == {"joints": joints}
    assert naming.action_space(about) == action
    assert naming.action_info(about) == told
    assert about.dt == 0.033


@pytest.mark.parametrize(
    ("ours", "field"),
    [
        ({"obs": {"observation.other": {"name": "a", "space": {}}}}, "reverie.obs"),
        ({"obs": {"observation.state": {}}}, "reverie.obs"),
        ({"obs": {"observation.state": {"name": "a", "space": {}}}}, "reverie.obs"),
        (
            {"obs": {"observation.state": {"name": "a", "space": Space((3,)).to_json()}}},
            "reverie.obs",
        ),
        ({"action": Space((3,)).to_json()}, "reverie.action"),
        ({"action": 3}, "reverie.action"),
        ({"action_info": {"kind": "odd"}}, "reverie.action_info"),
    ],
)
def test_damage_to_our_own_words_is_named(ours, field):
    features = {
        "observation.state": made.feature("float32", 2),
        "action": made.feature("float32", 2),
    }
    about = info(features, reverie=ours)
    with pytest.raises(DatasetError, match=field):
        naming.spaces(about, naming.sensors(about))
        naming.action_space(about)
        naming.action_info(about)


def test_the_action_may_be_called_actions_and_must_be_there():
    assert naming.action_key(info({"actions": made.feature("float32", 2)})) == "actions"
    with pytest.raises(DatasetError, match="no 'action'"):
        naming.action_key(info({"observation.state": made.feature("float32", 2)}))
    with pytest.raises(DatasetError, match="action"):
        naming.action_space(info({"action": made.feature("string", 1)}))
