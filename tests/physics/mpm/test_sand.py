"""Sand against slopes and columns that were measured: when it flows, how fast and how far.

Columns are quarters between smooth walls; slopes are slices one cell wide, with gravity that leans.
"""

import math

import pytest
import torch
from torch import Tensor

from reverie.physics.mpm import MPM, Kind, MPMParams
from reverie.physics.mpm.material import at_rest, friction_limit
from reverie.physics.tools import Shape, Tools
from tests.physics.mpm.worlds import block, params

HALF = math.sqrt(0.5)
FLOOR = [1.0, 0.0, 0.0, 0.0]
AWAY = {"x": [HALF, 0.0, HALF, 0.0], "y": [HALF, -HALF, 0.0, 0.0], "-y": [HALF, HALF, 0.0, 0.0]}
"""Turns of planes whose normals point along these axes."""
ANGLE = math.radians(30)


def walled(walls: dict[str, float], friction: float) -> tuple[list[Shape], Tools]:
    """A floor z = 0 with friction and smooth walls, at these places along y."""
    count = 1 + len(walls)
    place = torch.zeros(1, count, 3)
    place[0, 1:, 1] = torch.tensor(list(walls.values()))
    turn = torch.tensor([[FLOOR, *(AWAY[wall] for wall in walls)]])
    still, rough = torch.zeros(1, count, 3), torch.zeros(1, count)
    rough[0, 0] = friction
    return [Shape.PLANE] * count, Tools(place, turn, still, still, still, rough)


def sand(x: Tensor, spacing: float, height: float) -> MPMParams:
    """Of grains at x, as stiff as 70 times the weight of a column of this height."""
    made = params(1, x.shape[1], young=70 * 1500 * 9.81 * height, density=1500, volume=spacing**3)
    made = made._replace(limit=friction_limit(torch.full_like(made.limit, ANGLE)))
    return MPMParams(*(value.float() for value in made))


def solver_of(made: MPMParams, shapes: list[Shape], dx: float) -> MPM:
    kind = torch.full((made.mass.shape[1],), int(Kind.SAND))
    dt = 0.8 * MPM(kind, dx=dx, dt=1.0).stable_dt(made)
    return MPM(kind, shapes, dx=dx, dt=dt, softness=1e-3 * dx, backend="warp")


def run_out(tall: float, cells: int) -> float:
    """(R - r) / r of a column of radius r, `tall` r high, in so many cells to the radius."""
    radius = 0.1
    dx = radius / cells
    x = block((2 * cells, 2 * cells, round(2 * cells * tall)), dx / 2, dtype=torch.float32)
    x = x[:, x[0, :, :2].norm(dim=1) < radius]
    made = sand(x, dx / 2, tall * radius)
    shapes, tools = walled({"x": 0.0, "y": 0.0}, math.tan(ANGLE))
    solver = solver_of(made, shapes, dx)
    steps = round(4 * math.sqrt(tall * radius / 9.81) / solver.dt)
    state, _, _ = solver(at_rest(x, solver.kind), made, tools, steps)
    assert float(state.velocity.norm(dim=-1).mean()) < 0.01  # it came to rest
    across = state.position[0, :, :2]
    sector = (torch.atan2(across[:, 1], across[:, 0]) * (16 / math.pi)).long().clamp(0, 7)
    ends = [float(across[sector == k].norm(dim=1).max()) for k in range(8)]
    return sum(ends) / 8 / radius - 1


def speeds(tilt: float) -> tuple[float, float, float]:
    """The mean speed down a slope [m/s] amid a layer 8 cells deep, early and late, and between them
    the acceleration [m/s^2]."""
    dx, length, depth = 0.01, 80, 8
    x = block((2 * length, 2, 2 * depth), dx / 2, dtype=torch.float32)
    made = sand(x, dx / 2, depth * dx)
    lean = torch.tensor([[math.sin(tilt), 0.0, -math.cos(tilt)]])
    made = made._replace(gravity=9.81 * lean)
    shapes, tools = walled({"y": 0.0, "-y": dx}, 1.0)
    solver = solver_of(made, shapes, dx)
    amid = (x[0, :, 0] - length * dx / 2).abs() < length * dx / 8
    begin, rest = round(0.1 / solver.dt), round(0.15 / solver.dt)
    state, tools, _ = solver(at_rest(x, solver.kind), made, tools, begin)
    early = float(state.velocity[0, amid, 0].mean())
    state, _, _ = solver(state, made, tools, rest)
    late = float(state.velocity[0, amid, 0].mean())
    return early, late, (late - early) / (rest * solver.dt)


def test_a_slope_holds_below_the_friction_angle() -> None:
    """What begins to move while it takes up its weight stops."""
    _, late, _ = speeds(ANGLE - math.radians(3))
    assert abs(late) < 0.05
    assert 9.81 * math.sin(ANGLE - math.radians(3)) * 0.25 > 1  # the speed without friction


@pytest.mark.parametrize("above", [3, 6])
def test_a_slope_flows_above_it_as_coulomb_says(above: int) -> None:
    """g (sin t - tan f cos t)."""
    tilt = ANGLE + math.radians(above)
    _, _, gained = speeds(tilt)
    expected = 9.81 * (math.sin(tilt) - math.tan(ANGLE) * math.cos(tilt))
    assert gained == pytest.approx(expected, rel=0.25)


def test_a_coarse_column_runs_out_most_of_the_way() -> None:
    """1.24 of its radius, where it is as high as wide (Lube et al. 2004)."""
    assert 0.75 * 1.24 < run_out(1.0, 10) < 1.24


@pytest.mark.slow
@pytest.mark.parametrize(("tall", "cells"), [(1.0, 16), (3.0, 10)])
def test_a_column_runs_out_as_far_as_was_measured(tall: float, cells: int) -> None:
    """1.24 a below a = 1.7, and 1.6 sqrt(a) above (Lube et al. 2004)."""
    measured = 1.24 * tall if tall < 1.7 else 1.6 * math.sqrt(tall)
    assert run_out(tall, cells) == pytest.approx(measured, rel=0.15)
