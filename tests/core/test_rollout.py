"""What follows from the interface: encode, filter, imagine, rank, and a planner on top of them."""

import math

import pytest
import torch
from torch import Generator, Tensor, nn

from reverie.core import rollout, tree
from reverie.core.model import sample_rows
from tests.toys import Chunked, Late, Latent, LatentState, Pendulum, PendulumState


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def test_draw_is_noise_for_every_step_and_row_from_one_generator() -> None:
    noise = rollout.draw(Chunked(), 5, 2, generator())
    assert noise["frames"].shape == (5, 2, 3, 6)
    assert not tree.differ(noise, rollout.draw(Chunked(), 5, 2, generator()))
    assert tree.differ(noise, rollout.draw(Chunked(), 5, 2, generator(1)))
    assert rollout.draw(Pendulum(), 5, 2, generator()) == ()


def test_encode_is_the_state_after_a_first_observation() -> None:
    model = Pendulum()
    angle = torch.tensor([0.3, -2.0])
    obs = {"angle": torch.stack([angle.cos(), angle.sin()], -1)}
    context = {"mass": torch.tensor([0.7, 1.3]), "length": torch.tensor([0.9, 1.1])}
    state = rollout.encode(model, obs, context)
    torch.testing.assert_close(state.angle, angle)
    assert torch.equal(state.speed, torch.zeros(2))
    assert torch.equal(state.body["mass"], context["mass"])


def test_encode_takes_its_noise_from_the_generator() -> None:
    model = Latent()
    obs = {name: x[:, 0] for name, x in sample_rows(model.spec, 3, 2, generator()).obs.items()}
    one, again, other = (rollout.encode(model, obs, generator=generator(s)) for s in (1, 1, 2))
    assert not tree.differ(one, again)
    assert tree.differ(one, other)


def test_a_sensor_with_the_name_of_a_context_entry_brings_the_context() -> None:
    spec, mass = Pendulum().spec, torch.tensor([0.7, 1.3])
    angle = torch.zeros(2, 2)
    assert rollout.context_of(spec, {"angle": angle}) is None
    brought = rollout.context_of(spec, {"angle": angle, "mass": mass})
    assert brought is not None and brought.keys() == {"mass"} and brought["mass"] is mass
    assert rollout.context_of(Chunked().spec, {"camera": angle, "mass": mass}) is None


def test_what_is_given_stands_for_what_rows_do_not_bring() -> None:
    spec, one, two = Pendulum().spec, torch.ones(2), 2 * torch.ones(2)
    given = {"mass": two, "length": two}
    assert rollout.context_of(spec, {}, given) == given
    assert rollout.context_of(spec, {"mass": one}, given) == {"mass": one, "length": two}
    assert rollout.context_of(Chunked().spec, {"mass": one}, given) == given


def test_encode_takes_the_context_that_its_rows_bring() -> None:
    model, mass = Pendulum(), torch.tensor([0.7, 1.3])
    obs = {"angle": torch.tensor([[1.0, 0.0], [0.0, 1.0]])}
    given = rollout.encode(model, obs, {"mass": mass})
    assert not tree.differ(rollout.encode(model, {**obs, "mass": mass}), given)
    assert tree.differ(rollout.encode(model, obs), given)


@pytest.mark.parametrize("family", [Latent, Chunked])
@torch.no_grad()
def test_filter_is_a_loop_of_observe(family: type[nn.Module]) -> None:
    model = family()
    n, steps = model.spec.chunk, 5
    rows = sample_rows(model.spec, 3, steps * n, generator())
    obs = {name: x[:, n - 1 :: n] for name, x in rows.obs.items()}
    first, action = rows.first[:, n - 1 :: n], rows.action.unflatten(1, (steps, n))
    noise = rollout.draw(model, steps, 3, generator())
    states = rollout.filter(model, model.initial(3), action, obs, first, noise)
    state = model.initial(3)
    for t in range(steps):
        now = {name: x[:, t] for name, x in obs.items()}
        state = model.observe(state, action[:, t], now, first[:, t], tree.select(noise, t))
        assert not tree.differ(tree.map(lambda x, t=t: x[:, t], states), state, 1e-6)


def test_filter_asks_observe_all_where_there_is_one() -> None:
    class Whole(Latent):
        def observe(self, *given: object) -> LatentState:
            raise AssertionError("the sequence was not read at once")

    model = Whole()
    rows = sample_rows(model.spec, 2, 4, generator())
    noise = rollout.draw(model, 4, 2, generator())
    action = rows.action[:, :, None]
    states = rollout.filter(model, model.initial(2), action, rows.obs, rows.first, noise)
    assert states.deter.shape == (2, 4, 8)


@torch.no_grad()
def test_imagine_follows_a_plan_step_by_step() -> None:
    model = Latent()
    plan = torch.rand(4, 3, 1, 2, generator=generator()) * 2 - 1
    noise = rollout.draw(model, 4, 3, generator())
    context = {"task": torch.randn(3, 2, generator=generator())}
    start = model.initial(3, context)
    future = rollout.imagine(model, start, plan, noise)
    state, rewards = start, []
    for k in range(4):
        transition = model.step(state, plan[k], noise[k])
        state = transition.state
        rewards.append(transition.reward)
        assert not tree.differ(tree.select(future.states, k), state)
    assert torch.equal(future.transition.reward, torch.stack(rewards))
    assert torch.equal(future.actions, plan)
    assert future.transition.continues.shape == (4, 3)
    assert future.transition.cost is None
    assert future.transition.uncertainty is None
    assert future.transition.state is future.states


@torch.no_grad()
def test_imagine_with_a_policy_acts_on_the_state_it_reached() -> None:
    model = Pendulum()
    seen = []

    def act(state: PendulumState, k: int) -> Tensor:
        seen.append((k, state))
        return torch.tanh(state.speed)[:, None, None]

    start = model.initial(2)._replace(speed=torch.tensor([0.5, -1.0]))
    future = rollout.imagine(model, start, act, (), steps=6)
    assert [k for k, _ in seen] == [0, 1, 2, 3, 4, 5]
    assert not tree.differ(seen[0][1], start)
    assert not tree.differ(seen[3][1], tree.select(future.states, 2))
    assert not tree.differ(future, rollout.imagine(model, start, future.actions, ()))


def test_imagine_with_a_policy_needs_the_number_of_steps() -> None:
    model = Pendulum()
    with pytest.raises(ValueError, match="steps=H"):
        rollout.imagine(model, model.initial(1), lambda state, k: torch.zeros(1, 1, 1), ())


@torch.no_grad()
def test_keeping_only_the_last_state_changes_nothing_else() -> None:
    model = Pendulum()
    plan = torch.ones(7, 2, 1, 1)
    every = rollout.imagine(model, model.initial(2), plan, ())
    last = rollout.imagine(model, model.initial(2), plan, (), keep="last")
    assert not tree.differ(last.states, tree.map(lambda x: x[-1:], every.states))
    assert torch.equal(last.transition.reward, every.transition.reward)


@torch.no_grad()
def test_heads_that_wait_are_those_of_a_loop_of_steps() -> None:
    model = Late()
    plan = torch.rand(5, 2, 1, 2, generator=generator()) * 2 - 1
    noise, state, loop = rollout.draw(model, 5, 2, generator()), model.initial(2), []
    for k in range(5):
        loop.append(model.step(state, plan[k], noise[k]))
        state = loop[-1].state
    future = rollout.imagine(model, model.initial(2), plan, noise)
    for name in ("state", "reward", "continues"):
        steps = tree.stack([getattr(step, name) for step in loop])
        assert not tree.differ(getattr(future.transition, name), steps, 1e-6)
    last = rollout.imagine(model, model.initial(2), plan, noise, keep="last")
    assert not tree.differ(last.transition._replace(state=()), future.transition._replace(state=()))
    assert not tree.differ(last.states, tree.map(lambda x: x[None], state), 1e-6)


def test_gradient_reaches_the_plan_through_every_step() -> None:
    model = Pendulum()
    plan = torch.zeros(8, 1, 1, 1, requires_grad=True)
    future = rollout.imagine(model, model.initial(1), plan, ())
    (slope,) = torch.autograd.grad(future.states.speed[-1].sum(), plan)
    assert (slope.abs() > 0).all()


def total(future: rollout.Rollout) -> Tensor:
    return future.transition.reward.sum(0)


@torch.no_grad()
def test_rank_scores_each_plan_from_each_state() -> None:
    model = Latent()
    start = model.initial(2, {"task": torch.randn(2, 2, generator=generator())})
    plans = torch.rand(2, 3, 4, 1, 2, generator=generator()) * 2 - 1
    noise = rollout.draw(model, 4, 2, generator())
    scores = rollout.rank(model, start, plans, total, noise)
    assert scores.shape == (2, 3)
    for b in range(2):
        for k in range(3):
            row = slice(b, b + 1)
            alone = rollout.imagine(
                model, tree.select(start, row), plans[b, k][:, None], noise[:, row]
            )
            torch.testing.assert_close(scores[b, k], total(alone)[0])


@torch.no_grad()
def test_plans_of_a_state_share_its_noise() -> None:
    model = Latent()
    plan = torch.rand(1, 1, 4, 1, 2, generator=generator()).expand(2, 5, 4, 1, 2)
    noise = rollout.draw(model, 4, 2, generator())
    scores = rollout.rank(model, model.initial(2), plan, total, noise)
    torch.testing.assert_close(scores, scores[:, :1].expand(2, 5))
    assert scores[0, 0] != scores[1, 0]  # The two states are equal; their noise is not.


def search(model: Pendulum, state: PendulumState, steps: int, hold: int, seed: int) -> Tensor:
    """The cross-entropy method: a plan `[steps * hold, 1, 1, 1]`, each action held for a while."""
    draws = generator(seed)
    mean, spread = torch.zeros(steps, 1), torch.ones(steps, 1)
    for _ in range(12):
        sample = torch.randn(200, steps, 1, generator=draws)
        plans = (mean + spread * sample).clamp(-1, 1)
        held = plans.repeat_interleave(hold, 1)[None, :, :, None]
        scores = rollout.rank(model, state, held, total, ())[0]
        best = plans[scores.topk(20).indices]
        mean, spread = best.mean(0), best.std(0) + 0.01
    return held[0, scores.argmax()][:, None]


@torch.no_grad()
def test_a_planner_of_a_dozen_lines_swings_the_pendulum_up() -> None:
    model = Pendulum()
    hanging = model.initial(1)
    plan = search(model, hanging, steps=20, hold=4, seed=0)
    height = torch.cos(rollout.imagine(model, hanging, plan, ()).states.angle)
    assert height[-20:].mean() > 0.9
    push = torch.cos(rollout.imagine(model, hanging, torch.ones_like(plan), ()).states.angle)
    assert push.max() < 0  # Its motor cannot lift it: it has to swing.
    assert math.isclose(float(torch.cos(hanging.angle)), -1, abs_tol=1e-6)


# -------------------------------------------------------------------------------------------------
# Segments that are made again for the gradient


def slopes(
    model: nn.Module, steps: int, keep: str, checkpoint: int | str | None, policy: bool = False
) -> tuple[rollout.Rollout, list[Tensor]]:
    """A future in float64, and the gradient of what it holds to start, actions and parameters."""
    draws, spec = generator(), model.spec
    shape = (steps, 3, spec.chunk, *spec.action.shape)
    plan = (torch.rand(shape, generator=draws).double() * 2 - 1).requires_grad_()
    start = tree.map(lambda x: x.double().requires_grad_(), model.initial(3))
    noise = tree.map(lambda x: x.double(), rollout.draw(model, steps, 3, draws))

    def act(state: object, k: int) -> Tensor:
        return plan[k] * torch.tanh(tree.leaves(state)[0].reshape(3, -1).sum(1) + 1)[:, None, None]

    options = {"keep": keep, "checkpoint": checkpoint, "steps": steps}
    future = rollout.imagine(model, start, act if policy else plan, noise, **options)
    parts = [*tree.leaves(future.states), *future.transition[1:]]
    total = sum((x.sin().sum() for x in parts if x is not None), torch.zeros(()))
    wrt = [plan, *tree.leaves(start), *model.parameters()]
    return future, list(torch.autograd.grad(total, wrt, materialize_grads=True, allow_unused=True))


@pytest.mark.parametrize("checkpoint", ["sqrt", 1, 3, 50])
@pytest.mark.parametrize("family", [Latent, Late, Chunked, Pendulum])
def test_segments_have_the_future_and_the_gradient_of_a_whole(
    family: type[nn.Module], checkpoint: int | str
) -> None:
    torch.manual_seed(0)
    model = family().double()
    for keep, policy in (("all", False), ("last", False), ("all", True)):
        whole, gradient = slopes(model, 7, keep, None, policy)
        future, again = slopes(model, 7, keep, checkpoint, policy)
        assert not tree.differ(future, whole)
        assert any(g.any() for g in gradient)
        for one, two in zip(gradient, again, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("keep", ["all", "last"])
def test_segments_of_simulated_physics_have_the_gradient_of_a_whole(keep: str) -> None:
    pytest.importorskip("mujoco")
    from tests.models.physics.worlds import leg, model, soft

    for made in (model(leg()).double(), model(soft()).double()):
        whole, gradient = slopes(made, 5, keep, None)
        future, again = slopes(made, 5, keep, "sqrt")
        assert not tree.differ(future, whole)
        for one, two in zip(gradient, again, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)


def test_between_segments_nothing_but_states_is_in_memory_and_each_step_is_made_twice() -> None:
    class Counted(Latent):
        made = 0

        def step(self, *given: Tensor) -> object:
            self.made += 1
            return super().step(*given)

    def held(checkpoint: int | str | None) -> tuple[int, list[int]]:
        """Bytes that wait for the gradient, and how many steps were made until it came to each."""
        model, kept, seen = Counted(), {}, []
        plan = torch.zeros(25, 2, 1, 2, requires_grad=True)

        def pack(x: Tensor) -> Tensor:
            kept[x.data_ptr()] = x.nbytes
            return x

        def act(state: LatentState, k: int) -> Tensor:
            action = plan[k] + 0 * state.deter[:, None, :2]
            if action.requires_grad:
                action.register_hook(lambda slope: seen.append(model.made))
            return action

        noise = rollout.draw(model, 25, 2, generator())
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            future = rollout.imagine(
                model, model.initial(2), act, noise, 25, "last", checkpoint=checkpoint
            )
        future.transition.reward.sum().backward()
        return sum(kept.values()), seen

    whole, seen = held(None)
    assert whole > 10_000 and seen == [25] * 25
    left, seen = held("sqrt")
    assert left < 0.1 * whole  # states between segments
    assert seen == [n for n in (30, 35, 40, 45, 50) for _ in range(5)]  # one segment at a time
