"""Controllability of models that obey, obey a little, or ignore the action of a known world."""

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.core.model import Transition
from reverie.core.spec import Space
from reverie.eval.controllability import Controllability, controllability, other_actions
from tests.eval.known import Known, System, law, record
from tests.eval.worlds import Chunked
from tests.eval.worlds import record as play

SYSTEM = System()
DATA = record(SYSTEM, 60, 8)


def judged(model: Known, observed: int = 2, horizon: int = 6) -> Controllability:
    return controllability(model, DATA, observed=observed, horizon=horizon, at_once=25)


class Faint(Known):
    """The model that hears a part of the action only."""

    def step(
        self, state: dict[str, Tensor], action: Tensor, noise: Tensor
    ) -> Transition[dict[str, Tensor]]:
        return super().step(state, 0.02 * action, noise)


def test_a_model_that_obeys_errs_by_the_noise_alone_and_by_the_action_when_it_is_wrong() -> None:
    found = judged(Known(spread=0))
    position = found.sensor("position")
    assert found.verdict.answer == position.verdict.answer == "obeys"
    mean, _, truth = law(SYSTEM, DATA, 2, 6)
    unit = DATA.batch.obs["position"].std((0, 1), correction=0)
    held = DATA._replace(batch=DATA.batch._replace(action=0 * DATA.batch.action))
    held.batch.action[:, 2:] = DATA.batch.action[:, 2:].mean((0, 1))
    other, _, _ = law(SYSTEM, held, 2, 6)
    true, wrong = (((m - truth) / unit).square().mean((0, 2)).sqrt() for m in (mean, other))
    assert position.ratio["held"].mean == pytest.approx((wrong / true).tolist(), rel=1e-4)
    assert min(position.ratio["shuffled"].low) > 1
    # Whole other plans are sqrt(2) times as far from the truth as the mean of all plans is.
    assert min(np.divide(position.ratio["shuffled"].mean, position.ratio["held"].mean)) > 1.1
    assert position.sensitivity.mean == pytest.approx([1.0] * 6, abs=0.35)
    assert position.psnr_gap is None
    assert position.data[1] > 1
    assert (found.windows, found.episodes, found.dt) == (60, 60, 0.1)


def test_a_model_that_ignores_the_action_has_a_ratio_of_exactly_one() -> None:
    found = judged(Known(ignore_action=True))
    position = found.sensor("position")
    assert found.verdict.answer == "ignores the action"
    assert position.ratio["shuffled"].mean == (1.0,) * 6
    assert position.ratio["random"].high == (1.0,) * 6
    assert position.sensitivity.mean == (0.0,) * 6
    assert judged(Known(constant=True)).verdict.answer == "ignores the action"


def test_a_model_that_hears_little_of_the_action_is_weak() -> None:
    found = judged(Faint(spread=0))
    assert found.verdict.answer == "weak"
    assert 1 < found.verdict.low < found.verdict.value < 1.1
    assert max(found.sensor("position").sensitivity.mean) < 0.1


def test_all_plans_meet_the_same_noise() -> None:
    generator = torch.Generator().manual_seed(3)
    loud = Known(spread=30, ignore_action=True)
    found = controllability(loud, DATA, observed=2, horizon=3, generator=generator)
    assert found.sensor("position").ratio["shuffled"].mean == (1.0,) * 3
    after = generator.get_state()
    assert not torch.equal(after, torch.Generator().manual_seed(3).get_state())


def test_rewards_have_their_ratio() -> None:
    reward = judged(Known(spread=0)).sensor("reward")
    assert reward.kind == "reward"
    assert reward.verdict.answer == "obeys"
    ignored = judged(Known(spread=0, ignore_action=True)).sensor("reward")
    assert ignored.ratio["held"].mean == (1.0,) * 6


def test_data_that_does_not_depend_on_actions_cannot_tell() -> None:
    deaf = System(gain=0.0)
    data = record(deaf, 60, 8)
    for model in (Known(deaf, spread=0), Known(deaf, spread=0, ignore_action=True)):
        found = controllability(model, data, observed=2, horizon=6)
        assert found.verdict.answer == "cannot be told"
        low, high = found.sensor("position").data[1:]
        assert low < 1 < high + 0.05
    # A model that sees actions where there are none errs as much with any of them.
    wrong = controllability(Known(SYSTEM, spread=0), data, observed=2, horizon=6)
    assert wrong.verdict.answer == "cannot be told"


def test_too_few_windows_cannot_tell() -> None:
    alone = record(SYSTEM, 1, 8, each=4)
    found = controllability(Known(ignore_action=True), alone, observed=2, horizon=6)
    assert found.verdict.answer == "cannot be told"
    assert json.loads(json.dumps(found.to_json()))["verdict"]["low"] is None
    with pytest.raises(ValueError, match="one window"):
        controllability(Known(), record(SYSTEM, 1, 8), observed=2, horizon=6)


def test_pictures_have_a_gap_in_decibel_that_is_zero_where_the_action_is_ignored() -> None:
    data = record(SYSTEM, 30, 6, vector=False)
    obeys, ignores = (
        controllability(m, data, observed=1, horizon=5)
        for m in (
            Known(spread=0, vector=False),
            Known(spread=0, ignore_action=True, vector=False),
        )
    )
    value, low, high = obeys.sensor("camera").gap_at(4)
    assert 0 < low < value < high
    assert ignores.sensor("camera").gap_at() == (0, 0, 0)
    assert (obeys.verdict.answer, ignores.verdict.answer) == ("obeys", "ignores the action")
    with pytest.raises(ValueError, match="at step 9"):
        obeys.sensor("camera").gap_at(9)
    with pytest.raises(ValueError, match="position"):
        obeys.sensor("position").gap_at(4)


def test_chunks_are_shuffled_as_chunks() -> None:
    data = play(12, 13)
    found = controllability(Chunked(), data, observed=4, horizon=9)
    assert found.sensor("position").steps == (3, 6, 9)
    assert min(found.sensor("position").ratio["shuffled"].low) > 100


def test_shuffled_plans_are_whole_and_never_a_window_s_own() -> None:
    action = torch.rand(7, 9, 2)
    for seed in range(20):
        plans, partner = other_actions(Space((2,)), action, 3, 5, seed)
        assert (partner != torch.arange(7)).all()
        assert sorted(partner.tolist()) == list(range(7))
        assert torch.equal(plans["shuffled"][:, 3:8], action[partner, 3:8])
        for plan in plans.values():
            assert torch.equal(plan[:, :3], action[:, :3])
            assert torch.equal(plan[:, 8:], action[:, 8:])


def test_random_plans_fill_the_space_and_free_entries_the_range_of_the_data() -> None:
    action = torch.rand(200, 9, 2) * 0.1
    space = Space((2,), low=(-1.0, -math.inf), high=(1.0, math.inf))
    plan = other_actions(space, action, 1, 8)[0]["random"][:, 1:]
    assert plan[..., 0].min() < -0.95
    assert plan[..., 0].max() > 0.95
    assert action[..., 1].min() <= plan[..., 1].min() < 0.005
    assert 0.095 < plan[..., 1].max() <= action[..., 1].max()


def test_of_discrete_choices_the_most_frequent_is_held() -> None:
    space = Space((3,), discrete=True)
    action = torch.eye(3)[torch.tensor([[0, 1, 2, 2], [0, 2, 2, 1]])]
    plans = other_actions(space, action, 1, 3)[0]
    assert plans["held"][:, 1:].argmax(-1).unique().tolist() == [2]
    assert (plans["random"].sum(-1) == 1).all()
