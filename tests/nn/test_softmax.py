"""Softmax over a short axis: torch's own, in value and gradient."""

import pytest
import torch

from reverie.nn.softmax import ShortSoftmax, short_softmax


@pytest.mark.parametrize("shape", [(8,), (5, 8), (3, 5, 2)])
def test_value_and_gradient(shape):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(short_softmax(x), x.softmax(-1))
    assert torch.autograd.gradcheck(short_softmax, (x,))
    with torch.no_grad():
        torch.testing.assert_close(short_softmax(x), x.softmax(-1))


def test_far_values_neither_overflow_nor_vanish():
    x = torch.tensor([[1000.0, 999.0], [-1000.0, -1001.0], [0.0, -1e9]])
    torch.testing.assert_close(short_softmax(x), x.softmax(-1))


def test_compiled_is_eager():
    torch._dynamo.reset()
    x = torch.randn(4, 8)
    compiled = torch.compile(short_softmax, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), short_softmax(x))


def test_only_the_probabilities_are_kept():
    p = ShortSoftmax.apply(torch.randn(4, 8, requires_grad=True))
    assert len(p.grad_fn.saved_tensors) == 1
