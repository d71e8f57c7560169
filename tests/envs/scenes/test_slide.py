"""Coulomb friction in closed form."""

import numpy as np
import pytest

from reverie.envs.scenes.layout import DT, ROOM, Array, Constants
from reverie.envs.scenes.slide import slide

HALF = 0.25


def floor(friction: float = 0.3, gravity: float = 10.0, restitution: float = 0.5) -> Constants:
    return Constants(
        np.array([2.0]), np.array([[HALF, HALF]]), gravity, friction, restitution, np.zeros(2)
    )


def box(x: float, speed: float) -> Array:
    return np.array([[x, HALF, speed, 0.0]])


def run(constants: Constants, state: Array, frames: int, force: float = 0.0) -> Array:
    states = [state]
    for _ in range(frames):
        states.append(slide(constants, states[-1], np.array([force])))
    return np.stack(states)[:, 0]


@pytest.mark.parametrize("speed", [0.2, 1.3, 3.0, -2.0])
@pytest.mark.parametrize("friction", [0.2, 0.45])
def test_it_stops_after_the_square_of_the_speed(speed: float, friction: float) -> None:
    states = run(floor(friction), box(2.0 - np.sign(speed) * 1.5, speed), 60)
    way = speed * abs(speed) / (2 * friction * 10.0)
    assert states[-1, 0] - states[0, 0] == pytest.approx(way, abs=1e-9)
    assert states[-1, 2] == 0
    still = int(np.ceil(abs(speed) / (friction * 10.0) / DT))
    assert np.abs(states[still:, 2]).max() < 1e-12
    assert np.abs(states[: still - 1, 2]).min(initial=1.0) > 1e-3


def test_a_weak_force_holds_and_a_strong_one_moves() -> None:
    weight = 2.0 * 10.0
    assert (run(floor(), box(2.0, 0.0), 20, 0.29 * weight)[:, 2] == 0).all()
    states = run(floor(), box(1.0, 0.0), 10, 0.4 * weight)
    a, t = (0.4 - 0.3) * 10.0, 10 * DT
    assert states[-1, :1] == pytest.approx([1.0 + a * t**2 / 2])
    assert states[-1, 2] == pytest.approx(a * t)


def test_a_force_against_the_motion_stops_it_and_turns_it_within_a_frame() -> None:
    states = run(floor(0.1), box(2.0, 0.1), 1, -20.0)
    stop = 0.1 / (10.0 + 1.0)
    back = DT - stop
    expected = [2.0 + 0.1 * stop / 2 - 9.0 * back**2 / 2, -9.0 * back]
    assert states[-1, [0, 2]] == pytest.approx(expected)


def test_it_bounces_off_the_wall_and_may_be_pushed_against_it() -> None:
    states = run(floor(0.1), box(ROOM - HALF - 0.5, 3.0), 40)
    v = np.sqrt(9.0 - 2 * 1.0 * 0.5) * 0.5
    assert states[:, 0].max() <= ROOM - HALF
    assert states[-1, 0] == pytest.approx(ROOM - HALF - v**2 / 2.0, abs=1e-9)
    pushed = run(floor(0.1), box(ROOM - HALF - 0.2, 0.0), 40, 10.0)
    assert pushed[-1].tolist() == [ROOM - HALF, HALF, 0.0, 0.0]
    assert slide(floor(), box(ROOM - HALF, 3.0), np.zeros(1), False)[0, 0] > ROOM - HALF + 0.1


def test_with_gravity_reversed_it_rises_to_the_ceiling_and_back() -> None:
    states = run(floor(gravity=-10.0), box(2.0, 1.0), 8)
    t = DT * np.arange(9)
    assert states[:, 1] == pytest.approx(HALF + 5 * t**2)
    assert states[:, 2] == pytest.approx(np.ones(9))  # nothing rubs
    assert run(floor(gravity=-10.0), box(2.0, 0.0), 40)[-1, 1] == ROOM - HALF
