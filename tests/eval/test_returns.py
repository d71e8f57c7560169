"""Return statistics, the comparison with random actions, and the random agent."""

import json
import math

import numpy as np
import pytest
import torch

from reverie.core.spec import Space
from reverie.eval.returns import Comparison, RandomAgent, Returns, compare, summarise

TWO = Space((2,), low=(-1.0, 0.0), high=(1.0, 5.0))


def test_statistics_of_a_few_episodes() -> None:
    found = summarise([10.0, 20.0, 60.0])
    assert (found.n, found.mean) == (3, 30.0)
    assert found.std == pytest.approx(np.std([10, 20, 60], ddof=1))
    assert 10 <= found.low < 30 < found.high <= 60
    assert summarise([10.0, 20.0, 60.0]) == found
    alone = summarise([5.0])
    assert alone.mean == 5
    assert math.isnan(alone.low)
    assert math.isnan(alone.std)


def test_returns_survive_json() -> None:
    for found in (summarise([1.0, 2.5]), summarise([3.0])):
        text = json.dumps(found.to_json(), allow_nan=False)
        assert Returns.from_json(json.loads(text)).to_json() == found.to_json()


def test_bad_returns_are_refused() -> None:
    with pytest.raises(ValueError, match="one number for each episode"):
        summarise([])
    with pytest.raises(ValueError, match="finite"):
        summarise([1.0, math.nan])


def test_comparison_with_random_actions() -> None:
    rng = np.random.default_rng(0)
    policy = summarise(rng.normal(400, 20, 10).tolist())
    baseline = summarise(rng.normal(40, 10, 10).tolist())
    found = compare(policy, baseline)
    assert found.ratio == pytest.approx(policy.mean / baseline.mean)
    assert 5 < found.ratio_low < found.ratio < found.ratio_high < 20
    assert found.difference_low < found.difference < found.difference_high
    text = json.dumps(found.to_json(), allow_nan=False)
    assert Comparison.from_json(json.loads(text)) == found


def without_interval(values: np.ndarray) -> Returns:
    """What `summarise` makes, in less time."""
    mean, std = float(values.mean()), float(values.std(ddof=1))
    return Returns(tuple(values.tolist()), mean, std, math.nan, math.nan, True, 0)


def covered(policy: float, baseline: float, episodes: tuple[int, int]) -> tuple[float, float]:
    """How often the intervals of the difference and of the ratio hold the true ones, where the
    returns of one episode spread by `policy` around 300 and by `baseline` around 50."""
    rng, hits = np.random.default_rng(1), np.zeros(2)
    for _ in range(400):
        drawn = (rng.normal(300, policy, episodes[0]), rng.normal(50, baseline, episodes[1]))
        found = compare(*map(without_interval, drawn))
        hits[0] += found.difference_low < 250 < found.difference_high
        hits[1] += found.ratio_low < 6 < found.ratio_high
    return tuple(hits / 400)


@pytest.mark.parametrize(
    ("policy", "baseline", "episodes"),
    [(60.0, 10.0, (8, 8)), (60.0, 10.0, (6, 40)), (1.0, 12.0, (6, 40)), (20.0, 12.0, (40, 6))],
)
def test_intervals_cover_as_often_as_they_say(
    policy: float, baseline: float, episodes: tuple[int, int]
) -> None:
    """Also where one has few episodes and the other many, and whichever of them is the unsure."""
    for share in covered(policy, baseline, episodes):
        assert 0.925 < share < 0.975


def test_interval_of_a_difference_is_that_of_welch() -> None:
    """Closed form: the difference +- t_d sqrt(std^2 / n + std^2 / m), here with d = 5 and
    t = 2.571: five degrees of freedom of the six episodes, nearly 100 of the others' 100."""
    rng = np.random.default_rng(2)
    few, many = rng.normal(0, 1, 6), rng.normal(0, 1, 100)
    few, many = (40 * (few - few.mean()) / few.std(ddof=1) + 300, many - many.mean() + 50)
    found = compare(summarise(few.tolist()), summarise(many.tolist()))
    half = 2.571 * np.sqrt(40**2 / 6 + many.std(ddof=1) ** 2 / 100)
    width = found.difference_high - found.difference_low
    assert found.difference == pytest.approx(250)
    assert width == pytest.approx(2 * half, rel=0.08)


def test_a_ratio_to_nothing_is_not_invented() -> None:
    found = compare(summarise([5.0, 6.0]), summarise([-1.0, -2.0]))
    assert math.isnan(found.ratio)
    assert math.isnan(found.ratio_low)
    assert found.difference == 7
    assert found.difference_low > 5


def test_random_actions_fill_the_bounds_and_repeat() -> None:
    agent = RandomAgent(TWO, seed=3)
    first = torch.zeros(4, dtype=torch.bool)

    def run(batch: int, steps: int) -> torch.Tensor:
        memory, actions = agent.begin(batch), []
        for _ in range(steps):
            action, memory = agent.act(memory, {}, first[:batch])
            actions.append(action)
        return torch.stack(actions)

    actions = run(4, 300)
    torch.testing.assert_close(actions, run(4, 300), rtol=0, atol=0)
    torch.testing.assert_close(actions[:, :2], run(2, 300), rtol=0, atol=0)  # rows do not mix
    flat = actions.flatten(0, 1)
    assert (flat.min(0).values - torch.tensor([-1.0, 0.0])).abs().max() < 0.03
    assert (flat.max(0).values - torch.tensor([1.0, 5.0])).abs().max() < 0.03
    assert len(torch.unique(flat, dim=0)) == 1200
    torch.testing.assert_close(flat.mean(0), torch.tensor([0.0, 2.5]), atol=0.1, rtol=0)


def test_random_actions_from_a_generator() -> None:
    agent = RandomAgent(TWO)
    memory, first = agent.begin(3), torch.zeros(3, dtype=torch.bool)

    def once(seed: int) -> torch.Tensor:
        return agent.act(memory, {}, first, torch.Generator().manual_seed(seed))[0]

    torch.testing.assert_close(once(1), once(1), rtol=0, atol=0)
    assert not torch.equal(once(1), once(2))


def test_random_discrete_actions_are_one_hot_and_even() -> None:
    agent = RandomAgent(Space((3,), discrete=True))
    memory, first, counts = agent.begin(2), torch.zeros(2, dtype=torch.bool), torch.zeros(3)
    for _ in range(300):
        action, memory = agent.act(memory, {}, first)
        assert action.sum(1).tolist() == [1.0, 1.0]
        counts += action.sum(0)
    assert counts.min() > 150


def test_unbounded_actions_are_refused() -> None:
    with pytest.raises(ValueError, match="finite bounds"):
        RandomAgent(Space((2,)))
