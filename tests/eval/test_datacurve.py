"""The data curve says how many episodes are enough."""

import json
import math

import pytest

from reverie.eval.datacurve import DataCurve, Needed
from reverie.eval.score import Curve


def curve(*errors: float) -> DataCurve:
    counts = tuple(2**k for k in range(len(errors)))
    return DataCurve(counts, Curve(errors, errors, errors), tuple(1.0 for _ in errors))


def test_the_fewest_episodes_that_come_near_the_best() -> None:
    assert curve(1.0, 0.54, 0.51, 0.50).needed() == Needed(2, False)
    assert curve(1.0, 0.56, 0.52, 0.50).needed() == Needed(4, False)
    assert curve(1.0, 0.56, 0.52, 0.50).needed(within=0.2) == Needed(2, False)


def test_a_curve_that_still_falls_says_so() -> None:
    assert curve(1.0, 0.8, 0.6, 0.4).needed() == Needed(8, True)
    assert curve(0.4).needed() == Needed(1, False)


def test_errors_as_good_as_none_are_not_told_apart() -> None:
    assert curve(1e-3, 1e-6).needed() == Needed(2, True)
    assert curve(1e-3, 1e-6).needed(least=1e-2) == Needed(1, False)


def test_failed_models_are_left_out() -> None:
    assert curve(math.nan, 0.5, 0.5).needed() == Needed(2, False)
    assert curve(math.nan, math.nan).needed() is None


def test_it_survives_json() -> None:
    found = DataCurve((1, 4), Curve((2.0, math.nan), (1.0, math.nan), (3.0, math.nan)), (5.0, 6.0))
    again = DataCurve.from_json(json.loads(json.dumps(found.to_json())))
    assert again.episodes == found.episodes and again.seconds == found.seconds
    assert again.error.mean[0] == 2.0 and math.isnan(again.error.high[1])


@pytest.mark.parametrize("counts", [(), (4, 2), (2, 2)])
def test_numbers_that_do_not_rise_are_refused(counts: tuple[int, ...]) -> None:
    ends = tuple(1.0 for _ in counts)
    with pytest.raises(ValueError, match="rising"):
        DataCurve(counts, Curve(ends, ends, ends))


def test_every_number_needs_its_error() -> None:
    with pytest.raises(ValueError, match="1 errors for 2"):
        DataCurve((1, 2), Curve((1.0,), (1.0,), (1.0,)))
