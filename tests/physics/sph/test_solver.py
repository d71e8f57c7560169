"""The solver: what it refuses, and that its parts agree."""

import pytest
import torch

from reverie.physics.sph import SPH
from reverie.physics.sph.material import at_rest
from reverie.physics.tools import Shape
from tests.physics.sph.worlds import block, no_tools, params, planes


def test_what_cannot_be_simulated_is_refused_with_the_limit() -> None:
    with pytest.raises(ValueError, match="both must be positive"):
        SPH(h=0.0, dt=1e-3)
    with pytest.raises(ValueError, match="none may be negative"):
        SPH(h=0.1, dt=1e-3, delta=-1.0)
    made = params(4, 0.1)
    with pytest.raises(ValueError, match=r"at most 0.006 s is stable"):
        SPH(h=0.15, dt=0.01, alpha=0.0).check(made)
    SPH(h=0.15, dt=0.006, alpha=0.0).check(made)
    thick = params(4, 0.1, nu=1.0)
    assert SPH(h=0.15, dt=1e-3, alpha=0.0).stable_dt(thick) == pytest.approx(0.15**2 / 8)
    with pytest.raises(ValueError, match="mass spans"):
        SPH(h=0.15, dt=1e-3).check(made._replace(mass=-made.mass))
    with pytest.raises(ValueError, match=r"0.15 m is usual"):
        SPH(h=0.05, dt=1e-3).check(made)


def test_what_is_not_finite_is_named() -> None:
    x = block((2, 2, 2), 0.1)
    made, floor = params(8, 0.1), planes({"+z": 0.0})
    for backend in ("warp", "torch"):
        solver = SPH([Shape.PLANE], h=0.15, dt=1e-3, backend=backend)
        with pytest.raises(FloatingPointError, match="Tools place"):
            solver(at_rest(x, made), made, floor._replace(place=floor.place / 0))
        with pytest.raises(FloatingPointError, match="not finite"):
            solver(at_rest(x / 0, made), made, floor)


def test_a_lone_drop_falls_as_a_stone() -> None:
    """z_n = z_0 - g dt^2 n (n + 1) / 2."""
    x = torch.ones(1, 1, 3, dtype=torch.float64)
    solver = SPH(h=0.15, dt=1e-3)
    made = params(1, 0.1)
    after, _, _ = solver(at_rest(x, made), made, no_tools(1), 50)
    fallen = 9.81 * 1e-6 * 50 * 51 / 2
    torch.testing.assert_close(after.position[0, 0, 2].item(), 1 - fallen, rtol=0, atol=1e-12)
    assert after.density.item() == 1000.0


def test_the_largest_stable_step_is_stable_and_a_larger_one_is_not() -> None:
    """A pool at rest on a floor, between walls of water: periodic along x and y."""
    spacing = 0.05
    x = block((4, 4, 8), spacing)
    made = params(x.shape[1], spacing, nu=1e-3)
    floor = planes({"+z": 0.0})
    speeds = []
    for times in (1.0, 5.0):
        one = SPH([Shape.PLANE], h=0.075, dt=1.0).stable_dt(made)
        solver = SPH([Shape.PLANE], h=0.075, dt=times * one, period=(0.2, 0.2, 0.0))
        state = at_rest(x, made, surface=8 * spacing)
        try:
            state, _, _ = solver(state, made, floor, 150)
            speeds.append(float(state.velocity.abs().max()))
        except FloatingPointError:
            speeds.append(float("inf"))
    assert speeds[0] < 0.2 and not speeds[1] < 2.0


def test_worlds_of_a_batch_do_not_meet() -> None:
    x = block((3, 3, 3), 0.05)
    made, floor = params(27, 0.05, batch=2), planes({"+z": 0.0})
    both = type(floor)(*(torch.cat([y, y]) for y in floor))
    both.place[1, 0, 2] = -0.5
    solver = SPH([Shape.PLANE], h=0.075, dt=1e-3)
    start = at_rest(x.repeat(2, 1, 1), made)
    after, _, force = solver(start, made, both, 40)
    one = params(27, 0.05)
    alone, _, push = solver(at_rest(x, one), one, floor, 40)
    torch.testing.assert_close(after.position[:1], alone.position, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(force[:1], push, rtol=1e-9, atol=1e-9)
    assert force[0, 0, 2] < -1.0 and force[1, 0, 2] == 0


def test_a_plate_that_moves_drags_what_sticks_to_it() -> None:
    x = block((4, 4, 4), 0.05)
    made = params(64, 0.05, nu=0.05, gravity=(0.0, 0.0, 0.0))
    drawn = []
    for friction in (0.0, 0.25, 1.0):
        floor = planes({"+z": 0.0}, friction)
        floor.linear[..., 0] = 1.0
        solver = SPH([Shape.PLANE], h=0.075, dt=1e-3)
        after, _, force = solver(at_rest(x, made), made, floor, 20)
        drawn.append(float(after.velocity[..., 0].mean()))
        momentum = float((made.mass * after.velocity[..., 0]).sum())
        assert force[0, 0, 0].item() * 0.02 == pytest.approx(-momentum, rel=1e-6, abs=1e-12)
    assert abs(drawn[0]) < 1e-12 and 0.01 < drawn[1] < drawn[2]
