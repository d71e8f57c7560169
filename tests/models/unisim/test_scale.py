"""Moments of what was met, against those of all rows at once, and scales there and back."""

from __future__ import annotations

import pytest
import torch

from reverie.core.spec import Space
from reverie.models.unisim.scale import FORGET, Moments, Scale


def met(moments: Moments, *batches: torch.Tensor) -> Moments:
    for batch in batches:
        moments.meet(batch)
        moments.adopt()
    return moments


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_they_are_the_moments_of_all_rows(offset: float) -> None:
    rows = offset + torch.tensor([3.0, 0.2]) * torch.randn(40, 25, 2) + torch.randn(40, 1, 2)
    moments, exact = met(Moments(2), *rows), rows.double().flatten(0, 1)
    torch.testing.assert_close(moments.mean.double(), exact.mean(0), rtol=1e-5, atol=1e-3)
    expected = exact.var(0, correction=0)
    torch.testing.assert_close(moments.variance.double(), expected, rtol=2e-3, atol=1e-3)


def test_old_batches_are_forgotten() -> None:
    moments = met(Moments(1), *torch.zeros(5, 4, 1))
    moments.count.fill_(10**6)
    met(moments, torch.tensor([[1.0], [3.0]]))
    mean, r = 2 * FORGET, FORGET
    torch.testing.assert_close(moments.mean, torch.tensor([mean]))
    torch.testing.assert_close(moments.variance, torch.tensor([r * 1.0 + r * (1 - r) * 4]))


def test_a_batch_counts_once_and_only_when_it_is_adopted() -> None:
    moments, rows = Moments(1), torch.randn(8, 1)
    moments.meet(rows)
    assert not moments.count and moments.mean == 0 and moments.variance == 1
    moments.adopt()
    moments.adopt()
    assert moments.count == 1
    torch.testing.assert_close(moments.mean, rows.mean(0))


def test_gaps_count_as_nothing() -> None:
    moments = met(Moments(2), torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    met(moments, torch.zeros(0, 2))
    assert moments.count == 1
    lost = float("nan")
    met(moments, torch.tensor([[lost, lost], [5.0, lost], [float("inf"), lost]]))
    torch.testing.assert_close(moments.mean, torch.tensor([3.5, 5.0]))
    torch.testing.assert_close(moments.variance[0], torch.tensor((1 + 0) / 2 + 1.5**2))
    assert moments.mean.isfinite().all() and moments.variance.isfinite().all()


def test_what_stands_still_is_not_blown_up() -> None:
    moments = met(Moments(2), *(torch.tensor([1000.1, 0.0]) * torch.ones(9, 16, 2)))
    assert moments.deviation.tolist() == [1, 1]


def test_scales_there_and_back_and_in_double() -> None:
    scale = Scale(Space((3,), low=(-1.0, 0.0, float("-inf")), high=(3.0, float("inf"), 0.0)))
    assert scale.moments is not None
    met(scale.moments, torch.tensor([[0.0, 100.0, -3.0], [1.0, 300.0, -5.0]]))
    value = torch.tensor([[3.0, 300.0, -4.0], [1.0, 100.0, -5.0]])
    scaled = scale.enter(value, value)
    torch.testing.assert_close(scaled, torch.tensor([[1.0, 1.0, 0.0], [0.0, -1.0, -1.0]]))
    torch.testing.assert_close(scale.leave(scaled), value)
    scale.double()
    assert scale.enter(value, value.double()).dtype == torch.float64
    assert Scale(Space((2,), low=0.0, high=1.0)).state_dict() == {}
