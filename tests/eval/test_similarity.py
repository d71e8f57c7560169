"""Structural similarity against its definition, written out with loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from reverie.eval.similarity import ssim


def picture(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(one: Tensor, other: Tensor) -> float:
    """One channel [h, w], place by place."""
    weights = [math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)]
    window = torch.tensor([[a * b for b in weights] for a in weights], dtype=torch.float64)
    window /= window.sum()
    found = []
    for i in range(one.shape[0] - 10):
        for j in range(one.shape[1] - 10):
            x, y = one[i : i + 11, j : j + 11], other[i : i + 11, j : j + 11]
            mx, my = (window * x).sum(), (window * y).sum()
            sx, sy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            sxy = (window * (x - mx) * (y - my)).sum()
            top = (2 * mx * my + 1e-4) * (2 * sxy + 9e-4)
            found.append(top / ((mx**2 + my**2 + 1e-4) * (sx + sy + 9e-4)))
    return float(torch.stack(found).mean())


def test_it_is_its_definition() -> None:
    one, other = picture(0, 2, 14, 17), picture(1, 2, 14, 17)
    other = 0.7 * one + 0.3 * other
    expected = sum(by_hand(one[c], other[c]) for c in range(2)) / 2
    assert float(ssim(one, other)) == pytest.approx(expected, abs=1e-4)


def test_a_picture_is_like_itself_and_unlike_its_negative() -> None:
    one = picture(0, 5, 3, 32, 32)
    assert torch.allclose(ssim(one, one), torch.ones(5))
    assert (ssim(one, 1 - one) < -0.5).all()


def test_blur_costs_more_than_a_shift_of_brightness_of_equal_error() -> None:
    one = picture(0, 1, 64, 64)
    blurred = torch.nn.functional.avg_pool2d(one[None], 5, 1, 2)[0]
    shift = (one - blurred).square().mean().sqrt()
    assert float(ssim(one, blurred)) < float(ssim(one, one + shift)) - 0.2


def test_small_pictures_get_a_small_window() -> None:
    one = picture(0, 3, 6, 5)
    assert float(ssim(one, one)) == pytest.approx(1)


def test_pictures_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 8, 8\) and \(3, 8, 9\)"):
        ssim(picture(0, 3, 8, 8), picture(0, 3, 8, 9))
