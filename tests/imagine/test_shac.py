"""Short-horizon actor-critic: it learns what is known to be optimal, goes on bitwise, and refuses
what cannot work."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Generator, Tensor, distributions, nn

from reverie.core import tree
from reverie.core.model import Obs, Transition
from reverie.core.spec import Space, Spec
from reverie.imagine import SHAC, CriticConfig, DescentConfig, PolicyNet, SHACConfig
from reverie.imagine.policy import Squashed
from reverie.imagine.shac import NormalisedPolicy, Statistics
from reverie.learn.checkpoint import Checkpoints
from tests.imagine.worlds import BUTTONS, Glide
from tests.toys import Latent, Pendulum, PendulumState


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


class CartState(NamedTuple):
    body: Tensor
    """Place [m] and speed [m/s], `[B, 2]`."""
    steps: Tensor
    """int64 `[B]`: a state may hold what has no gradient."""


A, B = torch.tensor([[1.0, 0.2], [0.0, 1.0]]), torch.tensor([[0.02], [0.2]])
Q, R = torch.diag(torch.tensor([1.0, 0.1])), torch.tensor([[0.1]])
DISCOUNT = 0.97


class Cart(nn.Module):
    """A double integrator with the cost x'Qx + u'Ru."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_size = 2
        self.spec = Spec(
            obs={"body": Space((2,))},
            action=Space((1,), low=-4.0, high=4.0),
            dt=0.2,
            provides=frozenset({"reward"}),
            grad=frozenset({"state", "action"}),
        )

    def initial(self, batch: int, context: Obs | None = None) -> CartState:
        return CartState(torch.zeros(batch, 2), torch.zeros(batch, dtype=torch.int64))

    def noise(self, batch: int, generator: Generator | None = None) -> tuple[()]:
        return ()

    def observe(
        self, state: CartState, action: Tensor, obs: Obs, first: Tensor, noise: tuple[()]
    ) -> CartState:
        return CartState(obs["body"], state.steps)

    def step(self, state: CartState, action: Tensor, noise: tuple[()]) -> Transition[CartState]:
        x, u = state.body, action[:, 0]
        cost = ((x @ Q) * x).sum(1) + ((u @ R) * u).sum(1)
        return Transition(CartState(x @ A.T + u @ B.T, state.steps + 1), -cost)

    def features(self, state: CartState) -> Tensor:
        return state.body


def scattered(count: int, generator: Generator) -> CartState:
    body = 2 * torch.rand(count, 2, generator=generator) - 1
    return CartState(body, torch.zeros(count, dtype=torch.int64))


QUICK = SHACConfig(
    horizon=16,
    rows=32,
    discount=DISCOUNT,
    units=32,
    critic=CriticConfig(passes=4, minibatches=2),
    descent=DescentConfig(actor_lr=1e-2, critic_lr=5e-3, updates=250),
)
TINY = replace(QUICK, horizon=5, rows=6, units=8, layers=1, entropy=0.01)


def same(one: Any, two: Any) -> bool:
    """Whether two trees of tensors, numbers and NaN are bitwise equal."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[k], two[k]) for k in one)
    if isinstance(one, Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    return one == two or (one != one and two != two)


# -------------------------------------------------------------------------------------------------
# It learns


def riccati() -> Tensor:
    """P of the least discounted cost x'Px, by iterating its equation in float64."""
    a, b, q, r = A.double(), B.double(), Q.double(), R.double()
    p = q
    for _ in range(2000):
        gain = torch.linalg.solve(r + DISCOUNT * b.T @ p @ b, DISCOUNT * b.T @ p @ a)
        p = q + DISCOUNT * a.T @ p @ (a - b @ gain)
    return p


@torch.no_grad()
def cost_of(learner: SHAC, start: CartState, generator: Generator | None = None) -> float:
    """Of the policy's modes, or with a generator of its samples."""
    state, total, weight, policy = start, 0.0, 1.0, learner.policy
    for _ in range(300):
        action = policy.mode(state.body)
        if generator is not None:
            action = policy.act(state.body, policy.noise(len(action), generator))
        action = action.unsqueeze(1)
        state, reward = learner.model.step(state, action, ())[:2]
        total, weight = total - weight * reward.double().mean().item(), weight * DISCOUNT
    return total


def test_it_comes_within_a_few_percent_of_the_best_linear_quadratic_regulator() -> None:
    start = scattered(256, seeded(9))
    x = start.body.double()
    best = torch.einsum("ni,ij,nj->n", x, riccati(), x).mean().item()
    learner, generator = SHAC(Cart(), QUICK, scattered, limit=60), seeded()
    before = cost_of(learner, start)
    for _ in range(250):
        metrics = learner.update(generator)
    after = cost_of(learner, start)
    assert before > 3 * best
    assert best * (1 - 1e-5) < after < 1.05 * best
    assert metrics["length"] == 60
    assert learner.policy.net.log_std.item() < -1.3  # it has become sure
    with torch.no_grad():
        value = learner.critic(learner.policy.statistics(start.body)).mean().item()
    assert value == pytest.approx(-cost_of(learner, start, seeded()), rel=0.1)


class Swing(Pendulum):
    """With features."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_size = 3

    def features(self, state: PendulumState) -> Tensor:
        return torch.stack([state.angle.cos(), state.angle.sin(), state.speed], 1)


@pytest.mark.slow
def test_it_swings_a_pendulum_up_and_holds_it() -> None:
    model = Swing()

    def hanging(count: int, generator: Generator) -> PendulumState:
        state = model.initial(count)
        shift = torch.randn(count, 2, generator=generator)
        return state._replace(angle=state.angle + 0.5 * shift[:, 0], speed=0.5 * shift[:, 1])

    config = SHACConfig(descent=DescentConfig(actor_lr=5e-3, critic_lr=2e-3, updates=300))
    learner, generator = SHAC(model, config, hanging, limit=200), seeded()
    for _ in range(300):
        learner.update(generator)
    state, heights = hanging(64, seeded(5)), []
    with torch.no_grad():
        for _ in range(200):
            action = learner.policy.mode(model.features(state))
            state = model.step(state, action.unsqueeze(1), ()).state
            heights.append(state.angle.cos())
    assert torch.stack(heights[-40:]).mean() > 0.95


class Buttons(Cart):
    """The second of three buttons pays."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = replace(self.spec, action=BUTTONS)

    def step(self, state: CartState, action: Tensor, noise: tuple[()]) -> Transition[CartState]:
        return Transition(state, action[:, 0] @ torch.tensor([0.2, 1.0, -0.5]))


def test_it_learns_which_button_pays() -> None:
    learner, generator = SHAC(Buttons(), TINY, scattered, limit=9), seeded()
    for _ in range(60):
        learner.update(generator)
    chosen = learner.policy.mode(scattered(50, seeded(1)).body)
    assert torch.equal(chosen, torch.tensor([0.0, 1.0, 0.0]).expand(50, 3))


def test_it_learns_in_a_learnt_model_whose_weights_stay() -> None:
    learnt = []

    class Watched(Latent):
        def step(self, *given: Any) -> Any:
            learnt.append(any(p.requires_grad for p in self.parameters()))
            return super().step(*given)

    model = Watched()
    weights = copy.deepcopy(model.state_dict())

    def begin(count: int, generator: Generator) -> Any:
        state = model.initial(count, {"task": torch.randn(count, 2, generator=generator)})
        return state._replace(stoch=torch.randn(count, 4, generator=generator))

    config = replace(TINY, stiffness=2.0, critic=CriticConfig(passes=2))
    learner, generator = SHAC(model, config, begin, limit=7), seeded()
    first = [p.clone() for p in learner.policy.parameters()]
    for _ in range(3):
        metrics = learner.update(generator)
    assert all(math.isfinite(metrics[k]) for k in ("actor_loss", "value_loss", "gradient_norm"))
    assert same(dict(model.state_dict()), dict(weights))
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert learnt == [False] * 15  # no graph to the weights was kept
    moved = [not torch.equal(a, b) for a, b in zip(first, learner.policy.parameters(), strict=True)]
    assert all(moved)

    agent = learner.agent
    obs = {"position": torch.zeros(2, 3), "camera": torch.zeros(2, 1, 4, 4, dtype=torch.uint8)}
    action, _ = agent.act(agent.begin(2), obs, torch.ones(2, dtype=torch.bool))
    assert action.shape == (2, 2) and action.abs().max() < 1


def test_a_world_in_double_precision_is_learnt_in_double_precision() -> None:
    world = Glide()

    def begin(count: int, generator: Generator) -> Tensor:
        return torch.randn(count, 3, generator=generator, dtype=torch.float64)

    learner = SHAC(world, TINY, begin, limit=9)
    assert learner.update(seeded())["gradient_norm"] > 0
    assert {p.dtype for p in learner.policy.parameters()} == {torch.float64}


# -------------------------------------------------------------------------------------------------
# One update


def test_an_update_is_one_step_of_the_actor_along_the_gradient_of_its_window() -> None:
    learner = SHAC(Cart(), TINY, scattered, limit=9)
    twin = copy.deepcopy(learner.policy)
    horizon = replace(learner._horizon, policy=twin)
    generator = seeded()
    window = horizon.unroll(horizon.begin(6, generator), 5, generator)
    slopes = torch.autograd.grad(window.loss, list(twin.parameters()))
    metrics = learner.update(seeded())
    assert learner.policy.statistics.count == 30  # after the window, before the next
    seen = window.trace.features
    torch.testing.assert_close(learner.policy.statistics.mean, seen.flatten(0, 1).mean(0))
    assert metrics["actor_loss"] == window.loss.item()
    assert metrics["gradient_norm"] == nn.utils.get_total_norm(slopes).item()
    for before, now, slope in zip(
        twin.parameters(), learner.policy.parameters(), slopes, strict=True
    ):
        moved = slope.abs() > 1e-5  # Adam's first step is its rate, whatever the size
        torch.testing.assert_close((now - before)[moved], -0.01 * slope.sign()[moved])


def test_the_critic_learns_the_targets_and_the_slow_one_follows() -> None:
    config = replace(TINY, critic=CriticConfig(passes=60, slow_rate=0.25))
    learner = SHAC(Cart(), config, scattered, limit=9)
    slow = [p.clone() for p in learner.slow.parameters()]
    twin, generator = copy.deepcopy(learner), seeded()
    horizon = twin._horizon
    window = horizon.unroll(horizon.begin(6, generator), 5, generator)
    targets = window.targets(0.95)
    error = learner.update(seeded())["value_loss"]
    assert error < 0.2 * targets.square().mean().item()  # the critic began as zero
    with torch.no_grad():  # as it read them, before the statistics changed
        said = learner.critic(twin.policy.statistics(window.trace.features)).squeeze(-1)
    away = (said - targets).square().mean()
    assert away < 0.2 * targets.square().mean()
    assert away < 0.5 * (said - window.targets(0.0)).square().mean()
    weights = learner.slow.parameters(), slow, learner.critic.parameters()
    for now, before, fast in zip(*weights, strict=True):
        torch.testing.assert_close(now, 0.75 * before + 0.25 * fast)


def test_episodes_are_counted_with_their_returns() -> None:
    learner, generator = SHAC(Cart(), TINY, scattered, limit=8), seeded()
    metrics = learner.update(generator)  # 5 steps of 6 rows
    assert math.isnan(metrics["return"]) and metrics["episodes"] == 0
    assert metrics["decisions"] == 30
    metrics = learner.update(generator)
    assert metrics["episodes"] == 6 and metrics["length"] == 8 and metrics["return"] < 0
    assert metrics["decisions"] == 60 and learner.updates == 2
    kept = metrics["return"]
    metrics = learner.update(generator)  # ages 2 to 7: no end
    assert metrics["episodes"] == 6 and metrics["return"] == kept


def test_the_share_of_cut_rows_is_reported() -> None:
    """Both columns of A' and their signed sums are at most 1.2."""
    for stiffness, share in ((None, 0.0), (1.3, 0.0), (0.5, 1.0)):
        learner = SHAC(Cart(), replace(TINY, stiffness=stiffness), scattered, limit=8)
        assert learner.update(seeded())["cut"] == share


def test_statistics_are_the_mean_and_variance_of_all_that_was_seen() -> None:
    seen = [3 + 2 * torch.randn(4, n, 3) for n in (1, 5, 2)]
    statistics = Statistics(3)
    x = torch.randn(7, 3)
    torch.testing.assert_close(statistics(x), x, rtol=1e-5, atol=1e-5)
    for part in seen:
        statistics.merge(part)
    rows = torch.cat([part.flatten(0, 1) for part in seen])
    torch.testing.assert_close(statistics.mean, rows.mean(0))
    torch.testing.assert_close(statistics.variance, rows.var(0, correction=0))
    assert statistics.count == 32
    normal = statistics(rows)
    torch.testing.assert_close(normal.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(normal.std(0, correction=0), torch.ones(3), rtol=0, atol=1e-4)


def test_the_policy_reads_features_as_they_are() -> None:
    """A shift and stretch of the features, once in the statistics, changes nothing."""
    policy = NormalisedPolicy(2, Cart().spec.action, QUICK)
    x = torch.randn(9, 2)
    plain = policy.net.mode(x)
    policy.statistics.merge(torch.cat([5 + 3 * torch.ones(1, 2), 5 - 3 * torch.ones(1, 2)]))
    torch.testing.assert_close(policy.mode(5 + 3 * x), plain, rtol=1e-4, atol=1e-6)
    noise = policy.noise(9, seeded())
    torch.testing.assert_close(policy.act(x, noise), policy(x).sample(noise))


# -------------------------------------------------------------------------------------------------
# It goes on


def run(learner: SHAC, generator: Generator, updates: int) -> list[dict[str, float]]:
    return [learner.update(generator) for _ in range(updates)]


@pytest.mark.parametrize("before", [0, 3])
def test_killed_and_resumed_it_gives_the_same_numbers(before: int, tmp_path: Path) -> None:
    """Through a file, into a learner that was made with other weights."""
    config = replace(TINY, stiffness=1.15)
    learner, generator = SHAC(Cart(), config, scattered, limit=7), seeded()
    run(learner, generator, before)
    Checkpoints(tmp_path).save({"shac": learner.state_dict()}, "toy", {})
    chance = generator.get_state()
    expected = run(learner, generator, 4)

    torch.manual_seed(123)
    resumed = SHAC(Cart(), config, scattered, limit=7)
    run(resumed, seeded(8), 2)
    checkpoint = Checkpoints(tmp_path).latest()
    assert checkpoint is not None
    resumed.load_state_dict(checkpoint.part("shac"))
    found = run(resumed, Generator().set_state(chance), 4)
    assert all(same(one, two) for one, two in zip(expected, found, strict=True))
    assert same(learner.state_dict(), resumed.state_dict())
    assert expected[-1]["episodes"] > 0


def test_one_seed_gives_one_result() -> None:
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        runs.append(run(SHAC(Cart(), TINY, scattered, limit=7), seeded(seed), 3)[-1])
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])


def test_the_global_random_state_is_left_alone() -> None:
    learner = SHAC(Cart(), replace(TINY, stiffness=1.5), scattered, limit=3)
    before = torch.get_rng_state()
    learner.update(seeded())
    assert torch.equal(before, torch.get_rng_state())


def test_a_state_of_other_rows_is_refused() -> None:
    learner = SHAC(Cart(), TINY, scattered, limit=7)
    learner.update(seeded())
    other = SHAC(Cart(), replace(TINY, rows=7), scattered, limit=7)
    with pytest.raises(ValueError, match="of 6 rows and the configuration has 7"):
        other.load_state_dict(learner.state_dict())


# -------------------------------------------------------------------------------------------------
# What is not finite


def test_an_update_without_a_finite_gradient_is_skipped_and_broken_rows_begin_anew() -> None:
    calls = []

    def begin(count: int, generator: Generator) -> CartState:
        state = scattered(count, generator)
        calls.append(count)
        if len(calls) == 1:
            state.body[2] = math.nan
        return state

    learner, generator = SHAC(Cart(), TINY, begin, limit=50), seeded()
    before = copy.deepcopy((learner.state_dict()["networks"], learner.state_dict()["critic"]))
    metrics = learner.update(generator)
    assert metrics["skipped"] == 1 and math.isnan(metrics["gradient_norm"])
    after = learner.state_dict()["networks"], learner.state_dict()["critic"]
    assert all(same(dict(one), dict(two)) for one, two in zip(before, after, strict=True))
    assert calls == [6, 1]
    assert learner.state_dict()["rows"]["age"].tolist() == [5, 5, 0, 5, 5, 5]
    metrics = learner.update(generator)
    assert metrics["skipped"] == 1 and metrics["gradient_norm"] > 0 and calls == [6, 1]


def test_skips_that_do_not_follow_each_other_are_no_error() -> None:
    learner, generator = SHAC(Cart(), TINY, scattered, limit=50), seeded()
    for _ in range(12):
        learner.update(generator)
        state = learner.state_dict()
        state["rows"]["total"][0] = state["rows"]["state"]["body"][0, 0] = math.inf
        learner.load_state_dict(state)
        learner.update(generator)
    assert learner.update(generator)["skipped"] == 12


def test_an_infinite_gradient_of_finite_rewards_is_skipped() -> None:
    class Edge(Cart):
        def step(self, state: CartState, action: Tensor, noise: tuple[()]) -> Transition[CartState]:
            after = super().step(state, action, noise)
            x = after.state.body[:, 0]
            assert after.reward is not None
            return after._replace(reward=after.reward + (x - x.detach()).abs().sqrt())

    learner = SHAC(Edge(), TINY, scattered, limit=50)
    metrics = learner.update(seeded())
    assert metrics["skipped"] == 1 and not math.isfinite(metrics["gradient_norm"])
    assert learner.state_dict()["rows"]["age"].tolist() == [5] * 6


def test_too_many_skips_in_a_row_are_an_error() -> None:
    def begin(count: int, generator: Generator) -> CartState:
        return tree.map(
            lambda x: x / 0 if x.is_floating_point() else x, scattered(count, generator)
        )

    config = replace(TINY, descent=DescentConfig(skips=3))
    learner, generator = SHAC(Cart(), config, begin, limit=50), seeded()
    run(learner, generator, 2)
    with pytest.raises(FloatingPointError, match="3 updates in a row had no finite gradient"):
        learner.update(generator)


# -------------------------------------------------------------------------------------------------
# What cannot work


def with_spec(**changes: Any) -> Cart:
    model = Cart()
    model.spec = replace(model.spec, **changes)
    return model


def blind() -> Cart:
    model = Cart()
    del model.feature_size
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: with_spec(grad=frozenset({"params"})), "has none to action, state"),
        (lambda: with_spec(grad=frozenset({"action"})), "has none to state"),
        (lambda: with_spec(provides=frozenset()), "needs a model that predicts reward"),
        (lambda: with_spec(chunk=3), "chunk is 3"),
        (lambda: with_spec(action=Space((1,))), "need finite bounds"),
        (blind, "needs a model with features"),
    ],
)
def test_models_that_lack_something_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SHAC(make(), TINY, scattered, limit=9)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="limit is 0; an episode has at least 1 action"):
        SHAC(Cart(), TINY, scattered, limit=0)


def test_rewards_without_a_gradient_are_an_error() -> None:
    class Still(Cart):
        def step(self, state: CartState, action: Tensor, noise: tuple[()]) -> Transition[CartState]:
            return Transition(state, -state.body.square().sum(1))

    with pytest.raises(ValueError, match="have no gradient to the actions"):
        SHAC(Still(), TINY, scattered, limit=9).update(seeded())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon is 0; give at least 1"),
        ({"rows": 0}, "rows is 0; give at least 1"),
        ({"discount": 1.1}, "discount is 1.1; give at least 0 and at most 1"),
        ({"entropy": -0.1}, "entropy is -0.1"),
        ({"stiffness": 0.0}, "stiffness is 0.0; give a number above 0, or None"),
        ({"horizon": 1, "rows": 3}, "4 minibatches of 1 x 3 states"),
        ({"critic": {"lam": 2.0}}, "lam is 2.0"),
        ({"critic": {"passes": 0}}, "passes is 0"),
        ({"critic": {"slow_rate": 1.5}}, "slow_rate is 1.5"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        critic = options.get("critic")
        SHACConfig(**{**options, **({"critic": CriticConfig(**critic)} if critic else {})})


# -------------------------------------------------------------------------------------------------
# Its actions: a normal, squashed into the bounds

LOW, HIGH = torch.tensor([-2.0, 0.0, 1.0]).double(), torch.tensor([2.0, 0.5, 4.0]).double()


def squashed(rows: int = 6) -> Squashed:
    mean, std = torch.randn(rows, 3).double(), torch.tensor([0.02, 0.5, 2.0]).double()
    return Squashed(mean, std, LOW, HIGH)


def test_squashed_density_and_samples_are_those_of_torch() -> None:
    ours = squashed()
    affine = distributions.AffineTransform((LOW + HIGH) / 2, (HIGH - LOW) / 2)
    theirs = distributions.TransformedDistribution(
        distributions.Normal(ours.mean, ours.std), [distributions.TanhTransform(), affine]
    )
    noise = torch.randn(6, 3).double()
    action = ours.sample(noise)
    torch.testing.assert_close(action, affine(torch.tanh(ours.mean + ours.std * noise)))
    torch.testing.assert_close(ours.mode(), affine(torch.tanh(ours.mean)))
    torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action).sum(-1))
    assert torch.isfinite(ours.log_prob(LOW.expand(6, 3))).all()


def test_squashed_entropy_is_the_integral_of_the_density() -> None:
    ours = squashed()
    u = ours.mean + ours.std * torch.linspace(-9, 9, 20_001).double()[:, None, None]
    density = distributions.Normal(ours.mean, ours.std).log_prob(u)
    slope = ((HIGH - LOW) / 2).log() + 2 * (math.log(2) - u - nn.functional.softplus(-2 * u))
    per_entry = torch.trapezoid(-(density - slope) * density.exp(), u, dim=0)
    torch.testing.assert_close(ours.entropy(), per_entry.sum(-1), rtol=0, atol=0.01)
    mean = ours.mean.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda m: Squashed(m, *ours[1:]).entropy(), [mean])


def test_a_squashed_policy_stays_in_its_bounds_has_slope_and_no_floor() -> None:
    action = Space((3,), low=tuple(LOW.tolist()), high=tuple(HIGH.tolist()))
    policy = PolicyNet(4, action, units=8, layers=1, log_std=-1.0).double()
    noise = 3 * torch.randn(200, 3).double()
    sample = policy(torch.randn(200, 4).double()).sample(noise)
    assert ((sample > LOW) & (sample < HIGH)).all()
    (slope,) = torch.autograd.grad(sample.sum(), policy.net.output.bias)
    assert (slope > 0).all()
    with torch.no_grad():
        policy.log_std.fill_(-9.0)
    seen = policy(torch.zeros(200, 4).double())
    assert (seen.sample(noise) - seen.mode()).abs().max() < 1e-2
    assert "low" not in policy.state_dict() and "log_std" in policy.state_dict()


def test_bounds_that_hold_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="need finite bounds, low < high"):
        PolicyNet(4, Space((2,), low=1.0, high=1.0), units=8, layers=1, log_std=-1.0)
