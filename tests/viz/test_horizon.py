"""The section on prediction says what was measured."""

import dataclasses

import pytest

from reverie.core.spec import Space
from reverie.eval.openloop import openloop
from reverie.eval.score import Curve, OpenLoop, SensorError
from reverie.viz.horizon import horizon, lead, main_metric
from tests.viz.reading import Page
from tests.viz.worlds import ARM, Memory, recording


def curve(*values: float) -> Curve:
    return Curve(values, tuple(v * 0.9 for v in values), tuple(v * 1.1 for v in values))


def sensor(
    model: tuple[float, ...], repeat: tuple[float, ...], kind: str = "vector"
) -> SensorError:
    metric = "psnr" if kind == "image" else "nrmse"
    curves = {"model": curve(*model), "repeat": curve(*repeat)}
    steps = tuple(range(1, len(model) + 1))
    return SensorError("arm", kind, "rad", steps, {metric: curves})


def loop(*sensors: SensorError) -> OpenLoop:
    return OpenLoop(sensors, 5, 3, 1, 12, 4, 0.1)


def test_the_section_shows_every_sensor_beside_repeating() -> None:
    model = Memory(ARM, Space((1,), low=-1.0, high=1.0), 0.1)
    found = openloop(model, recording(12, 15), observed=5, horizon=10)
    text = horizon(found)
    page = Page(text)
    assert "12 windows from 2 episodes" in page.text
    assert "beats repeating at 0 of 10 horizons" in page.text
    charts = [v for tag, name, v in page.attributes if tag == "svg" and name == "aria-label"]
    assert charts == [
        "arm: error in standard deviations against horizon",
        "camera: PSNR [dB] against horizon",
    ]
    lines = {v for tag, name, v in page.attributes if name == "data-line"}
    assert lines == {
        "the model",
        "repeating the last observation",
        "extrapolating the last two",
    }
    assert "mean absolute error [rad]" in page.text


def test_wins_are_counted_at_each_horizon() -> None:
    text = horizon(loop(sensor((0.1, 0.5, 0.9), (0.2, 0.4, 1.0))))
    assert "beats repeating at 2 of 3 horizons" in text
    text = horizon(loop(sensor((30.0, 20.0, 10.0), (29.0, 21.0, 9.0), "image")))
    assert "beats repeating at 2 of 3 horizons" in text  # more decibel are better


def test_the_headline_compares_with_repeating() -> None:
    found = lead(loop(sensor((0.1, 0.1, 0.1), (0.4, 0.4, 0.4))))
    assert found is not None
    assert found[1] == "75 % less"
    assert "0.30 s ahead" in found[2]
    worse = lead(loop(sensor((0.6, 0.6, 0.6), (0.4, 0.4, 0.4))))
    assert worse is not None
    assert worse[1] == "50 % more"
    assert lead(loop(sensor((30.0,), (20.0,), "image"))) is None


def test_a_sensor_that_never_moves_is_drawn_in_its_unit() -> None:
    nan = float("nan")
    still = sensor((nan, nan), (nan, nan))
    errors = {"nrmse": still.errors["nrmse"], "mae": {"model": curve(0, 0), "repeat": curve(0, 0)}}
    assert main_metric(dataclasses.replace(still, errors=errors)) == "mae"


def test_one_episode_gives_no_interval_and_says_so() -> None:
    alone = dataclasses.replace(loop(sensor((0.1,), (0.2,))), episodes=1)
    assert "One episode alone gives no interval" in horizon(alone)


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_any_horizon_can_be_tabulated(count: int) -> None:
    page = Page(horizon(loop(sensor((0.1,) * count, (0.2,) * count))))
    assert page.words.count("0.1 s") == 1
