"""Layer norm and Mish in one: values of the plain functions, gradients of finite differences."""

import pytest
import torch
import torch.nn.functional as F

from reverie.nn.mish import EPS, NormMish, norm_mish


def plain(x: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    if gain.ndim == 1:
        return F.mish(F.layer_norm(x, x.shape[-1:], gain, shift, EPS))
    parts = zip(x, gain, shift, strict=True)
    return torch.stack([plain(*part) for part in parts])


def given(shape: tuple[int, ...], members: int = 0, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    widths = (members, shape[-1]) if members else (shape[-1],)
    return [
        torch.randn(size, generator=generator, dtype=torch.float64).requires_grad_()
        for size in (shape, widths, widths)
    ]


@pytest.mark.parametrize(
    ("shape", "members"), [((7,), 0), ((5, 7), 0), ((2, 3, 7), 0), ((3, 5, 7), 3), ((1, 4, 6), 1)]
)
def test_value_and_gradient(shape: tuple[int, ...], members: int) -> None:
    leaves = given(shape, members)
    torch.testing.assert_close(norm_mish(*leaves), plain(*leaves))
    assert torch.autograd.gradcheck(norm_mish, leaves)
    assert torch.autograd.gradcheck(norm_mish, [leaves[0], leaves[1].detach(), leaves[2].detach()])
    assert torch.autograd.gradcheck(norm_mish, [leaves[0].detach(), leaves[1], leaves[2].detach()])


def test_without_a_graph_the_values_are_the_same() -> None:
    leaves = given((3, 5, 7), 3)
    with torch.no_grad():
        assert torch.equal(norm_mish(*leaves), norm_mish(*given((3, 5, 7), 3)).detach())
    assert not norm_mish(*(x.detach() for x in leaves)).requires_grad


def test_parts_of_a_large_input_are_joined() -> None:
    x, gain, shift = (p.detach().float() for p in given((2, 700, 512), 2))
    leaves = [p.requires_grad_() for p in (x, gain, shift)]
    grads = [
        torch.autograd.grad(f(*leaves).square().sum(), leaves, retain_graph=False)
        for f in (norm_mish, plain)
    ]
    torch.testing.assert_close(norm_mish(*leaves), plain(*leaves), atol=2e-6, rtol=1e-5)
    for own, expected in zip(*grads, strict=True):
        torch.testing.assert_close(own, expected, atol=5e-3, rtol=1e-4)


def test_far_values_neither_overflow_nor_vanish() -> None:
    """The norm cannot reach there, so gain does: u = +-300 and -20."""
    x = torch.tensor([[-1.0, 1.0]])
    for size in (300.0, 20.0):
        y = norm_mish(x, torch.full((2,), size), torch.zeros(2), eps=0.0)
        expected = F.mish(torch.tensor([[-size, size]], dtype=torch.float64))
        torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-37)


def test_eps_is_the_one_that_is_given() -> None:
    x, gain, shift = given((4, 6))
    assert (norm_mish(x, gain, shift, 1.0) - norm_mish(x, gain, shift)).abs().max() > 1e-2
    scaled = norm_mish(x, gain, shift, EPS * 0.25)
    torch.testing.assert_close(norm_mish(2 * x, gain, shift), scaled)


def test_half_precision_is_normed_in_the_precision_of_the_gain() -> None:
    x, gain, shift = (p.detach().float() for p in given((5, 7)))
    y = norm_mish(x.bfloat16(), gain, shift)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, plain(x.bfloat16().float(), gain, shift).bfloat16())


def test_compiled_is_eager() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(norm_mish, backend="aot_eager", fullgraph=True)
    for members in (0, 3):
        leaves = given((3, 5, 7), members)
        torch.testing.assert_close(compiled(*leaves), norm_mish(*leaves))


def test_what_is_kept_for_the_gradient_is_the_input_and_one_slope() -> None:
    leaves = given((3, 5, 7), 3)
    y = NormMish.apply(*leaves, EPS)
    wide = [x for x in y.grad_fn.saved_tensors if x.shape == (3, 5, 7)]
    assert len(wide) == 2
