"""An oracle says what the environment then does, bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from reverie.core import rollout, tree
from reverie.core.check import check_world_model
from reverie.envs import EnvConfig
from reverie.models.oracle import Oracle, OracleState
from tests.models.oracle import played

CARTPOLE = EnvConfig("dmc:cartpole_swingup", repeat=2)
EXACT = [
    CARTPOLE,
    *(EnvConfig(f"dmc:{task}", repeat=2) for task in ("reacher_easy", "walker_walk")),
    *(EnvConfig(f"dmc:{task}", repeat=2) for task in ("ball_in_cup_catch", "finger_turn_hard")),
    EnvConfig("dmc:point_mass_hard"),
    EnvConfig("gym:HalfCheetah-v5"),
    EnvConfig("gym:Ant-v5", repeat=2),
    EnvConfig("gym:Hopper-v5"),
]


@pytest.fixture(scope="module")
def cartpole() -> Iterator[Oracle]:
    with Oracle(CARTPOLE) as model:
        yield model


def same(one: torch.Tensor, two: torch.Tensor) -> bool:
    return one.dtype == two.dtype and torch.equal(one, two)


# -------------------------------------------------------------------------------------------------
# Exactness


@pytest.mark.parametrize("config", EXACT, ids=lambda c: c.name)
def test_every_step_is_that_of_the_environment_bit_by_bit(config: EnvConfig) -> None:
    episode = played.play(config)
    physics = episode.obs("physics")
    with Oracle(config) as model:
        moved = model.step(OracleState(physics[:-1]), episode.actions.unsqueeze(1), ())
        assert same(moved.state.physics, physics[1:])
        assert same(moved.reward, episode.reward)
        assert same(moved.continues, (~episode.terminated).float())
        shown = model.decode(OracleState(physics))
        assert shown.keys() == model.spec.obs.keys() == episode.rows[0].obs.keys()
        assert all(same(shown[name], episode.obs(name)) for name in shown)


@pytest.mark.parametrize("config", [CARTPOLE, EXACT[3], EXACT[6]], ids=lambda c: c.name)
def test_many_steps_without_looking_are_the_episode(config: EnvConfig) -> None:
    episode = played.play(config)
    with Oracle(config) as model:
        start = rollout.encode(
            model, tree.map(lambda x: x[:1], {"physics": episode.obs("physics")})
        )
        future = rollout.imagine(model, start, episode.actions[:, None, None], ())
    assert same(future.states.physics[:, 0], episode.obs("physics")[1:])
    assert same(future.transition.reward[:, 0], episode.reward)


def test_a_hopper_falls_when_it_falls() -> None:
    """HalfCheetah and the suite never end; here the end is part of what is compared above."""
    assert played.play(EnvConfig("gym:Hopper-v5")).terminated.any()


def test_threads_change_nothing(cartpole: Oracle) -> None:
    physics = played.play(CARTPOLE).obs("physics")[:-1]
    action = cartpole.spec.action.sample(30, 1, generator=torch.Generator().manual_seed(0))
    alone = cartpole.step(OracleState(physics), action, ())
    with Oracle(CARTPOLE, threads=4) as model:
        assert not tree.differ(alone, model.step(OracleState(physics), action, ()))
        two = model.step(OracleState(physics[:2]), action[:2], ())  # fewer rows than threads
        assert same(two.reward, alone.reward[:2])


def test_several_threads_may_ask_at_once(cartpole: Oracle) -> None:
    physics = played.play(CARTPOLE).obs("physics")[:-1]
    actions = cartpole.spec.action.sample(6, 30, 1, generator=torch.Generator().manual_seed(1))
    ask = lambda action: cartpole.step(OracleState(physics), action, ())  # noqa: E731
    one_by_one = [ask(action) for action in actions]
    with ThreadPoolExecutor(6) as pool:
        at_once = list(pool.map(ask, actions))
    assert not tree.differ(one_by_one, at_once)


def test_actions_beyond_the_bounds_are_clipped_as_there(cartpole: Oracle) -> None:
    state = cartpole.initial(2)
    near, far = (cartpole.step(state, torch.full((2, 1, 1), x), ()) for x in (1.0, 7.0))
    assert not tree.differ(near, far)


# -------------------------------------------------------------------------------------------------
# The interface


@pytest.mark.parametrize("threads", [1, 2])
def test_it_keeps_every_promise(threads: int) -> None:
    rows = played.batch(*(played.play(CARTPOLE, 7, seed) for seed in (4, 5, 6)))
    with Oracle(CARTPOLE, threads) as model:
        results = check_world_model(model, rows=rows)
    skipped = {result.name for result in results if result.outcome == "skipped"}
    optional = {"sequence", "frames", "features", "losses"}
    assert skipped == {*optional, "gradcheck", "checkpoint", "compile"}


def test_the_initial_state_is_the_beginning_of_an_episode() -> None:
    begun = played.play(CARTPOLE, 0, seed=9).obs("physics")
    with Oracle(CARTPOLE, seed=9) as model:
        assert same(model.initial(3).physics, begun.expand(3, -1))


def test_the_spec_is_that_of_the_environment_without_pictures() -> None:
    config = EnvConfig("dmc:cartpole_swingup", repeat=4, pixels=True, max_decisions=9)
    with Oracle(config) as model:
        assert model.spec.obs.keys() == {"physics"}
        assert model.decode(model.initial(2)).keys() == {"physics"}
        assert model.spec.dt == pytest.approx(0.04)
        assert not model.spec.grad


# -------------------------------------------------------------------------------------------------
# What goes wrong


def test_a_candidate_that_diverges_is_nan_and_harms_no_other(
    cartpole: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo would write MUJOCO_LOG.TXT where it is run
    good = cartpole.initial(3)
    physics = good.physics.clone()
    physics[1, 3:5] = 1e30  # velocities
    action = torch.zeros(3, 1, 1)
    bad = cartpole.step(OracleState(physics), action, ())
    fine = cartpole.step(good, action, ())
    one_of = [torch.stack([x.reward, x.continues], 1) for x in (bad, fine)]
    for b in (0, 2):
        assert same(bad.state.physics[b], fine.state.physics[b])
        assert same(one_of[0][b], one_of[1][b])
    assert bad.reward[1].isnan()
    assert bad.continues[1] == 0
    assert bad.state.physics[1].isnan().all()
    later = cartpole.step(bad.state, action, ())
    assert later.reward.isnan().tolist() == [False, True, False]
    for state in (later.state, OracleState(physics)):
        shown = cartpole.decode(state)
        assert shown["position"].isnan().any(1).tolist() == [False, True, False]
    assert not list(tmp_path.iterdir())


def test_an_action_that_is_no_number_spoils_its_row_alone(cartpole: Oracle) -> None:
    action = torch.tensor([0.0, float("nan"), float("inf")])[:, None, None]
    moved = cartpole.step(cartpole.initial(3), action, ())
    assert moved.reward.isnan().tolist() == [False, True, True]


def test_an_observation_without_the_state_says_what_to_do(cartpole: Oracle) -> None:
    first = torch.ones(2, dtype=torch.bool)
    for obs, words in (
        ({"position": torch.zeros(2, 3)}, "make the environment with physics=True"),
        ({"physics": cartpole.initial(2).physics.float()}, "float32; an oracle .* rounded"),
        ({"physics": torch.zeros(2, 5).double()}, r"\[2, 5\]"),
    ):
        with pytest.raises(ValueError, match=words):
            cartpole.observe(cartpole.initial(2), torch.zeros(2, 1, 1), obs, first, ())


def test_without_mujoco_there_is_no_oracle() -> None:
    with pytest.raises(ValueError, match=r"toy:pendulum has no MuJoCo inside.*choose dmc"):
        Oracle(EnvConfig("toy:pendulum"))


def test_a_closed_oracle_says_so() -> None:
    model = Oracle(CARTPOLE, threads=2)
    state = model.initial(1)
    model.close()
    model.close()
    with pytest.raises(RuntimeError, match="was closed"):
        model.step(state, torch.zeros(1, 1, 1), ())
