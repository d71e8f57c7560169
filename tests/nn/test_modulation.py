"""Shift, scale and gate against formulas written out and finite differences."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reverie.nn.modulation import Modulation, modulated

B, T, S, D, C = 2, 3, 4, 6, 5


def draw(*shape: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float64)


def written_out(x: Tensor, scale: Tensor, shift: Tensor | float = 0.0) -> Tensor:
    return scale * x / (x.square().mean(-1, keepdim=True) + 1e-4).sqrt() + shift


@pytest.mark.parametrize("shape", [(D,), (B, T, 1, D), (B, T, S, D)])
@pytest.mark.parametrize("shifted", [True, False])
def test_the_norm_is_the_formula_and_its_gradient(shape: tuple[int, ...], shifted: bool) -> None:
    leaves = [draw(B, T, S, D), draw(*shape, seed=1), *([draw(*shape, seed=2)] * shifted)]
    with torch.no_grad():
        torch.testing.assert_close(modulated(*leaves), written_out(*leaves))
    leaves = [leaf.requires_grad_() for leaf in leaves]
    torch.testing.assert_close(modulated(*leaves), written_out(*leaves))
    assert torch.autograd.gradcheck(modulated, tuple(leaves))


def test_under_autocast_it_rounds_once() -> None:
    x, scale = draw(B, T, S, D).float(), draw(D, seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        half = modulated(x.requires_grad_(), scale, scale)
    assert torch.equal(half, modulated(x.detach(), scale, scale).bfloat16())
    half.sum().backward()
    assert x.grad is not None and x.grad.dtype == torch.float32


@pytest.mark.parametrize("parts", [2, 3])
def test_a_layer_takes_its_third_of_the_common_map_and_the_blocks_own(parts: int) -> None:
    net = Modulation(D, parts, C).double()
    with torch.no_grad():
        net.up.weight.copy_(draw(*net.up.weight.shape, seed=3))
        net.norms.copy_(draw(parts, D, seed=4))
    active, shared = draw(B, T, C), draw(B, T, 9 * D, seed=5)
    total = shared[..., : 3 * parts * D] + F.linear(
        F.linear(active, net.down.weight), net.up.weight
    )
    x, change = draw(B, T, S, D, seed=6), draw(B, T, S, D, seed=7)
    for index, part in enumerate(net(active, shared)):
        shift, scale, gate = total.unflatten(-1, (parts, 3, D))[:, :, index].unbind(2)
        expected = written_out(x, (net.norms[index] * (1 + scale))[:, :, None], shift[:, :, None])
        torch.testing.assert_close(part.enter(x), expected)
        torch.testing.assert_close(part.leave(x, change), x + gate[:, :, None] * change)


def test_it_is_closed_at_first() -> None:
    net = Modulation(D, 2, C).double()
    x, change = draw(B, T, S, D), draw(B, T, S, D, seed=1)
    for part in net(draw(B, T, C), torch.zeros(B, T, 9 * D)):
        assert torch.equal(part.leave(x, change), x)
        torch.testing.assert_close(part.enter(x), written_out(x, torch.ones(D)))


def test_without_conditions_it_is_a_norm_and_a_sum() -> None:
    net = Modulation(D, 2, None).double()
    x, change = draw(B, T, S, D), draw(B, T, S, D, seed=1)
    for part in net(None, None):
        assert torch.equal(part.leave(x, change), x + change)
        torch.testing.assert_close(part.enter(x), written_out(x, torch.ones(D)))


def test_the_residual_stream_keeps_its_precision() -> None:
    net = Modulation(D, 2, C)
    x, change = draw(B, T, S, D).float(), draw(B, T, S, D).bfloat16()
    for part in (
        *net(draw(B, T, C).float(), torch.ones(B, T, 9 * D)),
        *Modulation(D, 2, None)(None, None),
    ):
        assert part.leave(x, change).dtype == torch.float32
