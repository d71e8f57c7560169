"""The equations of smoothed particles, against closed forms, quadrature and finite differences."""

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from reverie.physics.sph import SPHParams, SPHState
from reverie.physics.sph import reference as ref
from reverie.physics.sph.neighbours import Pairs, pairs
from reverie.physics.tools import Shape, Tools
from tests.physics.sph.worlds import EVERY, block, mixed, no_tools, params, planes

H = 0.15
LAW = ref.Law(H, 1e-4, 0.1, 0.1, (0.0, 0.0, 0.0))


def kernel(r: Tensor) -> Tensor:
    """Wendland's C2 kernel in space."""
    q = (r / (2 * H)).clamp_max(1)
    return 21 / (2 * math.pi * (2 * H) ** 3) * (1 - q) ** 4 * (1 + 4 * q)


def test_the_kernel_weighs_one_and_slopes_as_its_derivative() -> None:
    r = torch.linspace(1e-6, 2 * H, 20001, dtype=torch.float64, requires_grad=True)
    w = kernel(r)
    whole = torch.trapezoid(4 * math.pi * r * r * w, r)
    assert whole.item() == pytest.approx(1.0, abs=1e-7)
    (down,) = torch.autograd.grad(w.sum(), r)
    torch.testing.assert_close(ref.slope(r, H), down / r, rtol=1e-8, atol=1e-8)


def test_planes_cut_the_kernel_as_quadrature_says() -> None:
    """b = 2 pi int_phi^H W r dr; gamma = int_phi^H b; behind the plane, the rest of 1."""
    for phi in (0.0, 0.05, 0.12, 0.29):
        r = torch.linspace(phi, 2 * H, 40001, dtype=torch.float64)
        at = torch.tensor(phi, dtype=torch.float64)
        gone, surface = ref.cut(at, H)
        exact = torch.trapezoid(2 * math.pi * r * kernel(r), r)
        torch.testing.assert_close(surface, exact, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(gone, torch.trapezoid(ref.cut(r, H)[1], r), rtol=1e-6, atol=1e-8)
        behind, same = ref.cut(-at, H)
        assert phi == 0 or behind.item() == pytest.approx(1 - gone.item())
        assert surface == same


def hides(solid: Tensor, x: Tensor, cell: float) -> tuple[float, Tensor]:
    """gamma and the integral of -grad W over cells whose middles are `solid`, seen from x."""
    d = x - solid
    r = d.norm(dim=-1, keepdim=True)
    return float(kernel(r).sum() * cell**3), (ref.slope(r, H) * d).sum(0) * cell**3


def test_boxes_and_balls_cut_it_as_sums_over_small_cells_say() -> None:
    """At faces, edges and corners of a box thinner than the kernel's reach, and around a ball."""
    cell = 0.0125
    axis = (torch.arange(64, dtype=torch.float64) - 31.5) * cell
    grid = torch.cartesian_prod(axis, axis, axis)
    half = torch.tensor([0.1, 0.4, 0.25], dtype=torch.float64)
    box = grid[(grid.abs() < half).all(-1)]
    for place in ([0.2, 0.0, 0.0], [0.15, 0.0, 0.3], [0.18, 0.45, 0.31], [-0.13, 0.0, 0.0]):
        x = torch.tensor(place, dtype=torch.float64)
        gone, vector = ref.cut_by_box(x, half, H)
        share, push = hides(box, x, cell)
        assert gone.item() == pytest.approx(share, abs=0.02)
        assert (vector + push).norm() < 0.12 * push.norm()
    radius = 0.35
    ball = grid[grid.norm(dim=-1) < radius]
    for phi in (0.02, 0.1, 0.2):
        x = torch.tensor([0.0, 0.0, radius + phi], dtype=torch.float64)
        gone, surface = ref.cut_by_ball(*torch.tensor([phi, radius], dtype=torch.float64), H)
        share, push = hides(ball, x, cell)
        assert gone.item() == pytest.approx(share, abs=0.02)
        assert surface.item() == pytest.approx(float(-push[2]), rel=0.1)


def corner(spacing: float) -> tuple[Tensor, Tensor, list[ref.Wall], Pairs]:
    """Particles that fill a corner of three planes; those whose kernel is whole but for them."""
    x = block((12, 12, 12), spacing)
    tools = planes({"+x": 0.0, "+y": 0.0, "+z": 0.0}, friction=1.0)
    walls = [ref.meet(x, tools, k, Shape.PLANE, LAW) for k in range(3)]
    inside = (x[0] < 12 * spacing - 2 * H).all(-1)
    return x, inside, walls, pairs(x, 2 * H)


def test_densities_follow_a_linear_flow_up_to_walls_and_corners() -> None:
    """u = (a x, b y, c z) slips along all three planes, and drho = -rho (a + b + c)."""
    spacing = 0.06
    x, inside, walls, near = corner(spacing)
    made = params(x.shape[1], spacing, gravity=(0.0, 0.0, 0.0))
    state = SPHState(x, torch.zeros_like(x), torch.full_like(x[..., 0], 1000.0))
    speed = x * torch.tensor([1.0, 0.5, -2.5], dtype=x.dtype)
    for stretch in (0.0, 1.0):
        after = ref.compress(state, speed + stretch * x, made, near, walls, LAW)
        rate = (1 - after / 1000) / LAW.dt
        torch.testing.assert_close(
            rate[0, inside], torch.full_like(rate[0, inside], -1.0 + 3 * stretch), atol=0.15, rtol=0
        )


def test_water_at_rest_stays_at_rest_beside_walls() -> None:
    """Pressure rho g depth balances gravity at a floor, a wall and in their corner."""
    spacing = 0.06
    x, inside, walls, near = corner(spacing)
    made = params(x.shape[1], spacing, sound=100.0)
    state = SPHState(x, torch.zeros_like(x), 1000 + 9810 * (0.72 - x[..., 2]) / 100.0**2)
    after, _ = ref.push(state, made, near, walls, LAW)
    pull = (after[0] / LAW.dt)[inside]
    most = 2 * 9.81 * 0.72 * ref.cut(torch.tensor(0.03, dtype=x.dtype), H)[1]
    assert pull.abs().max() < 0.04 * most  # of what a wall pushes the first layer with
    far = (x[0, inside] > 2 * H).all(-1)
    assert far.any() and pull[far].abs().max() < 0.01 * 9.81


def test_viscosity_bends_a_parabola_up_to_a_wall_that_holds_it() -> None:
    """v = z (1 - z) ex over a floor: dv / dt = -2 nu, whatever the distance."""
    spacing, nu = 0.06, 0.3
    x = block((12, 12, 12), spacing)
    walls = [ref.meet(x, planes({"+z": 0.0}, 1.0), 0, Shape.PLANE, LAW)]
    law = LAW._replace(alpha=0.0, dt=1e-6)
    made = params(x.shape[1], spacing, nu=nu, gravity=(0.0, 0.0, 0.0))
    v = torch.zeros_like(x)
    v[..., 0] = x[..., 2] * (1 - x[..., 2])
    state = SPHState(x, v, torch.full_like(x[..., 0], 1000.0))
    after, _ = ref.push(state, made, pairs(x, 2 * H), walls, law)
    deep = (x[0, :, 2] < 0.4) & ((x[0, :, :2] - 0.36).abs() < 0.05).all(-1)
    rate = (after - v)[0, deep, 0] / law.dt
    torch.testing.assert_close(rate, torch.full_like(rate, -2 * nu), rtol=0.16, atol=0)
    assert rate.mean().item() == pytest.approx(-2 * nu, rel=0.03)


def test_particles_keep_their_momentum_and_tools_get_what_they_lose() -> None:
    state, made, tools = mixed()
    made = made._replace(gravity=torch.zeros_like(made.gravity))
    law = ref.Law(0.06, 1e-4, 0.1, 0.1, (0.0, 0.0, 0.0))
    mass = made.mass[..., None]
    before = (mass * state.velocity).sum(1)
    free, _, _ = ref.substep(state, made, no_tools(2), (), law)
    assert (free.velocity - state.velocity).abs().max() > 5e-3
    torch.testing.assert_close((mass * free.velocity).sum(1), before, rtol=1e-10, atol=1e-12)
    met, _, impulse = ref.substep(state, made, tools, EVERY, law)
    lost = before - (mass * met.velocity).sum(1)
    assert impulse.abs().amax((0, 2)).min() > 0
    torch.testing.assert_close(impulse[..., :3].sum(1), lost, rtol=1e-10, atol=1e-12)


def test_walls_never_pull() -> None:
    """A drop in tension below a ceiling is not held."""
    x = torch.zeros(1, 1, 3, dtype=torch.float64) - 0.05
    made = params(1, 0.06)
    state = SPHState(x, torch.zeros_like(x), torch.full((1, 1), 990.0, dtype=torch.float64))
    wall = ref.meet(x, planes({"-z": 0.0}), 0, Shape.PLANE, LAW)
    after, impulse = ref.push(state, made, pairs(x, 2 * H), [wall], LAW)
    torch.testing.assert_close(after[0, 0, 2], torch.tensor(-9.81 * LAW.dt, dtype=x.dtype))
    assert (impulse == 0).all()


def test_gradients_are_those_of_finite_differences() -> None:
    """Of state, tools and the liquid."""
    state, made, tools = mixed(count=8)
    law = ref.Law(0.06, 1e-3, 0.1, 0.1, (0.0, 0.0, 0.0))
    sizes = [x.abs().max() for x in (*state, *made, *tools)]

    def scaled(*leaves: Tensor) -> tuple[Tensor, ...]:
        """All in units of their own size, so that one step fits all."""
        real = [x * size for x, size in zip(leaves, sizes, strict=True)]
        after, moved, impulse = ref.substep(
            SPHState(*real[:3]), SPHParams(*real[3:9]), Tools(*real[9:]), EVERY, law
        )
        return after.position, after.velocity, after.density / 1000, moved.turn, impulse * 100

    leaves = [
        (x / size).requires_grad_() for x, size in zip((*state, *made, *tools), sizes, strict=True)
    ]
    assert gradcheck(scaled, leaves, eps=1e-7, atol=1e-4, rtol=1e-4, fast_mode=True)
