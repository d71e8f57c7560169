"""The bound on dt against the true spectrum, and against what blows up."""

import pytest
import torch

from reverie.physics.cloth import Cloth, ClothState, at_rest, fabric, grid, join, rope
from reverie.physics.cloth.reference import bend_force, stretch_force
from reverie.physics.cloth.stability import stable_dt
from tests.physics.cloth.worlds import DOUBLE, seeded, uneven

CASES = {
    "stretch": (uneven(6), {"stretch": 100.0}),
    "shear": (uneven(6), {"stretch": 100.0, "shear": 300.0, "poisson": 0.0}),
    "bend": (grid(1, 0.8, 6, 6), {"stretch": 1e-3, "bend": 1.0}),
    "both": (uneven(6), {"stretch": 100.0, "bend": 0.3}),
    "rope": (rope([[0, 0, 0.1 * i] for i in range(8)]), {"stretch": 50.0, "bend": 0.01}),
    "damped": (uneven(6), {"stretch": 100.0, "damping": 0.02, "drag": 3.0}),
    "damped bend": (grid(1, 1, 6, 6), {"stretch": 0.01, "bend": 0.5, "bend_damping": 0.05}),
}


def made(name: str):
    mesh, amounts = CASES[name]
    state = at_rest(mesh, 1, DOUBLE)
    return mesh, state, fabric(mesh, state.position, density=0.2, gravity=(0, 0, 0), **amounts)


def largest(mesh, state, params) -> float:
    """The largest stable dt of semi-implicit Euler, from the linearised forces at rest."""

    def force(x, v):
        at = ClothState(x.view(1, -1, 3), v.view(1, -1, 3))
        return (stretch_force(at, params, mesh) + bend_force(at, params, mesh)).view(-1)

    x, v = (part.flatten() for part in state)
    k, c = torch.autograd.functional.jacobian(force, (x, v))
    per = params.mass[0].repeat_interleave(3)
    stiff, slow = -k / per[:, None], -c / per[:, None] + params.drag * torch.eye(len(per))
    eye, zero = torch.eye(len(per), dtype=DOUBLE), torch.zeros_like(stiff)
    low, high = 1e-5, 10.0
    for _ in range(40):
        dt = (low * high) ** 0.5
        kick = torch.cat([-dt * stiff, eye - dt * slow], 1)
        drift = torch.cat([eye, zero], 1) + dt * kick
        radius = torch.linalg.eigvals(torch.cat([drift, kick])).abs().max()
        low, high = (dt, high) if radius < 1 + 1e-6 else (low, dt)
    return low


@pytest.mark.parametrize("name", CASES)
def test_the_bound_is_below_the_true_limit_and_not_far(name) -> None:
    mesh, state, params = made(name)
    bound, true = float(stable_dt(mesh, params, strain=0.0)), largest(mesh, state, params)
    assert 0.5 * true < bound <= true * 1.001


@pytest.mark.parametrize("name", ["both", "rope", "damped"])
def test_below_it_a_shaken_cloth_stays_and_far_above_it_does_not(name) -> None:
    mesh, state, params = made(name)
    shaken = state.velocity + 0.1 * torch.randn(state.velocity.shape, generator=seeded()).double()
    most = float(stable_dt(mesh, params))
    below = Cloth(mesh, dt=0.99 * most)
    after, _, _ = below(state._replace(velocity=shaken), params, substeps=2000)
    assert (after.position - state.position).abs().max() < 2000 * most * 0.5
    assert after.velocity.square().mean() < 2 * shaken.square().mean()
    above = Cloth(mesh, dt=5 * most, checked=False)
    after, _, _ = above(state._replace(velocity=shaken), params, substeps=2000)  # blows up
    assert not torch.isfinite(after.position).all() or after.position.abs().max() > 1e3


def test_worlds_have_their_own_and_strain_makes_it_shorter() -> None:
    mesh = join([grid(1, 1, 4, 4), rope([[0, 0, 0.0], [0, 0, 0.1]])])
    x = at_rest(mesh, 2, DOUBLE).position
    params = fabric(mesh, x, density=0.2, stretch=torch.tensor([[10.0], [40.0]]), gravity=(0, 0, 0))
    first, second = stable_dt(mesh, params).tolist()
    assert first == pytest.approx(2 * second)
    assert stable_dt(mesh, params, 0.5)[0] < stable_dt(mesh, params, 0.0)[0]
    free = params._replace(stretch=0 * params.stretch, shear=0 * params.shear)
    assert torch.isinf(stable_dt(mesh, free)).all() or (stable_dt(mesh, free) > 1e6).all()
