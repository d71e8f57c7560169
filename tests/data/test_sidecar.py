import json

import pytest

from reverie.core.spec import Space
from reverie.data.datasets import ActionInfo, DatasetError
from reverie.data.sidecar import read_sidecar


def told(directory, value):
    (directory / "reverie.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return read_sidecar(directory)


def test_what_is_told_goes_before_what_is_found(tmp_path):
    side = told(tmp_path, {"dt": 0.25, "env": "arm", "task": "push"})
    assert side.seconds(None, 0.5) == 0.25
    assert side.seconds(0.1, 0.5) == 0.1
    assert (side.env, side.task) == ("arm", "push")


def test_nothing_told(tmp_path):
    side = read_sidecar(tmp_path)
    assert side.seconds(None, 0.5) == 0.5
    assert side.actions(Space((2,))) == (Space((2,)), ActionInfo())
    with pytest.raises(DatasetError, match=r"reverie\.json, dt: .*Write this file with"):
        side.seconds(None, None)


def test_spaces_and_meaning(tmp_path):
    side = told(
        tmp_path,
        {
            "action": {"kind": "delta", "names": ["x", "y"]},
            "action_space": {"low": -1, "high": [1, 2]},
            "obs": {"pose": {"unit": "m"}},
        },
    )
    space, info = side.actions(Space((2,)))
    assert space == Space((2,), low=-1.0, high=(1.0, 2.0))
    assert info == ActionInfo("delta", names=("x", "y"))
    spaces = side.sensors({"pose": Space((3,)), "grip": Space(())})
    assert spaces == {"pose": Space((3,), unit="m"), "grip": Space(())}


def test_a_file_has_one_of_its_own(tmp_path):
    data = tmp_path / "lift.hdf5"
    told(tmp_path, {"dt": 1})
    assert read_sidecar(data).dt == 1
    (tmp_path / "lift.reverie.json").write_text('{"dt": 2}')
    assert read_sidecar(data).dt == 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ([1], "expected an object"),
        ({"fps": 3}, "keys among dt"),
        ({"dt": "fast"}, "dt: it is 'fast'"),
        ({"dt": True}, "dt: it is True"),
        ({"action": {"kind": "jump"}}, "action.kind is 'jump'"),
    ],
)
def test_what_is_not_understood_is_named(tmp_path, value, message):
    with pytest.raises(DatasetError, match=message):
        told(tmp_path, value)


def test_what_does_not_fit_the_data_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"action\.names: it has 1 entries and the action 2"):
        told(tmp_path, {"action": {"names": ["x"]}}).actions(Space((2,)))
    with pytest.raises(DatasetError, match="action_space: Space low has 3"):
        told(tmp_path, {"action_space": {"low": [0, 0, 0]}}).actions(Space((2,)))
    with pytest.raises(DatasetError, match=r"obs: there are no sensors \['pose'\]"):
        told(tmp_path, {"obs": {"pose": {}}}).sensors({"state": Space((2,))})
    with pytest.raises(DatasetError, match="keys among low, high, unit"):
        told(tmp_path, {"obs": {"state": {"shape": [3]}}}).sensors({"state": Space((2,))})
    for dt in (0, -1):
        with pytest.raises(DatasetError, match="seconds above 0"):
            told(tmp_path, {"dt": dt}).seconds(None, None)
