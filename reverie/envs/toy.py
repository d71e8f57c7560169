"""Tasks in plain numpy, for a first run without a simulator and for tests.

A pendulum that must be swung up (continuous action, truncated), and a pole on a cart that must not
fall (discrete action, terminated); in files of their own, a table on which a sentence says what to
do, and a camera in a room. All draw themselves, so pictures need no GL library either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from reverie.core.spec import Space
from reverie.envs.adapter import Simulator
from reverie.envs.room import Room
from reverie.envs.tabletop import Tabletop

_GRAVITY = 9.81  # [m/s^2]
_SUBSTEPS = 10


class Pendulum:
    """A point mass m on a rod of length l, with a motor too weak to lift it at once.

    theta'' = (g / l) sin(theta) + (u - b theta') / (m l^2), theta = 0 upright, |u| <= 1.5 N m
    against a weight of m g l = 4.9 N m. Reward ((1 + cos(theta)) / 2)^2 in [0, 1]; an episode is
    10 s long and begins near the bottom.
    """

    mass, length, damping, torque = 1.0, 0.5, 0.02, 1.5  # [kg], [m], [N m s], [N m]
    frames = 200

    def __init__(self) -> None:
        self.name = "toy:pendulum"
        self.obs: Mapping[str, Space] = {
            "orientation": Space((2,), low=-1.0, high=1.0),
            "velocity": Space((1,), unit="rad/s"),
        }
        self.action = Space((1,), low=-self.torque, high=self.torque, unit="N m")
        self.dt = 0.05
        self.repeatable = True
        self._angle = self._rate = 0.0
        self._frame = 0

    def begin(self, seed: int) -> None:
        """Hang within 0.5 rad of the bottom, nearly at rest."""
        random = np.random.default_rng(seed)
        self._angle = math.pi + float(random.uniform(-0.5, 0.5))
        self._rate = float(random.uniform(-0.1, 0.1))
        self._frame = 0

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool]:
        """Semi-implicit Euler in steps of 5 ms."""
        inertia = self.mass * self.length**2
        step = self.dt / _SUBSTEPS
        for _ in range(_SUBSTEPS):
            torque = float(action[0]) - self.damping * self._rate
            pull = _GRAVITY / self.length * math.sin(self._angle)
            self._rate += step * (pull + torque / inertia)
            self._angle += step * self._rate
        self._frame += 1
        reward = ((1 + math.cos(self._angle)) / 2) ** 2
        return reward, False, self._frame >= self.frames

    def observe(self) -> dict[str, Any]:
        """Cosine and sine of the angle, and its rate [rad/s]."""
        angle = self._angle
        return {"orientation": [math.cos(angle), math.sin(angle)], "velocity": [self._rate]}

    def picture(self, height: int, width: int) -> np.ndarray:
        """The rod and the mass, seen from the front."""
        x, y = math.sin(self._angle), math.cos(self._angle)
        rod = ((0.0, 0.0, x, y), 0.06, (205, 164, 90))
        mass = ((x, y, x, y), 0.16, (222, 108, 82))
        return _draw(height, width, 1.3, [rod, mass])

    def close(self) -> None:
        """Nothing is held."""


class Balance:
    """A pole on a cart, pushed left or right with 10 N; reward 1 per frame until it falls.

    The equations of motion of Barto, Sutton and Anderson (1983) without friction. The episode
    terminates at |angle| > 0.25 rad or |position| > 2.4 m, and is truncated after 6 s.
    """

    cart, pole, half, force = 1.0, 0.1, 0.5, 10.0  # [kg], [kg], half the pole's length [m], [N]
    frames = 300

    def __init__(self) -> None:
        self.name = "toy:balance"
        self.obs: Mapping[str, Space] = {
            "position": Space((1,), unit="m"),
            "velocity": Space((1,), unit="m/s"),
            "angle": Space((1,), unit="rad"),
            "rate": Space((1,), unit="rad/s"),
        }
        self.action = Space((2,), low=0.0, high=1.0, discrete=True)
        self.dt = 0.02
        self.repeatable = True
        self._state = (0.0, 0.0, 0.0, 0.0)
        self._frame = 0

    def begin(self, seed: int) -> None:
        """Nearly upright, nearly at rest."""
        x, v, angle, rate = np.random.default_rng(seed).uniform(-0.05, 0.05, 4).tolist()
        self._state = (x, v, angle, rate)
        self._frame = 0

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool]:
        """Semi-implicit Euler in one step of 20 ms; action 0 pushes left, 1 right."""
        x, v, angle, rate = self._state
        push = self.force if action[1] > action[0] else -self.force
        total, sin, cos = self.cart + self.pole, math.sin(angle), math.cos(angle)
        drag = (push + self.pole * self.half * rate**2 * sin) / total
        turn = (_GRAVITY * sin - cos * drag) / (self.half * (4 / 3 - self.pole * cos**2 / total))
        v += self.dt * (drag - self.pole * self.half * turn * cos / total)
        rate += self.dt * turn
        self._state = (x + self.dt * v, v, angle + self.dt * rate, rate)
        self._frame += 1
        fallen = abs(self._state[2]) > 0.25 or abs(self._state[0]) > 2.4
        return 1.0, fallen, self._frame >= self.frames

    def observe(self) -> dict[str, Any]:
        """Position [m], velocity [m/s], angle [rad], rate [rad/s]."""
        return dict(zip(self.obs, self._state, strict=True))

    def picture(self, height: int, width: int) -> np.ndarray:
        """Cart and pole, seen from the front; 3 m to either side."""
        x, _, angle, _ = self._state
        top = (x + 1.6 * math.sin(angle), 1.6 * math.cos(angle) - 0.8)
        ground = ((-3.0, -1.1, 3.0, -1.1), 0.04, (70, 84, 112))
        cart = ((x - 0.3, -0.8, x + 0.3, -0.8), 0.2, (130, 152, 196))
        pole = ((x, -0.8, *top), 0.09, (205, 164, 90))
        return _draw(height, width, 3.0, [ground, cart, pole])

    def close(self) -> None:
        """Nothing is held."""


_Capsule = tuple[tuple[float, float, float, float], float, tuple[int, int, int]]


def _draw(height: int, width: int, reach: float, capsules: list[_Capsule]) -> np.ndarray:
    """Thick line segments (ends, radius, colour) with smooth edges, uint8 `[height, width, 3]`.

    The world from -reach to reach fills the shorter side.
    """
    pixel = 2 * reach / min(height, width)
    x = ((np.arange(width) + 0.5) - width / 2) * pixel
    y = (height / 2 - (np.arange(height)[:, None] + 0.5)) * pixel
    image = np.full((height, width, 3), (24.0, 28.0, 38.0))
    for (x0, y0, x1, y1), radius, colour in capsules:
        dx, dy = x1 - x0, y1 - y0
        square = dx * dx + dy * dy
        along = ((x - x0) * dx + (y - y0) * dy) / square if square else np.zeros((height, width))
        along = along.clip(0, 1)
        distance = np.hypot(x - x0 - along * dx, y - y0 - along * dy)
        cover = ((radius - distance) / pixel + 0.5).clip(0, 1)[..., None]
        image += cover * (np.array(colour, np.float64) - image)
    return image.round().astype(np.uint8)


TASKS: dict[str, type[Simulator]] = {
    "pendulum": Pendulum,
    "balance": Balance,
    "room": Room,
    "tabletop": Tabletop,
}
"""By the name after "toy:"."""
