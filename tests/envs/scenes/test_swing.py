"""The pendulum against its energy, its small period and the arithmetic-geometric mean."""

import math

import numpy as np
import pytest

from reverie.envs.scenes.layout import DT, Constants
from reverie.envs.scenes.swing import PIVOT, angle_of, state_of, swing


def rod(gravity: float = 9.0, mass: float = 1.5) -> Constants:
    return Constants(np.array([mass]), np.array([[0.2, 0.2]]), gravity, 0.0, 0.0, np.zeros(2))


def test_state_and_angle_are_inverse() -> None:
    state = state_of(0.7, -1.3, 1.2)
    assert angle_of(state) == pytest.approx((0.7, -1.3, 1.2))
    assert np.hypot(*(state[0, :2] - PIVOT)) == pytest.approx(1.2)
    assert state[0, :2] @ state[0, 2:] == pytest.approx(np.array(PIVOT) @ state[0, 2:])


@pytest.mark.parametrize("angle", [0.5, 1.5, 3.0])
def test_energy_and_length_stay(angle: float) -> None:
    state = state_of(angle, 1.0, 1.1)

    def energy() -> float:
        return float(1.5 * (state[0, 2:] @ state[0, 2:] / 2 + 9.0 * state[0, 1]))

    before = energy()
    for _ in range(200):
        state = swing(rod(), state, np.zeros(1))
    assert energy() == pytest.approx(before, rel=1e-7)
    assert angle_of(state)[2] == pytest.approx(1.1, rel=1e-9)


@pytest.mark.parametrize("angle", [0.05, 1.0, 2.5])
def test_the_period_is_that_of_the_elliptic_integral(angle: float) -> None:
    """T = 2 pi sqrt(l / g) / agm(1, cos(angle / 2))."""
    one, two = 1.0, math.cos(angle / 2)
    for _ in range(20):
        one, two = (one + two) / 2, math.sqrt(one * two)
    period = 2 * math.pi * math.sqrt(1.2 / 9.0) / one
    state, angles = state_of(angle, 0.0, 1.2), [angle]
    while len(angles) * DT < period / 2:
        state = swing(rod(), state, np.zeros(1))
        angles.append(angle_of(state)[0])
    k = next(k for k, value in enumerate(angles) if value < 0)  # passes the bottom at T / 4
    share = angles[k - 1] / (angles[k - 1] - angles[k])
    assert (k - 1 + share) * DT == pytest.approx(period / 4, rel=4e-3)


def test_a_constant_force_does_its_work() -> None:
    """From rest at the bottom: m l^2 w^2 / 2 = F l theta - m g l (1 - cos(theta))."""
    state = state_of(0.0, 0.0, 1.0)
    for _ in range(12):
        state = swing(rod(), state, np.array([5.0]))
    angle, rate, _ = angle_of(state)
    assert angle > 0.3
    work = 5.0 * angle - 1.5 * 9.0 * (1 - math.cos(angle))
    assert 1.5 * rate**2 / 2 == pytest.approx(work, rel=1e-6)
