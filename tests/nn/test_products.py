"""Products by either library are the plain ones, in value and gradient, whatever the strides."""

import shutil

import pytest
import torch
import torch.nn.functional as F

from reverie.nn import products as room
from reverie.nn.products import Affine, blocks, linear, members, product, products

LIBRARIES = [
    False,
    pytest.param(
        True,
        marks=pytest.mark.skipif(
            not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="torch has no oneDNN here"
        ),
    ),
]


@pytest.fixture(params=LIBRARIES, ids=["blas", "onednn"], autouse=True)
def library(request, monkeypatch):
    """Both libraries, whichever this machine would choose."""
    monkeypatch.setattr(room, "onednn", lambda: request.param)
    monkeypatch.setattr(room, "WORK", 0)
    return request.param


def close(a, b):
    torch.testing.assert_close(a, b, atol=2e-5, rtol=2e-5)


def slopes(function, *leaves):
    return torch.autograd.grad(function(*leaves).square().sum(), leaves)


def leaf(*shape):
    return torch.randn(shape).requires_grad_()


@pytest.mark.parametrize("shape", [(12, 5), (3, 7, 5), (5,), (2, 5), (0, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape, bias):
    torch.manual_seed(0)
    leaves = [leaf(*shape), leaf(6, 5), *([leaf(6)] if bias else [])]
    close(linear(*leaves), F.linear(*leaves))
    for own, expected in zip(slopes(linear, *leaves), slopes(F.linear, *leaves), strict=True):
        close(own, expected)
    with torch.no_grad():
        close(linear(*leaves), F.linear(*leaves))


def test_only_what_needs_a_gradient_gets_one():
    for which in range(3):
        leaves = [torch.randn(s) for s in ((12, 5), (6, 5), (6,))]
        leaves[which].requires_grad_()
        own, expected = (
            torch.autograd.grad(f(*leaves).square().sum(), leaves[which])[0]
            for f in (linear, F.linear)
        )
        close(own, expected)


@pytest.mark.parametrize("shape", [(3, 11, 5), (11, 5), (3, 2, 5)])
def test_members(shape):
    torch.manual_seed(0)
    leaves = [leaf(*shape), leaf(3, 6, 5), leaf(3, 6)]

    def plain(x, weight, bias):
        rows = x if x.ndim == 3 else [x] * 3
        parts = zip(rows, weight, bias, strict=True)
        return torch.stack([F.linear(*part) for part in parts])

    close(members(*leaves), plain(*leaves))
    for own, expected in zip(slopes(members, *leaves), slopes(plain, *leaves), strict=True):
        close(own, expected)
    with torch.no_grad():
        close(members(*leaves), plain(*leaves))


@pytest.mark.parametrize("rows", [1, 7, 130])
def test_blocks(rows):
    torch.manual_seed(0)
    leaves = [leaf(rows, 12), leaf(3, 4, 5)]

    def plain(x, weight):
        return x @ torch.block_diag(*weight)

    close(blocks(*leaves), plain(*leaves))
    for own, expected in zip(slopes(blocks, *leaves), slopes(plain, *leaves), strict=True):
        torch.testing.assert_close(own, expected, atol=1e-3, rtol=1e-4)
    with torch.no_grad():
        close(blocks(*leaves), plain(*leaves))


def test_products():
    left, right = torch.randn(3, 9, 5), torch.randn(3, 5, 2)
    close(products(left, right), torch.bmm(left, right))
    close(products(left.mT, left), torch.bmm(left.mT, left))


def test_any_strides():
    wide = torch.randn(40, 30)
    views = {
        "whole": (wide, torch.randn(30, 8)),
        "transposed": (wide.t(), torch.randn(8, 40).t()),
        "columns": (wide[:, 3:20], torch.randn(30, 8)[5:22]),
        "every other row": (wide[::2], torch.randn(30, 16)[:, ::2]),
        "repeated": (torch.randn(1, 30).expand(9, 30), torch.randn(30, 1).expand(30, 8)),
        "one": (torch.randn(1, 1), torch.randn(1, 1)),
    }
    for name, (left, right) in views.items():
        expected = (left.double() @ right.double()).float()
        torch.testing.assert_close(product(left, right), expected, atol=2e-5, rtol=2e-5, msg=name)
        bias = torch.randn(right.shape[1])
        close(product(left, right, bias), expected + bias)


def test_a_layer_is_nn_linear_with_its_names():
    own, plain = Affine(5, 6), torch.nn.Linear(5, 6)
    own.load_state_dict(plain.state_dict())
    x = torch.randn(9, 5)
    close(own(x), plain(x))
    assert not Affine(5, 6).bias.any()


def test_other_precisions_take_the_plain_way():
    x, weight = torch.randn(9, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    assert torch.equal(linear(x, weight), F.linear(x, weight))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(x.float(), weight.float()).dtype == torch.bfloat16
        assert members(x.float(), weight.float()[None], torch.zeros(1, 6)).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_is_eager(backend):
    if backend == "inductor" and not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("inductor needs a C++ compiler, such as g++")
    torch._dynamo.reset()
    leaves = [leaf(12, 5), leaf(6, 5), leaf(6)]
    compiled = torch.compile(linear, backend=backend, fullgraph=True)
    close(compiled(*leaves), linear(*leaves))
    for own, expected in zip(slopes(compiled, *leaves), slopes(linear, *leaves), strict=True):
        close(own, expected)


def test_the_choice_depends_on_the_machine_alone():
    assert room.onednn() in (True, False)
