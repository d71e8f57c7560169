"""The parts of the losses: weights of rows, targets, the range of values, dropout's draws."""

import pytest
import torch

from reverie.models.tdmpc2.config import TDMPC2Config
from reverie.models.tdmpc2.loss import (
    consistency,
    dropout_noise,
    moved_range,
    row_weights,
    scales,
    td_target,
    termination_loss,
)


def test_rows_weigh_as_published() -> None:
    """Their mean over all rows is the sum of rho^t over the H steps, divided by H."""
    weights = row_weights(torch.zeros(1, 4, dtype=torch.bool), 0, 0.5, torch.float64)
    full = 4 / 3
    assert weights.arrived.tolist() == [[0, full, 0.5 * full, 0.25 * full]]
    assert weights.terminated.tolist() == [[0, full, full, full]]
    assert weights.stood.tolist() == [[1, 0.5, 0.25, 0.125]]


def test_rows_of_another_episode_and_all_after_them_weigh_nothing() -> None:
    first = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]).bool()
    weights = row_weights(first, 0, 0.5, torch.float64)
    assert (weights.arrived > 0).int().tolist() == [[0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0]]
    assert (weights.stood > 0).int().tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]]
    assert torch.equal(weights.terminated > 0, weights.arrived > 0)


def test_rows_that_only_fill_stacks_weigh_nothing_and_may_begin_an_episode() -> None:
    first = torch.tensor([[0, 1, 0, 0, 0], [0, 0, 1, 0, 1]]).bool()
    weights = row_weights(first, 2, 0.5, torch.float64)
    assert (weights.arrived > 0).int().tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 1, 0]]
    assert (weights.stood > 0).int().tolist() == [[0, 0, 1, 1, 1], [0, 0, 1, 1, 0]]
    assert weights.arrived[0].mean().item() == pytest.approx((1 + 0.5) / 2)
    assert weights.stood[0].mean().item() == pytest.approx((1 + 0.5 + 0.25) / 3)


def test_the_target_by_hand() -> None:
    values = torch.tensor([[[4.0, 4.0]], [[3.0, 5.0]]])
    target = td_target(
        torch.tensor([[1.0, 1.0]]), torch.tensor([[False, True]]), torch.tensor([0.5, 0.9]), values
    )
    assert target.tolist() == [[1 + 0.5 * 3, 1.0]]


def test_the_range_moves_towards_the_percentiles_and_is_at_least_one() -> None:
    values = torch.arange(101, dtype=torch.float64)  # 5th and 95th percentile: 5 and 95
    moved = moved_range(torch.tensor(2.0, dtype=torch.float64), values, 0.01)
    assert moved.item() == pytest.approx(2 + 0.01 * (90 - 2))
    still = moved_range(torch.tensor(1.0, dtype=torch.float64), values / 1000, 0.01)
    assert still.item() == pytest.approx(1.0)
    between = moved_range(torch.zeros(()), torch.tensor([0.0, 10.0]), 1.0)
    assert between.item() == pytest.approx(9.0)  # linear between order statistics


def test_what_was_seen_is_a_constant_target() -> None:
    z, seen = (torch.randn(3, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    loss = consistency(z, seen)
    torch.testing.assert_close(loss, (z - seen).square().mean(-1))
    loss.sum().backward()
    assert seen.grad is None
    torch.testing.assert_close(z.grad, (2 * (z - seen) / 8).detach())


def test_the_termination_loss_is_a_cross_entropy() -> None:
    logits, ended = torch.tensor([2.0, -1.0]).double(), torch.tensor([True, False])
    p = torch.sigmoid(logits)
    expected = -torch.stack([p[0].log(), (1 - p[1]).log()])
    torch.testing.assert_close(termination_loss(logits, ended), expected)


@pytest.mark.parametrize("share", [0.01, 0.5])
def test_dropout_is_as_frequent_as_asked_and_repeatable(share: float) -> None:
    shape = (3, 333, 101)
    kept = [dropout_noise(shape, share, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(kept[0], kept[1]) and not torch.equal(kept[0], kept[2])
    assert kept[0].shape == shape and set(kept[0].unique().tolist()) == {0.0, 1.0}
    assert 1 - kept[0].mean().item() == pytest.approx(share, rel=0.1)
    flat = 1 - kept[0].flatten()
    for lag in (1, 2, 3, 4):  # four of them come from one draw
        together = (flat[lag:] * flat[:-lag]).mean().item()
        assert together == pytest.approx(share**2, rel=0.5)


def test_scales_are_the_published_weights() -> None:
    plain = {"consistency": 20.0, "reward": 0.1, "value": 0.1, "policy": 1.0}
    assert scales(TDMPC2Config()) == plain
    assert scales(TDMPC2Config(episodic=True)) == {**plain, "termination": 1.0}
