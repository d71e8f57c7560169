"""The kernels of trees of joints; their values and gradients are held by `test_program.py`."""

import pytest
import torch

from reverie.physics.rigid import program
from reverie.physics.rigid.model import RigidState
from tests.physics.rigid.scenes import CHAIN, F64, compiled, loaded, random_state

wp = pytest.importorskip("warp")


def test_both_precisions_are_loaded_from_one_source():
    from reverie.physics import kernels

    one, two = (kernels.load("reverie.physics.rigid.kernels", d) for d in (F64, torch.float32))
    assert (wp.float64, wp.float32) == (one.REAL, two.REAL)
    assert one.move is not two.move


def test_the_gradient_through_a_chain_is_that_of_differences():
    found, (model, data) = loaded(CHAIN), compiled(CHAIN)
    state, _ = random_state(model, data, 0)
    u = torch.zeros(1, 0, dtype=F64)

    def outcome(q, v):
        moved = program.run(found.model, RigidState(q, v), found.params, u, None, 0.002, 20)
        return (moved.position.sin() + moved.velocity).sum()

    inputs = [x.clone().requires_grad_() for x in state]
    slopes = torch.autograd.grad(outcome(*inputs), inputs)
    g = torch.Generator().manual_seed(0)
    directions = [torch.randn(x.shape, generator=g, dtype=F64) for x in state]
    exact = sum(float((s * d).sum()) for s, d in zip(slopes, directions, strict=True))
    ends = [
        outcome(*(x + h * d for x, d in zip(state, directions, strict=True))) for h in (1e-6, -1e-6)
    ]
    assert exact == pytest.approx(float(ends[0] - ends[1]) / 2e-6, rel=1e-6)
