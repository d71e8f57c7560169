"""Rotations against matrices and closed forms."""

import math

import torch
from torch import Tensor

from reverie.physics import turn


def random(count: int, seed: int) -> Tensor:
    q = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return q / q.norm(dim=-1, keepdim=True)


def about(axis: list[float], angle: float) -> Tensor:
    u = torch.tensor(axis, dtype=torch.float64)
    return torch.cat([torch.tensor([math.cos(angle / 2)]).double(), math.sin(angle / 2) * u])


def test_a_quarter_turn_about_z_takes_x_to_y() -> None:
    x = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    found = turn.rotate(about([0.0, 0.0, 1.0], math.pi / 2), x)
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))


def test_a_product_turns_twice_and_the_inverse_turns_back() -> None:
    one, two = random(20, 0), random(20, 1)
    v = torch.randn(20, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(
        turn.rotate(turn.product(one, two), v), turn.rotate(one, turn.rotate(two, v))
    )
    torch.testing.assert_close(turn.rotate_back(one, turn.rotate(one, v)), v)
    torch.testing.assert_close(turn.rotate(one, v).norm(dim=-1), v.norm(dim=-1))


def test_turning_at_constant_speed_converges_to_the_rotation() -> None:
    q, rate = random(5, 3), torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    speed = float(rate.norm())
    exact = turn.product(about((rate / speed).tolist(), speed * 0.5).expand(5, 4), q)
    errors = []
    for steps in (50, 100):
        now = q
        for _ in range(steps):
            now = turn.turned(now, rate.expand(5, 3), 0.5 / steps)
        errors.append(float((now - exact).abs().max()))
    assert errors[0] < 1e-4 and errors[1] < 0.3 * errors[0]
