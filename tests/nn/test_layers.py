"""The linear layers against formulas written out, dense matrices and finite differences."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reverie.nn.layers import (
    MLP,
    BlockLinear,
    Dense,
    fill_truncated_normal,
    linear,
    norm_silu,
    precise,
)


def written_out(x: Tensor, gain: Tensor) -> Tensor:
    normed = gain * x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-4)
    return normed * torch.sigmoid(normed)


@pytest.mark.parametrize("shape", [(5,), (4, 7), (2, 3, 6)])
def test_norm_silu_is_the_formula(shape: tuple[int, ...]) -> None:
    x, gain = torch.randn(shape, dtype=torch.float64) * 3, torch.randn(shape[-1]).double()
    torch.testing.assert_close(norm_silu(x, gain), written_out(x, gain), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "layout",
    [lambda x: x, lambda x: x.transpose(0, 1), lambda x: x.permute(2, 0, 1)],
    ids=["contiguous", "transposed", "permuted"],
)
def test_norm_silu_has_the_gradient_of_finite_differences(
    layout: Callable[[Tensor], Tensor],
) -> None:
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    gain = torch.randn(layout(x).shape[-1], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, g: norm_silu(layout(x), g), (x, gain))


def test_norm_silu_has_the_gradient_of_the_formula_at_and_near_zero() -> None:
    for scale in (0.0, 1e-8, 1e-2, 1e6):
        x = (torch.randn(3, 5, dtype=torch.float64) * scale).requires_grad_()
        gain = torch.randn(5, dtype=torch.float64, requires_grad=True)
        weight = torch.randn(3, 5, dtype=torch.float64)
        ours = torch.autograd.grad((norm_silu(x, gain) * weight).sum(), (x, gain))
        theirs = torch.autograd.grad((written_out(x, gain) * weight).sum(), (x, gain))
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norm_silu_is_bitwise_the_same_with_and_without_gradient(dtype: torch.dtype) -> None:
    x, gain = torch.randn(6, 33, dtype=dtype), torch.randn(33, dtype=dtype, requires_grad=True)
    with torch.no_grad():
        without = norm_silu(x, gain)
    assert torch.equal(norm_silu(x, gain), without)


def test_norm_silu_writes_into_nothing_that_it_was_given() -> None:
    x = torch.randn(4, 8, requires_grad=True)
    gain, slope = torch.randn(8, requires_grad=True), torch.randn(4, 8)
    kept = [x.detach().clone(), gain.detach().clone(), slope.clone()]
    norm_silu(x, gain).backward(slope)
    with torch.no_grad():
        norm_silu(x, gain)
    for given, before in zip((x, gain, slope), kept, strict=True):
        assert torch.equal(given, before)


def test_norm_silu_keeps_half_precision_but_computes_in_the_gains() -> None:
    x, gain = torch.randn(5, 300).bfloat16().requires_grad_(), torch.rand(300, requires_grad=True)
    out = norm_silu(x, gain)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, norm_silu(x.float(), gain).bfloat16())
    out.float().sum().backward()
    assert x.grad is not None and x.grad.dtype == torch.bfloat16
    assert gain.grad is not None and gain.grad.dtype == torch.float32


def test_precise_raises_half_precision_alone() -> None:
    raised = {torch.bfloat16: torch.float32, torch.float16: torch.float32}
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        assert precise(torch.ones(2, dtype=dtype)).dtype == raised.get(dtype, dtype)


def test_initial_weights_have_the_deviation_and_the_bounds_of_the_cut_normal() -> None:
    weight = torch.empty(400, 500)
    fill_truncated_normal(weight, 500, scale=0.5)
    assert weight.std().item() == pytest.approx(0.5 / math.sqrt(500), rel=0.01)
    assert abs(weight.mean().item()) < 3 * 0.5 / math.sqrt(500 * weight.numel())
    bound = 0.5 * 2 * 1.1368 / math.sqrt(500)
    assert 0.99 * bound < weight.abs().max().item() <= bound * (1 + 1e-6)


def test_a_linear_layer_starts_without_bias_and_scaled() -> None:
    layer = linear(300, 200)
    assert not layer.bias.any()
    assert layer.weight.std().item() == pytest.approx(1 / math.sqrt(300), rel=0.02)
    assert not linear(300, 200, scale=0.0).weight.any()


def test_dense_is_linear_then_norm_then_silu() -> None:
    layer, x = Dense(6, 4).double(), torch.randn(3, 6).double()
    with torch.no_grad():
        layer.gain.normal_()
    expected = written_out(F.linear(x, layer.linear.weight, layer.linear.bias), layer.gain)
    torch.testing.assert_close(layer(x), expected)


def test_an_mlp_of_scale_zero_says_exactly_zero_but_learns() -> None:
    net, x = MLP(5, 3, units=8, layers=2, scale=0.0), torch.randn(4, 5)
    assert not net(x).any()
    net(x).sum().backward()
    assert net.output.weight.grad is not None and net.output.weight.grad.any()


def test_an_mlp_has_as_many_layers_as_asked_for() -> None:
    net = MLP(5, 3, units=8, layers=2)
    sizes = [tuple(p.shape) for p in net.parameters() if p.ndim == 2]
    assert sizes == [(8, 5), (8, 8), (3, 8)]
    x = torch.randn(2, 7, 5)
    hidden = net.hidden[1](net.hidden[0](x))
    torch.testing.assert_close(net(x), F.linear(hidden, net.output.weight, net.output.bias))


def test_an_mlp_answers_in_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert MLP(5, 3, units=8, layers=1)(torch.randn(2, 5)).dtype == torch.float32


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_a_block_linear_layer_is_a_dense_one_with_a_block_diagonal_matrix(
    lead: tuple[int, ...],
) -> None:
    layer = BlockLinear(8, 12, blocks=4).double()
    with torch.no_grad():
        layer.bias.normal_()
    x = torch.randn(*lead, 8, dtype=torch.float64)
    expected = x @ torch.block_diag(*layer.weight) + layer.bias
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


def test_a_block_linear_layer_starts_with_the_deviation_of_its_whole_input() -> None:
    assert BlockLinear(400, 800, 8).weight.std().item() == pytest.approx(1 / 20, rel=0.02)
    wider = BlockLinear(400, 800, 8, fan_in=1600)
    assert wider.weight.std().item() == pytest.approx(1 / 40, rel=0.02)


@pytest.mark.parametrize(("inputs", "outputs"), [(9, 8), (8, 9)])
def test_widths_that_the_blocks_do_not_divide_are_refused(inputs: int, outputs: int) -> None:
    with pytest.raises(ValueError, match="4 blocks needs widths that 4 divides"):
        BlockLinear(inputs, outputs, 4)
