from types import SimpleNamespace

import pytest
import torch

from reverie.core import rollout, tree
from reverie.core.model import sample_rows
from reverie.plan import CEM, MPC, MPPI, Goal, Gradient, Hybrid, MPCConfig, Stage, clock, icem
from tests.plan.worlds import Linear, Script
from tests.toys import Latent

X = torch.tensor([[1.0, 0.0], [-2.0, 1.0]])
OPTIMISERS = {
    "gradient": (Gradient(starts=2, iterations=150, rate=0.3, decay=0.01), 0.01),
    "cem": (CEM(samples=300, elites=30, iterations=15), 0.02),
    "icem": (icem(400, 20, 20, exponent=0.5), 0.02),
    "mppi": (
        MPPI(samples=500, elites=64, iterations=30, deviation=2.0, floor=0.02, temperature=0.5),
        0.05,
    ),
    "hybrid": (Hybrid(CEM(samples=200), Gradient(starts=3, iterations=60, decay=0.02)), 0.01),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def start(model, x=X):
    return model.initial(len(x))._replace(x=x)


def begin(*flags):
    return torch.tensor(flags)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_plan_reaches_the_optimum_of_riccati(name):
    optimiser, share = OPTIMISERS[name]
    model = Linear()
    mpc = MPC(model, optimiser, MPCConfig(horizon=20))
    solved = mpc.solve(start(model), seeded())
    real = mpc.cost(start(model), solved.plan[:, None], mpc.cost.noise(lambda make: make(2, None)))
    optimum = model.optimal_cost(X, 20)
    assert (real[:, 0] >= optimum * (1 - 1e-5)).all()
    assert (real[:, 0] <= optimum * (1 + share)).all()


def test_it_is_an_agent_that_brings_the_state_to_rest():
    model = Linear(bound=2.0)
    mpc = MPC(model, CEM(samples=100, elites=10, iterations=4), MPCConfig(horizon=15))
    world, memory = Script(model, X), mpc.begin(2)
    for t in range(60):
        action, memory = mpc.act(memory, world.obs(), begin(t == 0, t == 0))
        assert action.abs().max() <= 2.0
        world.step(action)
    assert world.state.x.abs().max() < 0.1
    timing = mpc.timing()
    assert (timing.decisions, timing.iterations) == (60, 4.0)
    assert timing.worst >= timing.p99 >= timing.p50 > 0


def test_the_same_rows_give_the_same_actions_alone_or_in_a_batch():
    model = Linear(noise=0.1)
    mpc = MPC(model, icem(60, 6, 3), MPCConfig(horizon=6, particles=2))

    def play(x, firsts):
        world, memory, actions = Script(model, x), mpc.begin(len(x)), []
        for first in firsts:
            action, memory = mpc.act(memory, world.obs(), torch.tensor(first))
            actions.append(action)
            world.step(action)
        return torch.stack(actions)

    together = play(X, [[True, True], [False, False], [False, True], [False, False]])
    alone = play(X[:1], [[True], [False], [False], [False]])
    assert torch.allclose(together[:, :1], alone, atol=1e-5)
    again = play(X, [[True, True], [False, False], [False, True], [False, False]])
    assert torch.equal(together, again)


def test_with_a_generator_the_search_is_random_and_its_seed_repeats_it():
    model = Linear()
    mpc = MPC(model, CEM(samples=40, elites=4, iterations=2), MPCConfig(horizon=5))
    obs = {"x": X}
    one, two, other = (
        mpc.act(mpc.begin(2), obs, begin(True, True), seeded(s))[0] for s in (0, 0, 1)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_exploring_adds_the_doubt_of_the_search():
    model = Linear(bound=1.0)
    wide = MPPI(samples=50, deviation=0.5)
    quiet, loud = (MPC(model, wide, MPCConfig(horizon=5, explore=e)) for e in (False, True))
    obs, first = {"x": X.repeat(500, 1)}, torch.ones(1000, dtype=torch.bool)
    a, b = (m.act(m.begin(1000), obs, first, seeded())[0] for m in (quiet, loud))
    assert (b - a).std() == pytest.approx(0.5, rel=0.3)
    assert b.abs().max() <= 1.0


def test_a_new_episode_forgets_the_last_plan():
    model = Linear()
    mpc = MPC(model, CEM(samples=30, elites=3, iterations=1), MPCConfig(horizon=5))
    obs = {"x": X}
    fresh, _ = mpc.act(mpc.begin(2), obs, begin(True, True))
    _, memory = mpc.act(mpc.begin(2), {"x": X * 10}, begin(True, True))
    again, after = mpc.act(memory, obs, begin(True, True))
    assert torch.equal(fresh, again)
    kept, _ = mpc.act(memory, obs, begin(True, False))
    assert torch.equal(kept[0], fresh[0])
    assert not torch.equal(kept[1], fresh[1])
    assert after.age.tolist() == [1, 1]


def test_the_next_search_begins_with_the_rest_of_the_plan():
    """One iteration a decision: with the last plan it gets better from decision to decision."""
    model, x = Linear(), torch.tensor([[3.0, 0.0]])
    lean = CEM(samples=40, elites=4, iterations=1)

    def total(warm):
        mpc = MPC(model, lean, MPCConfig(horizon=15))
        world, memory, rewards = Script(model, x), mpc.begin(1), 0.0
        for t in range(40):
            if not warm:
                memory = memory._replace(start=mpc.begin(1).start)
            action, memory = mpc.act(memory, world.obs(), begin(t == 0))
            rewards += world.step(action).item()
        return rewards

    assert total(True) > total(False) + 1.0


def test_a_block_is_held_and_carried_out_before_the_next_plan():
    model = Linear()
    mpc = MPC(model, CEM(samples=30, elites=3, iterations=1), MPCConfig(horizon=4, block=3))
    memory, actions = mpc.begin(1), []
    for t in range(7):
        action, memory = mpc.act(memory, {"x": X[:1]}, begin(t == 0))
        actions.append(action.item())
    assert actions[0] == actions[1] == actions[2] != actions[3]
    assert actions[3] == actions[4] == actions[5] != actions[6]
    assert mpc.timing().decisions == 3


def test_a_model_of_chunks_is_sensed_when_its_step_ends():
    model, plain = Linear(chunk=2), Linear()
    mpc = MPC(model, CEM(samples=30, elites=3, iterations=2), MPCConfig(horizon=4))
    world, memory, senses = Script(plain, X[:1]), mpc.begin(1), []
    for t in range(6):
        action, memory = mpc.act(memory, world.obs(), begin(t == 0))
        senses.append(memory.state.age.item())
        world.step(action)
        assert torch.equal(memory.past[:, -1], action)
    assert senses == [0, 0, 1, 1, 2, 2]


def test_rows_of_different_age_plan_when_it_is_their_turn():
    model = Linear()
    mpc = MPC(model, CEM(samples=30, elites=3, iterations=1), MPCConfig(horizon=4, execute=2))
    memory, plans = mpc.begin(2), []
    for first in ([True, True], [False, True], [False, False], [False, False]):
        _, memory = mpc.act(memory, {"x": X}, torch.tensor(first))
        plans.append(memory.plan[:, :, 0])
    assert torch.equal(plans[1][0], plans[0][0])  # carried on
    assert torch.equal(plans[2][1], plans[1][1])
    assert not torch.equal(plans[2][0], plans[1][0])
    assert not torch.equal(plans[3][1], plans[2][1])


class Greedy:
    """u = -x_0 + a little noise."""

    def noise(self, batch, generator=None):
        return torch.randn(batch, 1, generator=generator)

    def act(self, features, noise):
        return -features[:, :1] + 0.01 * noise


def test_plans_of_a_policy_are_tried():
    model = Linear()
    seen = []

    def watch(model, futures):
        seen.append(futures.actions)
        return futures.states.x.square().sum(-1)

    mpc = MPC(
        model,
        CEM(samples=8, elites=2, iterations=2),
        MPCConfig(horizon=5, proposals=3),
        policy=Greedy(),
        objective=Stage(watch),
    )
    mpc.solve(start(model), seeded())
    plans = seen[0].squeeze(2).squeeze(-1).T.unflatten(0, (2, 11))[:, 8:]  # [B, 3, P]
    state = tree.repeat(start(model), 3)
    for k in range(5):
        assert torch.allclose(plans.flatten(0, 1)[:, k], -state.x[:, 0], atol=0.05)
        action = plans.flatten(0, 1)[:, k][:, None, None]
        state = model.step(state, action, torch.zeros(6, 1, 2)).state
    assert not torch.equal(plans[:, 0], plans[:, 1])


def test_a_goal_needs_no_reward():
    model = Linear(bound=5.0)
    model.spec = type(model.spec)(
        obs=model.spec.obs, action=model.spec.action, dt=0.1, provides=frozenset({"obs"}),
        grad=model.spec.grad,
    )  # fmt: skip
    target = torch.tensor([0.5, 0.0])
    mpc = MPC(
        model, CEM(samples=200, elites=20), MPCConfig(horizon=12),
        objective=Goal({"x": target}, weights={"x": 1.0}),
    )  # fmt: skip
    world, memory = Script(model, torch.zeros(1, 2)), mpc.begin(1)
    for t in range(40):
        action, memory = mpc.act(memory, world.obs(), begin(t == 0))
        moved = model.step(world.state, action[:, None], torch.zeros(1, 1, 2))
        world.state = moved.state
    assert torch.allclose(world.state.x[0], target, atol=0.05)


def test_constraints_are_kept_in_the_loop():
    """Held at rest beyond a wall the cost would be least; the wall is not passed."""
    model = Linear(bound=5.0)
    wall = Stage(lambda model, futures: futures.states.x[..., 0] - 0.3)
    for optimiser in (CEM(samples=200, elites=20, iterations=4), Gradient(starts=2, iterations=40)):
        mpc = MPC(
            model, optimiser, MPCConfig(horizon=10),
            objective=Goal({"x": torch.tensor([1.0, 0.0])}), constraints=[wall],
        )  # fmt: skip
        world, memory, most = Script(model, torch.zeros(1, 2)), mpc.begin(1), 0.0
        for t in range(40):
            action, memory = mpc.act(memory, world.obs(), begin(t == 0))
            world.step(action)
            most = max(most, world.state.x[0, 0].item())
        assert 0.2 < most < 0.305


def test_a_budget_is_kept_and_what_does_not_fit_falls_back(monkeypatch):
    watch = {"now": 0.0}
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: watch["now"]))

    class Slow(Linear):
        def step(self, state, action, noise):
            watch["now"] += 0.002
            return super().step(state, action, noise)

    model = Slow()
    mpc = MPC(model, CEM(samples=20, elites=2, iterations=50), MPCConfig(horizon=5, budget=40.0))
    memory = mpc.begin(1)
    for t in range(5):
        action, memory = mpc.act(memory, {"x": X[:1]}, begin(t == 0))
        if not t:
            mpc.clock.forget()
    timing = mpc.timing()
    assert timing.iterations == 3 and timing.worst <= 40 and not timing.late
    assert action.isfinite().all()
    mpc.clock.budget = 1.0
    fallback, after = mpc.act(memory, {"x": X[:1]}, begin(False))
    assert mpc.timing().fallbacks == 1
    assert torch.equal(fallback[:, 0], memory.start.guess[:, 0, 0])
    assert torch.equal(after.start.guess[:, 0], memory.start.guess[:, 1])


def test_context_is_given_to_the_model():
    class Heavy(Linear):
        def initial(self, batch, context=None):
            state = super().initial(batch)
            return state._replace(age=state.age + context["mass"][:, None])

    mpc = MPC(
        Heavy(), CEM(samples=10, elites=2), MPCConfig(horizon=2),
        context={"mass": torch.tensor([1.0, 2.0])},
    )  # fmt: skip
    assert mpc.begin(2).state.age.flatten().tolist() == [1, 2]


def tasked(task):
    """Rows of two environments; with `task` `[2, 2]` they bring it."""
    rows = sample_rows(Latent().spec, 2, 1, seeded())
    obs = {name: x[:, 0] for name, x in rows.obs.items()}
    return obs if task is None else {**obs, "task": task}


def acts(mpc, rows, firsts=((True, True), (False, False))):
    """Actions, and the task that the state knows, of each row."""
    memory, seen = mpc.begin(2), []
    for obs, first in zip(rows, firsts, strict=True):
        action, memory = mpc.act(memory, obs, torch.tensor(first))
        seen.append((action, memory.state.task))
    return seen


def test_rows_bring_the_context_as_if_it_had_been_given():
    model, search = Latent(), (CEM(samples=20, elites=4, iterations=2), MPCConfig(horizon=3))
    one, two = torch.tensor([[3.0, -2.0], [0.0, 1.0]]), torch.tensor([[-3.0, 2.0], [4.0, 0.0]])
    given = acts(MPC(model, *search, context={"task": one}), [tasked(None)] * 2)
    brought = acts(MPC(model, *search), [tasked(one)] * 2)
    assert not tree.differ(brought, given)
    ignored = acts(MPC(model, *search), [tasked(None)] * 2)
    assert not torch.equal(ignored[0][0], given[0][0])
    # what rows bring goes before what was given
    both = acts(MPC(model, *search, context={"task": two}), [tasked(one)] * 2)
    assert not tree.differ(both, given)


def test_an_episode_keeps_its_context_and_the_next_takes_its_own():
    one, two = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[5.0, 5.0], [6.0, 6.0]])
    mpc = MPC(Latent(), CEM(samples=10, elites=2, iterations=1), MPCConfig(horizon=2))
    firsts = ((True, True), (False, True), (False, False))
    seen = acts(mpc, [tasked(one), tasked(two), tasked(one)], firsts)
    tasks = [task.tolist() for _, task in seen]
    assert tasks == [one.tolist(), [[1, 0], [6, 6]], [[1, 0], [6, 6]]]
    # begun within an episode, the rows it will read say which one it is
    memory = mpc.begin(2, tasked(two))
    _, memory = mpc.act(memory, tasked(two), begin(False, False))
    assert torch.equal(memory.state.task, two)


def test_what_does_not_fit_together_is_said_at_once():
    model = Linear()
    with pytest.raises(ValueError, match="Gradient needs a model with a gradient to state"):
        MPC(Linear(grad=False), Gradient())
    with pytest.raises(ValueError, match="Hybrid needs a model with a gradient"):
        MPC(Linear(grad=False), Hybrid())
    with pytest.raises(ValueError, match="consumes 3 actions at once"):
        MPC(Linear(chunk=3), CEM(), MPCConfig(horizon=4))
    with pytest.raises(ValueError, match="plan further ahead"):
        MPC(model, CEM(), MPCConfig(horizon=2, execute=3))
    with pytest.raises(ValueError, match="pass the policy"):
        MPC(model, CEM(), MPCConfig(proposals=3))
    for wrong in ({"horizon": 0}, {"block": 0}, {"particles": 0}, {"execute": -1}):
        with pytest.raises(ValueError, match="MPCConfig"):
            MPCConfig(**wrong)


def test_plans_of_equal_cost_are_those_that_rank_says():
    """The cost is minus what `core.rollout.rank` gives for the sum of rewards."""
    model = Linear()
    mpc = MPC(model, CEM(samples=10, elites=2), MPCConfig(horizon=4))
    plans = torch.randn(2, 3, 4, 1)
    noise = mpc.cost.noise(lambda make: make(2, seeded()))
    ranked = rollout.rank(
        model, start(model), plans[..., None, :], lambda f: f.transition.reward.sum(0), noise.model
    )
    assert torch.allclose(mpc.cost(start(model), plans, noise), -ranked, rtol=1e-5)
