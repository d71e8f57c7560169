"""Signed distances of tools."""

import pytest
import torch

from reverie.physics.tools import Shape, Tools, distance, require_finite


@pytest.mark.parametrize("shape", list(Shape))
def test_distances_have_unit_normals_that_are_their_gradients(shape: Shape) -> None:
    draws = torch.Generator().manual_seed(2)
    y = 0.5 * torch.randn(1, 300, 3, generator=draws, dtype=torch.float64)
    y.requires_grad_()
    extent = torch.tensor([[[0.3, 0.4, 0.2]]], dtype=torch.float64)
    normal, phi = distance(shape, y, extent)
    (slope,) = torch.autograd.grad(phi.sum(), y)
    torch.testing.assert_close(normal, slope)
    torch.testing.assert_close(normal.norm(dim=-1), torch.ones(1, 300, dtype=torch.float64))
    on_surface = y.detach() - phi.detach() * normal.detach()
    outside = (phi > 0).squeeze(-1)
    _, rest = distance(shape, on_surface, extent)
    torch.testing.assert_close(rest[outside], torch.zeros_like(rest[outside]), atol=1e-9, rtol=0)


def test_distances_of_some_points() -> None:
    extent = torch.tensor([[[0.3, 0.4, 0.2]]], dtype=torch.float64)

    def phi(shape: Shape, *point: float) -> float:
        y = torch.tensor([[point]], dtype=torch.float64)
        return distance(shape, y, extent)[1].item()

    assert phi(Shape.PLANE, 5.0, 1.0, -0.2) == pytest.approx(-0.2)
    assert phi(Shape.SPHERE, 0.0, 0.5, 0.0) == pytest.approx(0.2)
    assert phi(Shape.CAPSULE, 0.0, 0.5, 0.4) == pytest.approx(0.2)
    assert phi(Shape.CAPSULE, 0.0, 0.0, 1.0) == pytest.approx(0.3)
    assert phi(Shape.BOX, 0.6, 0.8, 0.0) == pytest.approx(0.5)
    assert phi(Shape.BOX, 0.29, 0.0, 0.0) == pytest.approx(-0.01)
    assert phi(Shape.CYLINDER, 0.0, 0.6, 0.8) == pytest.approx(0.5)


def test_what_is_not_finite_is_named() -> None:
    zero = torch.zeros(1, 2, 3)
    tools = Tools(zero, torch.zeros(1, 2, 4), zero, zero, zero, zero[..., 0])
    require_finite(tools)
    with pytest.raises(FloatingPointError, match="angular holds NaN"):
        require_finite(tools._replace(angular=zero / zero))
