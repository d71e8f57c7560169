"""Hand-written policies do what they are for, in the real environments."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reverie.core.model import Agent
from reverie.envs import make
from reverie.envs.env import Env, Row
from reverie.envs.scripts import OpenLoop, Scripted


def play(env: Env, agent: Agent, seed: int) -> list[Row]:
    row, memory = env.reset(seed), agent.begin(1)
    rows = [row]
    while not row.last:
        obs = {name: torch.from_numpy(np.asarray(value))[None] for name, value in row.obs.items()}
        action, memory = agent.act(memory, obs, torch.tensor([row.first]))
        row = env.step(action[0].numpy())
        rows.append(row)
    return rows


def test_the_pendulum_is_swung_up_and_held() -> None:
    env = make("toy:pendulum")
    rows = play(env, Scripted(env.name, env.obs), 0)
    assert min(row.reward for row in rows[-50:]) > 0.95


def test_the_block_is_pushed_towards_its_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gym_pusht")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = make("gym:gym_pusht/PushT-v0")
    assert env.dt == pytest.approx(0.1)
    agent = Scripted("gym:gym_pusht/PushT-v0", env.obs)
    covered = [max(row.reward for row in play(env, agent, seed)) for seed in range(4)]
    assert np.mean(covered) > 0.5
    env.close()


def test_a_script_without_its_sensors_or_its_environment_is_refused() -> None:
    with pytest.raises(ValueError, match="with_state"):
        Scripted("toy:pendulum", {"image": None})
    with pytest.raises(ValueError, match=r"no script for 'toy:balance'.*module:function"):
        Scripted("toy:balance", {})


def test_a_plan_begins_anew_with_each_episode_and_holds_its_last_action() -> None:
    agent = OpenLoop(torch.tensor([[1.0], [2.0]]))
    memory = agent.begin(2)
    taken = []
    for first in ([True, True], [False, False], [True, False]):
        action, memory = agent.act(memory, {}, torch.tensor(first))
        taken.append(action[:, 0].tolist())
    assert taken == [[1, 1], [2, 2], [1, 2]]
