"""Acting: what the agent remembers, forgets, and repeats."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.core import tree
from reverie.core.model import Agent, Obs
from reverie.core.spec import Space
from reverie.imagine import PolicyAgent, PolicyNet
from tests.toys import Chunked, Latent

BUTTONS = Space((4,), discrete=True)


def make(action: Space | None = None) -> PolicyAgent:
    model = Latent()
    if action:
        model.spec = SimpleNamespace(action=action, chunk=1, context={})  # type: ignore[assignment]
        model.cell = torch.nn.GRUCell(4 + action.size + 2, 8)
    policy = PolicyNet(model.feature_size, action or model.spec.action, units=8, layers=1)
    with torch.no_grad():
        policy.net.output.weight.mul_(30)
    return PolicyAgent(model, policy)


def sensed(batch: int, seed: int) -> Obs:
    spaces = Latent().spec.obs
    generator = torch.Generator().manual_seed(seed)
    return {name: space.sample(batch, generator=generator) for name, space in spaces.items()}


def episode(
    agent: PolicyAgent,
    batch: int,
    rows: range,
    memory: Any = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Any]:
    """Actions `[rows, B, A]` of an episode whose row t senses what seed t says."""
    memory, actions = memory or agent.begin(batch), []
    for k, row in enumerate(rows):
        first = torch.full((batch,), k == 0)
        action, memory = agent.act(memory, sensed(batch, row), first, generator)
        actions.append(action)
    return torch.stack(actions), memory


def test_without_a_generator_actions_are_modes_and_repeat() -> None:
    agent = make()
    one, memory = episode(agent, 3, range(5))
    torch.rand(7)  # the global random state does not matter
    two, _ = episode(agent, 3, range(5))
    assert torch.equal(one, two)
    assert not torch.equal(one[0], one[1])
    assert torch.equal(one[-1], agent.policy.mode(agent.model.features(memory.state)))


def test_with_a_generator_actions_are_samples_of_it() -> None:
    agent = make()
    runs = [
        episode(agent, 3, range(4), generator=torch.Generator().manual_seed(seed))[0]
        for seed in (1, 1, 2)
    ]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    assert not torch.equal(runs[0], episode(agent, 3, range(4))[0])


def test_an_episode_does_not_depend_on_those_before_it() -> None:
    agent = make()
    fresh, _ = episode(agent, 3, range(10, 14))
    _, memory = episode(agent, 3, range(7))
    after, _ = episode(agent, 3, range(10, 14), memory)
    assert torch.equal(fresh, after)


def test_only_the_rows_that_begin_an_episode_forget() -> None:
    agent = make()
    _, memory = episode(agent, 3, range(6))
    some, never = torch.tensor([False, True, False]), torch.zeros(3, dtype=torch.bool)
    mixed, after = agent.act(memory, sensed(3, 50), some)
    on, _ = agent.act(memory, sensed(3, 50), never)
    begun, _ = agent.act(agent.begin(3), sensed(3, 50), ~never)
    assert torch.equal(mixed[[0, 2]], on[[0, 2]]) and torch.equal(mixed[1], begun[1])
    assert not torch.equal(mixed[1], on[1])
    assert after.age.tolist() == [7, 1, 7]


def test_each_row_acts_as_it_would_alone() -> None:
    agent = make()
    together, _ = episode(agent, 4, range(5))
    for row in range(4):
        memory, actions = agent.begin(1), []
        for t in range(5):
            obs = tree.select(dict(sensed(4, t)), slice(row, row + 1))
            action, memory = agent.act(memory, obs, torch.tensor([t == 0]))
            actions.append(action[0])
        torch.testing.assert_close(torch.stack(actions), together[:, row])


def test_the_action_that_was_taken_leads_to_the_next_state() -> None:
    agent = make()
    _, memory = episode(agent, 2, range(3))
    other = memory._replace(action=memory.action + 0.5)
    never = torch.zeros(2, dtype=torch.bool)
    _, one = agent.act(memory, sensed(2, 9), never)
    _, two = agent.act(other, sensed(2, 9), never)
    assert not torch.equal(one.state.deter, two.state.deter)


def test_acting_is_pure_and_without_gradient() -> None:
    agent = make()
    _, memory = episode(agent, 2, range(3))
    kept = tree.clone(memory)
    action, after = agent.act(memory, sensed(2, 5), torch.tensor([True, False]))
    assert not tree.differ(memory, kept)
    assert not action.requires_grad and not after.state.deter.requires_grad


@pytest.mark.parametrize("seed", [None, 3])
def test_discrete_actions_are_one_hot(seed: int | None) -> None:
    agent = make(BUTTONS)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    actions, _ = episode(agent, 5, range(4), generator=generator)
    assert actions.shape == (4, 5, 4)
    assert torch.equal(actions.sum(-1), torch.ones(4, 5))
    assert ((actions == 0) | (actions == 1)).all()


def test_an_agent_begins_with_a_zero_action() -> None:
    agent: Agent = make()
    memory = agent.begin(3)
    assert memory.action.shape == (3, 2) and not memory.action.any()


def test_a_chunked_model_is_refused() -> None:
    model = Chunked()
    with pytest.raises(ValueError, match="chunk is 3; use a planner"):
        PolicyAgent(model, PolicyNet(6, model.spec.action, units=8, layers=1))


def test_rows_that_begin_an_episode_bring_its_context() -> None:
    agent, never = make(), torch.zeros(2, dtype=torch.bool)
    one, two = torch.tensor([[3.0, -2.0], [0.0, 1.0]]), torch.tensor([[5.0, 5.0], [6.0, 6.0]])
    plain, blank = agent.act(agent.begin(2), sensed(2, 0), ~never)
    action, memory = agent.act(agent.begin(2), {**sensed(2, 0), "task": one}, ~never)
    assert not torch.equal(action, plain) and not blank.state.task.any()
    assert torch.equal(memory.state.task, one)
    _, memory = agent.act(memory, {**sensed(2, 1), "task": two}, torch.tensor([False, True]))
    assert memory.state.task.tolist() == [[3, -2], [6, 6]]
    begun = agent.begin(2, {"task": two})  # within an episode
    _, memory = agent.act(begun, {**sensed(2, 2), "task": two}, never)
    assert torch.equal(memory.state.task, two)
