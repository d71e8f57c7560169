"""Agents inside a model: returns in closed form, what agents are shown, and rankings of grades."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from reverie.core.model import Obs, Transition
from reverie.core.spec import Space, Spec
from reverie.eval.graded import Grade, Graded, grades
from reverie.eval.ranking import ranking
from reverie.eval.returns import RandomAgent, summarise
from reverie.eval.usefulness import (
    OnFeatures,
    Usefulness,
    imagined_returns,
    real_returns,
    starts,
    usefulness,
)
from reverie.eval.windows import Windows
from reverie.imagine.agent import PolicyAgent
from tests.eval.worlds import POINT, Chunked, Point, record

ACTION = Space((1,), low=-1.0, high=1.0)


class Constant:
    """Always chooses one action; writes down what it is shown."""

    def __init__(self, action: float = 0.0) -> None:
        self.action = action
        self.seen: list[dict[str, Tensor]] = []
        self.firsts: list[list[bool]] = []

    def begin(self, batch: int, obs: Obs | None = None) -> tuple[()]:
        return ()

    def act(
        self, memory: Any, obs: Obs, first: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Any]:
        self.seen.append(dict(obs))
        self.firsts.append(first.tolist())
        return torch.full((len(first), 1), self.action), memory


def test_the_return_is_the_sum_of_the_rewards_of_the_closed_form() -> None:
    found = record(5, 3)
    x = found.batch.obs["position"][:, 0, 0].numpy()
    imagined = imagined_returns(Point(), Constant(0.5), found, horizon=4)
    # v: 0, .5, 1, 1.5; x': x, x + .5, x + 1.5, x + 3
    np.testing.assert_allclose(imagined.returns[0], 4 * x + 0.5 + 1.5 + 3, rtol=1e-5)
    np.testing.assert_array_equal(imagined.alive, np.ones((1, 5)))
    assert imagined.scores(["half"])["half"] == imagined.returns[0].tolist()


def test_the_model_knows_what_it_saw_before_the_agent_began() -> None:
    found = record(5, 12, seed=1)

    class Replaying(Constant):
        """The recorded actions from row 3 on."""

        def act(self, memory: Any, obs: Obs, first: Tensor, generator: Any = None) -> Any:
            super().act(memory, obs, first)
            return found.batch.action[:, 2 + len(self.seen)], memory

    imagined = imagined_returns(Point(), Replaying(), found, observed=3, horizon=6)
    truth = found.batch.reward[:, 3:9].sum(1).double()
    np.testing.assert_allclose(imagined.returns[0], truth, rtol=1e-4, atol=1e-4)


class Ending(Point):
    """Goes on with probability 0.8 after each step."""

    def step(self, state: Tensor, action: Tensor, noise: Tensor) -> Transition[Tensor]:
        return super().step(state, action, noise)._replace(continues=torch.full((len(state),), 0.8))


def test_rewards_count_as_far_as_the_episode_goes_on() -> None:
    found = record(4, 2)
    x = found.batch.obs["position"][:, 0, 0].numpy()
    imagined = imagined_returns(Ending(), Constant(), found, horizon=3)
    np.testing.assert_allclose(imagined.returns[0], x * (1 + 0.8 + 0.64), rtol=1e-5)
    np.testing.assert_allclose(imagined.alive, 0.8**3, rtol=1e-5)


def test_the_agent_is_shown_what_was_sensed_and_then_what_the_model_decodes() -> None:
    found, agent = record(3, 4), Constant()
    imagined_returns(Point(wrong=7.0), agent, found, observed=2, horizon=3)
    position = found.batch.obs["position"]
    torch.testing.assert_close(agent.seen[0]["position"], position[:, 1])
    after = position[:, 1] + (position[:, 1] - position[:, 0] + found.batch.action[:, 1])
    torch.testing.assert_close(agent.seen[1]["position"], after + 7)  # the model's error included
    assert agent.firsts == [[True] * 3, [False] * 3, [False] * 3]


class Told(Point):
    """Has a task that is sensed, constant, and not decoded; rewards it."""

    def __init__(self) -> None:
        super().__init__(
            spec=Spec(
                obs=POINT.obs,
                action=ACTION,
                dt=0.5,
                context={"task": Space((1,))},
                provides=POINT.provides,
            )
        )

    def initial(self, batch: int, context: Obs | None = None) -> Tensor:
        assert context is not None
        return torch.cat([torch.zeros(batch, 2), context["task"]], 1)

    def observe(self, state: Tensor, action: Tensor, obs: Any, first: Tensor, noise: Any) -> Tensor:
        return torch.cat(
            [super().observe(state[:, :2], action, obs, first, noise), state[:, 2:]], 1
        )

    def step(self, state: Tensor, action: Tensor, noise: Tensor) -> Transition[Tensor]:
        return Transition(state, reward=state[:, 2])

    def decode(self, state: Tensor) -> Obs:
        return super().decode(state[:, :2])


def test_what_is_constant_in_an_episode_is_shown_at_every_decision() -> None:
    found, task = record(4, 2), torch.arange(4.0)[:, None]
    given, recorded = Constant(), Constant()
    one = imagined_returns(Told(), given, found, horizon=3, context={"task": task}, at_once=3)
    obs = {**found.batch.obs, "task": task[:, None].expand(-1, 2, -1)}
    sensed = Windows(found.batch._replace(obs=obs), found.episode)
    two = imagined_returns(Told(), recorded, sensed, horizon=3)
    for imagined in (one, two):
        np.testing.assert_allclose(imagined.returns[0], 3 * np.arange(4.0))
    for seen in recorded.seen:
        torch.testing.assert_close(seen["task"], task)
    torch.testing.assert_close(given.seen[2]["task"], task[:3])


def test_parts_and_copies_change_nothing_but_the_memory_they_take() -> None:
    found, policies = record(6, 2), grades(3, scales=(), delays=(1,))
    panel = Graded(Homing(), ACTION, policies)
    whole = imagined_returns(Point(), panel, found, horizon=8, copies=4)
    assert whole.returns.shape == (4, 6)
    for grade, row in zip(policies, whole.returns, strict=True):
        alone = imagined_returns(Point(), Graded(Homing(), ACTION, grade), found, horizon=8)
        np.testing.assert_allclose(alone.returns[0], row, rtol=1e-6)
    parts = imagined_returns(Point(), panel, found, horizon=8, copies=4, at_once=10)
    np.testing.assert_allclose(parts.returns, whole.returns, rtol=1e-6)


def test_copies_share_the_noise_of_the_model_and_starts_do_not() -> None:
    found = record(5, 2)
    level = torch.zeros_like(found.batch.obs["position"])
    still = Windows(found.batch._replace(obs={**found.batch.obs, "position": level}), found.episode)

    def once(seed: int) -> np.ndarray:
        generator = Generator().manual_seed(seed)
        model = Point(jitter=1.0)
        many = imagined_returns(model, Constant(), still, horizon=5, copies=3, generator=generator)
        return many.returns

    noisy = once(0)
    np.testing.assert_array_equal(noisy, np.broadcast_to(noisy[:1], noisy.shape))
    assert len(np.unique(noisy[0])) == 5
    np.testing.assert_array_equal(noisy, once(0))
    assert (noisy != once(1)).all()


def test_several_actions_at_once_are_chosen_on_one_observation() -> None:
    found, agent = record(3, 2), Constant(1.0)
    imagined = imagined_returns(Chunked(), agent, found, horizon=6)
    plain = imagined_returns(Point(), Constant(1.0), found, horizon=6)
    np.testing.assert_allclose(imagined.returns, plain.returns, rtol=1e-5)
    shown = [seen["position"] for seen in agent.seen]
    torch.testing.assert_close(shown[0], shown[2])
    assert not torch.equal(shown[2], shown[3])
    assert [any(f) for f in agent.firsts] == [True, False, False, False, False, False]
    with pytest.raises(ValueError, match="positive multiple of the model's chunk, 3"):
        imagined_returns(Chunked(), agent, found, horizon=4)


class Featured(Point):
    feature_size = 2

    def features(self, state: Tensor) -> Tensor:
        return state


class Braking:
    """A policy: against position and speed; samples add noise."""

    def noise(self, batch: int, generator: Generator | None = None) -> Tensor:
        return torch.randn(batch, 1, generator=generator)

    def mode(self, features: Tensor) -> Tensor:
        return -0.3 * features[:, :1] - 0.8 * features[:, 1:]

    def act(self, features: Tensor, noise: Tensor) -> Tensor:
        return self.mode(features) + noise


def test_a_policy_on_features_earns_what_its_agent_does_where_decoding_loses_nothing() -> None:
    model, found = Featured(), record(5, 4)
    policy, agent = OnFeatures(Braking()), PolicyAgent(model, Braking())
    direct = imagined_returns(model, policy, found, horizon=7, at_once=2, read="features")
    through = imagined_returns(model, agent, found, horizon=7)
    np.testing.assert_allclose(direct.returns, through.returns, rtol=1e-5, atol=1e-5)
    generator = Generator().manual_seed(0)
    drawn = imagined_returns(
        model, policy, found, horizon=7, read="features", sample=True, generator=generator
    )
    assert (drawn.returns != direct.returns).all()
    with pytest.raises(ValueError, match="no features"):
        imagined_returns(Point(), policy, found, horizon=7, read="features")


def test_features_are_enough_where_nothing_is_decoded() -> None:
    provides = frozenset({"reward"})
    mute = Featured(spec=Spec(obs=POINT.obs, action=ACTION, dt=0.5, provides=provides))
    policy, found = OnFeatures(Braking()), record(5, 4)
    with pytest.raises(ValueError, match="predicts obs"):
        imagined_returns(mute, policy, found, horizon=3)
    some = (Grade(), Grade(scale=0.5))
    spoiled = imagined_returns(
        mute, Graded(policy, ACTION, some), found, horizon=7, copies=2, read="features"
    )
    plain = imagined_returns(Featured(), policy, found, horizon=7, read="features")
    np.testing.assert_allclose(spoiled.returns[:1], plain.returns, rtol=1e-6)
    assert (spoiled.returns[1] != spoiled.returns[0]).all()


# -------------------------------------------------------------------------------------------------
# Ranking, from the first row to the verdict


class Homing:
    """Steers to where x = 0, from what it sees; its memory is the position before."""

    def begin(self, batch: int, obs: Obs | None = None) -> Tensor:
        return torch.zeros(batch, 1)

    def act(self, memory: Tensor, obs: Obs, first: Tensor, generator: Any = None) -> Any:
        x = obs["position"]
        v = torch.where(first[:, None], 0.0, x - memory)
        return (-0.3 * x - 0.9 * v).clamp(-1, 1), x


class Near(Point):
    """The reward is `sign * -|x|`."""

    def __init__(self, sign: float = 1.0, drag: float = 0.0) -> None:
        super().__init__()
        self.sign, self.drag = sign, drag

    def step(self, state: Tensor, action: Tensor, noise: Tensor) -> Transition[Tensor]:
        after = super().step(state, action, noise).state
        after = torch.cat([after[:, :1], (1 - self.drag) * after[:, 1:]], 1)
        return Transition(after, reward=-self.sign * after[:, 0].abs())


def really(agent: Any, x: Tensor, decisions: int) -> list[dict[str, np.ndarray]]:
    """Episodes of the true point, played decision by decision."""
    v, memory, rows = torch.zeros_like(x), agent.begin(len(x)), [(x, torch.zeros(len(x)))]
    for k in range(decisions):
        action, memory = agent.act(memory, {"position": x}, torch.full((len(x),), k == 0))
        x, v = x + v, v + action
        rows.append((x, -x[:, 0].abs()))
    position, reward = (torch.stack(column, 1).numpy() for column in zip(*rows, strict=True))
    count = decisions + 1
    flags = np.arange(count) == 0, np.arange(count) == decisions, np.zeros(count, bool)
    return [
        {
            "position": position[i],
            "still": np.ones((count, 2), np.float32),
            "action": np.zeros((count, 1), np.float32),
            "reward": reward[i],
            **dict(zip(("first", "last", "terminated"), flags, strict=True)),
        }
        for i in range(len(x))
    ]


def test_models_rank_mislead_or_cannot_be_told() -> None:
    policies = grades(17, scales=(0.1, 0.4), delays=(2,))
    names = [g.name for g in policies]
    begun = torch.linspace(-3, 3, 8)[:, None]
    played = [really(Graded(Homing(), ACTION, g), begun, 15) for g in policies]
    real = {name: real_returns(p, 15).tolist() for name, p in zip(names, played, strict=True)}
    panel, first = Graded(Homing(), ACTION, policies), starts(played[0])

    def judged(model: Any) -> Any:
        found = imagined_returns(model, panel, first, horizon=15, copies=len(policies), at_once=64)
        return ranking(found.scores(names), real, paired=True)

    exact = judged(Near())
    assert exact.spearman.value == pytest.approx(1)
    assert exact.bias.value == pytest.approx(0, abs=1e-4)  # the model is the world
    assert exact.verdict == "ranks policies"
    dragged = judged(Near(drag=0.2))
    assert dragged.verdict == "ranks policies"
    assert dragged.bias.value != pytest.approx(0, abs=0.1)
    assert judged(Near(sign=-1.0)).verdict == "misleads"
    assert judged(Near(sign=0.0)).verdict == "cannot be told"


def test_real_returns_are_over_the_same_decisions() -> None:
    over = {"reward": np.array([0.0, 1, 2, 3]), "terminated": np.array([0, 0, 0, 1], bool)}
    cut = {"reward": np.array([0.0, 1, 2, 3]), "terminated": np.zeros(4, bool)}
    np.testing.assert_array_equal(real_returns([over, cut], 2), [3, 3])
    np.testing.assert_array_equal(real_returns([over, cut], 2, observed=2), [5, 5])
    np.testing.assert_array_equal(real_returns([over], 9), [6])
    with pytest.raises(ValueError, match=r"Episodes \[1\] were cut off before 9"):
        real_returns([over, cut], 9)


def test_starts_are_the_first_rows_in_their_order() -> None:
    episodes = really(Homing(), torch.arange(12.0)[:, None], 5)
    found = starts(episodes, 3)
    assert found.batch.obs["position"][:, 0, 0].tolist() == list(range(12))
    assert found.batch.first[:, 0].all()
    with pytest.raises(ValueError, match=r"\[0, 1\] are shorter"):
        starts(episodes[:2], 7)


def test_what_cannot_be_imagined_is_refused() -> None:
    found = record(3, 4)
    blind = Point(spec=Spec(obs=POINT.obs, action=ACTION, dt=0.5, provides=frozenset({"obs"})))
    with pytest.raises(ValueError, match="predicts reward"):
        imagined_returns(blind, Constant(), found, horizon=3)
    with pytest.raises(ValueError, match="the windows have 4"):
        imagined_returns(Point(), Constant(), found, horizon=3, observed=5)
    last = found.batch.last.clone()
    last[1, 1] = True
    over = Windows(found.batch._replace(last=last), found.episode)
    with pytest.raises(ValueError, match="ends within the observed rows"):
        imagined_returns(Point(), Constant(), over, horizon=3, observed=2)
    imagined_returns(Point(), Constant(), over, horizon=3, observed=1)  # what follows is unused
    poor = Windows(found.batch._replace(obs={"still": found.batch.obs["still"]}), found.episode)
    with pytest.raises(ValueError, match="lacks position"):
        imagined_returns(Point(), Constant(), poor, horizon=3)
    with pytest.raises(ValueError, match="at least 1"):
        imagined_returns(Point(), RandomAgent(ACTION), found, horizon=3, copies=0)


def test_the_gathered_verdicts() -> None:
    rng = np.random.default_rng(0)
    low, high = (summarise(rng.normal(m, 1, 10).tolist()) for m in (0, 50))
    scores = {f"p{i}": [float(i), i + 0.1] for i in range(6)}
    found = usefulness(random=low, planner=high, policy=low, ranking=ranking(scores, scores))
    assert found.beats == {"planner": "beats random", "policy": "cannot be told"}
    assert found.verdict == "ranks policies"
    text = json.dumps(found.to_json(), allow_nan=False)
    again = Usefulness.from_json(json.loads(text))
    assert json.dumps(again.to_json(), allow_nan=False) == text
    bad = usefulness(random=high, policy=low)
    assert bad.beats == {"policy": "loses to random"}
    assert bad.verdict == "cannot be told"
    assert Usefulness.from_json(bad.to_json()) == bad
