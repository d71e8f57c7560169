"""The equation of state, and liquids at rest."""

import torch

from reverie.physics.sph.material import at_rest, density_at, pressure
from tests.physics.sph.worlds import block, params


def test_sound_has_the_speed_that_is_asked_for() -> None:
    """c^2 = dp / drho at the density of rest."""
    made = params(1, 0.1, sound=12.0, background=50.0)
    density = torch.tensor([[1000.0]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(pressure(density, made).sum(), density)
    torch.testing.assert_close(slope, torch.full_like(slope, 144.0))
    assert pressure(density, made).item() == 50.0


def test_density_is_the_inverse_of_pressure() -> None:
    made = params(3, 0.1, background=200.0)
    pressed = torch.tensor([[-50.0, 200.0, 4000.0]], dtype=torch.float64)
    torch.testing.assert_close(pressure(density_at(pressed, made), made), pressed)


def test_a_pool_begins_with_the_weight_above() -> None:
    x = block((2, 1, 4), 0.1)
    made = params(8, 0.1)
    pool = pressure(at_rest(x, made, surface=0.4).density, made)
    torch.testing.assert_close(pool, 9810 * (0.4 - x[..., 2]))
    still = at_rest(x, made, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    assert (still.density == 1000).all() and (still.velocity[0, 3, 1] == 2).all()
