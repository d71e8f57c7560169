"""Planning on models of others, and with the planners of others; beside the real packages where
they are installed (`docs/planning.md` says how to install them)."""

import importlib
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reverie.core import tree
from reverie.core.spec import Space
from reverie.plan import CEM, MPC, MPPI, Goal, MPCConfig
from reverie.plan.adapters import Flat, plan_costs
from reverie.plan.search import shift
from tests.models.dreamer import tiny
from tests.plan.worlds import Linear

X = torch.tensor([[1.0, 0.0], [-2.0, 1.0]])
ACTION = Space((1,), low=-5.0, high=5.0)


class Costs:
    """The linear world as stable-worldmodel would hold it: nothing but `get_cost`, which writes
    into what it is given."""

    def get_cost(self, info_dict, action_candidates):
        batch, many, steps, _ = action_candidates.shape
        self.asked = batch
        assert info_dict["state"].shape == (batch, many, 2)
        assert info_dict["task"] == "rest"
        model = Linear()
        state = model.initial(batch * many)._replace(x=info_dict["state"].reshape(-1, 2))
        cost = 0.0
        for k in range(steps):
            action = action_candidates[:, :, k].reshape(-1, 1, 1)
            moved = model.step(state, action, torch.zeros(batch * many, 1, 2))
            state, cost = moved.state, cost - moved.reward
        info_dict["state"] = None
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


@pytest.mark.parametrize(("together", "last"), [(1, 1), (2, 1), (3, 3), (8, 3)])
def test_problems_are_asked_about_by_so_many_at_once(together, last):
    model, x = Costs(), torch.cat([X, X[:1] / 2])
    solved = [
        plan_costs(
            model, {"state": x, "task": "rest"}, ACTION, CEM(samples=50, elites=5), 4,
            together=size, generator=torch.Generator().manual_seed(0),
        ).plan for size in (3, together)
    ]  # fmt: skip
    assert model.asked == last
    assert torch.allclose(*solved, atol=1e-5)


def test_info_reaches_the_model_as_it_expects_it():
    seen = {}

    class Model:
        def get_cost(self, info_dict, action_candidates):
            seen.update(info_dict)
            return action_candidates.sum((2, 3))

    info = {
        "state": np.zeros((2, 4)), "step": np.arange(2), "name": np.array(["a", "b"]),
        "scale": torch.tensor(2.0), "device": None,
    }  # fmt: skip
    plan_costs(Model(), info, ACTION, CEM(samples=7, elites=2), 3, together=2)
    assert (seen["state"].shape, seen["state"].dtype) == ((2, 7, 4), torch.float32)
    assert seen["step"].tolist() == [[0] * 7, [1] * 7]
    assert seen["name"].tolist() == [["a"] * 7, ["b"] * 7]
    assert seen["scale"] == 2.0
    assert seen["device"] is None


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


def test_plans_cost_what_their_steps_cost():
    model = Linear(noise=0.1)
    flat = Flat(model, model.initial(1), steps=6, seed=5)
    plans = torch.randn(2, 3, 4, 1)
    start = flat.pack(model.initial(2)._replace(x=X))[:, None].expand(-1, 3, -1)
    vector, wanted = start.flatten(0, 1), 0.0
    for k in range(4):
        action = plans[:, :, k].flatten(0, 1)
        vector = flat.dynamics(vector, action, k)
        wanted = wanted + flat.running_cost(vector, action, k).reshape(2, 3)
    assert torch.allclose(flat.get_cost({"state": start}, plans), wanted)


def test_an_objective_knows_whose_plan_it_judges():
    model, goal = Linear(), torch.tensor([[1.0, 0.0], [-2.0, 1.0]])
    flat = Flat(model, model.initial(1), steps=1, objective=Goal({"x": goal}))
    start = flat.pack(model.initial(2)._replace(x=goal))[:, None].expand(-1, 3, -1)
    cost = flat.get_cost({"state": start}, torch.zeros(2, 3, 1, 1))
    assert (cost < 0.1).all()


def test_plans_longer_than_the_noise_are_refused():
    model = Linear()
    flat = Flat(model, model.initial(1), steps=3)
    with pytest.raises(ValueError, match="4 steps"):
        flat.get_cost({"state": torch.zeros(1, 2, flat.size)}, torch.zeros(1, 2, 4, 1))


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


class Named(dict):
    """Settings as TDMPC2 reads them."""

    __getattr__ = dict.__getitem__


class Seen(NamedTuple):
    last_hidden_state: Tensor


class Eye(nn.Module):
    """In place of the pretrained image encoder: a token for the picture and two for its parts."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(48, 24)

    def forward(self, pixels, interpolate_pos_encoding):
        return Seen(self.layer(pixels.flatten(1)).tanh().unflatten(1, (3, 8)))


class Action(nn.Linear):
    emb_dim = 4


def theirs(name):
    """A small model of stable-worldmodel, of random weights."""
    family = importlib.import_module(f"stable_worldmodel.wm.{name}")
    parts = importlib.import_module(f"stable_worldmodel.wm.{name}.module")
    block = {"num_frames": 2, "depth": 1, "heads": 2, "mlp_dim": 16, "dim_head": 4}
    torch.manual_seed(0)
    if name == "tdmpc2":
        sizes = {"enc_dim": 16, "mlp_dim": 16, "num_bins": 11, "num_q": 2, "tau": 0.01}
        wm = Named(sizes, encoding={"state": 16}, vmin=-2.0, vmax=2.0)
        model = family.TDMPC2(Named(wm=wm, action_dim=2, extra_dims={"state": 4}))
    elif name == "prejepa":
        predictor = parts.CausalPredictor(num_patches=2, dim=12, **block)
        actions = nn.ModuleDict({"action": Action(2, 4)})
        model = family.PreJEPA(Eye(), predictor, actions, history_size=2)
    else:
        predictor = parts.Predictor(input_dim=8, hidden_dim=8, **block)
        kind = {"lewm": "LeWM", "pldm": "PLDM"}[name]
        model = getattr(family, kind)(Eye(), predictor, parts.Embedder(2, 4, 8))
    with torch.no_grad():  # Some layers begin at zero, so that actions would change nothing.
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0, 1.5 * weight[0].numel() ** -0.5)
    return model.eval()


@pytest.fixture
def situations():
    """What stable-worldmodel's models are told: eight problems, one row of history."""
    generator = torch.Generator().manual_seed(1)
    return {
        "state": torch.randn(8, 4, generator=generator),
        "pixels": torch.rand(8, 1, 3, 4, 4, generator=generator),
        "goal": torch.rand(8, 1, 3, 4, 4, generator=generator),
        "action": torch.zeros(8, 1, 2),
        "id": torch.arange(8)[:, None],
        "step_idx": torch.zeros(8, 1, dtype=torch.int64),
    }


def own_costs(model, info, plans):
    """What the model itself says that plans `[B, K, H, A]` cost."""
    costs = []
    for row, candidates in enumerate(plans):
        spread = {n: v[row].expand(1, len(candidates), *v[row].shape) for n, v in info.items()}
        with torch.no_grad():
            costs.append(model.get_cost(spread, candidates[None]))
    return torch.cat(costs)


def solver_of(package, model, rows, actions, horizon, **size):
    """The cross-entropy method of stable-worldmodel, ready to solve."""
    gym = pytest.importorskip("gymnasium")
    solver = package.solver.CEMSolver(model, **size)
    solver.configure(
        action_space=gym.spaces.Box(-1, 1, (rows, actions)),
        n_envs=rows,
        config=package.PlanConfig(horizon=horizon, receding_horizon=1),
    )
    return solver


FAMILIES = ["tdmpc2", "lewm", "pldm", "prejepa"]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_of_stable_worldmodel_is_planned_on(name, situations):
    pytest.importorskip("stable_worldmodel")
    model, bounds = theirs(name), Space((2,), low=-0.5, high=1.0)
    first, again = (
        plan_costs(
            model, situations, bounds, CEM(samples=100, elites=20), 5,
            generator=torch.Generator().manual_seed(0),
        ).plan for _ in range(2)
    )  # fmt: skip
    assert torch.equal(first, again)
    assert first.shape == (8, 5, 2)
    assert (first >= -0.5).all()
    assert (first <= 1.0).all()
    others = torch.rand(8, 99, 5, 2, generator=torch.Generator().manual_seed(2)) * 1.5 - 0.5
    costs = own_costs(model, situations, torch.cat([first.unsqueeze(1), others], 1))
    assert ((costs[:, :1] < costs[:, 1:]).float().mean(1) >= 0.95).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_plans_on_their_models_are_as_good_as_those_of_their_solver(name, situations):
    """How far below a random plan's cost, on average; theirs heeds no bounds, ours has none."""
    package = pytest.importorskip("stable_worldmodel")
    model = theirs(name)
    solver = solver_of(package, model, 8, 2, 5, num_samples=100, n_steps=10, topk=20)
    peer = solver.solve(dict(situations))["actions"]
    optimiser = CEM(samples=100, elites=20, iterations=10, momentum=0.0)
    generator = torch.Generator().manual_seed(0)
    ours = plan_costs(model, situations, Space((2,)), optimiser, 5, generator=generator).plan
    others = torch.randn(8, 98, 5, 2, generator=torch.Generator().manual_seed(2))
    costs = own_costs(model, situations, torch.cat([ours[:, None], peer[:, None], others], 1))
    gained = (costs[:, 2:].median(1).values[:, None] - costs[:, :2]).mean(0)
    assert gained[0] > 0.9 * gained[1]


def test_a_solver_of_stable_worldmodel_plans_in_a_world_model():
    package = pytest.importorskip("stable_worldmodel")
    model = Linear()
    flat = Flat(model, model.initial(1), steps=12)
    solver = solver_of(package, flat, 2, 1, 12, num_samples=200, n_steps=20, topk=20)
    start = flat.pack(model.initial(2)._replace(x=X))
    plan = solver.solve({"state": start})["actions"]
    cost = flat.get_cost({"state": start[:, None]}, plan[:, None])[:, 0]
    assert (cost <= 1.02 * Linear().optimal_cost(X, 12)).all()
