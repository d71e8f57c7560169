"""Constants of materials, and particles at rest."""

import math

import pytest
import torch

from reverie.physics.mpm import Kind
from reverie.physics.mpm.material import at_rest, friction_limit, lame


def test_lame_s_constants_are_those_of_a_stretched_bar() -> None:
    """Under uniaxial stress E e the strain across is -nu e."""
    young, poisson, strain = 3e5, 0.28, 1e-3
    given = torch.tensor([young, poisson], dtype=torch.float64)
    mu, lam = (float(x) for x in lame(*given))
    volume = strain * (1 - 2 * poisson)
    assert 2 * mu * strain + lam * volume == pytest.approx(young * strain)
    assert -2 * mu * poisson * strain + lam * volume == pytest.approx(0, abs=1e-9)


def test_the_limit_of_sand_is_coulomb_s_law_in_simple_shear() -> None:
    """Under a pressure p and a shear stress p tan f, |dev tau| is 3 a p: on the cone."""
    angle, pressure = math.radians(35), 7.0
    a = float(friction_limit(torch.tensor(angle, dtype=torch.float64)))
    tau = -pressure * torch.eye(3, dtype=torch.float64)
    tau[0, 2] = tau[2, 0] = pressure * math.tan(angle)
    deviator = tau - tau.trace() / 3 * torch.eye(3, dtype=torch.float64)
    assert float(deviator.norm()) == pytest.approx(3 * a * pressure)


def test_particles_at_rest_remember_nothing_but_a_liquid_s_volume() -> None:
    kind = torch.tensor([Kind.SAND, Kind.LIQUID, Kind.NEO_HOOKEAN])
    state = at_rest(torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(0)), kind)
    assert state.memory.tolist() == [[0.0, 1.0, 0.0]] * 2
    assert torch.equal(state.strain, torch.eye(3).expand(2, 3, 3, 3))
    assert not state.velocity.any() and not state.affine.any()
    moving = at_rest(state.position, kind, torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(moving.velocity[1, 2], torch.tensor([1.0, 2.0, 3.0]))
