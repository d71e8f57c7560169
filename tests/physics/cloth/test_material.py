"""Whole fabrics from a few numbers."""

import pytest
import torch

from reverie.physics.cloth import at_rest, fabric, grid, join, rope
from reverie.physics.cloth.material import web
from tests.physics.cloth.worlds import DOUBLE


def test_mass_is_density_times_area_or_length() -> None:
    mesh = join([grid(0.5, 0.4, 4, 7), rope([[0, 0, 0.1 * i] for i in range(6)])])
    x = at_rest(mesh, 3, DOUBLE).position
    density = mesh.of_vertices(torch.tensor([0.2, 0.05], dtype=DOUBLE))
    mass = fabric(mesh, x, density=density, stretch=1.0).mass
    assert mass.shape == (3, mesh.vertices)
    assert mass[:, :28].sum(1).tolist() == pytest.approx([0.2 * 0.2] * 3)
    assert mass[:, 28:].sum(1).tolist() == pytest.approx([0.05 * 0.5] * 3)


def test_shear_is_isotropic_unless_told() -> None:
    mesh = grid(1, 1, 3, 3)
    x = at_rest(mesh, 1, DOUBLE).position
    params = fabric(mesh, x, density=1.0, stretch=260.0, poisson=0.3)
    assert params.shear.unique().tolist() == pytest.approx([100.0])
    told = fabric(mesh, x, density=1.0, stretch=260.0, shear=3.0)
    assert told.shear.unique().tolist() == [3.0]


def test_amounts_differ_by_world_and_have_a_gradient() -> None:
    mesh = grid(1, 1, 3, 3)
    x = at_rest(mesh, 2, DOUBLE).position
    thick = torch.tensor([0.01, 0.02], dtype=DOUBLE, requires_grad=True)
    stretch = torch.tensor([[10.0], [20.0]], dtype=DOUBLE, requires_grad=True)
    density = torch.tensor(0.1, dtype=DOUBLE, requires_grad=True)
    params = fabric(mesh, x, density=density, stretch=stretch, thickness=thick)
    assert params.stretch[1].unique().tolist() == [20.0]
    (params.mass.sum() + params.stretch.sum() + params.thickness[1]).backward()
    assert float(density.grad) == pytest.approx(2.0)  # two worlds of 1 m^2
    assert stretch.grad[:, 0].tolist() == [8.0, 8.0]
    assert thick.grad.tolist() == [0.0, 1.0]


def test_what_the_forces_read_is_plane_stress() -> None:
    mesh = join([grid(2, 1, 2, 2), rope([[0, 0, 0.0], [0, 0, 0.5]])])
    x = at_rest(mesh, 1, DOUBLE).position
    params = fabric(mesh, x, density=1.0, stretch=30.0, poisson=0.5, damping=0.1)
    panel, cord, slow = web(params, mesh)
    # Of 1 m^2: Y / (1 - nu^2) = 40, nu times that = 20, Y / (2 (1 + nu)) = 10
    assert panel[0, 0].tolist() == pytest.approx([40.0, 20.0, 10.0, 0.1])
    assert cord.tolist() == [[60.0]] and slow.tolist() == [[pytest.approx(0.1)]]


def test_at_rest_nothing_moves() -> None:
    state = at_rest(grid(1, 1, 3, 3), 2)
    assert state.position.shape == (2, 9, 3) and state.position.dtype == torch.float32
    assert not state.velocity.any()
