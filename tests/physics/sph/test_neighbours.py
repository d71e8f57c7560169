"""Pairs are those that brute force finds, images included."""

import itertools

import pytest
import torch
from torch import Tensor

from reverie.physics.sph.neighbours import Period, cells, pairs


def brute(x: Tensor, reach: float, period: Period) -> set[tuple[int, ...]]:
    """(row of i, row of j, turns), by trying all."""
    found = set()
    laps = [range(-5, 6) if length else range(1) for length in period]
    worlds, count = x.shape[:2]
    for turn in itertools.product(*laps):
        shift = x.new_tensor([t * length for t, length in zip(turn, period, strict=True)])
        for b in range(worlds):
            near = torch.cdist(x[b], x[b] + shift) < reach
            for i, j in near.nonzero().tolist():
                if i != j or any(turn):
                    found.add((b * count + i, b * count + j, *turn))
    return found


@pytest.mark.parametrize("period", [(0.0, 0.0, 0.0), (0.7, 0.0, 0.0), (0.4, 0.5, 0.9)])
def test_pairs_are_those_of_brute_force(period: Period) -> None:
    x = torch.rand(2, 30, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, :5] += 0.25  # particles outside the box are not put back
    found = pairs(x, 0.31, period)
    listed = torch.cat([found.one[:, None], found.two[:, None], found.turns], -1).tolist()
    assert len({*map(tuple, listed)}) == len(listed)
    assert {*map(tuple, listed)} == brute(x, 0.31, period)
    assert (found.one.diff() >= 0).all()


def test_worlds_that_cannot_be_searched_are_refused() -> None:
    x = torch.zeros(1, 2, 3)
    x[0, 1] = 1e4
    with pytest.raises(FloatingPointError, match="flew off"):
        cells(x, 0.01)
    x[0, 1] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        cells(x, 0.01)
