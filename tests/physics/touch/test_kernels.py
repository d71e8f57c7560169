"""The kernels' distances are those of the reference."""

import pytest
import torch
import warp as wp

from reverie.physics import kernels
from reverie.physics.tools import Shape, distance

touch = kernels.load("reverie.physics.touch.kernels", torch.float64)


@wp.kernel(module="unique")
def measure(
    shape: int,
    y: wp.array(dtype=wp.vec3d),
    extent: wp.vec3d,
    out: wp.array(dtype=wp.vec4d),
):
    i = wp.tid()
    out[i] = touch.distance(shape, y[i], extent)


@pytest.mark.parametrize("shape", list(Shape))
def test_distances_and_normals_agree(shape: Shape) -> None:
    draws = torch.Generator().manual_seed(0)
    y = 0.5 * torch.randn(500, 3, generator=draws, dtype=torch.float64)
    extent = torch.tensor([0.3, 0.4, 0.2], dtype=torch.float64)
    out = torch.zeros(500, 4, dtype=torch.float64)
    places = wp.from_torch(y, dtype=wp.vec3d)
    found = wp.from_torch(out, dtype=wp.vec4d)
    wp.launch(measure, 500, [int(shape), places, wp.vec3d(*extent.tolist()), found], device="cpu")
    normal, phi = distance(shape, y[None], extent[None, None])
    torch.testing.assert_close(out[:, :3], normal[0])
    torch.testing.assert_close(out[:, 3:], phi[0])
