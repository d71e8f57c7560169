"""Lists of neighbours as the kernels make them."""

import torch

from reverie.physics import kernels
from reverie.physics.sph.neighbours import Period, pairs
from reverie.physics.sph.program import BEYOND, NearList
from reverie.physics.sph.reference import Law


def listed(x: torch.Tensor, period: Period) -> list[list[int]]:
    """Pairs of a list, in its order."""
    near = NearList(
        Law(0.15, 1e-3, 0.0, 0.0, period), kernels.load("reverie.physics.sph.near.kernels", x.dtype)
    )
    near.renew(x)
    rows = near.first.diff().long()
    assert len(rows) == x.shape[0] * x.shape[1]
    one = torch.arange(len(rows)).repeat_interleave(rows)
    two = one // x.shape[1] * x.shape[1] + near.other[: len(one)]
    turns = near.apart[: len(one)] if any(period) else torch.zeros(len(one), 3, dtype=torch.int32)
    return torch.cat([one[:, None], two[:, None], turns], -1).tolist()


def test_lists_hold_the_pairs_within_reach_in_order() -> None:
    x = torch.rand(2, 40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for period in ((0.0, 0.0, 0.0), (0.4, 0.0, 1.0)):
        found = listed(x, period)
        expected = pairs(x, (2 + BEYOND) * 0.15, period)
        made = torch.cat([expected.one[:, None], expected.two[:, None], expected.turns], -1)
        assert sorted(found) == sorted(made.tolist())
        assert found == sorted(found, key=lambda row: row[:2])
