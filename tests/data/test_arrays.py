import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.data.arrays import (
    cast,
    column,
    dress,
    flags,
    led_here,
    natural,
    picture_axis,
    sensed,
    sensor_name,
    span,
    stored,
)


def test_names_are_plain_and_never_those_of_a_rows_entries():
    assert sensor_name(["arm", "pose"]) == "arm_pose"
    assert sensor_name(["a.b/c", 0]) == "a_b_c_0"
    assert sensor_name(["action"]) == "obs_action"
    assert sensor_name(["__metadata__"]) == "obs___metadata__"


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((48, 64, 3), 2), ((3, 48, 64), 0), ((48, 64), -1), ((4, 4), None), ((9,), None)],
)
def test_pictures_are_told_by_their_shape(shape, axis):
    assert picture_axis(np.uint8, shape) == axis
    assert picture_axis(np.float32, shape) is None


def test_pictures_turn_to_planes():
    values = np.arange(2 * 5 * 6 * 3, dtype=np.uint8).reshape(2, 5, 6, 3)
    sensor = stored(np.uint8, (5, 6, 3))
    assert sensor.space == Space((3, 5, 6), "uint8", 0, 255)
    turned = dress(values, sensor)
    assert turned.flags.c_contiguous
    for c in range(3):
        np.testing.assert_array_equal(turned[:, c], values[..., c])
    grey = stored(np.uint8, (9, 8))
    assert (
        dress(np.zeros((2, 9, 8), np.uint8), grey).shape == (2, *grey.space.shape) == (2, 1, 9, 8)
    )


@pytest.mark.parametrize(
    ("dtype", "becomes"),
    [
        ("float16", "float32"),
        (">f8", "float32"),
        ("bool", "bool"),
        ("uint8", "uint8"),
        ("int16", "int64"),
        ("uint64", "int64"),
    ],
)
def test_numbers_keep_their_values(dtype, becomes):
    values = np.array([[0, 1], [1, 0]]).astype(dtype)
    sensor = stored(values.dtype, (2,))
    dressed = dress(values, sensor)
    assert sensor.space.dtype == dressed.dtype == becomes
    np.testing.assert_array_equal(dressed, values.astype(becomes))


def test_what_does_not_fit_is_told():
    with pytest.raises(ValueError, match="18446744073709551615"):
        cast(np.array([2**64 - 1], np.uint64), "int64")
    assert cast(np.array([1e300]), "float32")[0] == np.inf


def test_outcomes_are_one_number_each():
    assert column(np.array([[1], [2]])).tolist() == column(np.array([True, 2])).tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        column(np.zeros((1, 2)))


def test_natural_order_counts():
    names = ["demo_10", "demo_2", "a", "demo_02"]
    assert sorted(names, key=natural) == ["a", "demo_02", "demo_2", "demo_10"]


# Three steps; with what was sensed after the last, four rows.
ACTIONS = np.array([[1.0], [2], [3]], np.float32)


@pytest.mark.parametrize("start", range(5))
@pytest.mark.parametrize("stop", range(5))
def test_any_slice_is_the_slice_of_all(start, stop):
    if start > stop:
        return
    rows = np.concatenate([np.zeros((1, 1), np.float32), ACTIONS])
    read = lambda low, high: ACTIONS[low:high]  # noqa: E731
    led = led_here(read, start, stop, (1,), "float32")
    np.testing.assert_array_equal(led, rows[start:stop])
    held = np.concatenate([ACTIONS, ACTIONS[-1:]])
    np.testing.assert_array_equal(sensed(read, 3, start, stop), held[start:stop])
    final = np.concatenate([ACTIONS, [[9]]])
    found = sensed(read, 3, start, stop, lambda low, high: np.array([[9]], np.float32))
    np.testing.assert_array_equal(found, final[start:stop])
    told = flags(start, stop, 4, True)
    assert told["first"].tolist() == [True, False, False, False][start:stop]
    assert told["last"].tolist() == [False, False, False, True][start:stop]
    assert told["terminated"].tolist() == told["last"].tolist()
    assert not flags(start, stop, 4, False)["terminated"].any()


def test_rows_that_are_not_there():
    assert span("a", 4, 1, None) == 4
    for start, stop in [(-1, 2), (3, 2), (0, 5)]:
        with pytest.raises(IndexError, match=r"Episode a has rows 0\.\.4"):
            span("a", 4, start, stop)
