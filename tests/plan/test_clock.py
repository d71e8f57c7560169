import pytest

from reverie.plan import clock
from reverie.plan.clock import Clock, percentile


class Time:
    """A clock that is moved by hand [s]."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(clock.time, "perf_counter", lambda: self.now)


def decide(made, time, durations, sense=0.001, tail=0.001):
    """One decision whose iterations take `durations`; how many were made."""
    made.begin()
    time.now += sense
    count = 0
    for duration in durations:
        if made.enough(count):
            break
        time.now += duration
        count += 1
    else:
        made.enough(count)
    time.now += tail
    made.end(count)
    return count


def test_without_a_budget_nothing_is_cut(monkeypatch):
    time, made = Time(monkeypatch), Clock()
    assert decide(made, time, [1.0, 2.0, 3.0]) == 3
    assert made.timing().late == 0


def test_the_next_iteration_must_fit(monkeypatch):
    time, made = Time(monkeypatch), Clock(budget=40.0)
    decide(made, time, [0.010] * 9)  # the first decision learns what an iteration takes
    assert decide(made, time, [0.010] * 9) == 3
    assert made.timing().late == 0


def test_one_slow_iteration_makes_it_careful(monkeypatch):
    time, made = Time(monkeypatch), Clock(budget=40.0)
    decide(made, time, [0.005, 0.018])
    assert decide(made, time, [0.005] * 9) == 4  # 1 + 20 + 1.1 x 18 ms would be late


def test_where_none_fits_the_decision_is_counted_as_a_fallback(monkeypatch):
    time, made = Time(monkeypatch), Clock(budget=10.0)
    decide(made, time, [0.020])
    assert decide(made, time, [0.020]) == 0
    timing = made.timing()
    assert (timing.decisions, timing.fallbacks, timing.late) == (2, 1, 1)
    made.forget()
    assert made.timing().decisions == made.timing().late == made.timing().fallbacks == 0


def test_one_slow_moment_does_not_end_planning(monkeypatch):
    time, made = Time(monkeypatch), Clock(budget=40.0)
    decide(made, time, [0.005] * 9)
    decide(made, time, [0.005, 0.100])  # the machine stood still
    counts = [decide(made, time, [0.005] * 9) for _ in range(3)]
    assert counts == [0, 7, 7]
    assert made.timing().fallbacks == 1


def test_the_times_are_reported(monkeypatch):
    time, made = Time(monkeypatch), Clock()
    for ms in range(1, 101):
        decide(made, time, [ms / 1e3 - 0.002])
    timing = made.timing()
    assert timing.p50 == pytest.approx(50)
    assert timing.p95 == pytest.approx(95)
    assert timing.p99 == pytest.approx(99)
    assert timing.worst == pytest.approx(100)
    assert timing.frequency == pytest.approx(20)
    assert timing.iterations == 1
    assert Clock().timing().frequency == 0


def test_percentiles():
    assert percentile([], 0.5) == 0
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2
    assert percentile([1.0, 2.0, 3.0], 1.0) == 3


def test_an_impossible_budget_is_refused():
    with pytest.raises(ValueError, match="budget is -1"):
        Clock(-1)
