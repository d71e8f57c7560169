"""Matter against the mechanics of continua: settlement, waves, hydrostatics."""

import math

import pytest
import torch

from reverie.physics.mpm import MPM, Kind
from reverie.physics.mpm.material import at_rest, lame
from reverie.physics.tools import Shape, Tools
from tests.physics.mpm.worlds import block, no_tools, params

SIDES = {"x": (0.0, 1.0, 0.0), "-x": (0.0, -1.0, 0.0), "y": (-1.0, 0.0, 0.0), "-y": (1.0, 0.0, 0.0)}


def tank(width: float, dtype: torch.dtype) -> tuple[list[Shape], Tools]:
    """A floor z = 0 and four smooth walls around 0 .. width."""
    half = math.sqrt(0.5)
    place = [
        [0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0],
        [width, 0.0, 0.0],
        [0.0, 0.0, 0.0],
        [0.0, width, 0.0],
    ]
    turn = [[1.0, 0.0, 0.0, 0.0]]
    turn += [[half, x * half, y * half, z * half] for x, y, z in SIDES.values()]
    zero = torch.zeros(1, 5, 3, dtype=dtype)
    where = torch.tensor([place], dtype=dtype)
    about = torch.tensor([turn], dtype=dtype)
    return [Shape.PLANE] * 5, Tools(where, about, zero, zero, zero, zero[..., 0])


def test_a_confined_column_settles_by_its_weight() -> None:
    """u(z) = -rho g (H z - z^2 / 2) / (lam + 2 mu), as the mean over whole periods."""
    spacing, count, young, poisson = 0.02, 25, 2e5, 0.2
    x = block((4, 4, count), spacing)
    kind = torch.full((16 * count,), int(Kind.COROTATED))
    made = params(1, 16 * count, young=young, poisson=poisson, volume=spacing**3)
    shapes, tools = tank(4 * spacing, torch.float64)
    solver = MPM(kind, shapes, dx=0.04, dt=4e-4, softness=1e-4, backend="warp")
    mu, lam = (float(v) for v in lame(torch.tensor(young), torch.tensor(poisson)))
    stiff, height = lam + 2 * mu, spacing * count
    period = 4 * height / math.sqrt(stiff / 1000)
    steps = round(period / 4e-4 / 10)
    state, total = at_rest(x, kind), torch.zeros_like(x)
    for _ in range(40):  # four periods, in tenths
        state, _, _ = solver(state, made, tools, steps)
        total += state.position - x
    sunk = (total / 40)[0, :, 2].reshape(16, count).mean(0)
    z = x[0, :count, 2]
    exact = -1000 * 9.81 * (height * z - z.square() / 2) / stiff
    found, expected = sunk[-1] - sunk[4], exact[-1] - exact[4]
    assert found.item() == pytest.approx(expected.item(), rel=0.04)


@pytest.mark.parametrize("kind", [Kind.NEO_HOOKEAN, Kind.COROTATED])
def test_the_speed_of_sound_in_a_thin_bar(kind: Kind) -> None:
    """The first longitudinal mode of a free bar has the period 2 L / sqrt(E / rho)."""
    spacing, count, young = 0.02, 40, 1e5
    x = block((4, 4, count), spacing)
    kinds = torch.full((16 * count,), int(kind))
    made = params(1, 16 * count, young=young, volume=spacing**3, gravity=0.0)
    length = spacing * count
    shape = torch.cos(math.pi * x[..., 2:] / length)
    state = at_rest(x, kinds, 0.02 * torch.cat([0 * shape, 0 * shape, shape], -1)[0])
    solver = MPM(kinds, dx=0.04, dt=5e-4, backend="warp")
    swings = []
    for _ in range(220):
        state, _, _ = solver(state, made, no_tools(1), 2)
        swings.append(float((state.velocity[..., 2:] * shape).mean()))
    crossings = [
        k for k in range(1, 220) if swings[k - 1] > 0 >= swings[k] or swings[k - 1] < 0 <= swings[k]
    ]
    first, second = (k - swings[k] / (swings[k] - swings[k - 1]) for k in crossings[:2])
    half_period = (second - first) * 1e-3
    assert half_period == pytest.approx(length / math.sqrt(young / 1000), rel=0.03)


def test_pressure_at_rest_grows_with_depth() -> None:
    """p = rho g h: a pool in a tank, the mean over a while."""
    spacing, count, bulk = 0.02, 16, 2e5
    x = block((6, 6, count), spacing)
    kind = torch.full((36 * count,), int(Kind.LIQUID))
    made = params(1, 36 * count, volume=spacing**3, viscosity=2.0)
    made = made._replace(lam=torch.full_like(made.lam, bulk))
    shapes, tools = tank(6 * spacing, torch.float64)
    solver = MPM(kind, shapes, dx=0.04, dt=5e-4, softness=1e-4, backend="warp")
    state, pressures = at_rest(x, kind), []
    state, _, _ = solver(state, made, tools, 1500)
    for _ in range(20):
        state, _, _ = solver(state, made, tools, 40)
        pressures.append(bulk / 7 * (state.memory[0] ** -7 - 1))
    pressure = torch.stack(pressures).mean(0)
    top = state.position[0, :, 2].max() + spacing / 2
    depth = top - state.position[0, :, 2]
    deep = (depth > 0.1) & (depth < 0.26)
    slope = (pressure[deep] * depth[deep]).sum() / depth[deep].square().sum()
    assert slope.item() == pytest.approx(1000 * 9.81, rel=0.06)
