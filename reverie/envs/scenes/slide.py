"""A box that slides on the floor with Coulomb friction, in closed form.

    v' = F / m - mu g sign(v),    and a box at rest stays there while |F| <= mu m g.

Left alone it stops after v^2 / (2 mu g). At a side wall its speed becomes -e times itself. A box
that gravity does not press to the floor, because its sign was reversed, flies without friction.
"""

from __future__ import annotations

import math

import numpy as np

from reverie.envs.scenes.flight import time_to_contact
from reverie.envs.scenes.layout import DT, ROOM, Array, Constants

_EVENTS = 100
_TINY = 1e-12


def slide(constants: Constants, state: Array, force: Array, solid: bool = True) -> Array:
    """The box `[1, 4]` a frame later; `force` `[1]` pushes it along the floor."""
    x, y, vx, vy = state[0].tolist()
    (half, tall), mass = constants.halves[0].tolist(), float(constants.masses[0])
    down = max(constants.gravity, 0.0) if y <= tall + 1e-6 else 0.0
    drive, drag = float(force[0]) / mass, constants.friction * down
    left = DT
    for _ in range(_EVENTS):
        way = math.copysign(1.0, vx) if abs(vx) > _TINY else math.copysign(1.0, drive)
        if abs(vx) <= _TINY and abs(drive) <= drag:
            vx = 0.0
            break
        a = drive - drag * way  # along x
        stop = -vx / a if vx * a < 0 else math.inf
        gap = (ROOM - half - x) if way > 0 else x - half
        wall = time_to_contact(gap, way * vx, way * a) if solid else math.inf
        time = min(stop, wall, left)
        x += vx * time + a * time**2 / 2
        vx += a * time
        left -= time
        if left <= _TINY:
            break
        if wall <= stop:
            vx *= -constants.restitution
            if abs(vx) <= 1e-3:  # [m/s]: pushed against the wall, it stays there
                vx = 0.0
                break
        else:
            vx = 0.0
    y, vy = _fall(constants.gravity, y, vy, tall, down)
    return np.array([[x, y, vx, vy]])


def _fall(gravity: float, y: float, vy: float, tall: float, down: float) -> tuple[float, float]:
    """Height and its speed a frame later; what lands, on the floor or the ceiling, stays."""
    if down > 0:
        return tall, 0.0
    y, vy = y + vy * DT - gravity * DT**2 / 2, vy - gravity * DT
    if not tall < y < ROOM - tall:
        return min(max(y, tall), ROOM - tall), 0.0
    return y, vy
