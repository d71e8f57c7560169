import pytest
import torch

from reverie.physics.rigid import spatial
from tests.physics.rigid.scenes import F64


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("size", [0.0, 1e-6, 0.02, 0.0317, 1.0, 6.0])
def test_the_exponential_is_that_of_the_matrix(size):
    w = draw(5, 3)
    w = size * w / w.norm(dim=-1, keepdim=True)
    turned = spatial.matrix(spatial.exponential(w))
    assert torch.allclose(turned, torch.matrix_exp(spatial.skew(w)), atol=1e-14)


@pytest.mark.parametrize("size", [0.0, 0.01, 2.0])
def test_the_exponential_has_its_gradient(size):
    w = (size * draw(3)).requires_grad_()
    assert torch.autograd.gradcheck(spatial.exponential, w)


def test_about_turns_about_its_axis():
    axis = torch.tensor([0.0, 0.6, 0.8], dtype=F64)
    angle = torch.tensor(0.7, dtype=F64)
    assert torch.allclose(spatial.about(axis, angle), spatial.exponential(0.7 * axis))


def test_an_inertia_is_the_sum_of_its_points():
    """sum_i m_i X_i^T X_i over the points of a body, X_i m the velocity of a point."""
    mass, at = draw(20).abs(), draw(20, 3)
    x = spatial.lever(at)
    brute = (mass[:, None, None] * (x.mT @ x)).sum(0)
    centre = (mass[:, None] * at).sum(0) / mass.sum()
    c = spatial.skew(at - centre)
    central = (mass[:, None, None] * (c @ c.mT)).sum(0)
    assert torch.allclose(spatial.inertia(mass.sum(), centre, central), brute)


def test_symmetric_has_its_six_numbers():
    m = spatial.symmetric(torch.arange(1.0, 7.0))
    assert m.tolist() == [[1, 4, 5], [4, 2, 6], [5, 6, 3]]


def test_power_does_not_depend_on_the_reference_point():
    """moved and the transpose of lever are dual: f . X m is the power of a force at a point."""
    m, f, arm, by = draw(6), draw(3, seed=1), draw(3, seed=2), draw(3, seed=3)
    here = (f * spatial.apply(spatial.lever(arm), m)).sum()
    there = (f * spatial.apply(spatial.lever(arm - by), spatial.moved(m, by))).sum()
    assert here == pytest.approx(float(there))


def test_the_cross_products_are_dual_and_obey_jacobi():
    a, b, c = draw(6), draw(6, seed=1), draw(6, seed=2)
    power = (spatial.cross_motion(a, b) * c).sum() + (b * spatial.cross_force(a, c)).sum()
    assert float(power) == pytest.approx(0.0, abs=1e-12)
    x = spatial.cross_motion
    assert torch.allclose(x(a, x(b, c)) + x(b, x(c, a)) + x(c, x(a, b)), torch.zeros(6, dtype=F64))


def test_advanced_turns_along_the_axes_of_the_body():
    q, w = spatial.unit(draw(4)), draw(3, seed=1)
    fine = q
    for _ in range(10):
        fine = spatial.advanced(fine, w, 0.01)
    assert torch.allclose(fine, spatial.advanced(q, w, 0.1))
    slope = (spatial.matrix(spatial.advanced(q, w, 1e-6)) - spatial.matrix(q)) / 1e-6
    assert torch.allclose(slope, spatial.matrix(q) @ spatial.skew(w), atol=1e-5)
