"""Lists of neighbours against a search of all pairs."""

import pytest
import torch

from reverie.physics import kernels
from reverie.physics.sph.program import NearList
from reverie.physics.sph.reference import Law

pytest.importorskip("warp")


def law(**options):
    fields = {"h": 0.05, "dt": 1e-4, "alpha": 0.1, "delta": 0.1, "period": (0.0, 0.0, 0.0)}
    return Law(**{**fields, **options})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("period", [(0.0, 0.0, 0.0), (0.6, 0.0, 0.5)])
def test_a_list_is_every_pair_within_reach_and_ascending(dtype, period):
    draws = torch.Generator().manual_seed(0)
    size = torch.tensor([x or 0.4 for x in period], dtype=dtype)
    x = torch.rand(2, 60, 3, generator=draws, dtype=dtype) * size
    near = NearList(law(period=period), kernels.load("reverie.physics.sph.near.kernels", dtype))
    near.renew(x)
    d = x[:, :, None] - x[:, None]
    for axis, length in enumerate(period):
        if length:
            d[..., axis] -= length * (d[..., axis] / length).round()
    close = d.square().sum(-1) < near.reach**2
    for row in range(120):
        world, own = divmod(row, 60)
        first, last = near.first[row : row + 2].tolist()
        listed = near.other[first:last].tolist()
        wanted = close[world, own].nonzero().flatten().tolist()
        assert listed == [j for j in wanted if j != own]


def test_a_list_serves_until_a_particle_has_gone_far():
    draws = torch.Generator().manual_seed(1)
    x = torch.rand(1, 30, 3, generator=draws, dtype=torch.float64) * 0.3
    near = NearList(law(), kernels.load("reverie.physics.sph.near.kernels", torch.float64))
    near.renew(x)
    kept = near.made
    near.renew(x + 0.002)
    assert near.made is kept
    near.renew(x + 0.02)
    assert near.made is not kept
