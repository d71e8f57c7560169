"""When lists of neighbours are made anew."""

import torch

from reverie.physics import kernels
from reverie.physics.sph.neighbours import pairs
from reverie.physics.sph.program import NearList
from reverie.physics.sph.reference import Law


def test_a_list_grows_with_what_it_holds() -> None:
    draws = torch.Generator().manual_seed(1)
    near = NearList(
        Law(0.15, 1e-3, 0.0, 0.0, (0.0, 0.0, 0.0)),
        kernels.load("reverie.physics.sph.near.kernels", torch.float32),
    )
    wide = torch.rand(1, 60, 3, generator=draws) * 3
    first = near.renew(wide)
    assert near.renew(wide + 1e-3) == first
    assert near.renew(wide / 10) > first
    assert int(near.first[-1]) == len(pairs(wide / 10, 0.33).one)


def test_a_list_serves_until_a_particle_has_gone_far() -> None:
    x = torch.rand(1, 30, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.3
    near = NearList(
        Law(0.05, 1e-4, 0.0, 0.0, (0.0, 0.0, 0.0)),
        kernels.load("reverie.physics.sph.near.kernels", torch.float64),
    )
    near.renew(x)
    kept = near.made
    near.renew(x + 0.002)
    assert near.made is kept
    near.renew(x + 0.02)
    assert near.made is not kept
