import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data.datasets import ActionInfo
from reverie.data.shift import explain, shift
from reverie.data.statistics import measure
from tests.data.memory import ACTION, OBS, Memory, recording

NAMES = ActionInfo(names=("shoulder", "elbow"))
WIDE = {**OBS, "state": Space((3,))}


def made(seed=0, episodes=6, change=None):
    rng = np.random.default_rng(seed)
    rows = [recording(40, rng) for _ in range(episodes)]
    for one in rows:
        one["state"] = one["state"] + np.float32([0.5, 0, 0])
        one["action"][1:, 1] = np.abs(one["action"][1:, 1]) + 0.1
        if change is not None:
            change(one)
    return measure(Memory(WIDE, ACTION, rows, info=NAMES), frames=4)


ONE = made()


def scaled(name, factor, entries):
    def change(rows):
        rows[name][1:, entries] *= factor
        if name != "action":
            rows[name][0, entries] *= factor

    return change


def test_other_episodes_of_the_same_robot_do_not_differ():
    for seed in range(1, 6):
        assert shift(ONE, made(seed)) == ()
    assert explain((), "a", "b") == ""


def test_neither_does_a_policy_that_moves_half_or_twice_as_much():
    for factor in (0.4, 2.5):
        assert shift(ONE, made(1, change=scaled("action", factor, [0, 1]))) == ()


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (180 / np.pi, "degrees where the first has radians"),
        (np.pi / 180, "radians where the first has degrees"),
        (1000.0, "mm where the first has m"),
        (0.001, "m where the first has mm"),
        (100.0, "percent where"),
        (20.0, "no change of units"),
    ],
)
def test_units_are_told_by_their_factor(factor, words):
    (found,) = shift(ONE, made(2, change=scaled("action", np.float32(factor), [0, 1])))
    assert (found.name, found.kind, found.entries) == ("action", "scale", (0, 1))
    assert factor / 1.4 < found.factor < factor * 1.4
    assert words in found.message and "0 (shoulder), 1 (elbow)" in found.message


def test_only_the_entry_that_differs_is_named():
    (found,) = shift(ONE, made(2, change=scaled("state", 1000, [2])))
    assert (found.name, found.kind, found.entries) == ("state", "scale", (2,))


def test_a_sign_is_found_where_the_values_lie_to_one_side():
    (found,) = shift(ONE, made(3, change=scaled("action", -1, [1])))
    assert (found.name, found.kind, found.entries) == ("action", "sign", (1,))


def test_a_zero_point_is_found():
    def change(rows):
        rows["state"][:, 1] += 90

    (found,) = shift(ONE, made(3, change=change))
    assert (found.name, found.kind, found.entries) == ("state", "offset", (1,))
    assert "90 degrees" in found.message


def test_a_joint_that_hardly_moves_here_is_no_other_unit():
    def still(rows):
        rows["state"][:, 0] = 0.5 + 0.001 * rows["state"][:, 0]

    assert shift(ONE, made(3, change=still)) == ()


def test_a_sensor_that_is_missing_or_of_another_size():
    rng = np.random.default_rng(0)
    rows = [recording(40, rng)]
    bare = measure(Memory({"front": OBS["front"]}, ACTION, [dict(rows[0])]), frames=4)
    (found,) = shift(ONE, bare)
    assert (found.name, found.kind) == ("state", "absent")
    rows[0]["state"] = rows[0]["state"][:, :2]
    short = measure(Memory({**WIDE, "state": Space((2,))}, ACTION, rows), frames=4)
    (found,) = shift(ONE, short)
    assert (found.name, found.kind) == ("state", "shape")
    assert shift(bare, ONE) == ()  # more sensors than a model needs are no fault


def test_too_few_rows_say_nothing():
    def few(rows):
        for name in rows:
            rows[name] = rows[name][:8]
        rows["state"] *= 1000

    assert shift(ONE, made(3, episodes=1, change=few)) == ()


def test_it_is_explained_to_a_person():
    text = explain(shift(ONE, made(2, change=scaled("action", 1000, [0]))), "run-1", "new/data")
    assert "new/data" in text and "run-1" in text and "mm" in text and "Convert" in text
