"""The page of an evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest

from reverie.eval.quality import Quality
from reverie.viz.evaluation import Page, html, write
from tests.eval.known import Known, System
from tests.eval.test_quality import measured
from tests.viz.browser import check_layout, needs_browser


@pytest.fixture(scope="module")
def deaf() -> Quality:
    return measured(Known(System(), ignore_action=True))


def test_the_worst_answer_stands_first(deaf: Quality) -> None:
    text = html(Page("toy:point", "known, 0 parameters", deaf))
    first = text[text.index('<ul class="answers">') :]
    assert first.index("Does it obey the action?") < first.index("Does it predict better")
    assert '<li class="bad"><span class="mark">no</span>' in first[:200]


def test_it_stands_alone(deaf: Quality, tmp_path: Path) -> None:
    path = write(Page("toy:point", "known", deaf, {"Run": "runs/a"}, {"x": 1}), tmp_path / "a.html")
    text = path.read_text()
    assert "runs/a" in text
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_nothing_measured_is_a_page_too() -> None:
    assert "Nothing speaks against" in html(Page("toy:point", "known", Quality()))


@needs_browser
@pytest.mark.parametrize("width", [1200, 390])
def test_nothing_overlaps_or_overflows_in_a_browser(
    deaf: Quality, tmp_path: Path, width: int
) -> None:
    check_layout(html(Page("toy:point", "known", deaf, {"Run": "runs/a"})), tmp_path, width)
