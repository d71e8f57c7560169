"""A twin moves, senses and is rewarded as the environment, and says how that changes.

Legend: `T` decisions, `A` action.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.core import rollout, tree
from reverie.core.check import check_world_model
from reverie.core.model import Batch
from reverie.envs import Env, EnvConfig, make
from reverie.envs.changed import Change, changed
from reverie.eval.returns import RandomAgent
from reverie.eval.windows import from_episodes
from reverie.models.oracle import Oracle
from reverie.models.physics import FitConfig
from reverie.plan import MPC, MPCConfig, icem
from reverie.recipes.twin import Twin, TwinConfig, identify_twin, twin
from reverie.recipes.twin_source import PHYSICS, Source

pytest.importorskip("dm_control")

CARTPOLE = EnvConfig("dmc:cartpole_swingup", repeat=4, physics=True)
SECOND = 25
"""Decisions of 0.04 s."""
QUICK = FitConfig(stages=(0.25, 1.0), tolerance=1e-2)


def play(env: Env, seed: int, actions: np.ndarray) -> dict[str, np.ndarray]:
    """An episode `[T + 1, ...]` under given actions."""
    reached = [env.reset(seed), *(env.step(action) for action in actions)]
    taken = np.concatenate([np.zeros_like(actions[:1]), actions])
    return {
        **{name: np.stack([row.obs[name] for row in reached]) for name in env.obs},
        "action": taken,
        **{n: np.array([getattr(r, n) for r in reached]) for n in ("reward", "first", "last")},
        "terminated": np.array([row.terminated for row in reached]),
    }


def dice(env: Env, seed: int, decisions: int, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (scale * rng.uniform(-1, 1, (decisions, *env.action.shape))).astype(np.float32)


def rows_of(*episodes: Mapping[str, Any]) -> Batch:
    """Whole episodes of one length, as a batch."""
    return from_episodes(episodes, len(episodes[0]["reward"])).batch


def begun(model: Any, episode: Mapping[str, np.ndarray]) -> Any:
    """The state in the first row of an episode."""
    return rollout.encode(model, {PHYSICS: torch.from_numpy(episode[PHYSICS][:1])})


def plan_of(episode: Mapping[str, np.ndarray]) -> Tensor:
    """`[T, 1, 1, A]`."""
    return torch.from_numpy(episode["action"][1:])[:, None, None]


@pytest.fixture(scope="module")
def cartpole() -> Iterator[Source]:
    source = Source(CARTPOLE)
    yield source
    source.close()


# ---------------------------------------------------------------------- as the environment


@pytest.mark.parametrize(
    ("name", "repeat", "decisions", "most"),
    [
        ("dmc:cartpole_swingup", 4, SECOND, 1e-6),
        ("dmc:cartpole_three_poles", 2, SECOND, 1e-4),
        ("dmc:acrobot_swingup", 2, SECOND, 1e-5),
        ("dmc:pendulum_swingup", 2, SECOND, 1e-9),
        ("dmc:reacher_easy", 2, SECOND, 1e-9),
        ("dmc:walker_walk", 1, 2, 1e-9),  # in the air
    ],
)
def test_it_moves_senses_and_is_rewarded_as_the_environment(
    name: str, repeat: int, decisions: int, most: float
) -> None:
    config = EnvConfig(name, repeat=repeat, physics=True)
    env = make(config)
    episode = play(env, 3, dice(env, 0, decisions, 0.4))
    model = twin(config)
    assert (model.spec.dt, model.spec.action) == (env.dt, env.action)
    with torch.no_grad():
        future = rollout.imagine(model, begun(model, episode), plan_of(episode), ())
        sensed = model.decode(tree.flatten_time(future.states))
    at = model.source.layout
    for found, place in (
        (future.states.position, at.position),
        (future.states.velocity, at.velocity),
    ):
        truth = episode[PHYSICS][1:, place]
        assert np.abs(found[:, 0].numpy() - truth).max() < most
        assert np.abs(truth - episode[PHYSICS][0, place]).max() > 0.05
    for sensor in model.spec.obs:
        if sensor != PHYSICS:
            np.testing.assert_allclose(sensed[sensor], episode[sensor][1:], atol=max(most, 1e-5))
    blind = Twin(model.source, TwinConfig(reward=False))
    with torch.no_grad():
        same = rollout.imagine(blind, begun(blind, episode), plan_of(episode), ())
    assert float((same.states.position - future.states.position).abs().max()) < most
    assert future.transition.reward is not None
    rewards = future.transition.reward[:, 0].numpy()
    np.testing.assert_allclose(rewards, episode["reward"][1:], atol=max(most, 1e-5))
    np.testing.assert_allclose(sensed[PHYSICS][:, 0], episode[PHYSICS][1:, 0], atol=1e-9)
    model.close()
    env.close()


def test_a_cart_that_runs_into_the_end_of_its_rail_comes_back_as_in_the_simulator(
    cartpole: Source,
) -> None:
    env = make(CARTPOLE)
    episode = play(env, 20, np.repeat(np.float32([[1.0], [-0.3]]), (24, 16), 0))
    env.close()
    truth = episode[PHYSICS][1:, cartpole.layout.position]
    assert truth[:, 0].max() > 1.83  # m; the limit is 1.8
    assert truth[-1, 0] < 1.75
    for reward in (True, False):
        model = Twin(cartpole, TwinConfig(reward=reward))
        with torch.no_grad():
            future = rollout.imagine(model, begun(model, episode), plan_of(episode), ())
        assert np.abs(future.states.position[:, 0].numpy() - truth).max() < 1e-6


def test_the_gradient_is_that_of_differences_of_the_exact_simulator(cartpole: Source) -> None:
    """Of what is sensed after 5 decisions, and of the reward, with respect to every action."""
    model, oracle = Twin(cartpole), Oracle(CARTPOLE)
    env = make(CARTPOLE)
    actions = dice(env, 1, 5, 0.6)
    episode = play(env, 3, actions)
    env.close()
    plan = plan_of(episode).double().requires_grad_()

    def outcome(one: Any, plan: Tensor, batch: int) -> Tensor:
        state = tree.map(lambda x: x.expand(batch, *x.shape[1:]), begun(one, episode))
        future = rollout.imagine(one, state, plan, ())
        last = tree.select(future.states, -1)
        seen = one.decode(last)
        assert future.transition.reward is not None
        total = future.transition.reward.double().sum(0)
        parts = seen["position"].double(), seen["velocity"].double(), total[:, None]
        return torch.cat(parts, 1)

    h = 1e-2  # the oracle reads and tells float32
    off = h * torch.eye(5, dtype=torch.float64)[:, :, None, None]
    moved = plan.detach() + torch.cat([off, -off]).permute(1, 0, 2, 3)
    ends = outcome(oracle, moved, 10)
    slope = (ends[:5] - ends[5:]) / (2 * h)  # [T, sensors and reward]
    here = outcome(model, plan, 1)[0]
    found = torch.stack(
        [torch.autograd.grad(x, plan, retain_graph=True)[0].flatten() for x in here], 1
    )
    torch.testing.assert_close(found, slope, rtol=2e-3, atol=1e-4)
    assert (slope.abs().amax(0) > 1e-3).all()
    oracle.close()


@pytest.mark.parametrize(
    "config",
    [
        TwinConfig(),
        TwinConfig(reward=False, learn=("mass", "mass:pole_1"), context=("damping", "gravity")),
        TwinConfig(learn=("motor",), context=("mass", "friction"), sensors=("position",)),
    ],
    ids=["planned in", "fitted", "both"],
)
def test_it_keeps_the_promises_of_the_interface(cartpole: Source, config: TwinConfig) -> None:
    results = {r.name: r for r in check_world_model(Twin(cartpole, config))}
    assert results["gradient"].outcome == results["gradcheck"].outcome == "passed"
    assert results["features"].outcome == results["reset"].outcome == "passed"


def test_gymnasium_s_robots_have_twins_without_reward() -> None:
    pytest.importorskip("gymnasium.envs.mujoco")
    config = EnvConfig("gym:InvertedDoublePendulum-v5", repeat=2, physics=True)
    with pytest.raises(ValueError, match=r"TwinConfig\(reward=False\)"):
        twin(config)
    env = make(config)
    episode = play(env, 3, dice(env, 0, 4, 0.2))
    env.close()
    assert not episode["terminated"].any()
    model = twin(config, TwinConfig(reward=False))
    with torch.no_grad():
        future = rollout.imagine(model, begun(model, episode), plan_of(episode), ())
        seen = model.decode(tree.flatten_time(future.states))
    np.testing.assert_allclose(seen["state"], episode["state"][1:], atol=1e-5)
    model.close()


def test_torch_and_warp_agree(cartpole: Source) -> None:
    """Also at the end of the rail."""
    pytest.importorskip("warp")
    start = Twin(cartpole, TwinConfig(reward=False)).initial(2)
    start = start._replace(velocity=torch.tensor([[0.5, 1.0], [0.3, -2.0]]).double())
    start.position[0, 0] = 1.79
    ends = []
    for backend in ("torch", "warp"):
        model = Twin(cartpole, TwinConfig(reward=False, backend=backend))
        plan = torch.full((4, 2, 1, 1), 0.7)
        with torch.no_grad():
            future = rollout.imagine(model, start, plan, ())
        ends.append(torch.cat(future.states[:2], -1))
    torch.testing.assert_close(*ends, atol=1e-8, rtol=0)
    assert bool((ends[0][:, 0, 0] > 1.8).any())


# ---------------------------------------------------------------------- another robot


@pytest.mark.parametrize(
    ("change", "factor", "truth"), [("mass", "mass", 2.0), ("motor", "motor", 0.5)]
)
def test_two_short_episodes_say_what_has_changed(change: Change, factor: str, truth: float) -> None:
    real = changed(CARTPOLE, change)()
    episodes = [play(real, seed, dice(real, seed, 12)) for seed in (10, 11)]
    other = play(real, 12, dice(real, 12, SECOND, 0.5))
    real.close()
    adapted, fit = identify_twin(CARTPOLE, rows_of(*episodes), (factor,), length=13, search=QUICK)
    assert fit.factors[factor] == pytest.approx(truth, rel=0.02)
    assert adapted.factors[factor].exp().item() == pytest.approx(truth, rel=0.02)
    errors = []
    for model in (Twin(adapted.source), adapted):
        with torch.no_grad():
            future = rollout.imagine(model, begun(model, other), plan_of(other), ())
            seen = model.decode(tree.flatten_time(future.states))
        errors.append(float(np.abs(seen["position"].numpy() - other["position"][1:]).max()))
    adapted.close()
    assert errors[0] > 0.02
    assert errors[1] < 0.01 * errors[0]


def test_windows_that_come_to_a_limit_of_another_law_are_left_out() -> None:
    config = EnvConfig("dmc:reacher_easy", repeat=2, physics=True)
    real = changed(config, "motor")()
    push = np.repeat(np.float32([[0.0, 1.0]]), 40, 0)
    against, free = play(real, 20, push), play(real, 21, dice(real, 21, 40, 0.1))
    real.close()
    assert against[PHYSICS][:, 2].max() > 2.79  # rad, the limit of the wrist
    assert np.abs(free[PHYSICS][:, 2]).max() < 2.7
    adapted, fit = identify_twin(
        config, rows_of(against, free), ("motor",), length=20, search=QUICK
    )
    assert fit.factors["motor"] == pytest.approx(0.5, rel=1e-4)
    assert len(fit.residuals["position"]) < 4  # windows
    adapted.close()


def test_a_factor_of_the_context_is_that_of_the_parameters(cartpole: Source) -> None:
    """Twice the mass by context, by parameter, and in the simulator."""
    config = EnvConfig("dmc:cartpole_swingup", repeat=4, physics=True)
    real = changed(config, "mass")()
    episode = play(real, 5, dice(real, 5, 10))
    real.close()
    by_context = Twin(cartpole, TwinConfig(reward=False, context=("mass",)))
    by_parameter = Twin(cartpole, TwinConfig(reward=False, learn=("mass:cart", "mass:pole_1")))
    with torch.no_grad():
        for theta in by_parameter.factors.values():
            theta.fill_(np.log(2))
    first = {PHYSICS: torch.from_numpy(episode[PHYSICS][:1])}
    truth = torch.from_numpy(episode[PHYSICS][1:, cartpole.layout.position])
    for model, context in ((by_context, {"mass": torch.tensor([2.0])}), (by_parameter, None)):
        with torch.no_grad():
            state = rollout.encode(model, first, context)
            future = rollout.imagine(model, state, plan_of(episode), ())
        torch.testing.assert_close(future.states.position[:, 0], truth, atol=1e-6, rtol=0)


# ---------------------------------------------------------------------- planning


def test_a_plan_made_in_it_balances_the_pole() -> None:
    """From upright, where doing anything at random loses the pole."""
    config = EnvConfig("dmc:cartpole_balance", repeat=4, physics=True)
    model = twin(config)
    planner = MPC(model, icem(16, 4, 2), MPCConfig(horizon=5))
    agents = {"planner": planner, "random": RandomAgent(model.spec.action, 0)}
    returns = {}
    for name, agent in agents.items():
        env, total = make(config), 0.0
        row, memory = env.reset(2), agent.begin(1)
        generator = torch.Generator().manual_seed(0)
        for _ in range(30):
            obs = {k: torch.from_numpy(x)[None] for k, x in row.obs.items()}
            first = torch.tensor([row.first])
            action, memory = agent.act(memory, obs, first, generator)
            row = env.step(action[0].float().numpy())
            total += row.reward
        returns[name] = total
        env.close()
    model.close()
    assert returns["planner"] > 0.9 * 4 * 30
    assert returns["planner"] > 1.3 * returns["random"]


# ---------------------------------------------------------------------- what is refused


def test_what_it_does_not_know_is_refused(cartpole: Source) -> None:
    with pytest.raises(ValueError, match="made of the MuJoCo model"):
        twin(EnvConfig("toy:pendulum"))
    with pytest.raises(ValueError, match=r"mass:pole_1.*not \['mass:arm'\]"):
        Twin(cartpole, TwinConfig(learn=("mass:arm",)))
    with pytest.raises(ValueError, match="choose one"):
        TwinConfig(learn=("mass",), context=("mass",))
    with pytest.raises(ValueError, match="substeps is 0"):
        TwinConfig(substeps=0)
    with pytest.raises(ValueError, match="0 < low <= high"):
        TwinConfig(spread=(2.0, 1.0))
    model = Twin(cartpole, TwinConfig(reward=False))
    with pytest.raises(ValueError, match="physics=True"):
        rollout.encode(model, {"position": torch.zeros(1, 3)})


def test_rows_without_the_state_are_refused() -> None:
    env = make(EnvConfig("dmc:cartpole_swingup", repeat=4))
    rows = rows_of(play(env, 0, dice(env, 0, 10)))
    env.close()
    with pytest.raises(ValueError, match=r"lack \['physics'\]"):
        identify_twin(CARTPOLE, rows, length=5)
