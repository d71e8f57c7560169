"""The spatial algebra of the kernels against that of torch."""

import pytest
import torch

from reverie.physics.rigid import spatial
from tests.physics.rigid.scenes import F64

wp = pytest.importorskip("warp")


@pytest.fixture(scope="module")
def algebra():
    from reverie.physics import kernels

    return kernels.load("reverie.physics.rigid.algebra.kernels", F64)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def run(algebra, function, kinds, result, *inputs):
    """A function of the kernels on rows of tensors."""
    a, b = (getattr(algebra, k) for k in (kinds[0], kinds[-1]))
    out = getattr(algebra, result)

    if len(kinds) == 2:

        @wp.kernel(module="unique")
        def kernel(x: wp.array(dtype=a), y: wp.array(dtype=b), z: wp.array(dtype=out)):
            i = wp.tid()
            z[i] = function(x[i], y[i])

    else:

        @wp.kernel(module="unique")
        def kernel(x: wp.array(dtype=a), z: wp.array(dtype=out)):
            i = wp.tid()
            z[i] = function(x[i])

    arrays = [wp.from_torch(x.contiguous(), dtype=k) for x, k in zip(inputs, (a, b), strict=False)]
    found = wp.zeros(len(inputs[0]), dtype=out, device="cpu")
    wp.launch(kernel, len(inputs[0]), [*arrays, found], device="cpu")
    return wp.to_torch(found)


def test_the_cross_product_of_motions(algebra):
    m, n = draw(9, 6), draw(9, 6, seed=1)
    found = run(algebra, algebra.cross_motion, ("VEC6", "VEC6"), "VEC6", m, n)
    assert torch.allclose(found, spatial.cross_motion(m, n))


@pytest.mark.parametrize("size", [1e-9, 0.03, 2.0])
def test_the_exponential(algebra, size):
    w = size * draw(9, 3)
    found = run(algebra, algebra.exponential, ("VEC3",), "QUAT", w)
    assert torch.allclose(found.roll(1, -1), spatial.exponential(w), atol=1e-15)
