"""Adam with a falling rate and a bounded gradient, against torch and by hand."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reverie.imagine.descent import Descent, DescentConfig, require

FALLING = DescentConfig(final_lr=1e-3, updates=4, clip=0.5, betas=(0.6, 0.9))


def loss(net: nn.Module, scale: float = 1.0) -> Tensor:
    x = torch.linspace(-1, 1, 12).reshape(4, 3)
    return scale * net(x).square().sum()


def test_the_steps_are_those_of_adam_after_clipping_with_the_rate_of_the_moment() -> None:
    ours, twin = nn.Linear(3, 2), nn.Linear(3, 2)
    twin.load_state_dict(ours.state_dict())
    descent = Descent(ours, 0.1, FALLING)
    adam = torch.optim.Adam(twin.parameters(), betas=FALLING.betas)
    for i, share in enumerate((0.0, 0.25, 0.5, 1.0, 1.0)):
        scale = 10.0 if i % 2 else 0.01
        norm = descent.step(loss(ours, scale), share)
        adam.zero_grad()
        loss(twin, scale).backward()
        found = nn.utils.clip_grad_norm_(twin.parameters(), FALLING.clip)
        adam.param_groups[0]["lr"] = 0.1 + (1e-3 - 0.1) * share
        adam.step()
        assert norm == pytest.approx(found.item(), rel=1e-6)
        assert (norm > FALLING.clip) == bool(i % 2)
        torch.testing.assert_close(ours.state_dict(), twin.state_dict())
    assert all(p.grad is None for p in ours.parameters())


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    net = nn.Linear(3, 2)
    descent = Descent(net, 0.1, FALLING)
    descent.step(loss(net), 0.0)
    before = copy.deepcopy((net.state_dict(), descent.state_dict()))
    for scale in (math.inf, math.nan):
        assert not math.isfinite(descent.step(loss(net, scale), 0.0))
    torch.testing.assert_close((net.state_dict(), descent.state_dict()), before, rtol=0, atol=0)


def test_it_goes_on_bitwise_from_its_state() -> None:
    net = nn.Linear(3, 2)
    descent = Descent(net, 0.1, FALLING)
    descent.step(loss(net), 0.0)
    twin = copy.deepcopy(net)
    resumed = Descent(twin, 0.1, FALLING)
    resumed.load_state_dict(descent.state_dict())
    for share in (0.1, 0.2):
        descent.step(loss(net), share)
        resumed.step(loss(twin), share)
    torch.testing.assert_close(net.state_dict(), twin.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(descent.state_dict(), resumed.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"actor_lr": -1.0}, "actor_lr is -1.0; give at least 0"),
        ({"critic_lr": math.nan}, "critic_lr is nan"),
        ({"updates": 0}, "updates is 0; give at least 1"),
        ({"skips": 0}, "skips is 0; give at least 1"),
        ({"clip": 0.0}, "clip is 0.0 .* give a clip above 0"),
        ({"betas": (0.9, 1.0)}, r"betas are \(0.9, 1.0\); give"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DescentConfig(**options)


def test_the_bounds_themselves_are_allowed() -> None:
    require("A", x=(1.0, 1.0, 2.0), y=(2.0, 1.0, 2.0))
    with pytest.raises(ValueError, match=r"A y is 2\.1; give at least 1\.0 and at most 2\.0"):
        require("A", x=(1.0, 1.0, 2.0), y=(2.1, 1.0, 2.0))
