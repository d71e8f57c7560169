"""Calls of the solver: worlds apart, gradients of rollouts, and what cannot be simulated."""

import math

import pytest
import torch
from torch import Tensor

from reverie.physics.mpm import MPM, Kind, MPMParams, MPMState
from reverie.physics.mpm.material import at_rest
from reverie.physics.tools import Shape, Tools
from tests.physics.mpm.worlds import EVERY, block, floor, mixed, no_tools, params

WORLD = {"dx": 0.05, "dt": 1e-4, "softness": 0.02}


@pytest.fixture(scope="module")
def kernel() -> MPM:
    return MPM(mixed()[0], EVERY, backend="warp", **WORLD)


def test_calls_in_turn_are_one_call_and_worlds_do_not_meet(kernel: MPM) -> None:
    _, state, params_, tools = mixed()
    once, moved, _ = kernel(state, params_, tools, 6)
    half, between, _ = kernel(state, params_, tools, 3)
    twice, ends, _ = kernel(half, params_, between, 3)
    for one, two in zip((*once, *moved), (*twice, *ends), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)
    alone, _, _ = kernel(
        MPMState(*(x[1:] for x in state)),
        MPMParams(*(x[1:] for x in params_)),
        Tools(*(x[1:] for x in tools)),
        6,
    )
    for one, two in zip(alone, once, strict=True):
        torch.testing.assert_close(one, two[1:], rtol=1e-12, atol=1e-14)


def test_a_world_without_tools() -> None:
    x = block((3, 3, 3), 0.02)
    kind = torch.zeros(27, dtype=torch.int64)
    state = at_rest(
        x, kind, torch.randn(27, 3, generator=torch.Generator().manual_seed(0)).double()
    )
    made = params(1, 27)
    ends = [
        MPM(kind, dx=0.04, dt=1e-4, backend=b)(state, made, no_tools(1), 10)
        for b in ("warp", "torch")
    ]
    for one, two in zip(ends[0][0], ends[1][0], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-12)
    assert ends[0][2].shape == (1, 0, 6)


def rollout_gradient(steps: int, height: float) -> tuple[float, float]:
    """d (height of the centre) / d (initial speed down), by kernels and by central differences."""
    x = block((4, 4, 4), 0.02, (0.0, 0.0, height))
    kind = torch.zeros(64, dtype=torch.int64)
    made = params(1, 64, young=5e4)
    solver = MPM(kind, [Shape.PLANE], dx=0.04, dt=2e-4, backend="warp")

    def end(speed: Tensor) -> Tensor:
        zero = torch.zeros(2, dtype=torch.float64)
        state = at_rest(x, kind, torch.cat([zero, -speed[None]]))
        after, _, _ = solver(state, made, floor(1, 0.0, 0.5), steps)
        return after.position[..., 2].mean()

    speed = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(end(speed), speed)
    h = 1e-6
    with torch.no_grad():
        difference = (end(speed + h) - end(speed - h)) / (2 * h)
    return slope.item(), difference.item()


def test_gradient_of_a_rollout_before_contact_is_minus_the_time() -> None:
    slope, difference = rollout_gradient(100, 0.2)
    assert slope == pytest.approx(-100 * 2e-4, rel=1e-9)
    assert difference == pytest.approx(slope, rel=1e-6)


def test_gradient_of_a_rollout_through_contact() -> None:
    slope, difference = rollout_gradient(300, 0.03)
    assert abs(slope + 300 * 2e-4) > 1e-3  # the floor has changed it
    assert slope == pytest.approx(difference, rel=1e-3)


def test_what_cannot_be_simulated_is_refused() -> None:
    kind = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="dt=0"):
        MPM(kind, dx=0.1, dt=0.0)
    with pytest.raises(ValueError, match="kinds"):
        MPM(kind + 9, dx=0.1, dt=1e-4)
    made = params(1, 2)
    solver = MPM(kind, dx=0.05, dt=1e-4)
    solver.check(made)
    with pytest.raises(ValueError, match="mass spans 0"):
        solver.check(made._replace(mass=0 * made.mass))
    with pytest.raises(ValueError, match="mu spans -1"):
        solver.check(made._replace(mu=made.mu * 0 - 1))
    with pytest.raises(ValueError, match="volume spans nan"):
        solver.check(made._replace(volume=made.volume * math.nan))
    stiff = params(1, 2, young=2e8)
    with pytest.raises(ValueError, match="take at most"):
        solver.check(stiff)


def test_the_stable_step_is_stable_and_twice_the_courant_limit_is_not() -> None:
    draws = torch.Generator().manual_seed(3)
    x = block((4, 4, 4), 0.02)
    kind = torch.zeros(64, dtype=torch.int64)
    made = params(1, 64, gravity=0.0, volume=8e-6)
    limit = MPM(kind, dx=0.04, dt=1e-6).stable_dt(made)
    state = at_rest(x, kind, 0.1 * torch.randn(64, 3, generator=draws).double())
    start = 0.5 * (made.mass * state.velocity.square().sum(-1)).sum()

    def energy(dt: float) -> float:
        solver = MPM(kind, dx=0.04, dt=dt, backend="warp")
        try:
            after, _, _ = solver(state, made, no_tools(1), 400)
        except FloatingPointError:
            return math.inf
        return float(0.5 * (made.mass * after.velocity.square().sum(-1)).sum())

    assert energy(limit) < start
    assert not energy(4 * limit) < start


def test_a_control_that_is_not_a_number_is_an_error() -> None:
    kind, state, made, tools = mixed()
    solver = MPM(kind, EVERY, backend="warp", **WORLD)
    broken = tools._replace(linear=tools.linear * math.nan)
    with pytest.raises(FloatingPointError, match="linear holds NaN"):
        solver(state, made, broken, 3)


def test_sand_and_liquids_come_to_rest_as_heap_and_as_pool() -> None:
    """A column falls apart: the liquid's is flatter than the sand's."""
    heights = {}
    for kind, made in (
        (Kind.SAND, params(1, 256, limit=0.5, young=1e5, volume=1e-6, dtype=torch.float32)),
        (Kind.LIQUID, params(1, 256, young=1e5, volume=1e-6, dtype=torch.float32)),
    ):
        x = block((4, 4, 16), 0.01, (0.0, 0.0, 0.0), dtype=torch.float32)
        kinds = torch.full((256,), int(kind))
        solver = MPM(kinds, [Shape.PLANE], dx=0.02, dt=2e-4, backend="warp")
        tools = floor(1, 0.0, 0.6, dtype=torch.float32)
        after, _, _ = solver(at_rest(x, kinds), made, tools, 2500)
        heights[kind] = after.position[..., 2].mean().item()
        assert after.position[..., 2].min() > -0.01
    assert 0 < heights[Kind.LIQUID] < 0.7 * heights[Kind.SAND] < 0.7 * 0.08


def test_in_float32_a_particle_on_the_border_of_a_cell_has_a_gradient() -> None:
    """Two of its weights are 1e-14: the squares of masses of such nodes are zero in float32."""
    kinds = torch.zeros(1, dtype=torch.int64)
    x = torch.tensor([[[0.06 - 1e-8, 0.06 - 1e-8, 0.045]]], dtype=torch.float64)
    slopes = []
    for dtype in (torch.float32, torch.float64):
        made = params(1, 1, dtype=dtype)
        start = at_rest(x.to(dtype), kinds)
        leaves = [y.clone().requires_grad_() for y in (start.position, made.mass)]
        solver = MPM(kinds, [Shape.PLANE], dx=0.04, dt=1e-3, backend="warp")
        state, given = start._replace(position=leaves[0]), made._replace(mass=leaves[1])
        after, _, force = solver(state, given, floor(1, 0.03, 0.5, dtype), 3)
        total = after.position.sum() + after.velocity.sum() + force.sum()
        slopes.append(torch.autograd.grad(total, leaves))
    for one, two in zip(*slopes, strict=True):
        torch.testing.assert_close(one.double(), two, rtol=1e-3, atol=1e-3)


def test_a_body_that_spins_for_long_keeps_its_spin_in_float32() -> None:
    """b stays symmetric, so that rounding makes no torque: without that a share of 2e-3 is lost."""
    x = block((5, 5, 5), 0.02, (-0.04, -0.04, -0.04), dtype=torch.float32)
    kind = torch.zeros(125, dtype=torch.int64)
    made = params(1, 125, gravity=0.0, young=5e4, volume=8e-6, dtype=torch.float32)
    spin = torch.linalg.cross(torch.tensor([1.0, 0.5, 2.0]).expand_as(x), x)
    state, mass = at_rest(x, kind)._replace(velocity=spin), made.mass[..., None]

    def momentum(s: MPMState) -> Tensor:
        c = s.affine * (0.04**2 / 4)
        own = torch.stack(
            [c[..., 2, 1] - c[..., 1, 2], c[..., 0, 2] - c[..., 2, 0], c[..., 1, 0] - c[..., 0, 1]],
            -1,
        )
        return (mass * (torch.linalg.cross(s.position, s.velocity) + own)).sum(1)[0]

    solver = MPM(kind, dx=0.04, dt=1e-3, backend="warp")
    after, _, _ = solver(state, made, no_tools(1, dtype=torch.float32), 6000)
    assert (momentum(after) - momentum(state)).norm() < 3e-4 * momentum(state).norm()
    assert (after.strain - after.strain.mT).abs().max() < 1e-6
