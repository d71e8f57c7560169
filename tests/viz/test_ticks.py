"""Axes hold their data, ticks are round numbers, labels say what stands there."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reverie.viz.ticks import Axis, amount, duration, number, power

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)


@settings(deadline=None, max_examples=150)
@given(VALUES, st.booleans(), st.booleans(), st.integers(2, 8))
def test_linear_axes(values: list[float], zero: bool, snug: bool, count: int) -> None:
    axis = Axis.fit(values, 10, 110, count=count, zero=zero, snug=snug)
    slack = (axis.high - axis.low) * 1e-6
    assert axis.low - slack <= min(values)
    assert axis.high + slack >= max(values)
    assert 1 <= len(axis.ticks) <= count + 3
    assert len(set(axis.labels)) == len(axis.labels) == len(axis.ticks)
    assert not zero or axis.low <= 0 <= axis.high
    assert all(9.9 <= axis(v) <= 110.1 for v in values)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=20))
def test_log_axes(values: list[float]) -> None:
    axis = Axis.fit(values, 200, 0, log=True)
    assert axis.low <= min(values) * 1.001
    assert axis.high >= max(values) * 0.99
    assert 2 <= len(axis.ticks) <= 8
    assert len(set(axis.labels)) == len(axis.labels)
    middle = math.sqrt(axis.low * axis.high)
    assert axis(middle) == pytest.approx(100)


def test_ticks_are_round() -> None:
    assert Axis.fit([0, 50_000], 0, 1).labels == ("0", "10k", "20k", "30k", "40k", "50k")
    assert Axis.fit([0.013, 0.92], 0, 1).labels == ("0", "0.2", "0.4", "0.6", "0.8", "1.0")
    assert Axis.fit([-3, 4], 0, 1).labels == ("\u22124", "\u22122", "0", "2", "4")
    assert Axis.fit([0.002, 900], 0, 1, log=True).labels == ("0.01", "0.1", "1", "10", "100")
    assert Axis.fit([], 0, 1).labels
    assert Axis.fit([7, 7], 0, 1).low < 7 < Axis.fit([7, 7], 0, 1).high
    assert Axis.fit([math.nan, 2, 3], 0, 1).low == 2


@pytest.mark.parametrize(
    ("value", "step", "text"),
    [
        (0, 5, "0"),
        (1500, 500, "1.5k"),
        (2000, 500, "2k"),
        (10_040, 10, "10040"),
        (12000, 2000, "12k"),
        (2_500_000, 500_000, "2.5M"),
        (0.25, 0.05, "0.25"),
        (-0.5, 0.5, "\u22120.5"),
    ],
)
def test_tick_labels(value: float, step: float, text: str) -> None:
    assert number(value, step) == text


def test_numbers_in_words() -> None:
    assert power(1e-5) == "10\u207b\u2075"
    assert power(3e6) == "3\u00b710\u2076"
    assert power(0.02) == "0.02"
    assert amount(12345.6) == "12,346"
    assert amount(0.012345) == "0.0123"
    assert amount(-7.5) == "\u22127.50"
    assert amount(math.nan) == "\u2013"
    assert duration(7.25) == "7.2 s"
    assert duration(61.6) == "1 min 02 s"
    assert duration(3 * 3600 + 5 * 60) == "3 h 05 min"
