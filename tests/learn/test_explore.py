"""Actions that stray: how often, how far, and always alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.core.spec import Space
from reverie.learn.explore import Explorer

BOX = Space((2,), low=(-1.0, 0.0), high=(1.0, 4.0))


class Still:
    """Always the same action; counts how often it was asked."""

    def begin(self, batch: int, obs: Any = None) -> Tensor:
        return torch.zeros(batch, 1)

    def act(self, memory: Tensor, obs: Any, first: Tensor, generator: Any = None) -> Any:
        return torch.tensor([[0.5, 2.0]]).expand(len(memory), 2), memory + 1


def actions(agent: Explorer, decisions: int = 400, batch: int = 3) -> np.ndarray:
    memory = agent.begin(batch)
    found = []
    for _ in range(decisions):
        action, memory = agent.act(memory, {}, torch.zeros(batch, dtype=torch.bool))
        found.append(action.numpy())
    return np.stack(found)


def test_without_strays_the_agent_acts() -> None:
    assert (actions(Explorer(Still(), BOX), 3) == [0.5, 2.0]).all()


def test_noise_is_in_half_ranges_and_stays_within_the_bounds() -> None:
    found = actions(Explorer(Still(), BOX, noise=0.1))
    assert found[..., 0].std() == pytest.approx(0.1, rel=0.1)
    assert found[..., 1].std() == pytest.approx(0.2, rel=0.1)
    wild = actions(Explorer(Still(), BOX, noise=5.0))
    assert (wild >= [-1, 0]).all() and (wild <= [1, 4]).all()


def test_a_share_of_the_actions_is_uniform_for_a_while() -> None:
    found = actions(Explorer(Still(), BOX, random=0.3, hold=5), 1000)
    away = (found != np.float32([0.5, 2.0])).any(-1)
    assert away.mean() == pytest.approx(0.3, abs=0.05)
    assert (away.reshape(200, 5, 3) == away.reshape(200, 5, 3)[:, :1]).all()
    assert found[away][:, 1].mean() == pytest.approx(2, abs=0.15)


def test_without_an_agent_every_action_is_uniform() -> None:
    found = actions(Explorer(None, BOX), 300)
    assert np.allclose(found.reshape(-1, 2).mean(0), [0, 2], atol=0.15)
    assert len(np.unique(found.reshape(-1, 2), axis=0)) == 900


def test_a_choice_stays_one_hot() -> None:
    found = actions(Explorer(None, Space((3,), discrete=True)), 300)
    assert (found.sum(-1) == 1).all()
    assert np.allclose(found.mean((0, 1)), 1 / 3, atol=0.06)


def test_the_same_seed_strays_alike_and_another_does_not() -> None:
    one, two, other = (actions(Explorer(Still(), BOX, noise=0.2, seed=s), 5) for s in (1, 1, 2))
    assert (one == two).all()
    assert not (one == other).any()
    assert not (one[:, 0] == one[:, 1]).any()


@pytest.mark.parametrize("wrong", [{"random": 1.5}, {"noise": -1.0}, {"hold": 0}])
def test_impossible_exploration_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="impossible"):
        Explorer(Still(), BOX, **wrong)


def test_unbounded_actions_are_refused() -> None:
    with pytest.raises(ValueError, match="finite bounds"):
        Explorer(None, Space((2,)))
