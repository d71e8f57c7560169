"""The demo goes the whole way: learn, judge, report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.console import Console

from reverie.recipes.demo import demo, recipe


def test_the_demo_is_within_its_budget() -> None:
    """What it does is fixed in frames, so that every machine learns the same."""
    made = recipe(Path("runs/demo"))
    rows = made.replay.batch * made.replay.length
    decisions = made.training.frames // made.env.repeat - made.training.prefill.decisions
    assert decisions * made.training.train_ratio / rows == pytest.approx(1250, rel=0.1)


@pytest.mark.slow
def test_the_smoke_run_ends_with_a_page(tmp_path: Path) -> None:
    pytest.importorskip("dm_control")
    console = Console(record=True, width=200)
    assert demo(tmp_path / "demo", smoke=True, console=console) == 0
    said = console.export_text()
    page = re.search(r"The report is (\S+)", said)
    assert page is not None
    assert Path(page[1]).read_text().startswith("<!doctype html>")
