"""A point mass on a rigid rod that turns without friction about a pivot in the middle of the room.

    theta'' = -(g / l) sin(theta) + F / (m l),    theta = 0 hanging,

by the classical Runge-Kutta method in steps of 2.5 ms. The force F acts along the circle,
anticlockwise. Without it the energy m l^2 theta'^2 / 2 - m g l cos(theta) stays.
"""

from __future__ import annotations

import math

import numpy as np

from reverie.envs.scenes.layout import DT, ROOM, Array, Constants

PIVOT = (ROOM / 2, ROOM / 2)
"""[m]."""
_STEPS = 20


def swing(constants: Constants, state: Array, force: Array, solid: bool = True) -> Array:
    """The mass `[1, 4]` a frame later; the length of the rod is its distance from the pivot."""
    angle, rate, length = angle_of(state)
    pull = constants.gravity / length
    push = float(force[0]) / (float(constants.masses[0]) * length)

    def slope(angle: float) -> float:
        return push - pull * math.sin(angle)

    h = DT / _STEPS
    for _ in range(_STEPS):
        r1, a1 = rate, slope(angle)
        r2, a2 = rate + h / 2 * a1, slope(angle + h / 2 * r1)
        r3, a3 = rate + h / 2 * a2, slope(angle + h / 2 * r2)
        r4, a4 = rate + h * a3, slope(angle + h * r3)
        angle += h / 6 * (r1 + 2 * r2 + 2 * r3 + r4)
        rate += h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
    return state_of(angle, rate, length)


def state_of(angle: float, rate: float, length: float) -> Array:
    """`[1, 4]` from the angle [rad], its rate [rad/s] and the length [m]."""
    sin, cos = math.sin(angle), math.cos(angle)
    x, y = PIVOT[0] + length * sin, PIVOT[1] - length * cos
    return np.array([[x, y, length * rate * cos, length * rate * sin]])


def angle_of(state: Array) -> tuple[float, float, float]:
    """Angle in (-pi, pi], rate and length: the inverse of `state_of`."""
    x, y, vx, vy = state[0].tolist()
    dx, dy = x - PIVOT[0], PIVOT[1] - y
    length = math.hypot(dx, dy)
    return math.atan2(dx, dy), (vx * dy + vy * dx) / length**2, length
