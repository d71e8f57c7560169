"""The whole world model: the interface, its losses, what it learns, and in which precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reverie.core import rollout, tree
from reverie.core.check import check_world_model
from reverie.core.model import Batch
from reverie.core.spec import Space
from reverie.models.dreamer import Dreamer, RSSMState
from tests.models.dreamer import tiny

MIXED = {
    **tiny.CAMERA,
    "hand": Space((1, 20, 12), "uint8", 0, 255),
    **tiny.JOINTS,
    "mode": Space((3,), discrete=True),
}
SENSORS = {"proprio": tiny.JOINTS, "pixels": tiny.CAMERA, "mixed": MIXED}
PARTS = [(cell, latent) for cell in ("block_gru", "gru") for latent in ("categorical", "gaussian")]


# -------------------------------------------------------------------------------------------------
# The interface


@pytest.mark.parametrize("action", [tiny.ACTION, tiny.BUTTONS], ids=["continuous", "discrete"])
@pytest.mark.parametrize("sensors", SENSORS)
def test_the_published_parts_keep_every_promise(sensors: str, action: Space) -> None:
    net = tiny.model(SENSORS[sensors], action)
    results = check_world_model(
        net, build=lambda: tiny.model(SENSORS[sensors], action), gradcheck=False
    )
    skipped = {result.name for result in results if result.outcome == "skipped"}
    assert skipped == {"gradcheck", "frames", "compile"}


@pytest.mark.parametrize(("cell", "kl"), [("gru", "single"), ("block_gru", "balanced")])
def test_gaussian_parts_have_the_gradients_of_finite_differences_too(cell: str, kl: str) -> None:
    net = tiny.model(MIXED, latent="gaussian", cell=cell, kl=kl)
    results = check_world_model(net)
    assert {r.name for r in results if r.outcome == "skipped"} == {"frames", "compile"}


def test_a_plain_gru_with_categorical_latents_passes_as_well() -> None:
    check_world_model(tiny.model(cell="gru"), gradcheck=False)


@pytest.mark.slow
def test_compiled_calls_are_those_of_eager_execution() -> None:
    check_world_model(tiny.model(), gradcheck=False, compile="aot_eager")


def test_up_to_the_sample_a_step_has_the_gradient_of_finite_differences() -> None:
    """A sampled class does not move with its inputs, but h_{t+1} and its prior do."""
    net = tiny.model().double()
    state, action = tiny.somewhere(net, 3), 0.9 * torch.rand(3, 2).double()
    leaves = [x.requires_grad_() for x in (*state, action)]
    chance = net.noise(3, torch.Generator().manual_seed(0))

    def run(deter: Tensor, stoch: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        after = net.step(RSSMState(deter, stoch), action.unsqueeze(1), chance).state
        return after.deter, net.rssm.prior(after.deter)

    assert torch.autograd.gradcheck(run, leaves)


def test_a_model_without_sensors_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one observation"):
        Dreamer({}, tiny.ACTION, 0.1, tiny.config())


def test_untrained_rewards_are_exactly_zero() -> None:
    net = Dreamer(tiny.JOINTS, tiny.ACTION, 0.1, tiny.config())
    after = net.step(tiny.somewhere(net, 5), torch.randn(5, 1, 2), net.noise(5))
    assert not after.reward.any()
    assert (after.continues > 0).all() and (after.continues < 1).all()


def test_noise_is_repeatable_and_uniform_or_normal() -> None:
    for latent, spread in (("categorical", 12**-0.5), ("gaussian", 1.0)):
        net = tiny.model(latent=latent)
        drawn = [net.noise(2000, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
        assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
        assert drawn[0].std().item() == pytest.approx(spread, rel=0.05)


# -------------------------------------------------------------------------------------------------
# Losses


@pytest.mark.parametrize("sensors", SENSORS)
def test_losses_are_named_unreduced_and_complete(sensors: str) -> None:
    net = tiny.model(SENSORS[sensors])
    batch = tiny.rows(net)
    losses, states = net.loss(batch, net.initial(3), tiny.noise(net, 3, 6))
    decode = {f"decode/{name}" for name in SENSORS[sensors]}
    assert losses.keys() == net.scales.keys() == {"dyn", "rep", "reward", "continues", *decode}
    assert all(x.shape == (3, 6) for x in losses.values())
    assert states.deter.shape == (3, 6, 16) and states.stoch.shape == (3, 6, 20)


def test_the_losses_of_a_row_are_those_of_its_state() -> None:
    net = tiny.model(MIXED).double()
    batch = tiny.rows(net)
    batch = batch._replace(terminated=torch.rand(3, 6) < 0.3)
    losses, states = net.loss(batch, net.initial(3), tiny.noise(net, 3, 6))
    now = tree.select(states, (slice(None), 4))
    features = net.features(now)
    torch.testing.assert_close(
        losses["continues"][:, 4],
        -torch.where(
            batch.terminated[:, 4],
            (1 - torch.sigmoid(net.continues(features)[:, 0])).log(),
            torch.sigmoid(net.continues(features)[:, 0]).log(),
        ),
    )
    shown = net.decode(now)
    image = batch.obs["camera"][:, 4].double() / 255
    torch.testing.assert_close(
        losses["decode/camera"][:, 4], (shown["camera"] - image).square().sum((1, 2, 3))
    )
    previous = tree.select(states, (slice(None), 3))
    noise = torch.rand(3, 4).double()
    going_on = ~batch.first[:, 4]
    prior = net.rssm.prior(net.step(previous, batch.action[:, 4:5], noise).state.deter)
    torch.testing.assert_close(net.rssm.prior(now.deter)[going_on], prior[going_on])


def test_a_sequence_may_begin_in_the_middle_of_an_episode() -> None:
    net = tiny.model().double()
    batch = tiny.rows(net, 2, 8)
    batch = batch._replace(first=torch.zeros(2, 8, dtype=torch.bool))
    chance, start = tiny.noise(net, 2, 8), tiny.somewhere(net, 2)
    whole, states = net.loss(batch, start, chance)
    later = tree.map(lambda x: x[:, 5:], batch)
    before = tree.select(states, (slice(None), 4))
    part, _ = net.loss(later, before, chance[5:])
    for name, x in part.items():
        torch.testing.assert_close(x, whole[name][:, 5:])


def test_pictures_as_bytes_and_as_floats_cost_the_same() -> None:
    net = tiny.model(MIXED)
    batch = tiny.rows(net)
    obs = {k: x / 255 if x.dtype == torch.uint8 else x for k, x in batch.obs.items()}
    assert torch.equal(tiny.mean_loss(net, batch), tiny.mean_loss(net, batch._replace(obs=obs)))


@pytest.mark.parametrize("name", MIXED)
def test_what_stands_where_a_sensor_is_missing_changes_no_loss_and_no_state(name: str) -> None:
    net = tiny.model(MIXED)
    batch = tiny.rows(net)
    there = torch.rand(3, 6) < 0.5
    obs = {**batch.obs, f"{name}.present": there}
    other = MIXED[name].sample(3, 6)
    holes = there.reshape(3, 6, *[1] * (other.ndim - 2))
    filled = {**obs, name: torch.where(holes, obs[name], other)}
    one, two = (
        net.loss(batch._replace(obs=o), net.initial(3), tiny.noise(net, 3, 6))
        for o in (obs, filled)
    )
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert torch.equal(one.losses[f"decode/{name}"] > 0, there)


# -------------------------------------------------------------------------------------------------
# Learning


def fit(net: Dreamer, batch: Batch, updates: int, lr: float = 3e-3) -> list[float]:
    chance = tiny.noise(net, *batch.first.shape)
    optimiser, seen = torch.optim.Adam(net.parameters(), lr=lr), []
    for _ in range(updates):
        optimiser.zero_grad()
        loss = tiny.mean_loss(net, batch, chance)
        loss.backward()
        optimiser.step()
        seen.append(loss.item())
    return seen


@pytest.mark.parametrize(
    ("cell", "latent", "kl"),
    [
        ("block_gru", "categorical", "two_sided"),
        ("gru", "categorical", "balanced"),
        ("gru", "gaussian", "single"),
    ],
    ids=["v3", "v2", "v1"],
)
def test_the_loss_of_a_fixed_batch_falls(cell: str, latent: str, kl: str) -> None:
    net = tiny.model(cell=cell, latent=latent, kl=kl)
    seen = fit(net, tiny.rows(net, length=4), 60, lr=1e-2)
    assert sum(seen[-5:]) / 5 < 0.75 * seen[0], seen


def test_the_loss_of_pictures_falls() -> None:
    net = tiny.model(MIXED)
    seen = fit(net, tiny.rows(net, length=3), 30, lr=1e-2)
    assert seen[-1] < 0.8 * seen[0], seen


def test_the_head_learns_the_reward_of_the_row_itself() -> None:
    """Each row shows which of two things happened; its reward says the same, and the rewards of
    the rows before and after are independent of it."""
    value = torch.where(torch.rand(32, 3) < 0.5, 1.0, -1.0)
    net = Dreamer({"side": Space((1,))}, tiny.ACTION, 0.1, tiny.config())
    batch = tiny.rows(net, 32, 3)._replace(obs={"side": value.unsqueeze(-1)}, reward=2 * value)
    batch = batch._replace(action=torch.zeros_like(batch.action))
    fit(net, batch, 100, lr=3e-2)
    with torch.no_grad():
        states = net.loss(batch, net.initial(32), tiny.noise(net, 32, 3)).states
        logits = net.reward(net.features(states))
        said = (logits.double().softmax(-1) * net.bins.double()).sum(-1)
    assert (said - 2 * value).abs().mean() < 0.3
    for shift in (-1, 1):
        assert (said - 2 * value.roll(shift, 1)).abs().mean() > 1.0


def test_what_was_learnt_is_what_imagination_predicts() -> None:
    """The action decides the reward of the row that it leads to: imagined rewards must follow the
    imagined actions at once, neither a row later nor a row earlier."""
    action = torch.where(torch.rand(32, 4, 1) < 0.5, 1.0, -1.0)
    first = torch.zeros(32, 4, dtype=torch.bool)
    first[:, 0], action[:, 0] = True, 0.0
    net = Dreamer({"echo": Space((1,))}, Space((1,), low=-1, high=1), 0.1, tiny.config())
    never = torch.zeros_like(first)
    batch = Batch({"echo": action}, action, 3 * action[..., 0], first, never, never)
    fit(net, batch, 100, lr=3e-2)
    with torch.no_grad():
        states = net.loss(batch, net.initial(32), tiny.noise(net, 32, 4)).states
        start = tree.select(states, (slice(None), 0))
        plan = torch.tensor([1.0, -1, -1]).reshape(3, 1, 1, 1).expand(3, 32, 1, 1)
        chance = rollout.draw(net, 3, 32, torch.Generator().manual_seed(0))
        future = rollout.imagine(net, start, plan, chance)
    rewards, shown = future.transition.reward, net.decode(tree.flatten_time(future.states))
    assert (rewards - 3 * plan[:, :, 0, 0]).abs().mean() < 0.5
    echo = shown["echo"].unflatten(0, (3, 32))[..., 0]
    assert (echo.sign() == plan[:, :, 0, 0]).float().mean() > 0.95
    assert future.transition.continues.min() > 0.9


# -------------------------------------------------------------------------------------------------
# Precision


@pytest.mark.parametrize(("cell", "latent"), PARTS)
def test_bfloat16_is_finite_and_close_to_float32(cell: str, latent: str) -> None:
    net = tiny.model(MIXED, cell=cell, latent=latent)
    batch = tiny.rows(net)
    grads, losses = [], []
    for enabled in (False, True):
        net.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            found, states = net.loss(batch, net.initial(3), tiny.noise(net, 3, 6))
        assert all(x.dtype == torch.float32 for x in (*found.values(), *states))
        mean = {name: x.mean() for name, x in found.items()}
        torch.stack([*mean.values()]).sum().backward()
        losses.append(torch.stack([*mean.values()]).detach())
        grads.append({name: p.grad for name, p in net.named_parameters()})
    torch.testing.assert_close(*losses, rtol=0.1, atol=0.02)
    for name, g in grads[1].items():
        assert g is not None and torch.isfinite(g).all(), name
    flat = [torch.cat([g.flatten() for g in found.values()]) for found in grads]
    assert torch.cosine_similarity(*flat, dim=0) > 0.95


def test_bfloat16_imagination_keeps_probabilities_exact() -> None:
    net = tiny.model()
    with torch.no_grad():
        net.continues.output.bias.fill_(6.0)
    state, action, chance = tiny.somewhere(net, 4), torch.randn(4, 1, 2), net.noise(4)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        after = net.step(state, action, chance)
    assert {x.dtype for x in (*after.state, after.reward, after.continues)} == {torch.float32}
    # bfloat16 has 3 digits: between 0.99 and 1 it knows three numbers alone
    assert len(set(after.continues.tolist())) == 4


@pytest.mark.parametrize("name", ["a.b", "keys", "type", "training", ""])
def test_a_sensor_whose_name_cannot_be_kept_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="rename it"):
        tiny.model({name: Space((2,))})
