"""Flying discs against their parabola, the laws of collisions and plain small steps."""

import math

import numpy as np
import pytest

from reverie.envs.scenes.flight import fly, time_to_contact
from reverie.envs.scenes.layout import DT, ROOM, Array, Constants

STILL = np.zeros(2)


def room(masses: list[float], radii: list[float], gravity: float, restitution: float) -> Constants:
    halves = np.column_stack([radii, radii])
    return Constants(np.array(masses), halves, gravity, 0.0, restitution, np.zeros(2))


def run(constants: Constants, state: Array, frames: int, force: Array = STILL) -> Array:
    states = [state]
    for _ in range(frames):
        states.append(fly(constants, states[-1], force))
    return np.stack(states)


def test_before_it_hits_anything_a_ball_follows_its_parabola() -> None:
    states = run(room([1.0], [0.2], 9.0, 0.8), np.array([[1.0, 2.0, 1.5, 2.0]]), 12)[:, 0]
    t = DT * np.arange(13)
    assert states[:, 0] == pytest.approx(1 + 1.5 * t)
    assert states[:, 1] == pytest.approx(2 + 2 * t - 4.5 * t**2)
    assert states[:, 3] == pytest.approx(2 - 9 * t)


@pytest.mark.parametrize("e", [0.3, 0.7, 1.0])
def test_a_dropped_ball_comes_back_to_the_square_of_the_restitution(e: float) -> None:
    constants = room([2.0], [0.25], 8.0, e)
    states = run(constants, np.array([[2.0, 2.25, 0.0, 0.0]]), 100)[:, 0]
    fall = math.sqrt(2 * 2.0 / 8.0)
    energy = states[:, 3] ** 2 / 2 + 8.0 * (states[:, 1] - 0.25)  # per kilogram
    between = (DT * np.arange(101) > fall) & (DT * np.arange(101) < fall * (1 + 2 * e))
    assert between.any()
    assert energy[between] == pytest.approx(8.0 * 2.0 * e**2)
    assert states[:, 1].min() >= 0.25 - 1e-12


def test_a_ball_that_has_bounced_out_rests_on_the_floor() -> None:
    states = run(room([1.0], [0.2], 10.0, 0.5), np.array([[2.0, 0.7, 0.0, 0.0]]), 60)[:, 0]
    assert states[-1].tolist() == [2.0, 0.2, 0.0, 0.0]


@pytest.mark.parametrize("e", [0.0, 0.6, 1.0])
def test_a_collision_keeps_momentum_and_parts_with_the_restitution(e: float) -> None:
    constants = room([1.0, 3.0], [0.2, 0.3], 0.0, e)
    before = np.array([[1.0, 2.0, 1.2, 0.3], [2.2, 2.1, -0.8, 0.1]])
    after = run(constants, before, 20)
    p = (constants.masses[:, None] * after[..., 2:]).sum(1)
    assert p == pytest.approx(np.tile(p[0], (21, 1)))
    ways = np.hypot(*(after[:, 1, :2] - after[:, 0, :2]).T)
    assert ways.min() >= 0.5 - 1e-9
    energy = (constants.masses[:, None] / 2 * after[..., 2:] ** 2).sum((1, 2))
    # Along the line of centres the relative speed u becomes -e u; across it nothing changes.
    lost = energy[0] - energy[-1]
    n = run_until_contact(before, 0.5)
    u = float((before[1, 2:] - before[0, 2:]) @ n)
    assert lost == pytest.approx(0.75 / 2 * u**2 * (1 - e**2), abs=1e-9)


def run_until_contact(state: Array, reach: float) -> Array:
    """The line of centres at the first contact, found by bisection."""
    low, high = 0.0, 0.55
    for _ in range(80):
        t = (low + high) / 2
        way = state[1, :2] - state[0, :2] + t * (state[1, 2:] - state[0, 2:])
        low, high = (t, high) if np.hypot(*way) > reach else (low, t)
    return np.asarray(way / np.hypot(*way))


def test_it_agrees_with_small_steps() -> None:
    constants = room([1.3], [0.3], 9.5, 0.8)
    state = np.array([[0.8, 1.5, 4.0, 3.0]])
    x, y, vx, vy = state[0].tolist()
    h, radius = 2e-5, 0.3
    for _ in range(round(20 * DT / h)):
        x, y, vy = x + h * vx, y + h * vy - 9.5 * h * h / 2, vy - 9.5 * h
        if (x < radius and vx < 0) or (x > ROOM - radius and vx > 0):
            vx *= -0.8
        if (y < radius and vy < 0) or (y > ROOM - radius and vy > 0):
            vy *= -0.8
    assert run(constants, state, 20)[-1, 0] == pytest.approx([x, y, vx, vy], abs=5e-3)


def test_a_force_acts_as_its_impulse_on_the_first_disc_alone() -> None:
    constants = room([2.0, 1.0], [0.2, 0.2], 0.0, 1.0)
    state = np.array([[1.0, 1.0, 0.0, 0.0], [3.0, 3.0, 0.0, 0.0]])
    after = fly(constants, state, np.array([4.0, -2.0]))
    assert after[0, 2:] == pytest.approx([4 * DT / 2, -2 * DT / 2])
    assert after[0, :2] == pytest.approx([1 + 0.1 * DT, 1 - 0.05 * DT])
    assert after[1].tolist() == state[1].tolist()
    assert state[0, 2] == 0  # the state given is left as it was


def test_what_is_not_solid_goes_through_the_floor() -> None:
    constants = room([1.0], [0.2], 10.0, 0.9)
    state = np.array([[2.0, 0.3, 0.0, -3.0]])
    assert fly(constants, state, STILL, True)[0, 1] >= 0.2
    assert fly(constants, state, STILL, False)[0, 1] == pytest.approx(0.3 - 0.15 - 5 * DT**2)


@pytest.mark.parametrize(
    ("gap", "speed", "acceleration", "time"),
    [
        (1.0, 2.0, 0.0, 0.5),
        (1.0, 0.0, 2.0, 1.0),
        (1.0, -1.0, 4.0, 1.0),
        (1.0, 2.0, -1.5, 2 / 3),
        (1.0, 1.0, -0.6, math.inf),
        (1.0, -1.0, 0.0, math.inf),
        (0.0, 1.0, 0.0, 0.0),
        (0.0, -1.0, 2.0, 1.0),
    ],
)
def test_contact_times(gap: float, speed: float, acceleration: float, time: float) -> None:
    assert time_to_contact(gap, speed, acceleration) == pytest.approx(time)
