"""What measurements come to, for models whose faults are known."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from reverie.eval.calibration import calibration
from reverie.eval.controllability import controllability
from reverie.eval.error_ranking import error_ranking
from reverie.eval.openloop import openloop
from reverie.eval.quality import Answer, Quality, beaten
from reverie.eval.returns import summarise
from reverie.eval.speed import speed
from reverie.eval.usefulness import usefulness
from tests.eval.known import Known, System, record

AHEAD = {"observed": 3, "horizon": 8}
SYSTEM = System()


def measured(model: Known) -> Quality:
    windows = record(SYSTEM, episodes=96, rows=11)
    given = {**AHEAD, "generator": torch.Generator().manual_seed(0)}
    return Quality(
        prediction=openloop(model, windows, samples=4, **given),
        calibration=calibration(model, windows, samples=16, **given),
        error_ranking=error_ranking(model, windows, samples=8, **given),
        controllability=controllability(model, windows, samples=4, **given),
        speed=speed(model, batches=(1,), decisions=5, warmup=1),
    )


def answers(quality: Quality) -> dict[str, Answer]:
    return {answer.question: answer for answer in quality.answers()}


OBEYS = "Does it obey the action?"
PREDICTS = "Does it predict better than guessing?"
SURE = "Does it know how sure it may be?"


def test_a_true_model_gets_good_answers() -> None:
    found = answers(measured(Known(SYSTEM)))
    assert {found[q].level for q in (OBEYS, PREDICTS, SURE)} == {"good"}


def test_a_model_that_ignores_the_action_is_told_so_first() -> None:
    quality = measured(Known(SYSTEM, ignore_action=True))
    first = quality.answers()[0]
    assert (first.question, first.level, first.answer) == (OBEYS, "bad", "no, it ignores it")
    assert "1.00" in first.why


@pytest.mark.parametrize(("spread", "words"), [(0.4, "over-confident"), (2.5, "under-confident")])
def test_one_that_is_too_sure_or_not_sure_enough_is_told_so(spread: float, words: str) -> None:
    found = answers(measured(Known(SYSTEM, spread=spread)))[SURE]
    assert found.level in ("bad", "doubt")
    assert words in found.answer


def test_one_that_predicts_nothing_loses_to_guessing() -> None:
    found = answers(measured(Known(SYSTEM, constant=True)))
    assert found[PREDICTS].level == "bad"
    assert found[OBEYS].level == "bad"


def test_use_is_judged_by_the_interval() -> None:
    good, poor = (summarise([v, v + 1, v + 2, v + 3]) for v in (100.0, 1.0))
    found = answers(Quality(usefulness=usefulness(random=poor, policy=good, planner=poor)))
    assert found["Is a policy learnt in it of use?"].level == "good"
    assert found["Is planning in it of use?"].level == "unknown"


def test_what_was_not_measured_is_not_answered() -> None:
    assert Quality().answers() == ()
    assert Quality(notes=("so",)).to_json()["notes"] == ["so"]


def test_it_is_kept_as_json() -> None:
    value = measured(Known(SYSTEM)).to_json()
    text = json.dumps(value, allow_nan=False)
    assert json.loads(text)["answers"][0]["question"]
    assert json.loads(text)["controllability"]["verdict"]["answer"] == "obeys"


def test_wins_count_the_best_guess_at_each_horizon() -> None:
    found = openloop(Known(SYSTEM), record(SYSTEM, episodes=24, rows=11), samples=8, **AHEAD)
    sensor = found.sensor("position")
    assert all(beaten(sensor))
    errors = {"rmse": {**sensor.errors["rmse"], "linear": sensor.errors["rmse"]["model_mean"]}}
    assert not any(beaten(replace(sensor, errors=errors)))


def test_a_model_that_claims_to_be_sure_is_not_asked_where_it_is_unsure() -> None:
    found = answers(measured(Known(SYSTEM, spread=0.0)))
    assert found[SURE].answer == "it claims to be sure"
    assert "Is it unsure where it is wrong?" not in found
