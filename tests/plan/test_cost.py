import pytest
import torch

from reverie.core import rollout, tree
from reverie.plan import Goal, PlanCost, Stage
from reverie.plan.cost import behind
from tests.plan.worlds import Linear

X = torch.tensor([[1.0, 0.0], [-2.0, 1.0]])


def start(model):
    return model.initial(2)._replace(x=X)


def draw(make):
    return make(2, torch.Generator().manual_seed(0))


class Worth:
    """V = x_0 + noise."""

    def noise(self, batch, generator=None):
        return torch.rand(batch, 1, generator=generator)

    def value(self, features, noise):
        return features[:, 0] + noise[:, 0]


def by_hand(model, state, plan, noise, discount, worth=None, particle=0):
    """J of one plan `[P, A]` from one state, one step after another."""
    total, weight = 0.0, 1.0
    for k in range(len(plan)):
        now = model.step(state, plan[k].reshape(1, 1, 1), noise.model[k, particle][None])
        total -= weight * now.reward.item()
        weight *= discount * (1 if now.continues is None else now.continues.item())
        state = now.state
    if worth is not None:
        total -= weight * worth.value(state.x, noise.terminal[particle][None]).item()
    return total


@pytest.mark.parametrize("continues", [None, 0.8])
@pytest.mark.parametrize("discount", [1.0, 0.9])
@pytest.mark.parametrize("worth", [None, Worth()])
def test_it_is_the_sum_by_hand(continues, discount, worth):
    model = Linear(noise=0.1, continues=continues)
    cost = PlanCost(model, 4, discount=discount, terminal=worth)
    plans, noise = torch.randn(2, 3, 4, 1), cost.noise(draw)
    result = cost(start(model), plans, noise)
    for b in range(2):
        mine = tree.map(lambda x, b=b: x[:, b : b + 1], noise.model)
        own = noise._replace(model=mine)
        if worth is not None:
            own = own._replace(terminal=noise.terminal[b : b + 1])
        for k in range(3):
            state = tree.select(start(model), slice(b, b + 1))
            expected = by_hand(model, state, plans[b, k], own, discount, worth)
            assert result[b, k].item() == pytest.approx(expected, rel=1e-5)


def test_all_plans_share_the_noise_and_draws_are_averaged():
    model = Linear(noise=0.3)
    cost = PlanCost(model, 4, particles=5)
    plans, noise = torch.randn(2, 1, 4, 1).expand(-1, 3, -1, -1), cost.noise(draw)
    result = cost(start(model), plans, noise)
    assert torch.equal(result[:, 0], result[:, 1])
    state = tree.select(start(model), slice(1, 2))
    own = noise._replace(model=noise.model[:, 5:])
    expected = [by_hand(model, state, plans[1, 0], own, 1.0, particle=i) for i in range(5)]
    assert result[1, 0].item() == pytest.approx(sum(expected) / 5, rel=1e-5)
    assert max(expected) - min(expected) > 0.01


def test_a_plan_step_is_held_for_its_block_and_a_chunk_consumes_several():
    plain, model = Linear(), Linear(chunk=3)
    plans = torch.randn(2, 4, 6, 1)
    cost = PlanCost(model, 4)  # 12 control steps: 6 plan steps of 2, 4 model steps of 3
    single = PlanCost(plain, 12)
    expected = single(start(plain), plans.repeat_interleave(2, 2), single.noise(draw))
    assert torch.allclose(cost(start(model), plans, cost.noise(draw)), expected, rtol=1e-5)


def test_uncertainty_is_penalised():
    model = Linear()
    plans = torch.randn(2, 3, 4, 1)
    plain, wary = PlanCost(model, 4), PlanCost(model, 4, uncertainty=2.0)
    future = rollout.imagine(
        model, tree.repeat(start(model), 3), plans.flatten(0, 1).transpose(0, 1)[..., None],
        torch.zeros(4, 6, 1, 2),
    )  # fmt: skip
    extra = 2 * future.transition.uncertainty.sum(0).reshape(2, 3)
    difference = wary(start(model), plans, wary.noise(draw)) - plain(
        start(model), plans, plain.noise(draw)
    )
    assert torch.allclose(difference, extra, rtol=1e-4)


def test_plans_that_break_a_constraint_rank_behind_all_that_keep_it():
    model = Linear()
    limit = Stage(lambda model, futures: futures.states.x[..., 0] - 1.2)
    cost = PlanCost(model, 10, constraints=[limit])
    plans = torch.linspace(-30, 30, 7)[None, :, None, None].expand(2, -1, 10, 1)
    result, plain = (c(start(model), plans, c.noise(draw)) for c in (cost, PlanCost(model, 10)))
    x = model.step
    broken = []
    for k in range(7):
        state, worst = start(model), torch.zeros(2)
        for t in range(10):
            state = x(state, plans[:, k, t][:, None], torch.zeros(2, 1, 2)).state
            worst = worst + (state.x[:, 0] - 1.2).clamp_min(0)
        broken.append(worst)
    broken = torch.stack(broken, 1)
    assert (broken > 0).any(1).all() and (broken == 0).any(1).all()
    for b in range(2):
        kept = broken[b] == 0
        assert torch.equal(result[b, kept], plain[b, kept])
        assert result[b, ~kept].min() > result[b, kept].max()
        order = broken[b, ~kept].argsort()
        assert torch.equal(result[b, ~kept].argsort(), order)


def test_where_every_plan_breaks_the_constraint_the_least_broken_is_best():
    result = behind(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 2.0]]))
    assert result.tolist() == [[0.5, 2.0]]


def test_nan_stays_nan_behind_a_constraint():
    nan = torch.nan
    result = behind(torch.tensor([[1.0, nan, 2.0]]), torch.tensor([[0.0, 1.0, nan]]))
    assert result[0, 0] == 1.0
    assert result.isnan().tolist() == [[False, True, True]]


def test_the_cost_has_a_gradient_through_the_model_also_past_a_constraint():
    model = Linear()
    limit = Stage(lambda model, futures: futures.states.x[..., 0] - 0.5)
    cost = PlanCost(model, 5, constraints=[limit])
    plans = torch.zeros(2, 2, 5, 1, requires_grad=True)
    (slope,) = torch.autograd.grad(cost(start(model), plans, cost.noise(draw)).sum(), plans)
    assert slope[0].abs().sum() > 0  # x_0 = 1 breaks it: back towards 0.5
    assert (slope[0] > 0).any()


def test_what_the_model_lacks_is_said_when_the_planner_is_made():
    model = Linear()
    model.spec = type(model.spec)(
        obs=model.spec.obs, action=model.spec.action, dt=0.1, provides=frozenset({"obs"})
    )
    with pytest.raises(ValueError, match="needs a model that predicts reward; the model provides"):
        PlanCost(model, 3)
    PlanCost(model, 3, Goal({"x": torch.zeros(2)}))
    with pytest.raises(ValueError, match="predicts uncertainty"):
        PlanCost(model, 3, Goal({"x": torch.zeros(2)}), uncertainty=1.0)


@pytest.mark.parametrize(
    "wrong", [{"horizon": 0}, {"discount": 1.5}, {"particles": 0}, {"uncertainty": -1.0}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"horizon|model steps|PlanCost"):
        PlanCost(Linear(), **{"horizon": 3, **wrong})
