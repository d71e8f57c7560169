"""The demo goes the whole way: learn, judge, report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.console import Console

from reverie.eval.returns import compare, summarise
from reverie.recipes.demo import demo, recipe, verdict


def test_the_demo_is_within_its_budget() -> None:
    """What it does is fixed in frames, so that every machine learns the same."""
    made = recipe(Path("runs/demo"))
    rows = made.replay.batch * made.replay.length
    decisions = made.training.frames // made.env.repeat - made.training.prefill.decisions
    assert decisions * made.training.train_ratio / rows == pytest.approx(2375, rel=0.01)


def test_the_verdict_says_how_sure_it_is_and_over_how_many_episodes() -> None:
    """The interval in words is that of the comparison."""
    judged = compare(summarise([480.0, 500.0, 520.0] * 3), summarise([60.0, 100.0] * 50))
    said = verdict(judged)
    assert "policy 500 (9 episodes), of random actions 80 (100 episodes): 6.2 times" in said
    ends = re.search(r"interval (\S+) to (\S+)\)", said)
    assert ends is not None
    low, high = map(float, ends.groups())
    assert 5.5 < low < 6.2 < high < 7
    assert (low, high) == pytest.approx((judged.ratio_low, judged.ratio_high), abs=0.05)


@pytest.mark.slow
def test_the_smoke_run_ends_with_a_page(tmp_path: Path) -> None:
    pytest.importorskip("dm_control")
    console = Console(record=True, width=200)
    assert demo(tmp_path / "demo", smoke=True, console=console) == 0
    said = console.export_text()
    assert "(100 episodes)" in said
    page = re.search(r"The report is (\S+)", said)
    assert page is not None
    assert Path(page[1]).read_text().startswith("<!doctype html>")
