import json
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reverie.learn.accounting import Counters, TrainRatio


def test_counters_are_named_the_same_everywhere():
    assert list(Counters().to_json()) == ["frames", "decisions", "updates", "seconds"]


@settings(deadline=None, max_examples=50)
@given(
    ratio=st.sampled_from([0, 0.1, 1, 32, 33.3, 512, 1024, 5000]),
    batch=st.sampled_from([1, 3, 16]),
    length=st.sampled_from([1, 7, 64]),
    steps=st.lists(st.integers(1, 7), max_size=60),
    stop=st.integers(0, 59),
)
def test_updates_are_the_floor_of_what_was_paid_for_also_over_a_resume(
    ratio, batch, length, steps, stop
):
    count, decisions = TrainRatio(ratio, batch, length), 100
    count.begin(decisions)
    for k, step in enumerate(steps):
        decisions += step
        if k == stop:  # killed between two updates, and resumed
            count.paid(count.owed(decisions) // 2)
            state = json.loads(json.dumps(count.state_dict()))
            count = TrainRatio(ratio, batch, length)
            count.load_state_dict(state)
            count.begin(decisions)
        count.paid(count.owed(decisions))
        exact = Fraction(str(ratio)) * (decisions - 100) / (batch * length)
        assert count.done == exact.numerator // exact.denominator
        assert count.owed(decisions) == 0


def test_the_prefill_pays_for_nothing():
    count = TrainRatio(64, 1, 1)
    assert count.owed(1000) == 0
    count.begin(1000)
    assert count.owed(1000) == 0
    assert count.owed(1001) == 64


def test_another_ratio_is_neither_caught_up_nor_waited_for():
    before = TrainRatio(1, 1, 1)
    before.begin(0)
    before.paid(100)
    for other in (512, 0.01):
        count = TrainRatio(other, 1, 1)
        count.load_state_dict(before.state_dict())
        count.begin(100)
        assert count.owed(100) == 0
        assert count.owed(200) == int(100 * other)


@pytest.mark.parametrize("wrong", [(-1, 1, 1), (float("nan"), 1, 1), (1, 0, 1), (1, 1, 0)])
def test_impossible_ratios_are_refused(wrong):
    with pytest.raises(ValueError, match=r"ratio|batch"):
        TrainRatio(*wrong)
