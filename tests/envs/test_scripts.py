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


def test_the_table_is_played_by_sight_with_nothing_but_picture_and_text() -> None:
    env = make("toy:tabletop", pixels=True)
    agent = Scripted(env.name, env.obs)
    done = [sum(row.reward for row in play(env, agent, seed)) for seed in range(5)]
    assert min(done) > 0.9
    with pytest.raises(ValueError, match="image, text"):
        Scripted(env.name, {"state": None, "text": None})


def test_a_path_belongs_to_its_beginning_and_not_to_its_neighbours() -> None:
    agent = Scripted("toy:room", {"image": None})
    pictures = torch.arange(3 * 12, dtype=torch.uint8).reshape(3, 3, 2, 2)

    def walk(rows: list[int], steps: int, again: int = -1) -> torch.Tensor:
        memory, taken = agent.begin(len(rows)), []
        for k in range(steps):
            first = torch.full((len(rows),), k in (0, again))
            obs = {"image": pictures[rows] if k in (0, again) else pictures[rows] + k}
            action, memory = agent.act(memory, obs, first)
            taken.append(action)
        return torch.stack(taken, 1)

    together = walk([0, 1, 2], 6)
    assert together.shape == (3, 6, 6)
    assert torch.equal(together[1:2], walk([1], 6))
    assert torch.equal(walk([0], 6, again=3)[:, 3:], together[:1, :3])
    assert (together[0] - together[1]).abs().max() > 0.05
    assert (together[:, 1:] - together[:, :-1]).abs().max() < 0.6


def test_a_plan_begins_anew_with_each_episode_and_holds_its_last_action() -> None:
    agent = OpenLoop(torch.tensor([[1.0], [2.0]]))
    memory = agent.begin(2)
    taken = []
    for first in ([True, True], [False, False], [True, False]):
        action, memory = agent.act(memory, {}, torch.tensor(first))
        taken.append(action[:, 0].tolist())
    assert taken == [[1, 1], [2, 2], [1, 2]]
