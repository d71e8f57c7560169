"""Bending energy against closed forms of bent plates and rods."""

import math

import pytest
import torch
from torch import Tensor

from reverie.physics.cloth import ClothMesh, grid, rope, sheet
from reverie.physics.cloth.bending import flat
from tests.physics.cloth.worlds import DOUBLE, seeded, uneven


def energy(mesh: ClothMesh, position: Tensor) -> float:
    """1/2 sum_ij K_ij x_i . x_j, per unit of rigidity."""
    row, column, value = mesh.bends
    apart = position[column] - position[row]
    return float(-0.25 * (value * apart.square().sum(-1)).sum())


def rolled(position: Tensor, angle: float, radius: float) -> Tensor:
    """Points of the plane, rolled without stretch onto a cylinder along a direction."""
    c, s = math.cos(angle), math.sin(angle)
    along, across = position.new_tensor([c, s, 0.0]), position.new_tensor([-s, c, 0.0])
    up = position.new_tensor([0.0, 0.0, 1.0])
    t = position @ along / radius
    side = (position @ across)[:, None] * across
    return side + radius * (t.sin()[:, None] * along + (1 - t.cos())[:, None] * up)


@pytest.mark.parametrize("angle", [0.0, 0.5, math.pi / 4, 1.3, math.pi / 2])
@pytest.mark.parametrize("make", [lambda n: grid(1, 1, n, n), uneven], ids=["grid", "uneven"])
def test_a_rolled_sheet_has_half_d_over_r_squared_in_every_direction(make, angle) -> None:
    exact = 0.5 / 2.0**2
    off = [energy(m := make(n), rolled(m.rest, angle, 2.0)) / exact - 1 for n in (16, 48)]
    assert abs(off[0]) < 0.08
    assert abs(off[1]) < 0.03  # what is left is the border, of width 1 / n


def droop(mesh: ClothMesh, clamped: Tensor) -> float:
    """How far the end of a level sheet falls under 1 N/m^2, per D = 1 N m: from K alone."""
    row, column, value = mesh.bends
    form = torch.zeros(mesh.vertices, mesh.vertices, dtype=DOUBLE)
    form[row, column] = value
    form -= form.sum(1).diag()
    free = ~clamped
    fallen = torch.linalg.solve(form[free][:, free], mesh.share[free])
    ends = mesh.rest[free, 0] > mesh.rest[:, 0].max() - 1e-9
    return float(fallen[ends].mean())


@pytest.mark.parametrize(("amount", "within"), [(0.0, 0.003), (0.3, 0.05)], ids=["grid", "uneven"])
@pytest.mark.parametrize("turned", [False, True], ids=["along", "mirrored"])
def test_a_clamped_plate_droops_by_w_l_to_the_fourth_over_8_d(amount, within, turned) -> None:
    """The clamp lies half a cell behind the last vertex that is held, which bends over both its
    halves; nothing makes the plate bend as a cylinder but its energy."""
    n = 18
    mesh = uneven(n, amount) if amount else grid(1, 1, n, n)
    if turned:
        mesh = sheet(mesh.rest * torch.tensor([1.0, -1.0, 1.0]), mesh.faces)
    h = 1 / (n - 1)
    clamped = mesh.rest[:, 0] < 2.5 * h
    assert droop(mesh, clamped) == pytest.approx((1 - 1.5 * h) ** 4 / 8, rel=within)


def test_a_sphere_has_four_pi_d_whatever_its_size() -> None:
    """W = D/2 (1/R^2 + 1/R^2) 4 pi R^2, on a closed mesh: no border."""
    points, faces = octahedron(4)
    mesh = sheet(3.0 * points, faces)
    assert energy(mesh, mesh.rest) == pytest.approx(4 * math.pi, rel=0.02)


def octahedron(times: int) -> tuple[Tensor, Tensor]:
    """Its sides cut in two `times` times, corners on the unit sphere."""
    points = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    corner = [(a, b, c) for a in (0, 3) for b in (1, 4) for c in (2, 5)]
    triangles = points[torch.tensor(corner)]
    for _ in range(times):
        a, b, c = triangles.unbind(1)
        d, e, f = (a + b) / 2, (b + c) / 2, (c + a) / 2
        parts = [(a, d, f), (d, b, e), (f, e, c), (d, e, f)]
        triangles = torch.cat([torch.stack(part, 1) for part in parts])
    unit = triangles / triangles.norm(dim=-1, keepdim=True)
    rounded = (unit * 1e9).round() / 1e9
    points, index = torch.unique(rounded.flatten(0, 1), dim=0, return_inverse=True)
    return points, index.view(-1, 3)


def test_a_flat_sheet_is_at_rest_however_it_is_moved_or_stretched() -> None:
    mesh = uneven(9)
    row, column, value = mesh.bends
    affine = torch.randn(3, 3, generator=seeded(), dtype=DOUBLE)
    position = mesh.rest @ affine + 1.0
    pulls = torch.zeros_like(position)
    pulls.index_add_(0, row, value[:, None] * (position[column] - position[row]))
    assert pulls.abs().max() < 1e-9 * value.abs().max()


@pytest.mark.parametrize("mesh", [uneven(7), grid(1, 2, 5, 6)], ids=["uneven", "grid"])
def test_no_shape_has_negative_energy_and_only_planes_have_none(mesh) -> None:
    row, column, value = mesh.bends
    form = torch.zeros(mesh.vertices, mesh.vertices, dtype=DOUBLE)
    form[row, column] = value
    form -= form.sum(1).diag()
    assert torch.allclose(form, form.T, atol=1e-12 * float(value.abs().max()))
    eigenvalues = torch.linalg.eigvalsh(form)
    assert (eigenvalues[:3].abs() < 1e-9 * eigenvalues[-1]).all()
    assert eigenvalues[3] > 1e-6 * eigenvalues[-1]


def test_points_that_do_not_determine_a_quadratic_fall_back_on_the_plain_formula() -> None:
    """A corner of three triangles: two of its neighbours' tips coincide, and no fit exists."""
    outer = torch.tensor([[0.0, 0, 0], [2, 0, 0], [1, 2, 0], [-2, 3, 0], [4, 3, 0], [1, -3, 0]])
    points = torch.cat([outer, torch.tensor([[1.0, 0.7, 0]])])
    faces = [[0, 1, 6], [1, 2, 6], [2, 0, 6], [0, 2, 3], [1, 4, 2], [0, 5, 1]]
    mesh = sheet(points, faces)
    assert torch.isfinite(mesh.bends.value).all()
    assert energy(mesh, rolled(mesh.rest, 0.3, 20.0)) > 0
    assert energy(mesh, mesh.rest @ torch.diag(torch.tensor([1.5, 0.5, 1.0]).double())) < 1e-12


def test_a_rope_on_a_circle_has_half_ei_over_r_squared_per_length() -> None:
    angle = torch.linspace(0, 1.5, 81, dtype=DOUBLE)
    bent = 0.5 * torch.stack([angle.cos(), angle.sin(), 0 * angle], -1)
    straight = torch.stack([0.5 * angle, 0 * angle, 0 * angle], -1)
    length = 0.5 * 1.5 * 79 / 80  # half a segment at each end bends nowhere
    assert energy(rope(straight), bent) == pytest.approx(0.5 / 0.5**2 * length, rel=1e-3)
    assert abs(energy(rope(straight), straight)) < 1e-9


def test_uneven_spacing_does_not_stiffen_a_rope() -> None:
    s = torch.linspace(0, 1, 61, dtype=DOUBLE) ** 1.3
    straight = torch.stack([s, 0 * s, 0 * s], -1)
    bent = torch.stack([s.sin(), 1 - s.cos(), 0 * s], -1)
    inner = (s[-1] + s[-2] - s[1] - s[0]) / 2
    assert energy(rope(straight), bent) == pytest.approx(float(0.5 * inner), rel=2e-3)


def test_corners_keep_their_distances_in_the_plane_and_the_first_axis_is_along_the_yarn() -> None:
    corner = torch.randn(20, 3, 3, generator=seeded(), dtype=DOUBLE)
    along = torch.tensor([0.0, 1.0, 0.0], dtype=DOUBLE)
    points = flat(corner, along)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        wanted = (corner[:, a] - corner[:, b]).norm(dim=-1)
        assert torch.allclose((points[:, a] - points[:, b]).norm(dim=-1), wanted)
    upright = torch.tensor([[[0.0, 0, 0], [0, 0, 1], [1, 0, 0]]], dtype=DOUBLE)  # normal to y
    assert torch.isfinite(flat(upright, along)).all()
    turned = torch.tensor([[[0.0, 0, 0], [0, 2, 0], [1, 0, 0]]], dtype=DOUBLE)
    assert torch.allclose(flat(turned, along)[0, 1], torch.tensor([2.0, 0.0], dtype=DOUBLE))
