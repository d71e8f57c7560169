"""Moments of what was met, against those of all rows at once."""

from __future__ import annotations

import pytest
import torch

from reverie.nn.moments import Moments


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_they_are_the_moments_of_all_rows(offset: float) -> None:
    """Also where batches differ in size."""
    rows = offset + torch.tensor([3.0, 0.2]) * torch.randn(40, 25, 2) + torch.randn(40, 1, 2)
    moments, exact = Moments(2), rows.double().flatten(0, 1)
    for batch in (rows[:1, :3], rows[:1, 3:], *rows[1:20], rows[20:]):
        moments.merge(batch)
    torch.testing.assert_close(moments.mean.double(), exact.mean(0), rtol=1e-5, atol=1e-3)
    expected = exact.var(0, correction=0)
    torch.testing.assert_close(moments.variance.double(), expected, rtol=2e-3, atol=1e-3)
    assert moments.count == 1000


def test_old_batches_are_forgotten() -> None:
    moments, r = Moments(1, forget=0.01), 0.01
    moments.merge(torch.zeros(5, 4, 1))
    moments.count.fill_(10**6)
    moments.merge(torch.tensor([[1.0], [3.0]]))
    torch.testing.assert_close(moments.mean, torch.tensor([2 * r]))
    torch.testing.assert_close(moments.variance, torch.tensor([r * 1.0 + r * (1 - r) * 4]))


def test_a_batch_counts_once_and_only_when_it_is_adopted() -> None:
    moments, rows = Moments(1), torch.randn(8, 1)
    moments.meet(rows)
    assert not moments.count and moments.mean == 0 and moments.variance == 1
    moments.adopt()
    moments.adopt()
    assert moments.count == 8
    torch.testing.assert_close(moments.mean, rows.mean(0))


def test_gaps_count_as_nothing() -> None:
    moments = Moments(2)
    moments.merge(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    moments.merge(torch.zeros(0, 2))
    assert moments.count == 2
    lost = float("nan")
    moments.merge(torch.tensor([[lost, lost], [5.0, float("inf")]]))
    torch.testing.assert_close(moments.mean, torch.tensor([3.5, 5.0]))
    torch.testing.assert_close(moments.variance, torch.tensor([(1 + 0) / 2 + 1.5**2, 0.0]))


def test_they_are_kept_with_the_weights_in_the_precision_of_the_module() -> None:
    moments, other = Moments(3).double(), Moments(3).double()
    moments.merge(1e6 + 1e-3 * torch.randn(50, 3, dtype=torch.float64))
    torch.testing.assert_close(
        moments.variance.sqrt(), 1e-3 * torch.ones(3).double(), rtol=0.3, atol=0
    )
    other.load_state_dict(moments.state_dict())
    assert torch.equal(other.mean, moments.mean) and other.count == 50
