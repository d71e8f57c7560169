"""Launches made again and again do what Warp's own do."""

import numpy as np
import pytest

from reverie.physics.launches import Launch, ready, record

wp = pytest.importorskip("warp")


@wp.kernel
def multiply(x: wp.array(dtype=float), factor: float, y: wp.array(dtype=float)):
    i = wp.tid()
    y[i] = factor * x[i] * x[i]


@pytest.fixture
def arrays():
    make = {"x": [1.0, 2.0, 3.0], "y": [0.0] * 3, "slope of x": [0.0] * 3, "slope of y": [1.0] * 3}
    return {
        k: wp.array(np.array(v, np.float32), dtype=float, device="cpu") for k, v in make.items()
    }


def test_a_launch_reads_what_its_arrays_hold_now(arrays):
    go = record(wp.launch, "cpu", Launch(multiply, 3, ("x", 2.0, "y")), arrays, None)
    assert not arrays["y"].numpy().any()  # recorded, not made
    go()
    assert arrays["y"].numpy().tolist() == [2.0, 8.0, 18.0]
    arrays["x"].fill_(1.0)
    go()
    assert arrays["y"].numpy().tolist() == [2.0, 2.0, 2.0]


def test_an_adjoint_adds_to_the_gradients(arrays):
    slopes = {name: arrays[f"slope of {name}"] for name in ("x", "y")}
    launch = Launch(multiply, 3, ("x", 2.0, "y"))
    go = record(wp.launch, "cpu", launch, arrays, slopes)
    go()
    assert arrays["slope of x"].numpy().tolist() == [4.0, 8.0, 12.0]
    record(wp.launch, "cpu", launch, arrays, {"y": slopes["y"]})()  # nobody asks for that of x
    assert arrays["slope of x"].numpy().tolist() == [4.0, 8.0, 12.0]


def test_where_warp_is_not_as_expected_its_own_way_is_taken(arrays, monkeypatch):
    import sys

    command = wp.launch(multiply, 3, [arrays["x"], 2.0, arrays["y"]], device="cpu", record_cmd=True)
    assert ready(command) != command.launch
    monkeypatch.delattr(sys.modules[type(command).__module__], "_build_cpu_args_structs")
    assert ready(command) == command.launch
