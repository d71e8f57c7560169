"""Two networks behind one call, and caches row by row against caches of all rows at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from reverie.core import tree
from reverie.models.unisim.config import TransformerConfig
from reverie.models.unisim.denoiser import Denoiser, stretches
from reverie.nn.spacetime import SpaceTimeConfig
from tests.models.unisim import tiny


def denoiser(**changes: Any) -> Denoiser:
    return tiny.model(**changes).denoiser


def attending(**sizes: Any) -> Denoiser:
    net = SpaceTimeConfig(**{"width": 16, "depth": 2, "heads": 2, "window": 3, **sizes})
    return denoiser(backbone="transformer", transformer=TransformerConfig(4, net))


def given(frames: int = 5) -> tuple[torch.Tensor, ...]:
    z, before = torch.randn(2, frames, 3, 16, 16), torch.randn(2, frames, 3, 3, 16, 16)
    level, step, clean = (torch.rand(2, frames) for _ in range(3))
    return z, before, torch.randn(2, frames, 16), level, step, clean


def test_the_u_net_is_told_what_is_done_and_all_levels() -> None:
    net, (z, before, condition, level, step, clean) = denoiser(), given()
    found, kept = net(z, before, condition, level, step, clean)
    assert kept == net.empty(2) == net.keep((), (), torch.ones(2, dtype=torch.bool)) == ()
    assert net.unet is not None
    for t in range(5):
        c = condition[:, t] + net.level(level[:, t], step[:, t]) + net.context_level(clean[:, t])
        torch.testing.assert_close(found[:, t], net.unet(z[:, t], before[:, t], c))


def test_the_transformer_is_told_the_same() -> None:
    net, inputs = attending(), given()
    z, before, condition, level, step, clean = inputs
    c = condition + net.level(level, step) + net.context_level(clean)
    assert net.unet is None
    assert net.patches is not None
    torch.testing.assert_close(net(*inputs)[0], net.patches(z, before, c)[0])


def test_a_row_that_has_only_begun_keeps_nothing() -> None:
    net, inputs = attending(), given(1)
    cache = net.empty(2)
    for _ in range(2):
        cache = net.keep(cache, net(*inputs, cache=cache)[1], torch.tensor([False, False]))
    kept = net.keep(cache, net(*inputs, cache=cache)[1], torch.tensor([True, False]))
    assert not tree.differ(tree.select(kept, 0), tree.select(net.empty(2), 0))
    assert kept.age.tolist() == [0, 3]
    assert kept.keys[0][1].any()


@pytest.mark.parametrize("layout", ["factorised", "joint"])
@pytest.mark.parametrize("before", [0, 2])
def test_caches_of_all_rows_are_those_of_one_row_after_another(layout: str, before: int) -> None:
    net, inputs = attending(layout=layout, time_every=1), given(7)
    cache, never = net.empty(2), torch.zeros(2, dtype=torch.bool)
    for _ in range(before):
        cache = net.keep(cache, net(*given(1), cache=cache)[1], never)
    begun = torch.tensor([[0, 0, 1, 0, 0, 1, 1], [1, 0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    since = torch.cat([torch.zeros(2, 1, dtype=torch.bool), begun[:, :-1]], 1)
    found = stretches(cache, net(*inputs, cache=cache, first=since)[1], begun)
    for t in range(7):
        entries = net(*(x[:, t : t + 1] for x in inputs), cache=cache)[1]
        cache = net.keep(cache, entries, begun[:, t])
        assert not tree.differ(tree.select(found, (slice(None), t)), cache, 1e-4), t
