"""What is read off the frames: features, the first guess of each head, and the ensemble's doubt."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reverie.core.spec import Space
from reverie.models.unisim import HeadsConfig
from reverie.models.unisim.heads import Ensemble, Features, Heads

SMALL = HeadsConfig(features=6, hidden=8, members=3, coarse=4)
SENSORS = {"pose": Space((2,)), "force": Space((3,))}


@pytest.mark.parametrize("frames", [1, 2, 4])
@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 19, 35), (3, 5, 7)])
def test_features_read_the_last_two_frames_of_any_size(frames: int, shape: tuple[int, ...]) -> None:
    net, x = Features(shape, frames, 6), torch.randn(2, frames, *shape).requires_grad_()
    features = net(x)
    assert features.shape == (2, 6)
    assert features.dtype == torch.float32
    (gradient,) = torch.autograd.grad(features.square().sum(), x)
    read = gradient.flatten(2).abs().sum(2) > 0
    assert read.tolist() == [[t >= frames - 2 for t in range(frames)]] * 2


def test_every_corner_of_an_odd_picture_is_read() -> None:
    net, x = Features((1, 19, 35), 1, 6), torch.randn(1, 1, 1, 19, 35).requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).square().sum(), x)
    assert (gradient[0, 0, 0, [0, 0, -1, -1], [0, -1, 0, -1]] != 0).all()


def sensed(rows: int) -> dict[str, torch.Tensor]:
    return {name: torch.randn(rows, *space.shape) for name, space in SENSORS.items()}


def test_heads_begin_by_expecting_nothing_and_no_change() -> None:
    heads, before = Heads(SENSORS, 5, SMALL), sensed(4)
    read = heads(torch.randn(4, 6), torch.randn(4, 5), before)
    assert torch.equal(read.reward, torch.zeros(4))
    assert torch.equal(read.ends, torch.zeros(4))  # the logit of one half
    assert {name: x.shape for name, x in read.sensors.items()} == {"pose": (4, 2), "force": (4, 3)}
    assert all(torch.equal(x, before[name]) for name, x in read.sensors.items())


def test_heads_read_features_the_way_there_and_what_was_sensed() -> None:
    heads = Heads(SENSORS, 5, SMALL)
    for head in (heads.reward, heads.ends, *heads.sensors.values()):
        nn.init.normal_(head.output.weight)
    one, other = torch.randn(2, 6), torch.randn(2, 6)
    way, elsewhere = torch.randn(2, 5), torch.randn(2, 5)
    before, earlier = sensed(2), sensed(2)
    first = heads(one, way, before)
    for changed in (
        heads(other, way, before),
        heads(one, elsewhere, before),
        heads(one, way, earlier),
    ):
        for a, b in zip(
            (first.reward, first.ends, *first.sensors.values()),
            (changed.reward, changed.ends, *changed.sensors.values()),
            strict=True,
        ):
            assert not torch.allclose(a, b, atol=1e-4)


def test_rewards_are_told_in_their_own_unit() -> None:
    heads, x, way = Heads({}, 5, SMALL), torch.randn(4, 6), torch.randn(4, 5)
    assert heads.reward is not None
    nn.init.normal_(heads.reward.output.weight)
    small = heads(x, way, {}).reward
    heads.size.moments.merge(torch.tensor([[-100.0], [0.0]]))
    torch.testing.assert_close(heads(x, way, {}).reward, small * 5000**0.5)


def test_what_is_not_predicted_has_no_head() -> None:
    heads = Heads({}, 5, HeadsConfig(features=6, hidden=8, reward=False, continues=False))
    assert heads(torch.randn(4, 6), torch.randn(4, 5), {}) == (None, None, {})
    assert not list(heads.parameters())


def test_the_ensemble_aims_at_the_change_seen_coarsely() -> None:
    ensemble = Ensemble(2, 5, SMALL)
    before, after = torch.randn(3, 2, 8, 12), torch.randn(3, 2, 8, 12)
    aim = ensemble.target(before, after).unflatten(1, (2, 4, 4))
    for row in range(4):
        for column in range(4):
            box = (..., slice(2 * row, 2 * row + 2), slice(3 * column, 3 * column + 3))
            expected = (after - before)[box].mean((-2, -1))
            torch.testing.assert_close(aim[..., row, column], expected)
    assert ensemble(torch.randn(3, 6), torch.randn(3, 5)).shape == (3, 3, 2 * 4 * 4)


def test_the_doubt_is_the_spread_of_the_members_in_shares_of_the_grey_range() -> None:
    ensemble, inputs = Ensemble(2, 5, SMALL), (torch.randn(3, 6), torch.randn(3, 5))
    said = ensemble(*inputs)
    spread = (said - said.mean(0)).square().mean(0).mean(-1).sqrt()
    torch.testing.assert_close(ensemble.uncertainty(*inputs), spread / 2, atol=1e-6, rtol=1e-5)
    with torch.no_grad():  # from black in -1..1 to white: a spread of +-1 is half of the range
        for member, value in zip(ensemble.members, (-1.0, 0.0, 1.0), strict=True):
            member.output.weight.zero_()
            member.output.bias.fill_(value)
    expected = torch.full((3,), (2 / 3) ** 0.5 / 2)
    torch.testing.assert_close(ensemble.uncertainty(*inputs), expected)


def test_members_begin_apart_and_who_agree_have_no_doubt() -> None:
    ensemble, inputs = Ensemble(2, 5, SMALL), (torch.randn(3, 6), torch.randn(3, 5))
    assert (ensemble.uncertainty(*inputs) > 0.01).all()
    for member in ensemble.members:
        member.load_state_dict(ensemble.members[0].state_dict())
    doubt = ensemble.uncertainty(*inputs)
    assert (doubt < 1e-5).all()
    features = inputs[0].requires_grad_()
    (slope,) = torch.autograd.grad(ensemble.uncertainty(features, inputs[1]).sum(), features)
    assert slope.isfinite().all()  # the root has a slope where members agree
