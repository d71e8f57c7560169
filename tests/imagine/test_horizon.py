"""Windows against a naive account of every row, against finite differences, and at a bounce whose
gradient explodes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn

from reverie.core import rollout
from reverie.core.model import Obs, Transition
from reverie.core.spec import Space, Spec
from reverie.imagine.horizon import Horizon, Rows, Window, growth, sign_noise
from reverie.imagine.policy import PolicyNet
from reverie.nn.layers import MLP
from tests.imagine.worlds import DRIVE, Glide

N, H = 5, 7


def seeded(seed: int = 3) -> Generator:
    return Generator().manual_seed(seed)


def starts(count: int, generator: Generator) -> Tensor:
    return torch.randn(count, 3, generator=generator, dtype=torch.float64)


def networks(units: int = 4) -> tuple[PolicyNet, Any]:
    """A policy that answers to what it reads, and a value that is a constant of it."""
    policy = PolicyNet(3, DRIVE, units, 1, log_std=-1.0).double()
    critic = MLP(3, 1, units, 1).double().requires_grad_(False)
    with torch.no_grad():
        for p in (*policy.parameters(), *critic.parameters()):
            p.add_(0.1 * torch.randn_like(p))
        policy.net.output.weight.mul_(30)
    return policy, lambda features: critic(features).squeeze(-1)


def make(*, endings: bool = True, limit: int = 5, **options: Any) -> Horizon:
    """In a world where some episodes end by themselves and others by their limit."""
    world = Glide(endings=endings).requires_grad_(False)
    world.danger.mul_(2.5)
    return Horizon(world, *networks(), starts, limit, discount=0.9, **options)


# -------------------------------------------------------------------------------------------------
# The naive account: one row after the other, one sum for each stretch between two beginnings


class Account(NamedTuple):
    loss: Tensor
    stretches: list[list[tuple[list[Tensor], list[Tensor]]]]
    """By row; rewards (what closes a stretch added to its last) and carries."""
    ended: list[list[bool]]
    stiff: list[list[bool]]
    states: list[Tensor]
    starts: list[list[Tensor]]


def account(h: Horizon, rows: Rows, steps: int, seed: int) -> Account:
    generator, count = seeded(seed), len(rows.age)
    action_noise = h.policy.noise(steps * count, generator).unflatten(0, (steps, count))
    model_noise = rollout.draw(h.model, steps, count, generator)
    signs = None if h.stiffness is None else sign_noise(rows.state, generator)[0]
    states = [rows.state[i : i + 1].detach() for i in range(count)]
    ages = rows.age.tolist()
    stretches: Any = [[([], [])] for _ in range(count)]
    ended, stiff, begun = ([[] for _ in range(count)] for _ in range(3))
    for k in range(steps):
        for i in range(count):
            state, noise = states[i], model_noise[k, i : i + 1]
            begun[i].append(state)
            policy = h.policy(state)
            action = policy.sample(action_noise[k, i : i + 1]).unsqueeze(1)
            after, reward, going_on = h.model.step(state, action, noise)[:3]
            carry = h.discount * (torch.ones(1) if going_on is None else going_on)
            bonus = h.entropy * policy.entropy()
            ages[i] += 1
            over = going_on is not None and going_on.item() < 0.5
            ended[i].append(over or ages[i] == h.limit)
            stiff[i].append(h.stiffness is not None and slope(h, state, action, noise, signs) > 1.2)
            rewards, carries = stretches[i][-1]
            if stiff[i][-1]:
                rewards.append(h.value(state) + bonus)
                after = after.detach()
            elif ended[i][-1] or k == steps - 1:
                rewards.append(reward + bonus + carry * h.value(after))
            else:
                rewards.append(reward + bonus)
            carries.append(carry)
            if stiff[i][-1] or ended[i][-1]:
                stretches[i].append(([], []))
            states[i] = after
        new = [i for i in range(count) if ended[i][-1]]
        fresh = h.starts(len(new), generator) if new else ()
        for i, state in zip(new, fresh, strict=True):
            states[i], ages[i] = state.unsqueeze(0), 0
    total = torch.zeros(1, dtype=torch.float64)
    for row in stretches:
        for rewards, carries in row:
            for j, reward in enumerate(rewards):
                total = total + math.prod(carries[:j]) * reward
    return Account(-total[0] / (count * steps), stretches, ended, stiff, states, begun)


def slope(h: Horizon, state: Tensor, action: Tensor, noise: Tensor, signs: Tensor) -> float:
    jacobian = torch.autograd.functional.jacobian(
        lambda x: h.model.step(x, action.detach(), noise).state[0], state.detach()
    )
    return (signs @ jacobian[:, 0]).abs().max().item()


def begun(h: Horizon, count: int = N) -> Rows:
    """Some of the episodes are older."""
    rows = h.begin(count, seeded(1))
    return rows._replace(age=torch.arange(count) % 3, total=torch.arange(count).double())


def both(h: Horizon, seed: int = 3, steps: int = H) -> tuple[Window, Account]:
    rows = begun(h)
    return h.unroll(rows, steps, seeded(seed)), account(h, rows, steps, seed)


KINDS = {
    "plain": {},
    "endless": {"endings": False},
    "entropy": {"entropy": 0.3},
    "cut": {"stiffness": 1.2},
    "cut with entropy": {"stiffness": 1.2, "entropy": 0.3},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_is_the_sum_of_its_stretches_with_their_gradient(kind: str) -> None:
    h = make(**KINDS[kind])
    window, naive = both(h)
    assert torch.equal(window.trace.ended, torch.tensor(naive.ended).T)
    assert torch.equal(window.trace.stiff, torch.tensor(naive.stiff).T)
    assert window.trace.ended.any() and not window.trace.ended.all()
    if "cut" in kind:
        assert 0.1 < window.trace.stiff.double().mean() < 0.9
    torch.testing.assert_close(window.loss, naive.loss)
    weights = list(h.policy.parameters())
    ours = torch.autograd.grad(window.loss, weights)
    theirs = torch.autograd.grad(naive.loss, weights)
    torch.testing.assert_close(ours, theirs)
    assert all(g.abs().max() > 1e-4 for g in ours)


def test_both_ways_of_ending_are_met() -> None:
    """Else the tests around would say less than they seem to."""
    window, _ = both(make())
    by_limit = window.trace.ended & (window.trace.carry > 0.45)
    by_task = window.trace.ended & (window.trace.carry < 0.45)
    assert by_limit.any() and by_task.any()


@pytest.mark.parametrize("kind", ["plain", "entropy"])
def test_the_gradient_is_that_of_finite_differences(kind: str) -> None:
    h = make(**KINDS[kind])
    rows, weights = begun(h), list(h.policy.parameters())
    slopes = torch.autograd.grad(h.unroll(rows, H, seeded()).loss, weights)
    for p, found in zip(weights, slopes, strict=True):
        for index in np.ndindex(*p.shape):
            kept, ends = p[index].item(), []
            for shift in (1e-6, -1e-6):
                with torch.no_grad():
                    p[index] = kept + shift
                    ends.append(h.unroll(rows, H, seeded()).loss.item())
                    p[index] = kept
            difference = (ends[0] - ends[1]) / 2e-6
            assert found[index].item() == pytest.approx(difference, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_targets_are_mixtures_of_all_n_step_returns(lam: float) -> None:
    h = make(stiffness=1.2)  # cuts concern the gradient alone
    t = both(h)[0].trace
    targets = both(h)[0].targets(lam)
    assert not targets.requires_grad
    for i in range(N):
        for k in range(H):
            stop = next((j for j in range(k, H) if t.ended[j, i]), H - 1)
            total, weight, sums = 0.0, 1.0, []
            for j in range(k, stop + 1):
                total += weight * t.reward[j, i].item()
                weight *= t.carry[j, i].item()
                sums.append(total + weight * t.value[j, i].item())
            expected = lam ** (len(sums) - 1) * sums[-1]
            expected += sum((1 - lam) * lam**n * sums[n] for n in range(len(sums) - 1))
            assert targets[k, i].item() == pytest.approx(expected, rel=1e-9)


# -------------------------------------------------------------------------------------------------
# Ends


class Fall(nn.Module):
    """A height that sinks by what the action says; over, with c = 0, below the ground."""

    def __init__(self, hard: bool = True) -> None:
        super().__init__()
        self.hard = hard
        self.spec = Spec(
            obs={},
            action=Space((1,), low=0.0, high=2.0),
            dt=0.1,
            provides=frozenset({"reward", "continues"}),
            grad=frozenset({"state", "action"}),
        )

    def noise(self, batch: int, generator: Generator | None = None) -> tuple[()]:
        return ()

    def step(self, state: Tensor, action: Tensor, noise: tuple[()]) -> Transition[Tensor]:
        height = state - action[:, 0]
        c = (height[:, 0] >= 0).double() if self.hard else torch.sigmoid(height[:, 0])
        return Transition(height, height[:, 0], c)

    def features(self, state: Tensor) -> Tensor:
        return state


class Steady:
    """Always the same action."""

    def __init__(self, action: float) -> None:
        self.action = torch.tensor(action, dtype=torch.float64, requires_grad=True)

    def __call__(self, features: Tensor) -> Any:
        made = self.action.expand(len(features), 1)

        class Now:
            def sample(self, noise: Tensor) -> Tensor:
                return made

        return Now()

    def noise(self, batch: int, generator: Generator | None = None) -> Tensor:
        return torch.zeros(batch, 1, dtype=torch.float64)


def falling(limit: int, hard: bool = True, action: float = 1.0) -> Horizon:
    def value(features: Tensor) -> Tensor:
        return 10 + 100 * features[:, 0]

    def begin(count: int, generator: Generator) -> Tensor:
        return torch.full((count, 1), 1.5, dtype=torch.float64)

    return Horizon(Fall(hard), Steady(action), value, begin, limit, discount=0.5)


def test_after_a_termination_nothing_follows_and_after_a_limit_the_value_does() -> None:
    """From 1.5 by 1: rewards 0.5 and -0.5, then over. By hand, with d/da of each."""
    over = falling(limit=9)
    window = over.unroll(over.begin(1, seeded()), 2, seeded())
    assert window.trace.ended.flatten().tolist() == [False, True]
    assert window.gain.item() == pytest.approx(0.5 + 0.5 * -0.5)
    (slope,) = torch.autograd.grad(window.gain, over.policy.action)
    assert slope.item() == pytest.approx(-1 + 0.5 * -2)

    cut_short = falling(limit=1)
    window = cut_short.unroll(cut_short.begin(1, seeded()), 2, seeded())
    assert window.trace.ended.flatten().tolist() == [True, True]
    assert window.gain.item() == pytest.approx(2 * (0.5 + 0.5 * (10 + 50)))
    (slope,) = torch.autograd.grad(window.gain, cut_short.policy.action)
    assert slope.item() == pytest.approx(2 * (-1 + 0.5 * -100))
    assert window.targets(0.9)[0].item() == pytest.approx(0.5 + 0.5 * 60)


def test_the_chance_to_go_on_is_a_weight_with_a_gradient() -> None:
    """c = s(x), x = 1.5 - a: one step earns x + g s(x) (10 + 100 x)."""
    h = falling(limit=9, hard=False, action=0.7)
    window = h.unroll(h.begin(1, seeded()), 1, seeded())
    c = 1 / (1 + math.exp(-0.8))
    assert window.gain.item() == pytest.approx(0.8 + 0.5 * c * 90)
    (slope,) = torch.autograd.grad(window.gain, h.policy.action)
    assert slope.item() == pytest.approx(-(1 + 0.5 * (c * (1 - c) * 90 + c * 100)))


def test_rows_begin_anew_where_episodes_end_and_go_on_elsewhere() -> None:
    h = make(endings=False, limit=5)
    window, naive = both(h)
    assert window.trace.ended[:, 0].tolist() == [False] * 4 + [True, False, False]
    assert window.trace.length[:, 0].tolist() == [1, 2, 3, 4, 5, 1, 2]
    assert window.rows.age.tolist() == [2, 3, 4, 2, 3]
    torch.testing.assert_close(window.rows.state, torch.cat(naive.states).detach())
    assert not window.rows.state.requires_grad
    done = window.trace.ended
    assert torch.equal(window.trace.length[done], torch.full((N,), 5))
    for i in range(N):
        stop = int(done[:, i].nonzero())
        earned = i + window.trace.reward[: stop + 1, i].sum()  # they began with a total of i
        torch.testing.assert_close(window.trace.total[stop, i], earned)
        rest = window.trace.reward[stop + 1 :, i].sum()
        torch.testing.assert_close(window.rows.total[i], rest)


def test_a_window_goes_on_where_the_one_before_ended_without_its_gradient() -> None:
    h = make(limit=99, endings=False)
    one = h.unroll(begun(h), 2, seeded())
    two = h.unroll(one.rows, 2, seeded(4))
    assert torch.equal(two.trace.features[0], one.rows.state)
    reached = torch.autograd.grad(
        two.loss, list(h.policy.parameters()), retain_graph=True, allow_unused=True
    )
    assert all(g is not None for g in reached)
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(two.loss, one.gain)


def test_the_gradient_ends_where_the_window_begins() -> None:
    rows = begun(make())
    rows = rows._replace(state=rows.state.requires_grad_())
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(make().unroll(rows, H, seeded()).loss, rows.state)


def test_starts_that_are_too_few_are_refused() -> None:
    h = replace(make(), starts=lambda count, generator: torch.zeros(count + 1, 3).double())
    with pytest.raises(ValueError, match="asked for 4 states and gave 5"):
        h.begin(4, seeded())


# -------------------------------------------------------------------------------------------------
# Cuts


class Parts(NamedTuple):
    body: Tensor
    count: Tensor
    task: Tensor


def test_growth_is_one_product_with_the_jacobian_of_each_row() -> None:
    matrices = torch.randn(6, 4, 4).double()
    state = Parts(torch.randn(6, 4).double().requires_grad_(), torch.arange(6), torch.ones(6, 1))
    after = Parts((matrices @ state.body[..., None])[..., 0], state.count + 1, state.task)
    signs = sign_noise(state, seeded())
    assert set(signs.body.unique().tolist()) == {-1.0, 1.0}
    found = growth(state, after, signs)
    expected = torch.einsum("j,nji->ni", signs.body[0], matrices).abs().amax(1)
    torch.testing.assert_close(found, expected)
    assert after.body.sum().backward() is None  # the graph is still there

    still = Parts(state.body.detach().requires_grad_(), state.count, state.task)
    assert torch.equal(growth(still, still._replace(body=1 * still.body), signs), torch.ones(6))


def test_the_mean_square_of_a_probe_is_that_of_a_column() -> None:
    """Of one state entry at a time: E (sum_j v_j J_j)^2 = sum_j J_j^2."""
    column = torch.tensor([3.0, -1.0, 0.5, 2.0]).double()
    x, squares = torch.zeros(1, 1).double().requires_grad_(), []
    generator = seeded()
    for _ in range(2000):
        y = x * column
        squares.append(growth((x,), (y,), sign_noise((y.detach(),), generator)).item() ** 2)
    mean, error = np.mean(squares), np.std(squares) / math.sqrt(2000)
    assert abs(mean - column.square().sum().item()) < 4 * error


def test_what_a_policy_would_answer_is_no_stiffness() -> None:
    """The closed loop is steep, the world is not."""
    h = make(endings=False, limit=99, stiffness=50.0)
    with torch.no_grad():
        h.policy.net.output.weight.mul_(1e4)
    assert not h.unroll(begun(h), H, seeded()).trace.stiff.any()


class Bounce(nn.Module):
    """A ball that is pushed up or down, and is thrown back by the ground, within a hand's breadth.

    w = v + dt (u - g),  s = sigmoid(k (y + dt w)),  v' = s w + (1 - s) |w|,  y' = y + dt v'
    """

    def __init__(self, hardness: float = 300.0) -> None:
        super().__init__()
        self.hardness = hardness
        self.spec = Spec(
            obs={},
            action=Space((1,), low=-3.0, high=3.0),
            dt=0.05,
            provides=frozenset({"reward"}),
            grad=frozenset({"state", "action"}),
        )
        self.feature_size = 2

    def initial(self, batch: int, context: Obs | None = None) -> Tensor:
        return torch.ones(batch, 2, dtype=torch.float64)

    def noise(self, batch: int, generator: Generator | None = None) -> tuple[()]:
        return ()

    def step(self, state: Tensor, action: Tensor, noise: tuple[()]) -> Transition[Tensor]:
        y, v = state.unbind(1)
        w = v + self.spec.dt * (action[:, 0, 0] - 9.81)
        s = torch.sigmoid(self.hardness * (y + self.spec.dt * w))
        v = s * w + (1 - s) * w.abs()
        y = y + self.spec.dt * v
        return Transition(torch.stack([y, v], 1), -(y - 1).square())

    def features(self, state: Tensor) -> Tensor:
        return state


def drop(count: int, generator: Generator) -> Tensor:
    return 0.5 + torch.rand(count, 2, generator=generator, dtype=torch.float64)


def thrown(steps: int, stiffness: float | None) -> tuple[float, Window]:
    """The norm of the policy's gradient, with a value function that is finite and smooth."""
    torch.manual_seed(0)
    policy = PolicyNet(2, Bounce().spec.action, 8, 1, log_std=-1.0).double()
    h = Horizon(
        Bounce(),
        policy,
        lambda x: -(x[:, 0] - 1).square(),
        drop,
        limit=1000,
        discount=0.99,
        stiffness=stiffness,
    )
    window = h.unroll(h.begin(64, seeded()), steps, seeded())
    slopes = torch.autograd.grad(window.loss, list(policy.parameters()))
    return nn.utils.get_total_norm(slopes).item(), window


def test_a_hard_bounce_explodes_the_plain_gradient_and_not_the_cut_one() -> None:
    plain = {steps: thrown(steps, None)[0] for steps in (8, 100)}
    cut = {steps: thrown(steps, 5.0)[0] for steps in (8, 100)}
    assert plain[100] > 1e4 * plain[8], plain
    assert cut[100] < 10 * cut[8], cut
    assert cut[8] > 0.1 * plain[8], (plain, cut)


def test_the_cut_steps_are_those_at_the_ground_and_the_future_is_the_same() -> None:
    (_, plain), (_, cut) = thrown(60, None), thrown(60, 5.0)
    torch.testing.assert_close(plain.trace.features, cut.trace.features, rtol=0, atol=0)
    torch.testing.assert_close(plain.trace.reward, cut.trace.reward, rtol=0, atol=0)
    height, speed = cut.trace.features.unbind(-1)
    stiff = cut.trace.stiff
    assert (speed[stiff] < 0).all()
    assert ((height + 0.05 * speed)[stiff] - 0.025).abs().max() < 0.06
    assert 0 < cut.trace.stiff.double().mean() < 0.2
    assert not plain.trace.stiff.any()


def test_an_infinite_slope_counts_as_stiff() -> None:
    h = make(endings=False, limit=99, stiffness=1e9)

    class Root(Glide):
        def step(self, state: Tensor, action: Tensor, noise: Tensor) -> Transition[Tensor]:
            after = super().step(state, action, noise)
            return after._replace(state=after.state + (state - state.detach()).abs().sqrt())

    h = replace(h, model=Root(endings=False).requires_grad_(False))
    assert h.unroll(begun(h), 2, seeded()).trace.stiff.all()
