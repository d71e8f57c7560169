import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data.checks import recording
from reverie.data.checks.pictures import FROZEN
from tests.data.checks.planted import found, only, place
from tests.data.memory import ACTION, OBS, Memory, clean


def test_a_camera_that_hangs_while_the_robot_moves():
    data = clean()
    data.rows[2]["front"][12:25] = data.rows[2]["front"][11]
    finding = only(data, "error", "frozen", "front")
    assert place(finding) == ("2", 11, 25) and "14 rows" in finding.message


def test_in_slabs_as_well(monkeypatch):
    monkeypatch.setattr(recording, "_SLAB_BYTES", 1)  # 16 rows at a time
    data = clean()
    data.rows[2]["front"][12:25] = data.rows[2]["front"][11]
    assert place(only(data, "error", "frozen", "front")) == ("2", 11, 25)


def test_a_few_frames_alike_are_none():
    data = clean()
    data.rows[2]["front"][12 : 11 + FROZEN - 1] = data.rows[2]["front"][11]
    assert found(data) == set()


def still(data, start, stop):
    """The robot stands, and its picture with it."""
    for rows in data.rows:
        for name in ("state", "front"):
            rows[name][start:stop] = rows[name][start]
    return data


def test_a_picture_of_a_robot_that_stands_may_be_still():
    kinds = {kind for _, kind, _ in found(still(clean(), 10, 30))}
    assert not kinds & {"frozen", "repeated frames"}


def test_a_robot_that_hardly_moves_may_look_the_same():
    # A picture without noise stays the same while less than a pixel moves.
    data = clean()
    for rows in data.rows:
        rows["state"][10:30] = rows["state"][10] + 0.002 * np.arange(20)[:, None]
        rows["front"][10:30] = rows["front"][10]
    kinds = {kind for _, kind, _ in found(data)}
    assert not kinds & {"frozen", "repeated frames"}


@pytest.mark.parametrize("moving", [True, False])
def test_without_other_sensors_the_action_says_whether_it_moves(moving):
    data = clean()
    rows = [{n: v for n, v in one.items() if n != "state"} for one in data.rows]
    rows[1]["front"][10:30] = rows[1]["front"][10]
    if not moving:
        rows[1]["action"][10:30] = 0
    data = Memory({"front": OBS["front"]}, ACTION, rows)
    expected = {("error", "frozen", "front")} if moving else set()
    assert found(data) == expected


def test_a_camera_that_is_slower_than_the_decisions():
    data = clean()
    for rows in data.rows:
        rows["front"][1::2] = rows["front"][: 2 * (len(rows["front"]) // 2) : 2]
    finding = only(data, "warning", "repeated frames", "front")
    assert place(finding) == ("0", 1, 2) and finding.message.startswith(("50%", "51%"))


@pytest.mark.parametrize(("value", "colour"), [(0, "black"), (255, "white"), (90, "grey")])
def test_blank_frames(value, colour):
    data = clean()
    data.rows[5]["front"][7:10] = value
    finding = only(data, "error", "blank", "front")
    assert place(finding) == ("5", 7, 10) and colour in finding.message


def test_a_dark_room_is_no_blank_frame():
    data = clean()
    for rows in data.rows:
        rows["front"] //= 12
    assert "blank" not in {kind for _, kind, _ in found(data)}


def test_two_cameras_are_told_apart():
    data = clean()
    for rows in data.rows:
        rows["wrist"] = rows["front"][:, :, ::-1].copy()
    data.rows[0]["wrist"][3] = 0
    data = Memory({**OBS, "wrist": Space(OBS["front"].shape, "uint8")}, ACTION, data.rows)
    assert place(only(data, "error", "blank", "wrist")) == ("0", 3, 4)


def test_nothing_is_said_of_frames_that_were_not_there():
    data = clean()
    rows = data.rows[0]
    rows["front.present"] = np.ones(len(rows["reward"]), bool)
    rows["front.present"][5:25] = False
    rows["front"][5:25] = 0
    assert found(data) == set()
