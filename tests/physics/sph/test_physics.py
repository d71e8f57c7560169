"""Liquids against closed forms: vortices, channels, pools, buoyancy, a dam."""

import math

import pytest
import torch

from reverie.physics.sph import SPH
from reverie.physics.sph.material import at_rest, density_at, pressure
from reverie.physics.tools import Shape, Tools
from tests.physics.sph.worlds import block, params, planes


def flat(count: int, spacing: float, sound: float, **law: float) -> SPH:
    """A solver for slabs one particle thick: periodic along y, with `count` planes."""
    return SPH(
        [Shape.PLANE] * count,
        h=1.5 * spacing,
        dt=0.6 * spacing / sound,
        period=(law.pop("length", 0.0), spacing, 0.0),
        backend="warp",
        **law,
    )


def test_a_vortex_decays_by_viscosity() -> None:
    """Taylor and Green: the energy falls as exp(-4 nu k^2 t); Reynolds' number 10."""
    n, k, nu, sound = 24, math.pi, 0.1, 10.0
    x = block((n, 1, n), 1 / n)
    made = params(n * n, 1 / n, sound=sound, nu=nu, background=500.0, gravity=(0.0, 0.0, 0.0))
    a, c = k * x[..., 0], k * x[..., 2]
    speed = torch.stack([a.sin() * c.cos(), 0 * a, -a.cos() * c.sin()], -1)
    state = at_rest(x, made, speed)
    pressed = 500 + 250 * ((2 * a).cos() + (2 * c).cos())
    state = state._replace(density=density_at(pressed, made))
    solver = flat(4, 1 / n, sound, alpha=0.0)
    solver.check(made)
    steps = round(0.25 / solver.dt)
    walls = planes({"+x": 0.0, "-x": 1.0, "+z": 0.0, "-z": 1.0})
    after, _, _ = solver(state, made, walls, steps)
    left = float(after.velocity.square().sum() / speed.square().sum())
    rate = -math.log(left) / (steps * solver.dt)
    assert rate == pytest.approx(4 * nu * k * k, rel=0.05)


def test_flow_between_plates_is_a_parabola() -> None:
    """Poiseuille: v = G z (h - z) / (2 nu)."""
    n, gap, nu = 10, 0.1, 5e-3
    a, push = gap / n, 8 * nu * 0.2 / gap**2
    x = block((4, 1, n), a)
    made = params(4 * n, a, sound=3.0, nu=nu, gravity=(push, 0.0, 0.0))
    solver = flat(2, a, 3.0, length=4 * a, alpha=0.0)
    solver.check(made)
    plates = planes({"+z": 0.0, "-z": gap}, friction=0.5)
    steps = round(1.2 * gap**2 / nu / solver.dt)
    after, _, _ = solver(at_rest(x, made), made, plates, steps)
    after, _, force = solver(after, made, plates, 20)
    z = after.position[0, :, 2]
    exact = push * z * (gap - z) / (2 * nu)
    torch.testing.assert_close(after.velocity[0, :, 0], exact, rtol=0, atol=0.03 * 0.2)
    drag = float(made.mass.sum() * push)
    assert force[0, :, 0].sum().item() == pytest.approx(drag, rel=0.02)


def test_a_pool_bears_its_weight() -> None:
    """Mean over periods of its ringing: density within 1 %, pressure within 5 % of rho g depth."""
    a, sound, high = 0.02, 10.0, 12
    x = block((6, 1, high), a)
    made = params(6 * high, a, sound=sound, nu=1e-2)
    solver = flat(3, a, sound)
    tank = planes({"+x": 0.0, "-x": 6 * a, "+z": 0.0})
    state = at_rest(x, made, surface=high * a)
    state, _, _ = solver(state, made, tank, 600)
    seen = []
    for _ in range(20):
        state, _, force = solver(state, made, tank, 8)
        pressed = pressure(state.density, made)[0]
        seen.append(torch.cat([pressed, state.position[0, :, 2], force[0, 2, 2:3]]))
    mean = torch.stack(seen).mean(0)
    pressed, z, weight = mean[: 6 * high], mean[6 * high : -1], mean[-1]
    depth = high * a - z
    assert (pressed - 9810 * depth).abs().max() < 0.05 * 9810 * high * a
    exact = density_at(9810 * (high * a - state.position[..., 2]), made)
    assert (state.density / exact - 1).abs().max() < 0.01
    whole = float(made.mass.sum()) * 9.81
    assert -weight.item() == pytest.approx(whole, rel=0.02)
    assert state.velocity.abs().max() < 0.05 * math.sqrt(9.81 * high * a)


def submerged(shape: Shape) -> tuple[float, float]:
    """Mean lift of a ball or a cube under water, and rho g of the room that water leaves to it."""
    a, sound, size = 0.04, 10.0, 10 if shape == Shape.SPHERE else 12
    x = block((size, size, size), a)
    middle = torch.full((3,), size * a / 2, dtype=x.dtype)
    radius = 3 * a
    away = (x[0] - middle).norm(dim=-1) if shape == Shape.SPHERE else (x[0] - middle).abs().amax(-1)
    x = x[:, away > radius]
    taken = (size**3 - x.shape[1]) * a**3
    walls = planes({"+z": 0.0})
    place = torch.cat([walls.place, middle.expand(1, 1, 3)], 1)
    turn = walls.turn[:, :1].repeat(1, 2, 1)
    still = torch.zeros_like(place)
    wide = radius if shape == Shape.BOX else (0.75 * taken / math.pi) ** (1 / 3)
    extent = torch.full_like(place, wide)
    tools = Tools(place, turn, still, still, extent, still[..., 0])
    made = params(x.shape[1], a, sound=sound, nu=2e-2)
    solver = SPH([Shape.PLANE, shape], h=1.5 * a, dt=0.6 * a / sound,
                 period=(size * a, size * a, 0.0), backend="warp")  # fmt: skip
    state = at_rest(x, made, surface=size * a)
    state, _, _ = solver(state, made, tools, 250)
    _, _, force = solver(state, made, tools, 270)  # four periods of its ringing
    return float(force[0, 1, 2]), 9810 * taken


def test_what_is_under_water_is_lifted_by_the_weight_of_the_water() -> None:
    for shape in (Shape.SPHERE, Shape.BOX):
        lift, expected = submerged(shape)
        assert lift == pytest.approx(expected, rel=0.05), shape


def test_momentum_and_mass_stay_in_a_splash() -> None:
    """Two drops that meet in free space: momentum to 1e-6 in single precision."""
    a = 0.05
    one = block((5, 5, 5), a).float()
    x = torch.cat([one, one + torch.tensor([0.3, 0.05, 0.0])], 1)
    made = params(250, a, gravity=(0.0, 0.0, 0.0))
    made = type(made)(*(y.float() for y in made))
    speed = torch.zeros_like(x)
    speed[:, :125, 0], speed[:, 125:, 0] = 0.6, -0.2
    state = at_rest(x, made, speed)
    solver = SPH(h=1.5 * a, dt=0.003, backend="warp")
    none = planes({})
    after, _, _ = solver(state, made, Tools(*(y.float() for y in none)), 150)
    momentum = (made.mass[..., None] * after.velocity).double().sum(1)
    before = (made.mass[..., None] * speed).double().sum(1)
    assert (after.velocity - speed).abs().max() > 0.1
    size = float((made.mass[..., None] * speed).abs().sum())
    assert (momentum - before).abs().max() < 1e-6 * size


@pytest.mark.slow
def test_a_dam_breaks_as_measured() -> None:
    """Martin and Moyce (1952): a column of width a and height 2 a, T = t sqrt(2 g / a).

    Slipping, and without the gate of the experiment, the front runs ahead, and never faster than
    Ritter's 2 sqrt(g 2 a).
    """
    n, a = 16, 0.05715
    spacing, sound = a / n, 10 * math.sqrt(2 * 9.81 * 2 * a)
    x = block((n, 1, 2 * n), spacing)
    made = params(x.shape[1], spacing, sound=sound, nu=1e-6)
    solver = flat(2, spacing, sound)
    walls, state, done = planes({"+x": 0.0, "+z": 0.0}), at_rest(x, made), 0
    for t, front in ((1.997, 2.292), (2.547, 2.995), (3.345, 4.134)):
        steps = round(t * math.sqrt(a / (2 * 9.81)) / solver.dt)
        state, _, _ = solver(state, made, walls, steps - done)
        done = steps
        reach = float(state.position[..., 0].max() + spacing / 2) / a
        assert 0.95 * front < reach < 1.15 * front
        assert reach < 1 + 2 * t
