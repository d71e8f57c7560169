"""Imagination training against the published losses, written again in numpy, and against finite
differences and exact expectations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reverie.core import rollout, tree
from reverie.core.model import Batch
from reverie.core.returns import symexp_bins
from reverie.core.spec import Space
from reverie.imagine import ActorCritic, ActorCriticConfig, ReturnConfig
from reverie.imagine.actor_critic import constants
from tests.imagine.worlds import BUTTONS, DRIVE, Glide

B, T, H = 3, 5, 4
Array = np.ndarray
SPREAD = ReturnConfig(discount=0.9, lam=0.8, rate=0.3, limit=0.05)
SMALL = ActorCriticConfig(horizon=H, units=5, layers=1, entropy=0.02, returns=SPREAD)


def make(world: Glide, config: ActorCriticConfig = SMALL) -> ActorCritic:
    """Networks away from their special initial values, the slow critic away from the fast one;
    both believe in values of some units."""
    agent = ActorCritic(world.feature_size, world.spec.action, config).double()
    with torch.no_grad():
        for p in agent.parameters():
            p.add_(0.1 * torch.randn_like(p))
        agent.policy.net.output.weight.mul_(30)
        for critic in (agent.value, agent.slow):
            critic.output.bias.sub_(torch.linspace(-30, 30, 255).double().abs())
    return agent


def record(world: Glide, rows: int = B, steps: int = T) -> tuple[Tensor, Batch]:
    """States with a gradient, and rows with two endings: one terminated, one cut short."""
    first, last, terminated = (torch.zeros(rows, steps, dtype=torch.bool) for _ in range(3))
    last[0, 1], first[0, 2], terminated[0, 1] = True, True, True
    last[1, 3], first[1, 4] = True, True
    states = torch.randn(rows, steps, world.feature_size).double().requires_grad_()
    reward = torch.randn(rows, steps).double() * ~first
    action = world.spec.action.sample(rows, steps).double()
    return states, Batch({}, action, reward, first, last, terminated)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(11)


# -------------------------------------------------------------------------------------------------
# The published losses: `imag_loss`, `repl_loss` and `lambda_return` of danijar/dreamerv3, with its
# arrays [N, H + 1], in which row 0 is the start.


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def mean(logits: Array, bins: Array) -> Array:
    return (softmax(logits) * bins).sum(-1)


def two_hot_loss(logits: Array, target: Array, bins: Array) -> Array:
    below = np.clip((bins <= target[..., None]).sum(-1) - 1, 0, len(bins) - 1)
    above = np.clip(len(bins) - (bins > target[..., None]).sum(-1), 0, len(bins) - 1)
    equal = below == above
    to_below = np.where(equal, 1, np.abs(bins[below] - target))
    to_above = np.where(equal, 1, np.abs(bins[above] - target))
    total, eye = (to_below + to_above)[..., None], np.eye(len(bins))
    weights = eye[below] * to_above[..., None] + eye[above] * to_below[..., None]
    return -(weights / total * np.log(softmax(logits))).sum(-1)


def published_return(
    last: Array, term: Array, rew: Array, boot: Array, disc: float, lam: float
) -> Array:
    returns = [boot[:, -1]]
    live, cont = (1 - term)[:, 1:] * disc, (1 - last)[:, 1:] * lam
    interm = rew[:, 1:] + (1 - cont) * live * boot[:, 1:]
    for t in reversed(range(live.shape[1])):
        returns.append(interm[:, t] + live[:, t] * cont[:, t] * returns[-1])
    return np.stack(returns[::-1][:-1], 1)


class Published:
    """The losses of the published agent for what one imagination of ours went through."""

    def __init__(self, world: Glide, agent: ActorCritic, start: Tensor, alive: Tensor) -> None:
        self.agent, self.bins = agent, symexp_bins(255).double().numpy()
        config, size, generator = agent.config, len(start), seeded()
        chance = rollout.draw(world, config.horizon, size, generator)
        noise = agent.policy.noise(config.horizon * size, generator)
        noise = noise.unflatten(0, (config.horizon, size))
        states, self.log_pi, self.entropy = [start], [], []
        reward, con = [torch.zeros(size)], [alive.double()]
        for k in range(config.horizon):
            policy = agent.policy(states[-1])
            action = policy.sample(noise[k]).detach()
            after = world.step(states[-1], action.unsqueeze(1), chance[k])
            states.append(after.state)
            reward.append(after.reward)
            going_on = 1.0 if after.continues is None else after.continues
            con.append(config.returns.discount * going_on * torch.ones(size).double())
            self.log_pi.append(policy.log_prob(action).numpy())
            self.entropy.append(policy.entropy().numpy())
        self.features = torch.stack(states, 1)
        self.reward, self.con = (torch.stack(x, 1).double().numpy() for x in (reward, con))

    def imagined(self, low: float, high: float) -> tuple[dict[str, Array], float, float]:
        """Losses `[H, N]` and the moved range."""
        agent, bins, setting = self.agent, self.bins, self.agent.config.returns
        value, slow = (net(self.features).numpy() for net in (agent.value, agent.slow))
        val, weight = mean(value, bins), np.cumprod(self.con, 1)
        zero = np.zeros_like(self.con)
        ret = published_return(zero, 1 - self.con, self.reward, val, 1.0, setting.lam)
        low = (1 - setting.rate) * low + setting.rate * np.percentile(ret, 5)
        high = (1 - setting.rate) * high + setting.rate * np.percentile(ret, 95)
        advantage = (ret - val[:, :-1]) / max(setting.limit, high - low)
        log_pi, entropy = np.stack(self.log_pi, 1), np.stack(self.entropy, 1)
        policy = -weight[:, :-1] * (log_pi * advantage + agent.config.entropy * entropy)
        critic = two_hot_loss(value[:, :-1], ret, bins)
        critic = critic + two_hot_loss(value[:, :-1], mean(slow, bins)[:, :-1], bins)
        self.ret, self.scale = ret, max(setting.limit, high - low)
        losses = {"policy": policy.T, "value": (weight[:, :-1] * critic).T}
        return losses, low, high

    def replayed(self, states: Tensor, batch: Batch) -> Array:
        """The critic's loss on recorded rows, `[B, T - 1]`; after `imagined`."""
        bins, setting = self.bins, self.agent.config.returns
        boot = self.ret[:, 0].reshape(batch.first.shape)
        value, slow = (net(states).numpy() for net in (self.agent.value, self.agent.slow))
        last, term = batch.last.numpy().astype(float), batch.terminated.numpy().astype(float)
        rew = batch.reward.numpy()
        ret = published_return(last, term, rew, boot, setting.discount, setting.lam)
        loss = two_hot_loss(value[:, :-1], ret, bins)
        loss = loss + two_hot_loss(value[:, :-1], mean(slow, bins)[:, :-1], bins)
        return (1 - last[:, :-1]) * loss


@pytest.mark.parametrize("endings", [True, False], ids=["endings", "endless"])
@pytest.mark.parametrize("action", [DRIVE, BUTTONS], ids=["continuous", "discrete"])
def test_all_losses_are_the_published_ones(action: Space, endings: bool) -> None:
    world = Glide(action, endings)
    agent, (states, batch) = make(world), record(world)
    low = high = 0.0
    for _ in range(3):  # the range moves from update to update
        losses, metrics = agent.losses(world, states, batch, seeded())
        with torch.no_grad():
            start = states.flatten(0, 1)
            published = Published(world, agent, start, ~batch.terminated.flatten())
            expected, low, high = published.imagined(low, high)
            expected["replay_value"] = published.replayed(states, batch)
        assert losses.keys() == expected.keys() == agent.scales.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(losses[name].detach(), value, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose([agent.low, agent.high], [low, high], rtol=1e-9)
        assert published.scale > SPREAD.limit
        np.testing.assert_allclose(metrics["imagined_return"], published.ret.mean(), rtol=1e-9)
        np.testing.assert_allclose(metrics["return_range"], high - low, rtol=1e-9)


def test_a_range_of_returns_below_the_limit_counts_as_the_limit() -> None:
    world = Glide()
    states, batch = record(world)
    agent = make(world, replace(SMALL, entropy=0.0, returns=replace(SPREAD, limit=1e3)))
    twin = make(world, replace(SMALL, entropy=0.0, returns=replace(SPREAD, limit=1e4)))
    twin.load_state_dict(agent.state_dict())
    one, two = (x.losses(world, states, batch, seeded())[0]["policy"] for x in (agent, twin))
    torch.testing.assert_close(one, 10 * two)


class Doubtful(Glide):
    """It tells how sure it is, or (`pays`) takes twice that off its reward."""

    pays = False

    def step(self, state: Tensor, action: Tensor, noise: Tensor) -> Any:
        found = super().step(state, action, noise)
        assert found.reward is not None
        doubt = found.state.square().sum(1) + action[:, 0].square().sum(1)
        if self.pays:
            return found._replace(reward=found.reward - 2 * doubt)
        return found._replace(uncertainty=doubt)


@pytest.mark.parametrize("gradient", ["reinforce", "dynamics"])
def test_the_price_of_uncertainty_comes_off_each_imagined_reward(gradient: Any) -> None:
    """Losses and gradients are those in a world whose reward is less by so much."""
    config = replace(SMALL, gradient=gradient)
    world, dearer = Doubtful(), Doubtful()
    dearer.load_state_dict(world.state_dict())
    dearer.pays = True
    priced, plain = make(world, replace(config, uncertainty=2.0)), make(dearer, config)
    plain.load_state_dict(priced.state_dict())
    states, batch = record(world)
    losses, metrics = priced.losses(world, states, batch, seeded())
    expected, others = plain.losses(dearer, states, batch, seeded())
    moves = []
    for agent, found in ((priced, losses), (plain, expected)):
        params = list(agent.policy.parameters())
        moves.append(torch.autograd.grad(found["policy"].sum(), params, retain_graph=True))
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(moves[0], moves[1])
    assert metrics["uncertainty"] > 0 and "uncertainty" not in others
    free = make(world, config)
    free.load_state_dict(priced.state_dict())
    cheaper = free.losses(world, states, batch, seeded())[1]
    assert cheaper["imagined_return"] > metrics["imagined_return"] + 1


def test_nothing_is_learnt_from_behind_an_end() -> None:
    world = Glide()
    agent, (states, batch) = make(world), record(world)
    losses, _ = agent.losses(world, states, batch, seeded())
    ended = batch.terminated.flatten()
    for name in ("policy", "value"):
        assert not losses[name][:, ended].any() and losses[name][:, ~ended].all()
    assert torch.equal(losses["replay_value"] == 0, batch.last[:, :-1])


@pytest.mark.parametrize("gradient", ["reinforce", "dynamics"])
def test_starts_take_the_last_rows_alone(gradient: Any) -> None:
    world = Glide()
    states, batch = record(world)
    config = replace(SMALL, gradient=gradient)
    agent, twin = make(world, replace(config, starts=3)), make(world, config)
    twin.load_state_dict(agent.state_dict())
    some, _ = agent.losses(world, states, batch, seeded())
    late = tree.map(lambda x: x[:, -3:], (states, batch))
    all_of_late, _ = twin.losses(world, *late, seeded())
    torch.testing.assert_close(some, all_of_late, rtol=0, atol=0)
    assert some["policy"].shape == (H, B * 3) and some["replay_value"].shape == (B, 2)
    more = make(world, replace(config, starts=99)).losses(world, states, batch, seeded())[0]
    assert more["policy"].shape == (H, B * T)


def test_without_replay_the_critic_learns_from_imagination_alone() -> None:
    world = Glide()
    agent, (states, batch) = make(world, replace(SMALL, replay_value=0.0)), record(world)
    losses, _ = agent.losses(world, states, batch, seeded())
    assert losses.keys() == agent.scales.keys() == {"policy", "value"}


# -------------------------------------------------------------------------------------------------
# Where gradients go


def reached(loss: Tensor, named: Iterable[tuple[str, Tensor]]) -> set[str]:
    named = dict(named)
    free = {k: x for k, x in named.items() if x.requires_grad}
    found = torch.autograd.grad(
        loss.sum(), list(free.values()), retain_graph=True, allow_unused=True
    )
    return {k for k, g in zip(free, found, strict=True) if g is not None and g.any()}


@pytest.mark.parametrize("gradient", ["reinforce", "dynamics"])
@pytest.mark.parametrize("action", [DRIVE, BUTTONS], ids=["continuous", "discrete"])
def test_each_loss_teaches_its_own_network_and_replay_alone_the_model(
    action: Space, gradient: Any
) -> None:
    world = Glide(action)
    agent, (states, batch) = make(world, replace(SMALL, gradient=gradient)), record(world)
    losses, metrics = agent.losses(world, states, batch, seeded())
    everything = [
        ("states", states),
        *((f"world.{k}", p) for k, p in world.named_parameters()),
        *agent.named_parameters(),
    ]
    policy = {f"policy.{k}" for k, _ in agent.policy.named_parameters()}
    value = {f"value.{k}" for k, _ in agent.value.named_parameters()}
    assert reached(losses["policy"], everything) == policy
    assert reached(losses["value"], everything) == value
    assert reached(losses["replay_value"], everything) == value | {"states"}
    assert not any(x.requires_grad for x in metrics.values())
    assert all(p.requires_grad for p in (*world.parameters(), *agent.value.parameters()))
    assert not any(p.requires_grad for p in agent.slow.parameters())


def test_constants_are_learnable_again_even_after_an_error() -> None:
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    two.bias.requires_grad_(False)
    with pytest.raises(RuntimeError, match="inside"), constants(one, two, object()):
        assert not any(p.requires_grad for net in (one, two) for p in net.parameters())
        raise RuntimeError("inside")
    assert [p.requires_grad for net in (one, two) for p in net.parameters()] == [True] * 3 + [False]


def test_through_the_dynamics_the_policy_has_the_gradient_of_finite_differences() -> None:
    """Of the weighted imagined returns, where the policy's inputs, the weights and the range are
    held (the published policy reads features without their gradient)."""
    world = Glide()
    config = replace(SMALL, gradient="dynamics", entropy=0.0, units=3)
    agent, (states, batch) = make(world, config), record(world)
    loss = agent.losses(world, states, batch, seeded())[0]["policy"].mean()
    parameters = list(agent.policy.parameters())
    slopes = torch.autograd.grad(loss, parameters)

    start = states.detach().flatten(0, 1)
    size, setting, generator = len(start), config.returns, seeded()
    chance = rollout.draw(world, H, size, generator)
    noise = agent.policy.noise(H * size, generator).unflatten(0, (H, size))
    scale = (agent.high - agent.low).clamp_min(setting.limit)
    held: dict[str, Any] = {"features": []}

    @torch.no_grad()
    def imagined_loss() -> Tensor:
        x, rewards, carries, values = start, [], [], []
        for k in range(H):
            if len(held["features"]) == k:
                held["features"].append(x)
            action = agent.policy(held["features"][k]).sample(noise[k])
            x, reward, going_on = world.step(x, action.unsqueeze(1), chance[k])[:3]
            rewards.append(reward)
            carries.append(setting.discount * going_on)
            values.append((agent.value(x).softmax(-1) * agent.bins).sum(-1))
        if "weight" not in held:
            alive = (~batch.terminated).flatten().double()
            held["weight"] = torch.stack([alive, *carries[:-1]]).cumprod(0)
        total, returns = values[-1], []
        for reward, carry, value in reversed(list(zip(rewards, carries, values, strict=True))):
            total = reward + carry * ((1 - setting.lam) * value + setting.lam * total)
            returns.insert(0, total)
        return -(held["weight"] * torch.stack(returns) / scale).mean()

    torch.testing.assert_close(imagined_loss(), loss.detach())
    for p, slope in zip(parameters, slopes, strict=True):
        for index in np.ndindex(*p.shape):
            kept, ends = p[index].item(), []
            for shift in (1e-5, -1e-5):
                with torch.no_grad():
                    p[index] = kept + shift
                ends.append(imagined_loss().item())
            with torch.no_grad():
                p[index] = kept
            difference = (ends[0] - ends[1]) / 2e-5
            assert slope[index].item() == pytest.approx(difference, rel=1e-5, abs=1e-8)


class Bandit(nn.Module):
    """One step, two buttons, two prizes; nothing follows."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = Glide(Space((2,), discrete=True)).spec
        self.feature_size = 2
        self.prizes = torch.tensor([3.0, -1.0], dtype=torch.float64)

    def noise(self, batch: int, generator: torch.Generator | None = None) -> tuple[()]:
        return ()

    def step(self, state: Tensor, action: Tensor, noise: tuple[()]) -> Any:
        from reverie.core.model import Transition

        return Transition(state, action[:, 0] @ self.prizes, torch.zeros(len(state)).double())

    def features(self, state: Tensor) -> Tensor:
        return state


def test_reinforce_expects_the_exact_gradient() -> None:
    """E[-A d log p(a)] = -d sum_a p(a) r(a), for a critic that knows nothing; within five standard
    errors of the samples, which are counted exactly."""
    world, count = Bandit(), 20_000
    config = ActorCriticConfig(horizon=1, units=4, layers=1, entropy=0.0, replay_value=0.0)
    agent = ActorCritic(2, world.spec.action, config).double()
    with torch.no_grad():
        agent.policy.net.output.bias.copy_(torch.tensor([-0.3, 0.4]))
    states = torch.ones(count, 1, 2).double()
    never = torch.zeros(count, 1, dtype=torch.bool)
    batch = Batch({}, torch.zeros(count, 1, 2), torch.zeros(count, 1), never, never, never)
    loss = agent.losses(world, states, batch, seeded())[0]["policy"].mean()
    parameters = list(agent.policy.parameters())
    found = torch.autograd.grad(loss, parameters)

    scale = max(1.0, (agent.high - agent.low).item())
    assert scale == 1.0  # the range has moved by a hundredth of 4
    probs = agent.policy(states[0]).probs[0]
    per_action = [
        torch.autograd.grad(-probs[a].log() * world.prizes[a], parameters, retain_graph=True)
        for a in range(2)
    ]
    expected = torch.autograd.grad(-(probs * world.prizes).sum(), parameters)
    for ours, exact, one, two in zip(found, expected, *per_action, strict=True):
        p = probs.detach()
        torch.testing.assert_close(p[0] * one + p[1] * two, exact)
        spread = (p[0] * one**2 + p[1] * two**2 - exact**2).clamp_min(0).sqrt()
        assert ((ours - exact).abs() <= 5 * spread / count**0.5 + 1e-12).all()
    assert any(g.abs().max() > 0.1 for g in expected)


@pytest.mark.parametrize("gradient", ["reinforce", "dynamics"])
def test_the_policy_learns_to_do_what_pays(gradient: Any) -> None:
    """The sum of rewards is the same function of the state for all: drive along `prize`."""
    world = Glide()
    with torch.no_grad():
        world.drift.zero_()
        world.push.copy_(torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]))
        world.prize.copy_(torch.tensor([0.3, -0.3, 0.0]))
        world.danger.zero_()
    config = ActorCriticConfig(
        horizon=5, units=8, layers=1, gradient=gradient, replay_value=0.0, returns=SPREAD
    )
    agent = ActorCritic(3, DRIVE, config).double()
    optimiser = torch.optim.Adam(agent.parameters(), 3e-2)
    generator, seen = seeded(), []
    states, batch = record(world, 8)
    states = 0.1 * states.detach()
    for _ in range(60):
        losses, metrics = agent.losses(world, states, batch, generator)
        optimiser.zero_grad()
        torch.stack([x.mean() for x in losses.values()]).sum().backward()
        optimiser.step()
        agent.after_update()
        seen.append(metrics["imagined_return"].item())
    mode = agent.policy.mode(states.flatten(0, 1)).mean(0)
    assert mode[0] > 0.5 and mode[1] < -0.5, mode
    assert sum(seen[-10:]) > sum(seen[:10])


# -------------------------------------------------------------------------------------------------
# What is kept from update to update


def test_the_slow_critic_follows_by_its_rate() -> None:
    agent = make(Glide(), replace(SMALL, slow_rate=0.25))
    slow = [p.clone() for p in agent.slow.parameters()]
    value = [p.clone() for p in agent.value.parameters()]
    agent.after_update()
    for now, before, fast in zip(agent.slow.parameters(), slow, value, strict=True):
        torch.testing.assert_close(now, 0.75 * before + 0.25 * fast)
    for now, before in zip(agent.value.parameters(), value, strict=True):
        assert torch.equal(now, before)


def test_the_slow_critic_begins_as_the_critic_which_says_zero() -> None:
    agent = ActorCritic(3, DRIVE, SMALL)
    features = torch.randn(4, 3)
    for ours, slow in zip(agent.value.parameters(), agent.slow.parameters(), strict=True):
        assert torch.equal(ours, slow) and ours.data_ptr() != slow.data_ptr()
    assert not agent.value(features).any()


def test_everything_that_an_update_moves_is_in_the_state() -> None:
    world = Glide()
    agent, (states, batch) = make(world), record(world)
    agent.losses(world, states, batch, seeded())
    twin = make(world)
    twin.load_state_dict(agent.state_dict())
    one, two = (x.losses(world, states, batch, seeded())[0] for x in (agent, twin))
    torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_the_same_seed_gives_the_same_losses() -> None:
    world = Glide()
    agent, (states, batch) = make(world), record(world)
    runs = []
    for seed in (1, 1, 2):
        agent.low.zero_(), agent.high.zero_()
        generator = torch.Generator().manual_seed(seed)
        runs.append(agent.losses(world, states, batch, generator)[0]["policy"])
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon is 0; imagine at least 1 step"),
        ({"gradient": "both"}, "gradient is 'both'; choose reinforce or dynamics"),
        ({"starts": -2}, "starts is -2"),
        ({"starts": 1}, "starts is 1; give 0 for all rows, or at least 2"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActorCriticConfig(**options)


def test_one_start_is_possible_without_replay() -> None:
    world = Glide()
    agent = make(world, replace(SMALL, starts=1, replay_value=0.0))
    losses, _ = agent.losses(world, *record(world), seeded())
    assert losses["policy"].shape == (H, B)
