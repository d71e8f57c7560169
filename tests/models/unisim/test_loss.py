"""The losses against closed forms and loops by hand, with stand-ins for the network."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reverie.core import tree
from reverie.core.spec import Space
from reverie.models.unisim import FlowConfig, HeadsConfig, TrainingNoise, UniSim
from reverie.models.unisim.config import TransformerConfig
from reverie.nn.conditions import Part
from reverie.nn.spacetime import SpaceTimeConfig
from tests.models.unisim import tiny

PARTS = (Part("arm", 0, 1), Part("hand", 1, 2))
ATTENDING: dict[str, Any] = {
    "backbone": "transformer",
    "transformer": TransformerConfig(4, SpaceTimeConfig(16, 2, 2, window=3)),
}


def flow(**changes: Any) -> FlowConfig:
    return FlowConfig(**{"settle": 0, "context": 0.0, "drop": 0.0, "shortcut": 0.0, **changes})


def drawn(net: UniSim, batch: int, length: int, unrolled: bool = False) -> TrainingNoise:
    noise = net.training_noise(batch, length, torch.Generator().manual_seed(1))
    return noise._replace(unroll=torch.tensor(0.0 if unrolled else 1.0))


# -------------------------------------------------------------------------------------------------
# The next frame


@pytest.mark.parametrize("unrolled", [False, True])
def test_who_predicts_every_frame_from_its_own_action_pays_nothing(unrolled: bool) -> None:
    net = tiny.model(flow=flow(shortcut=0.25))
    tiny.told_the_action(net)
    tiny.replaced(net, tiny.obedient)
    batch, _ = tiny.greys()
    noise, begun = drawn(net, 4, 6, unrolled), net.initial(4)
    found = net.loss(batch, begun, noise).losses
    assert found["flow"].max() < 1e-10
    assert found["shortcut"].max() < 1e-10
    for shift in (-1, 1):  # of the action before, or after
        wrong = net.loss(batch._replace(action=batch.action.roll(shift, 1)), begun, noise).losses
        assert wrong["flow"].mean() > 1e-3


def test_who_says_that_nothing_changes_pays_for_the_change() -> None:
    batch, grey = tiny.greys(batch=8)
    expected = F.pad(grey.diff(dim=1).square(), (1, 0))
    for share, learns in ((0.0, 8), (0.125, 7), (0.3, 5)):
        net = tiny.model(flow=flow(shortcut=share))
        tiny.replaced(net, lambda z, before, condition, level: before[:, :, -1])
        found = net.loss(batch, net.initial(8), drawn(net, 8, 6)).losses["flow"]
        torch.testing.assert_close(found[:learns], expected[:learns] * 8 / learns)
        assert not found[learns:].any()  # these sequences learn shortcuts


def test_noisy_frames_lie_between_noise_and_the_frame_they_are_to_become() -> None:
    net, (batch, grey) = tiny.model(flow=flow(context=0.3)), tiny.greys()
    calls = tiny.replaced(net, tiny.obedient)
    noise = drawn(net, 4, 6)
    assert noise.level.min() == 0
    net.loss(batch, net.initial(4), noise)
    (call,) = calls
    x = grey[..., None, None, None]
    tau, e = noise.level[..., None, None, None], noise.start
    torch.testing.assert_close(call["z"], ((1 - tau) * e + tau * x)[:, 1:])
    assert torch.equal(call["level"], noise.level[:, 1:])
    assert not call["step"].any()


def test_the_frames_before_are_as_noisy_as_the_denoiser_is_told() -> None:
    net, (batch, grey) = tiny.model(flow=flow(context=0.3)), tiny.greys(batch=6)
    calls = tiny.replaced(net, tiny.obedient)
    noise = drawn(net, 6, 6)
    net.loss(batch, net.initial(6), noise)
    (call,) = calls
    torch.testing.assert_close(call["clean"], (1 - noise.context)[:, 1:])
    assert (call["clean"] == 1).any()
    assert (call["clean"] < 0.95).any()
    for t in range(1, 6):
        for back in range(3):  # the oldest first; the first stands for those before it
            at = max(0, t - 3 + back)
            share = noise.context[:, t, None, None, None]
            expected = (1 - share) * grey[:, at, None, None, None] + share * noise.before[:, t]
            torch.testing.assert_close(call["before"][:, t - 1, back], expected)


def test_a_sequence_that_goes_on_is_learnt_from_its_first_row() -> None:
    net, (batch, grey) = tiny.model(flow=flow()), tiny.greys(length=9)
    tiny.replaced(net, lambda z, before, condition, level: before[:, :, -1])
    zero = net.noise(4)
    states = net.observe_all(
        net.initial(4), batch.action[:, :4, None], {"image": batch.obs["image"][:, :4]},
        batch.first[:, :4], zero,
    )  # fmt: skip
    later = batch._replace(
        obs={"image": batch.obs["image"][:, 4:]},
        **{name: getattr(batch, name)[:, 4:] for name in batch._fields[1:]},
    )
    found = net.loss(later, tree.select(states, (slice(None), 3)), drawn(net, 4, 5)).losses
    torch.testing.assert_close(found["flow"], grey.diff(dim=1)[:, 3:].square())


@pytest.mark.parametrize("changes", [{}, ATTENDING], ids=["unet", "transformer"])
@pytest.mark.parametrize("unrolled", [False, True])
def test_episodes_do_not_see_each_other_and_their_first_rows_cost_nothing(
    changes: dict[str, Any], unrolled: bool
) -> None:
    obs = {**tiny.CAMERA, **tiny.POSE}
    net = tiny.model(obs, flow=flow(shortcut=0.5, context=0.2, drop=0.2), **changes)
    batch = tiny.rows(net, 4, 9)
    batch.first[:, 4] = True
    noise, begun = drawn(net, 4, 9, unrolled), net.initial(4)
    one = net.loss(batch, begun, noise)
    other = tiny.rows(net, 4, 9, seed=5)

    def mixed(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([b[:, :4], a[:, 4:]], 1)

    two = net.loss(
        batch._replace(
            obs={name: mixed(x, other.obs[name]) for name, x in batch.obs.items()},
            action=mixed(batch.action, other.action),
        ),
        begun,
        noise,
    )
    for name, loss in one.losses.items():
        assert not loss[batch.first].any(), name
        assert torch.equal(loss[:, 4:], two.losses[name][:, 4:]), name
        assert not torch.equal(loss[:, 1:4], two.losses[name][:, 1:4]) or not loss[:, 1:4].any()
    assert one.losses["flow"][:, 5:].any()
    assert one.losses["shortcut"][:, 5:].any()


# -------------------------------------------------------------------------------------------------
# Its own predictions


@pytest.mark.parametrize("begins", [None, 4])
def test_unrolled_it_looks_back_to_what_it_predicted(begins: int | None) -> None:
    length, known = 9, 3
    first = torch.zeros(4, length, dtype=torch.bool)
    first[:, 0] = True
    if begins:
        first[:2, begins] = True
    net, (batch, grey) = tiny.model(flow=flow(context=0.3)), tiny.greys(4, length, first)
    weight, said = nn.Parameter(torch.tensor(1.0)), list[Tensor]()

    def predict(z: Tensor, before: Tensor, condition: Tensor, level: Tensor) -> Tensor:
        said.append(torch.rand(4) * 3 - 1.5)  # beyond black and white, too
        return weight * said[-1][:, None, None, None, None].expand_as(z)

    calls = tiny.replaced(net, predict)
    found = net.loss(batch, net.initial(4), drawn(net, 4, length, unrolled=True)).losses["flow"]
    assert len(calls) == length - known
    for b in range(4):
        memory = list[float]()
        for t in range(length):
            if first[b, t]:
                begun, memory = t, [grey[b, t].item()] * 3
                continue
            if t <= known or t - begun < 3:
                memory = [grey[b, max(begun, t - 3 + k)].item() for k in range(3)]
            if t < known:
                assert found[b, t] == 0
                continue
            call = calls[t - known]
            seen = call["before"][b, 0, :, 0, 0, 0]
            torch.testing.assert_close(seen, torch.tensor(memory))
            value = said[t - known][b]
            cost = (value - grey[b, t]).square() * length / (length - known)
            torch.testing.assert_close(found[b, t], cost)
            memory = [*memory[1:], value.clamp(-1, 1).item()]
    for call in calls:
        assert not call["before"].requires_grad
        assert (call["clean"] == 1).all()
        assert not call["step"].any()
    found.sum().backward()
    assert weight.grad is not None


def test_the_coin_and_the_number_of_updates_decide_what_is_learnt() -> None:
    batch, _ = tiny.greys(length=7)

    def calls(coin: float, updates: int, **changes: Any) -> int:
        net = tiny.model(flow=flow(settle=10, shortcut=0.25, unroll=0.4), **changes)
        net.updates.fill_(updates)
        made = tiny.replaced(net, tiny.obedient)
        noise = drawn(net, 4, 7)._replace(unroll=torch.tensor(coin))
        found = net.loss(batch, net.initial(4), noise).losses
        assert found["flow"].shape == found["shortcut"].shape == (4, 7)
        return len(made)

    assert calls(0.39, 10) == 4 + 3  # rows beyond the first K; twice a half step, once a whole
    assert calls(0.41, 10) == 1 + 3
    assert calls(0.39, 9) == 1
    assert calls(0.39, 10, **ATTENDING) == 1 + 3


# -------------------------------------------------------------------------------------------------
# Shortcuts


def guess(z: Tensor, level: Tensor) -> Tensor:
    """Some denoiser that depends on all that it should."""
    return 0.6 * z + 0.3 * level[..., None, None, None] - 0.1


def test_a_shortcut_is_told_to_do_what_two_of_half_its_length_do() -> None:
    net, (batch, grey) = tiny.model(flow=flow(shortcut=0.5, finest=8)), tiny.greys(length=7)
    calls = tiny.replaced(net, lambda z, before, condition, level: guess(z, level))
    # d of 1/2 and 1/4, then from which multiple of d: by the uniform number
    halving = torch.tensor([0.9, 0.0, 0.249, 0.26, 0.51, 0.63, 0.999]).expand(4, 7)
    d = torch.tensor([0.25, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25])
    tau = torch.tensor([0.75, 0.0, 0.0, 0.5, 0.0, 0.25, 0.75])
    noise = drawn(net, 4, 7)._replace(halving=halving)
    found = net.loss(batch, net.initial(4), noise).losses["shortcut"]
    first, second, whole = calls[1:]
    for call, level, told in (
        (first, tau, [0.0, 0.25, 0.25, 0.25, 0.0, 0.0, 0.0]),  # the finest is flow matching
        (second, tau + d / 2, [0.0, 0.25, 0.25, 0.25, 0.0, 0.0, 0.0]),
        (whole, tau, d.tolist()),
    ):
        assert call["level"].tolist() == [level.tolist()] * 2
        assert call["step"].tolist() == [told] * 2
        assert (call["clean"] == 1).all()
    assert not found[:2].any()
    for b in (2, 3):
        for t in range(1, 7):
            z = (1 - tau[t]) * noise.start[b, t] + tau[t] * grey[b, t]
            half = d[t] / 2
            one = (guess(z, tau[t]) - z) / (1 - tau[t])
            middle = z + half * one
            two = (guess(middle, tau[t] + half) - middle) / (1 - tau[t] - half)
            aim = (z + (1 - tau[t]) * (one + two) / 2).clamp(-1.5, 1.5)
            expected = (guess(z, tau[t]) - aim).square().mean()
            torch.testing.assert_close(found[b, t], expected, atol=1e-5, rtol=1e-4)


def test_nothing_is_learnt_from_the_aim_of_a_shortcut() -> None:
    net, (batch, _) = tiny.model(flow=flow(shortcut=1.0, unroll=0.0)), tiny.greys()
    weight = nn.Parameter(torch.tensor(0.5))
    calls = tiny.replaced(net, lambda z, *_: weight * z)
    found = net.loss(batch, net.initial(4), drawn(net, 4, 6)).losses["shortcut"]
    (slope,) = torch.autograd.grad(found.sum(), weight)
    z, tau, d = (calls[-1][name] for name in ("z", "level", "step"))
    tau, half = tau[..., None, None, None], d[..., None, None, None] / 2
    one = -0.5 * z / (1 - tau)
    two = -0.5 * (z + half * one) / (1 - tau - half)
    aim = (z + (1 - tau) * (one + two) / 2).clamp(-1.5, 1.5)
    expected = (2 * (0.5 * z - aim) * z).mean((2, 3, 4))[:, 1:].sum()
    torch.testing.assert_close(slope, expected, atol=1e-4, rtol=1e-3)


def test_the_aim_of_a_shortcut_is_kept_in_range() -> None:
    net, (batch, _) = tiny.model(flow=flow(shortcut=1.0, unroll=0.0)), tiny.greys()
    calls = tiny.replaced(net, lambda z, *_: torch.full_like(z, 5.0))
    found = net.loss(batch, net.initial(4), drawn(net, 4, 6)).losses["shortcut"]
    torch.testing.assert_close(found[:, 1:], torch.full((4, 5), 3.5**2))  # 5 aims at 1.5
    assert len(calls) == 4


def test_all_levels_and_lengths_come_up() -> None:
    net, (batch, _) = tiny.model(flow=flow(shortcut=1.0, finest=16)), tiny.greys(60, 8)
    calls = tiny.replaced(net, lambda z, *_: z)
    net.loss(batch, net.initial(60), drawn(net, 60, 8))
    step, level = calls[-1]["step"].flatten(), calls[-1]["level"].flatten()
    pairs = {*zip(step.tolist(), level.tolist(), strict=True)}
    expected = {(2.0**-i, k * 2.0**-i) for i in (1, 2, 3) for k in range(2**i)}
    assert pairs == expected
    for i in (1, 2, 3):
        assert (step == 2.0**-i).float().mean().item() == pytest.approx(1 / 3, abs=0.08)


# -------------------------------------------------------------------------------------------------
# What is drawn


def test_the_randomness_has_the_shares_that_are_configured() -> None:
    settings = FlowConfig(drop=0.2, start=0.4, context=0.3)
    net = tiny.model({**tiny.CAMERA, **tiny.POSE}, parts=PARTS, flow=settings)
    noise = net.training_noise(60, 50, torch.Generator().manual_seed(3))

    def share(x: Tensor) -> float:
        return x.float().mean().item()

    assert share(noise.level == 0) == pytest.approx(0.4, abs=0.04)
    assert share(noise.level[noise.level > 0]) == pytest.approx(0.5, abs=0.03)
    assert noise.level.max() < 1
    assert share(noise.context == 0) == pytest.approx(0.5, abs=0.04)
    assert share(noise.context[noise.context > 0]) == pytest.approx(0.15, abs=0.01)
    assert noise.context.max() <= 0.3
    assert noise.drop.shape == (60, 50, 3)
    assert share(noise.drop) == pytest.approx(0.2, abs=0.03)
    assert noise.members.shape == (2, 60, 50)
    assert share(noise.members) == pytest.approx(0.5, abs=0.03)
    assert share(noise.members[0] == noise.members[1]) == pytest.approx(0.5, abs=0.04)
    assert share(noise.halving) == pytest.approx(0.5, abs=0.03)
    for normal in (noise.start, noise.before):
        assert normal.shape == (60, 50, 3, 16, 16)
        assert share(normal) == pytest.approx(0, abs=0.01)
        assert share(normal.square()) == pytest.approx(1, abs=0.01)
    assert noise.unroll.shape == ()


def test_in_silent_sequences_no_part_of_the_action_is_told_and_the_rest_is() -> None:
    settings = FlowConfig(drop=0.0, silent=0.7)
    net = tiny.model({**tiny.CAMERA, **tiny.POSE}, parts=PARTS, flow=settings)
    drop = net.training_noise(400, 5, torch.Generator().manual_seed(3)).drop
    parts, rest = drop[..., : len(PARTS)], drop[..., len(PARTS) :]
    assert not rest.any()
    assert torch.equal(parts, parts[:, :1, :1].expand_as(parts))
    assert float(parts[:, 0, 0].float().mean()) == pytest.approx(0.7, abs=0.05)


def test_a_transformer_learns_often_from_frames_as_it_will_look_back_to_them() -> None:
    net = tiny.model(flow=FlowConfig(context=0.2), **ATTENDING)
    noise = net.training_noise(60, 50, torch.Generator().manual_seed(3))
    clean = noise.level == 1 - noise.context
    assert clean.float().mean().item() == pytest.approx(0.3, abs=0.04)


def test_one_generator_draws_all_and_no_other_random_number_is_used() -> None:
    net = tiny.model(flow=FlowConfig(settle=0))
    one, two, three = (
        net.training_noise(2, 6, torch.Generator().manual_seed(seed)) for seed in (4, 4, 5)
    )
    assert not tree.differ(one, two)
    assert tree.differ(one, three)
    batch = tiny.rows(net, 2, 6)
    losses = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        losses.append(net.loss(batch, net.initial(2), one).losses)
    assert not tree.differ(*losses)


@pytest.mark.parametrize("hidden", [0, 1])
def test_a_condition_that_is_dropped_is_not_seen(hidden: int) -> None:
    net = tiny.model(parts=PARTS, flow=flow(shortcut=0.5))
    batch = tiny.rows(net, 4, 6)
    noise = drawn(net, 4, 6)
    noise.drop[..., hidden] = True
    one = net.loss(batch, net.initial(4), noise).losses
    for part in (0, 1):
        action = batch.action.clone()
        action[..., part] = -action[..., part]
        two = net.loss(batch._replace(action=action), net.initial(4), noise).losses
        for name in ("flow", "shortcut", "reward", "ensemble"):
            assert torch.equal(one[name], two[name]) == (part == hidden)


def test_parts_and_sensors_that_are_not_known_leave_all_losses_and_slopes_finite() -> None:
    net = tiny.model({**tiny.CAMERA, **tiny.POSE}, parts=PARTS, flow=flow(shortcut=0.5))
    batch = tiny.rows(net, 4, 6)
    batch.action[1, 2:, 0] = math.nan
    batch.action[2, :, :] = math.nan
    here = torch.rand(4, 6) < 0.5
    gappy = {**batch.obs, "image.present": here, "pose.present": ~here}
    found = net.loss(batch._replace(obs=gappy), net.initial(4), drawn(net, 4, 6)).losses
    sum(x.mean() for x in found.values()).backward()
    assert all(x.isfinite().all() for x in found.values())
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)
    assert net.denoiser.conditions.missing.grad is not None
    assert net.denoiser.conditions.missing.grad.any()


# -------------------------------------------------------------------------------------------------
# Learning and use are one


@pytest.mark.parametrize("changes", [{}, ATTENDING], ids=["unet", "transformer"])
def test_what_is_learnt_is_what_a_step_does(changes: dict[str, Any]) -> None:
    """The last frame from pure noise, those before it clean: a row of the loss, and a step."""
    obs = {**tiny.CAMERA, **tiny.POSE, **tiny.TEXT}
    net = tiny.model(obs, flow=flow(), **changes)
    net.averaged.load_state_dict(net.denoiser.state_dict())
    text = torch.tensor([[104, 105] + [0] * 10, [0] * 12, [111] * 12], dtype=torch.uint8)
    batch, begun = tiny.rows(net, 3, 6), net.initial(3, {"text": text})
    noise = drawn(net, 3, 6)._replace(level=torch.ones(3, 6), context=torch.zeros(3, 6))
    noise.level[:, -1] = 0
    found = net.loss(batch, begun, noise)
    state = begun
    for t in range(5):
        now = {name: x[:, t] for name, x in batch.obs.items()}
        state = net.observe(state, batch.action[:, t, None], now, batch.first[:, t], net.noise(3))
    action, last = batch.action[:, -1], found.states.frames[:, -1, -1]
    condition = net.condition(net.denoiser, state, action)
    frame = net.denoised(net.denoiser, state, condition, action, noise.start[:, -1])
    error = (frame - last).square().mean((1, 2, 3))
    torch.testing.assert_close(found.losses["flow"][:, -1], error, atol=1e-5, rtol=1e-4)
    predicted = net.step(state, batch.action[:, -1:], noise.start[:, -1])
    torch.testing.assert_close(predicted.state.frames[:, -1], frame.clamp(-1, 1))


def test_noise_of_the_filter_stands_for_prediction_from_pure_noise() -> None:
    net = tiny.model(flow=flow())
    batch, noise = tiny.rows(net, 3, 6), torch.randn(6, 3, 3, 16, 16)
    plain = net.loss(batch, net.initial(3), noise).losses
    zero = torch.zeros(3, 6)
    same = drawn(net, 3, 6)._replace(
        start=noise.transpose(0, 1), level=zero, context=zero, members=torch.ones(2, 3, 6)
    )
    assert not tree.differ(plain, net.loss(batch, net.initial(3), same).losses)


# -------------------------------------------------------------------------------------------------
# Heads


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, {"reward", "continues", "ensemble"}),
        ({"reward": False}, {"continues", "ensemble"}),
        ({"continues": False, "members": 0}, {"reward"}),
    ],
)
def test_every_loss_has_its_scale(settings: dict[str, Any], names: set[str]) -> None:
    small = {"features": 16, "hidden": 16, "members": 2, **settings}
    obs = {**tiny.CAMERA, **tiny.POSE}
    for share, more in ((0.0, set()), (0.5, {"shortcut"})):
        net = tiny.model(obs, heads=HeadsConfig(**small), flow=flow(shortcut=share))
        found = net.loss(tiny.rows(net), net.initial(3), drawn(net, 3, 6)).losses
        assert net.scales.keys() == found.keys() == {"flow", "sensor/pose", *names, *more}
        assert all(x.shape == (3, 6) for x in found.values())


def test_heads_read_the_frame_that_an_action_led_to() -> None:
    net = tiny.model({**tiny.CAMERA, **tiny.POSE}, flow=flow())
    batch = tiny.rows(net, 3, 6)
    batch.terminated[1, 3] = True
    noise, state = drawn(net, 3, 6), net.initial(3)
    assert net.ensemble is not None
    found = net.loss(batch, state, noise).losses
    for t in range(6):
        before, now = state, {name: x[:, t] for name, x in batch.obs.items()}
        state = net.observe(state, batch.action[:, t, None], now, batch.first[:, t], net.noise(3))
        if not t:
            continue
        condition = net.condition(net.denoiser, before, batch.action[:, t])
        read = net.heads(net.look(state.frames), condition, before.vectors)
        ends = torch.sigmoid(read.ends)
        chance = torch.where(batch.terminated[:, t], ends, 1 - ends)
        scaled = (batch.obs["pose"][:, t] - 1) / 3  # of -2..4
        change = state.frames[:, -1] - before.frames[:, -1]
        aim = F.avg_pool2d(change, 4).flatten(1)
        away = (net.ensemble(net.look(before.frames), condition) - aim).square().mean(-1)
        for name, expected in {
            "reward": (read.reward - batch.reward[:, t]).square(),
            "continues": -chance.log(),
            "sensor/pose": (read.sensors["pose"] - scaled).square().mean(-1),
            "ensemble": (away * noise.members[:, :, t]).mean(0),
        }.items():
            torch.testing.assert_close(found[name][:, t], expected, atol=1e-5, rtol=1e-4)


def test_the_units_of_a_sensor_without_bounds_do_not_matter() -> None:
    net = tiny.model({**tiny.CAMERA, "pose": Space((2,))})
    batch, pose = tiny.rows(net), torch.randn(3, 6, 2)
    noise, found = drawn(net, 3, 6), []
    for unit in (1.0, 1000.0):
        here = copy.deepcopy(net)
        told = batch._replace(obs={**batch.obs, "pose": unit * pose + 5 * unit})
        losses = [here.loss(told, here.initial(3), noise)[0] for _ in range(2)]
        assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])
        here.after_update()
        losses, states = here.loss(told, here.initial(3), noise)
        found.append(losses)
        last = tree.select(states, (slice(None), -1))
        torch.testing.assert_close(here.decode(last)["pose"], told.obs["pose"][:, -1])
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-3, atol=1e-5)


def test_the_unit_of_large_rewards_does_not_matter_and_small_ones_stay() -> None:
    """What led to an episode's first row, and was never paid, counts nowhere."""
    net, found = tiny.model(), []
    batch, reward = tiny.rows(net), torch.randn(3, 6) - 1
    noise, unscaled = drawn(net, 3, 6), []
    for unit in (0.1, 10.0, 1000.0):
        here = copy.deepcopy(net)
        told = batch._replace(reward=torch.where(batch.first, 9e9, unit * reward))
        unscaled.append(here.loss(told, here.initial(3), noise).losses["reward"])
        here.after_update()
        size = (unit * reward[:, 1:]).square().mean().sqrt().clamp(min=1)
        torch.testing.assert_close(here.heads.size(size), size)
        with torch.no_grad():  # as good a guess in the new unit
            here.heads.reward.output.weight.mul_(unit / size)
            here.heads.reward.output.bias.mul_(unit / size)
        found.append(here.loss(told, here.initial(3), noise).losses["reward"])
    assert torch.equal(found[0].new_tensor(0.0), found[0][:, 0].abs().max())
    torch.testing.assert_close(found[1], found[2], rtol=1e-4, atol=1e-5)
    assert unscaled[2].mean() > 1e4 * found[2].mean()
    one, tenth = copy.deepcopy(net), batch._replace(reward=0.1 * reward)
    with torch.no_grad():
        one.heads.reward.output.weight.mul_(0.1)
        one.heads.reward.output.bias.mul_(0.1)
    plain = one.loss(tenth, one.initial(3), noise).losses["reward"]
    torch.testing.assert_close(found[0], plain)


def test_a_member_learns_from_its_own_rows_alone() -> None:
    net = tiny.model(flow=flow())
    batch, noise = tiny.rows(net, 3, 6), drawn(net, 3, 6)
    noise.members[0], noise.members[1] = 0, 1
    noise.members[0, 1, 2] = 1
    assert net.ensemble is not None
    loss = net.loss(batch, net.initial(3), noise).losses["ensemble"]
    weights = [member.output.weight for member in net.ensemble.members]
    for b, t, learning in ((1, 2, [True, True]), (0, 3, [False, True])):
        slopes = torch.autograd.grad(loss[b, t], weights, retain_graph=True)
        assert [bool(slope.any()) for slope in slopes] == learning


def test_heads_do_not_move_the_denoiser() -> None:
    net = tiny.model(flow=flow())
    found = net.loss(tiny.rows(net), net.initial(3), drawn(net, 3, 6)).losses
    (found["reward"] + found["continues"] + found["ensemble"]).mean().backward()
    assert all(p.grad is None or not p.grad.any() for p in net.denoiser.parameters())
    assert net.features_of.output.weight.grad is not None
    net.zero_grad()
    net.loss(tiny.rows(net), net.initial(3), drawn(net, 3, 6)).losses["flow"].mean().backward()
    assert (
        net.features_of.output.weight.grad is None or not net.features_of.output.weight.grad.any()
    )
    assert net.denoiser.unet is not None
    assert net.denoiser.unet.input.weight.grad.any()
