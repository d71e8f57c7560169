"""Vectors by their bounds or by what was met, there and back."""

from __future__ import annotations

import torch

from reverie.core.spec import Space
from reverie.models.unisim.scale import Scale, Size


def test_what_stands_still_is_not_blown_up() -> None:
    scale, still = Scale(Space((2,))), torch.tensor([1000.1, 0.0])
    assert scale.moments is not None
    for _ in range(9):
        scale.moments.merge(still.expand(16, 2))
    torch.testing.assert_close(
        scale.enter(still + 2, still), torch.full((2,), 2.0), rtol=0, atol=1e-3
    )


def test_scales_there_and_back_and_in_double() -> None:
    scale = Scale(Space((3,), low=(-1.0, 0.0, float("-inf")), high=(3.0, float("inf"), 0.0)))
    assert scale.moments is not None
    scale.moments.merge(torch.tensor([[0.0, 100.0, -3.0], [1.0, 300.0, -5.0]]))
    value = torch.tensor([[3.0, 300.0, -4.0], [1.0, 100.0, -5.0]])
    scaled = scale.enter(value, value)
    torch.testing.assert_close(scaled, torch.tensor([[1.0, 1.0, 0.0], [0.0, -1.0, -1.0]]))
    torch.testing.assert_close(scale.leave(scaled), value)
    scale.double()
    assert scale.enter(value, value.double()).dtype == torch.float64
    assert Scale(Space((2,), low=0.0, high=1.0)).state_dict() == {}


def test_rewards_of_up_to_one_stay_and_larger_ones_are_told_by_their_size() -> None:
    size, like = Size(), torch.ones(1, dtype=torch.float64)
    assert size(like) == 1 and size(like).dtype == torch.float64
    size.moments.merge(torch.tensor([[0.0], [0.0], [0.0], [1.0]]))
    assert size(like) == 1
    size.moments.merge(torch.full((4, 1), 3.0))
    torch.testing.assert_close(size(like), torch.tensor(((1 + 4 * 9) / 8) ** 0.5).double())
