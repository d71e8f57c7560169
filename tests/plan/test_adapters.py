"""Planning on models of others, and with the planners of others; beside the real packages where
they are installed."""

import pytest
import torch

from reverie.core import tree
from reverie.core.spec import Space
from reverie.plan import CEM, MPC, MPPI, MPCConfig
from reverie.plan.adapters import Flat, plan_costs
from reverie.plan.search import shift
from tests.models.dreamer import tiny
from tests.plan.worlds import Linear

X = torch.tensor([[1.0, 0.0], [-2.0, 1.0]])
ACTION = Space((1,), low=-5.0, high=5.0)


class Costs:
    """The linear world as stable-worldmodel would hold it: nothing but `get_cost`."""

    def get_cost(self, info_dict, action_candidates):
        batch, many, steps, _ = action_candidates.shape
        assert info_dict["state"].shape == (batch, many, 2)
        assert info_dict["task"] == "rest"
        model = Linear()
        state = model.initial(batch * many)._replace(x=info_dict["state"].reshape(-1, 2))
        cost = 0.0
        for k in range(steps):
            action = action_candidates[:, :, k].reshape(-1, 1, 1)
            moved = model.step(state, action, torch.zeros(batch * many, 1, 2))
            state, cost = moved.state, cost - moved.reward
        return cost.reshape(batch, many)


def test_a_model_of_costs_is_planned_on():
    optimiser = CEM(samples=200, elites=20, iterations=12)
    info = {"state": X.numpy(), "task": "rest"}
    generator = torch.Generator().manual_seed(0)
    solved = plan_costs(Costs(), info, ACTION, optimiser, 12, generator=generator)
    assert solved.plan.shape == (2, 12, 1)
    optimum = Linear().optimal_cost(X, 12)
    assert (solved.cost <= 1.02 * optimum).all()
    lean = CEM(samples=20, elites=4, iterations=1)
    warm = plan_costs(Costs(), info, ACTION, lean, 12, start=shift(solved.start, 0))
    cold = plan_costs(Costs(), info, ACTION, lean, 12)
    assert (warm.cost < cold.cost).all()


def test_info_without_rows_is_said():
    with pytest.raises(ValueError, match="no tensor at all"):
        plan_costs(Costs(), {"task": "rest"}, ACTION, CEM(), 3)


def test_a_state_is_a_vector_and_back():
    model = tiny.model()
    state = tree.map(torch.randn_like, model.initial(3))
    flat = Flat(model, model.initial(1), steps=2)
    vector = flat.pack(state)
    assert vector.shape == (3, flat.size)
    assert not tree.differ(flat.unpack(vector), state)


def test_steps_in_the_vector_are_those_of_the_model():
    model = Linear(noise=0.1)
    flat = Flat(model, model.initial(1), steps=3, seed=5)
    state, vector = model.initial(2)._replace(x=X), flat.pack(model.initial(2)._replace(x=X))
    draws = model.noise(3, torch.Generator().manual_seed(5))
    for k in range(3):
        action = torch.randn(2, 1)
        moved = model.step(state, action[:, None], draws[k : k + 1].expand(2, -1, -1))
        state, vector = moved.state, flat.dynamics(vector, action, k)
        assert torch.allclose(flat.unpack(vector).x, state.x)
        assert torch.allclose(flat.running_cost(vector, action), -moved.reward)


def test_only_single_actions_are_flat():
    with pytest.raises(ValueError, match="consumes 2"):
        Flat(Linear(chunk=2), Linear().initial(1), steps=3)


def test_pytorch_mppi_controls_a_world_model():
    """As well as our own MPPI of the same size does."""
    package = pytest.importorskip("pytorch_mppi")
    torch.manual_seed(0)
    model, horizon = Linear(bound=3.0), 15
    flat = Flat(model, model.initial(1), steps=horizon)
    theirs = package.MPPI(
        flat.dynamics, flat.running_cost, flat.size, torch.eye(1), num_samples=300,
        horizon=horizon, lambda_=0.1, u_min=torch.tensor([-3.0]), u_max=torch.tensor([3.0]),
        step_dependent_dynamics=True,
    )  # fmt: skip
    ours = MPC(
        model, MPPI(samples=300, deviation=1 / 3, temperature=0.1), MPCConfig(horizon=horizon)
    )

    def total(choose):
        state, reward = model.initial(1)._replace(x=X[:1]), 0.0
        for t in range(50):
            moved = model.step(state, choose(state, t).reshape(1, 1, 1), torch.zeros(1, 1, 2))
            state, reward = moved.state, reward + moved.reward.item()
        return reward

    memory = ours.begin(1)

    def own(state, t):
        nonlocal memory
        action, memory = ours.act(memory, {"x": state.x}, torch.tensor([t == 0]))
        return action

    with torch.no_grad():
        peer = total(lambda state, t: theirs.command(flat.pack(state)[0]))
    assert total(own) == pytest.approx(peer, rel=0.15)
    assert peer > -20


def test_a_model_of_stable_worldmodel_is_planned_on():
    package = pytest.importorskip("stable_worldmodel.solver.solver")
    assert package.Costable is not None
    info = {"state": X, "task": "rest"}
    solved = plan_costs(Costs(), info, ACTION, CEM(samples=50, elites=5), 5)
    assert solved.plan.shape == (2, 5, 1)
