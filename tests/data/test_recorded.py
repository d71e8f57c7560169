import numpy as np
import pytest

from reverie.data import recorded
from reverie.data.datasets import ActionInfo, DatasetError, Episode
from reverie.data.serial import to_json
from tests.data.rows import ACTION, SENSORS, episode, record, row, same, stored

INFO = ActionInfo("delta", "tool", ("x", "y"), (-0.1, -0.2), (0.1, 0.2))
META = {"dt": 0.05, "env": "arm", "action": to_json(INFO), "repeat": 2}


def test_a_store_is_a_dataset(tmp_path):
    tasks = {"0000-00000001": "push"}
    with stored(tmp_path, SENSORS, meta={**META, recorded.TASKS: tasks}) as store:
        for number in range(3):
            record(store, 0, number, 9 + number)
    assert recorded.recognises(tmp_path)
    found = recorded.open(tmp_path)
    assert found.obs == SENSORS and found.action == ACTION
    about = found.about
    assert (about.format, about.dt, about.source) == ("reverie store", 0.05, "arm")
    assert about.action == INFO and about.extra == {"repeat": 2}
    assert found.episodes() == [
        Episode("0000-00000000", 9),
        Episode("0000-00000001", 10, "push"),
        Episode("0000-00000002", 11),
    ]
    for number, listed in enumerate(found.episodes()):
        rows = episode(SENSORS, 0, number, listed.rows)
        same(found.read(listed.name), rows)
        same(found.read(listed.name, 2, 7), rows[2:7])
    found.close()


def test_only_the_sensors_that_are_wanted(tmp_path):
    with stored(tmp_path, SENSORS, meta=META, optional=["front", "wrist"]) as store:
        record(store, 0, 0, 9)
    read = recorded.open(tmp_path).read("0000-00000000", only=["pose", "front"])
    flags = {"action", "reward", "first", "last", "terminated"}
    assert set(read) == {"pose", "front", "front.present", *flags}
    assert set(recorded.open(tmp_path).read("0000-00000000", only=[])) == flags


def test_an_episode_that_is_still_recorded_is_not_complete(tmp_path):
    with stored(tmp_path, meta=META, file_rows=4) as store:
        record(store, 0, 0, 30, stop=9)
    (listed,) = recorded.open(tmp_path).episodes()
    assert (listed.rows, listed.complete) == (8, False)


@pytest.mark.parametrize("dt", [None, 0, -1, "0.1", float("nan")])
def test_a_store_must_say_how_long_a_decision_lasts(tmp_path, dt):
    stored(tmp_path, meta={"dt": dt}).close()
    with pytest.raises(DatasetError, match=r'store\.json, meta\.dt: .*meta=\{"dt": seconds\}'):
        recorded.open(tmp_path)


def test_what_is_no_store(tmp_path):
    assert not recorded.recognises(tmp_path)
    with pytest.raises(DatasetError, match=r"store\.json: .* is no episode store"):
        recorded.open(tmp_path)
    stored(tmp_path, meta={"dt": 0.1, "action": {"kind": "jump"}}).close()
    with pytest.raises(ValueError, match=r"meta\.action\.kind is 'jump'"):
        recorded.open(tmp_path)


def test_rows_that_are_not_there(tmp_path):
    with stored(tmp_path, meta=META) as store:
        store.append(0, row({"pose": SENSORS["pose"]}, 0, 0, 0, 1) | {"height": np.float32(1)})
    found = recorded.open(tmp_path)
    with pytest.raises(KeyError):
        found.read("0000-00000001")
    with pytest.raises(IndexError):
        found.read("0000-00000000", 0, 2)
