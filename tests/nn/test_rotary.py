"""Turned unit vectors against rotation matrices, finite differences and a film of any length."""

import math

import pytest
import torch
from torch import Tensor

from reverie.nn.rotary import angles, grid_angles, phase, times, turned


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=seeded(), dtype=torch.float64).to(dtype)


def factors(*shape: int) -> Tensor:
    return draw(*shape, 2)


def test_a_pair_of_channels_is_turned_by_its_angle() -> None:
    x, angle = draw(3, 2, 4), draw(3, 2, 2)
    expected = torch.empty_like(x)
    for row in range(3):
        for head in range(2):
            unit = x[row, head] / (x[row, head].square().mean() + 1e-4).sqrt()
            for pair in range(2):
                a = float(angle[row, head, pair])
                turn = torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
                here = slice(2 * pair, 2 * pair + 2)
                expected[row, head, here] = turn.double() @ unit[here]
    torch.testing.assert_close(turned(x, phase(angle, torch.float64)), expected)


@pytest.mark.parametrize("shape", [(3, 2, 2), (1, 2, 2), (2, 1), (2,)])
def test_gradients_are_those_of_finite_differences(shape: tuple[int, ...]) -> None:
    x, factor = draw(3, 2, 4).requires_grad_(), factors(*shape).requires_grad_()
    assert torch.autograd.gradcheck(turned, (x, factor))


@pytest.mark.parametrize("conjugate", [False, True])
def test_compiled_code_multiplies_alike(conjugate: bool, monkeypatch) -> None:
    x, y = draw(3, 2, 2), draw(2, 3, 2, 2)[1]
    eager = times(x, y, conjugate)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(times(x, y, conjugate), eager)


def test_memory_order_is_free() -> None:
    x, factor = draw(3, 2, 4).requires_grad_(), factors(3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda y, f: turned(y.transpose(0, 1), f), (x, factor))


def test_it_is_bitwise_the_same_with_and_without_gradient() -> None:
    x, factor = draw(3, 2, 4, dtype=torch.float32).requires_grad_(), factors(2, 2)
    with torch.no_grad():
        without = turned(x, factor.float())
    assert torch.equal(without, turned(x, factor.float()))


def test_half_precision_rounds_once() -> None:
    x = draw(3, 2, 4, dtype=torch.bfloat16).requires_grad_()
    factor = factors(2, 2).float()
    out = turned(x, factor)
    assert torch.equal(out, turned(x.detach().float(), factor).bfloat16())
    out.sum().backward()
    assert x.grad is not None and x.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("start", [0, 10_000, 10_000_000])
def test_a_product_knows_the_distance_alone(start: int) -> None:
    query, key = draw(1, 1, 16, dtype=torch.float32), draw(2, 1, 1, 16, dtype=torch.float32)[1]

    def product(m: int, n: int) -> float:
        turn = angles(torch.tensor([m, n]), 8, 10_000.0)
        at = phase(turn, torch.float32)[:, None]
        return float((turned(query, at[:1]) * turned(key, at[1:])).sum())

    near, far = product(0, 5), product(0, 6)
    assert abs(near - far) > 1e-2
    assert product(start, start + 5) == pytest.approx(near, abs=1e-5)


def test_angles_and_their_grid() -> None:
    torch.testing.assert_close(
        angles(torch.tensor([0, 3]), 2, 100.0),
        torch.tensor([[0.0, 0.0], [3.0, 0.3]], dtype=torch.float64),
    )
    grid = grid_angles((2, 3), 2, 1, torch.device("cpu"))
    expected = [[r, 0.1 * r, c] for r in range(2) for c in range(3)]
    torch.testing.assert_close(grid, torch.tensor(expected, dtype=torch.float64))
