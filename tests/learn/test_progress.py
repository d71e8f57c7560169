import io
import time

import pytest
from rich.console import Console

from reverie.learn.accounting import Counters
from reverie.learn.progress import Progress, duration


def test_plain_lines_come_by_themselves_while_the_run_is_busy():
    out = io.StringIO()
    console = Console(file=out, width=300)
    with Progress(("frames", 1000), Counters(), "auto", seconds=0.1, console=console) as progress:
        progress.update(Counters(500, 250, 20, 1.0), "learning", {"return": 12.5})
        deadline = time.monotonic() + 5
        while out.getvalue().count("\n") < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
    lines = out.getvalue().splitlines()
    assert len(lines) >= 3
    for line in lines:
        assert "[learning 50 %]" in line
        for text in ("frames 500", "decisions 250", "updates 20", "return 12.5", "ETA"):
            assert text in line


def test_rates_and_the_time_that_is_left():
    progress = Progress(("frames", 1000), Counters(), "off")
    progress.update(Counters(0, 0, 0, 10.0), "learning")
    progress._marks[0] = (progress._marks[0][0] - 5.0, *progress._marks[0][1:])
    progress.update(Counters(100, 50, 25, 15.0), "learning")
    line = progress._line()
    assert "frames 100 (20.0/s)" in line
    assert "updates 25 (5.0/s)" in line
    assert "ETA 0:45" in line
    progress.update(Counters(100, 50, 25, 16.0), "evaluating")
    assert "ETA -" in progress._line()


def test_the_live_display_shows_the_same():
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True)
    with Progress(("updates", 10), Counters(), "live", console=console) as progress:
        progress.update(Counters(updates=10, seconds=1.0), "learning", {"return": 3.0})
        progress.note("saved")
    text = out.getvalue()
    for word in ("learning", "10 of 10 updates", "return", "saved"):
        assert word in text


def test_the_live_display_fits_a_small_terminal():
    out = io.StringIO()
    progress = Progress(("frames", 500_000), Counters(), "off")
    values = {"return": 432.1, "loss": 3.25, "evaluation": 401.0}
    progress.update(Counters(202_000, 101_000, 50_500, 15.0), "learning", values)
    Console(file=out, width=80).print(progress._panel())
    lines = out.getvalue().splitlines()
    assert "202,000 of 500,000 frames" in lines[0]
    assert "frames" not in lines[1]
    for text in ("decisions 101,000", "updates 50,500", "evaluation 401"):
        assert any(text in line for line in lines[2:])


def test_off_says_nothing():
    out = io.StringIO()
    console = Console(file=out)
    with Progress(("frames", 10), Counters(), "off", console=console) as progress:
        progress.update(Counters(), "learning")
        progress.note("saved")
    assert not out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
