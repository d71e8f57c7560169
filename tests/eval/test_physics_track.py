"""Objects found by their colours: known places, blur, noise, absence."""

import numpy as np
import pytest

from reverie.envs.scenes import TASKS, background, colours, film, places, start
from reverie.eval.physics_track import held, masks, track, velocities

X, Y = np.arange(20.0), np.arange(16.0)


def frame(squares: list[tuple[int, int, int]], base: float = 0.9) -> np.ndarray:
    """Squares of 4 x 4 pixels: row, column, channel that they lack."""
    image = np.full((3, 16, 20), base, np.float32)
    for row, column, channel in squares:
        image[channel, row : row + 4, column : column + 4] = 0.1
    return image


COLOURS = np.array([[0.1, 0.9, 0.9], [0.9, 0.1, 0.9]])
EMPTY = frame([])


def test_two_squares_are_found_where_they_are() -> None:
    found = track(frame([(2, 3, 0), (8, 12, 1)])[None], COLOURS, EMPTY, X, Y)
    assert found.position[0] == pytest.approx(np.array([[4.5, 3.5], [13.5, 9.5]]))
    assert found.area[0] == pytest.approx([16, 16], rel=1e-5)


def test_half_covered_pixels_count_half() -> None:
    image = frame([(2, 3, 0)])
    image[0, 6, 3:7] = 0.5  # half a row below
    found = track(image, COLOURS, EMPTY, X, Y)
    assert found.area[0] == pytest.approx(18, rel=1e-5)
    assert found.position[0, 1] == pytest.approx((16 * 3.5 + 2 * 6) / 18)


def test_blur_keeps_the_place_and_nearly_the_area_and_noise_adds_nothing() -> None:
    sharp = frame([(6, 8, 0)])
    blurred = (np.roll(sharp, 1, -1) + 2 * sharp + np.roll(sharp, -1, -1)) / 4
    found = track(blurred, COLOURS, EMPTY, X, Y, least=0.2)
    assert found.position[0] == pytest.approx([9.5, 7.5])
    assert found.area[0] == pytest.approx(16, rel=1e-5)
    noise = np.random.default_rng(0).normal(0, 0.02, sharp.shape)
    noisy = track(sharp + noise, COLOURS, EMPTY, X, Y)
    assert noisy.position[0] == pytest.approx([9.5, 7.5], abs=0.05)
    assert noisy.area == pytest.approx([16, 0], abs=0.5)


def test_what_is_not_there_has_no_area_and_no_place() -> None:
    found = track(frame([(6, 8, 0)]), COLOURS, EMPTY, X, Y)
    assert found.area[1] == 0
    assert np.isnan(found.position[1]).all()


def test_a_background_with_a_gradient_is_not_an_object() -> None:
    behind = EMPTY * np.linspace(0.7, 1, 16, dtype=np.float32)[:, None]
    image = behind.copy()
    image[:, 5:9, 5:9] = COLOURS[0][:, None, None]
    share = masks(image, COLOURS, behind)
    expected = np.zeros((16, 20))
    expected[5:9, 5:9] = 1
    assert share[0] == pytest.approx(expected, abs=1e-4)
    assert share[1].max() == 0


@pytest.mark.parametrize("name", TASKS)
def test_the_objects_of_a_scene_are_found_to_a_seventh_of_a_pixel(name: str) -> None:
    task = TASKS[name]
    constants, state = start(name, 6)
    frames = film(task, constants, state[None], 64, 64)[0] / 255
    behind = np.moveaxis(background(constants, 64, 64), -1, 0) / 255
    found = track(frames, colours(task), behind, *places(64, 64))
    pixel = 4.6 / 64
    assert np.abs(found.position - state[:, :2]).max() < 0.15 * pixel
    scale = 4 if task.shape == "box" else np.pi
    assert found.area == pytest.approx(scale * constants.halves.prod(1), rel=0.1)


def test_what_is_lost_stays_where_it_was_seen() -> None:
    position = np.arange(12.0).reshape(3, 2, 2)
    lost = np.array([[True, False], [False, True], [False, True]])
    start_at = np.array([[-1.0, -2.0], [-3.0, -4.0]])
    found = held(position, lost, start_at)
    assert found[:, 0].tolist() == [[-1, -2], [4, 5], [8, 9]]
    assert found[:, 1].tolist() == [[2, 3], [2, 3], [2, 3]]


def test_velocities_are_differences_over_the_time_between() -> None:
    position = np.array([[[1.0, 0.0]], [[2.0, 3.0]]])
    found = velocities(position, np.zeros((1, 2)), np.array([0.5, 1.0]))
    assert found[:, 0].tolist() == [[2, 0], [2, 6]]


def test_more_objects_than_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 3 colours"):
        masks(EMPTY, np.zeros((4, 3)), EMPTY)
    with pytest.raises(ValueError, match="three channels"):
        masks(EMPTY[:1], COLOURS, EMPTY[:1])
