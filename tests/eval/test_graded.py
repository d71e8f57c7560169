"""Spoiled copies of an agent: shares, holding, nesting, scale, delay, and panels of grades."""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from reverie.core.model import Obs
from reverie.core.spec import Space
from reverie.eval.graded import Grade, Graded, grades

BOX = Space((2,), low=(-1.0, 0.0), high=(1.0, 5.0))
CHOICE = Space((3,), discrete=True)


class Counting:
    """Chooses 0.01 (k + 1) everywhere at decision k of an episode; remembers k in its memory."""

    def __init__(self, size: int = 2) -> None:
        self.size, self.asked = size, 0

    def begin(self, batch: int, obs: Obs | None = None) -> Tensor:
        return torch.zeros(batch)

    def act(
        self, memory: Tensor, obs: Obs, first: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        self.asked += 1
        count = torch.where(first, 0.0, memory) + 1
        noise = 0 if generator is None else torch.rand(1, generator=generator).item()
        return (0.01 * count + noise)[:, None].expand(-1, self.size), count


class First:
    """Always the first of three choices."""

    def begin(self, batch: int, obs: Obs | None = None) -> tuple[()]:
        return ()

    def act(self, memory: Any, obs: Obs, first: Tensor, generator: Any = None) -> Any:
        return torch.eye(3)[:1].expand(len(first), 3), memory


def play(agent: Any, steps: int, batch: int = 4, ends: int = 1000) -> Tensor:
    """Actions `[steps, B, A]`; episodes begin every `ends` decisions."""
    memory, actions = agent.begin(batch), []
    for k in range(steps):
        action, memory = agent.act(memory, {}, torch.full((batch,), k % ends == 0))
        actions.append(action)
    return torch.stack(actions)


def graded(grade: Any, seed: int = 0) -> Graded:
    return Graded(Counting(), BOX, grade, seed)


def replaced(actions: Tensor) -> Tensor:
    """`[steps, B]`: where the action is not the agent's own."""
    own = 0.01 * torch.arange(1, len(actions) + 1.0)
    return (actions - own[:, None, None]).abs().amax(-1) > 1e-6


def test_as_it_is_the_agent_acts_itself() -> None:
    torch.testing.assert_close(play(graded(Grade()), 20), play(Counting(), 20), rtol=0, atol=0)


def test_the_share_is_replaced_by_uniform_actions() -> None:
    actions = play(graded(Grade(share=0.3)), 1000, batch=8)
    where = replaced(actions)
    assert where.float().mean().item() == pytest.approx(0.3, abs=0.02)
    random = actions[where]
    assert (random.amin(0) - torch.tensor([-1.0, 0.0])).abs().max() < 0.02
    assert (random.amax(0) - torch.tensor([1.0, 5.0])).abs().max() < 0.02
    torch.testing.assert_close(random.mean(0), torch.tensor([0.0, 2.5]), atol=0.1, rtol=0)
    assert len(torch.unique(random, dim=0)) == len(random)
    assert replaced(play(graded(Grade(share=1.0)), 50)).all()


def test_a_larger_share_replaces_what_a_smaller_one_does() -> None:
    small, large = (play(graded(Grade(share=s)), 200) for s in (0.2, 0.6))
    where = replaced(small)
    assert where.any()
    assert replaced(large)[where].all()
    torch.testing.assert_close(large[where], small[where], rtol=0, atol=0)
    other = replaced(play(graded(Grade(share=0.2), seed=1), 200))
    assert (other != where).any()


def test_random_actions_are_held() -> None:
    actions = play(graded(Grade(share=0.5, hold=5)), 200)
    where = replaced(actions).unflatten(0, (40, 5))
    assert (where == where[:, :1]).all()
    blocks = actions.unflatten(0, (40, 5))
    assert (blocks == blocks[:, :1]).all(-1)[where].all()
    assert 0.3 < where.float().mean().item() < 0.7


def test_the_random_numbers_go_on_over_the_ends_of_episodes() -> None:
    actions = play(graded(Grade(share=1.0)), 20, ends=10)
    assert not torch.equal(actions[:10], actions[10:])
    torch.testing.assert_close(actions, play(graded(Grade(share=1.0)), 20), rtol=0, atol=0)


def test_scaled_actions_stay_within_the_bounds() -> None:
    own, scaled = play(Counting(), 20), play(graded(Grade(scale=50.0)), 20)
    torch.testing.assert_close(
        scaled, (50 * own).clamp(torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 5.0]))
    )
    torch.testing.assert_close(play(graded(Grade(scale=0.5)), 20), own / 2)


def test_late_actions_wait_in_a_queue_that_each_episode_begins_anew() -> None:
    late = play(graded(Grade(delay=2)), 10, ends=5)[:, 0, 0] * 100
    torch.testing.assert_close(late, torch.tensor([1.0, 1, 1, 2, 3] * 2))


def test_a_panel_is_its_grades_one_by_one_and_asks_the_agent_once() -> None:
    some = (Grade(), Grade(share=0.4, hold=2), Grade(scale=0.5), Grade(delay=3), Grade(share=0.9))
    panel = graded(some)
    together = play(panel, 12, batch=15, ends=5)
    assert panel.agent.asked == 12
    alone = torch.cat([play(graded(g), 12, batch=3, ends=5) for g in some], 1)
    torch.testing.assert_close(together, alone, rtol=0, atol=0)
    with pytest.raises(ValueError, match="evenly among 5 grades"):
        panel.begin(7)


def test_a_generator_samples_the_agent_and_leaves_the_rest() -> None:
    agent, first = graded(Grade(share=0.5)), torch.zeros(40, dtype=torch.bool)
    plain, _ = agent.act(agent.begin(40), {}, first)
    drawn, _ = agent.act(agent.begin(40), {}, first, Generator().manual_seed(0))
    where = replaced(plain[None])[0]
    torch.testing.assert_close(drawn[where], plain[where], rtol=0, atol=0)
    assert (drawn[~where] != plain[~where]).all()


def test_discrete_actions_stay_one_hot() -> None:
    actions = play(Graded(First(), CHOICE, Grade(share=0.9)), 300)
    assert (actions.sum(-1) == 1).all()
    even = actions.mean((0, 1))
    torch.testing.assert_close(even, torch.tensor([0.4, 0.3, 0.3]), atol=0.05, rtol=0)
    with pytest.raises(ValueError, match="cannot be scaled"):
        Graded(First(), CHOICE, Grade(scale=0.5))


def test_a_set_of_grades_is_ordered_and_named() -> None:
    found = grades(5, scales=(0.5,), delays=(2,), hold=3)
    assert [g.share for g in found] == [0, 0.25, 0.5, 0.75, 1, 0, 0]
    names = [g.name for g in found]
    assert names[0] == "as it is"
    assert names[1] == "random 25%, held 3"
    assert names[-2:] == ["scale 0.5", "delay 2"]
    assert len({g.name for g in grades()}) == len(grades()) >= 20
    with pytest.raises(ValueError, match="at least 2"):
        grades(1)


def test_grades_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="probability"):
        Grade(share=1.5)
    with pytest.raises(ValueError, match="at least 1"):
        Grade(hold=0)
    with pytest.raises(ValueError, match="scale is"):
        Grade(scale=-1.0)
    with pytest.raises(ValueError, match="finite bounds"):
        Graded(Counting(), Space((2,)), Grade(share=0.1))
    Graded(Counting(), Space((2,)), Grade(scale=0.5))  # needs none
    with pytest.raises(ValueError, match="no grades"):
        Graded(Counting(), BOX, ())
