"""The inverse of the kernels between moving bodies; the rest is held by `test_program.py`."""

import pytest
import torch

from tests.physics.rigid.scenes import F64

wp = pytest.importorskip("warp")


def test_the_inverse_and_its_gradient():
    """Also where the first pivot is zero."""
    from reverie.physics import kernels

    mutual = kernels.load("reverie.physics.rigid.mutual.kernels", F64)
    inverse, kind = mutual.inverse, mutual.MAT66

    @wp.kernel(module="unique")
    def kernel(x: wp.array(dtype=kind), y: wp.array(dtype=kind)):
        i = wp.tid()
        y[i] = inverse(x[i])

    g = torch.Generator().manual_seed(0)
    a = torch.randn(8, 6, 6, generator=g, dtype=F64)
    a[0, 0, 0] = 0.0
    a[1] = torch.eye(6, dtype=F64).flip(0)
    weights = torch.randn(8, 6, 6, generator=g, dtype=F64)
    exact = a.clone().requires_grad_()
    inverted = torch.linalg.inv(exact)
    (slope,) = torch.autograd.grad((inverted * weights).sum(), exact)
    x, y, adj = (wp.from_torch(t.clone(), dtype=kind) for t in (a, a, torch.zeros_like(a)))
    wp.launch(kernel, 8, [x, y], device="cpu")
    assert torch.allclose(wp.to_torch(y), inverted, rtol=1e-9)
    wp.launch(
        kernel, 8, [x, y], device="cpu", adjoint=True,
        adj_inputs=[adj, wp.from_torch(weights, dtype=kind)],
    )  # fmt: skip
    assert torch.allclose(wp.to_torch(adj), slope, rtol=1e-8)
