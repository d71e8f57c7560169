"""Pictures show the state: areas, places and colours, with smooth edges."""

import math

import numpy as np
import pytest

from reverie.envs.scenes import TASKS, background, colours, film, places, start
from reverie.envs.scenes.picture import coverage, picture


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_coverage_has_the_area_and_the_centre_of_each_object(
    name: str, size: tuple[int, int]
) -> None:
    task = TASKS[name]
    constants, state = start(name, 4)
    if task.turning:
        state[:, 4] = [0.3, -0.8, 1.2]
    cover = coverage(task, constants, state, *size)
    x, y = places(*size)
    pixel = (x[1] - x[0]) ** 2
    scale = 4 if task.shape == "box" else math.pi
    expected = scale * constants.halves.prod(1)
    assert cover.sum((1, 2)) * pixel == pytest.approx(expected, rel=0.03)
    centre = np.stack([cover.sum(1) @ x, cover.sum(2) @ y], 1) / cover.sum((1, 2))[:, None]
    assert centre == pytest.approx(state[:, :2], abs=0.006)


def test_an_edge_is_smooth_a_small_motion_changes_the_picture_a_little() -> None:
    constants, state = start("sliding", 0)
    task = TASKS["sliding"]
    one = coverage(task, constants, state, 64, 64)
    moved = state.copy()
    moved[0, 0] += 0.01
    two = coverage(task, constants, moved, 64, 64)
    pixel = 4.6 / 64
    changed = np.abs(two - one).max()
    assert changed == pytest.approx(0.01 / pixel, rel=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_objects_have_their_colours_before_a_lighter_room(name: str) -> None:
    task = TASKS[name]
    constants, state = start(name, 1)
    image = picture(task, constants, state, 64, 64)
    assert image.dtype == np.uint8
    x, y = places(64, 64)
    for line, colour in zip(state, colours(task), strict=True):
        row, column = np.abs(y - line[1]).argmin(), np.abs(x - line[0]).argmin()
        assert image[row, column].tolist() == (colour * 255).round().tolist()
    room = background(constants, 64, 64)
    assert room.shape == (64, 64, 3)
    inner = room[6:-6, 6:-6]
    assert inner.min() > 200
    assert room[0, 0].max() < 100  # the wall


def test_the_first_row_of_a_picture_is_the_top() -> None:
    x, y = places(32, 64)
    assert y[0] > y[-1]
    assert x[0] < x[-1]
    assert x.mean() == pytest.approx(2.0)
    assert y.mean() == pytest.approx(2.0)
    assert y[0] - y[-1] == pytest.approx(4.6 * 31 / 32)


def test_a_film_is_its_pictures() -> None:
    task = TASKS["stacking"]
    constants, state = start("stacking", 2)
    states = np.stack([state, state + 0.05])
    frames = film(task, constants, states, 24, 32)
    assert frames.shape == (2, 3, 24, 32)
    for frame, one in zip(frames, states, strict=True):
        assert (np.moveaxis(frame, 0, -1) == picture(task, constants, one, 24, 32)).all()


def test_what_is_out_of_sight_is_not_drawn_nor_its_rod() -> None:
    task = TASKS["pendulum"]
    constants, state = start("pendulum", 0)
    away = np.zeros_like(state) - 3.0
    empty = background(constants, 64, 64).round()
    assert (picture(task, constants, away, 64, 64) == empty).all()
