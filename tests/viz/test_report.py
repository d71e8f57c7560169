"""The page of a run: complete, alone, honest, and readable on every screen."""

from dataclasses import replace
from pathlib import Path

import pytest

from reverie.core.spec import Space
from reverie.eval.openloop import openloop
from reverie.eval.returns import compare, summarise
from reverie.viz.provenance import provenance
from reverie.viz.report import Report, html, title, write
from tests.viz.browser import check_layout, needs_browser
from tests.viz.reading import Page
from tests.viz.test_imagination import FILM
from tests.viz.worlds import ARM, Memory, log, recording


@pytest.fixture(scope="module")
def report() -> Report:
    model = Memory(ARM, Space((1,), low=-1.0, high=1.0), 0.1)
    return Report(
        task="dmc:cartpole_swingup",
        family="dreamer, size 1m",
        returns=compare(summarise([410.0, 398.0, 421.0]), summarise([31.0, 36.0, 29.0])),
        log=log(),
        openloop=openloop(model, recording(12, 15), observed=5, horizon=10, samples=2),
        film=FILM,
        facts={"Command": "`reverie demo`", "Seeds": "0", **provenance()},
        config={"env": {"name": "dmc:cartpole_swingup"}, "lr": float("inf")},
    )


def test_the_page_stands_alone_and_has_all_its_parts(report: Report, tmp_path: Path) -> None:
    path = write(report, tmp_path / "new" / "report.html")
    text = path.read_text()
    page = Page(text)
    page.check_alone(text)
    assert page.headings == [
        "Cartpole swingup",
        "Imagination beside reality",
        "Learning curve",
        "How far ahead it sees",
        "Losses",
        "What was run",
    ]
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    assert len(text) < 1_500_000


def test_the_numbers_on_the_page_are_those_that_were_measured(report: Report) -> None:
    words = Page(html(replace(report, film=None))).text
    assert report.returns is not None
    assert "410" in words  # the mean of the policy
    assert "32.0" in words  # the mean of random actions
    assert "12.8\u00d7" in words  # their ratio
    assert "20,000 frames of the robot's own experience" in words
    assert "20,000 frames, 10,000 decisions, 5,000 updates" in words
    assert "4 min 10 s" in words
    assert "reverie demo" in words
    assert '"name": "dmc:cartpole_swingup"' in words
    assert '"lr": null' in words


def test_an_empty_report_is_still_a_page() -> None:
    page = Page(html(Report("toy:pendulum", "dreamer")))
    assert page.headings == ["Pendulum", "What was run"]


def test_what_is_lacking_stands_on_top(report: Report) -> None:
    noted = replace(report, notes=("No OpenGL: `apt install libegl1`.",), film=None)
    page = Page(html(noted))
    assert page.words.index("apt install libegl1") < page.words.index("Learning curve")
    noted = replace(noted, log=[*log(), {**log()[-1], "kind": "note", "text": "resumed at 5"}])
    assert "resumed at 5" in Page(html(noted)).text


def test_the_counters_at_the_end_come_before_those_of_the_log(report: Report) -> None:
    counters = {"frames": 20_480, "decisions": 10_240, "updates": 5_120, "seconds": 3700.0}
    words = Page(html(replace(report, film=None, counters=counters))).text
    assert "20,480 frames of the robot's own experience" in words
    assert "20,480 frames, 10,240 decisions, 5,120 updates" in words
    assert "1 h 01 min" in words


def test_a_run_from_recorded_data_counts_updates() -> None:
    lines = [{**line, "frames": 0, "decisions": 0} for line in log() if line["kind"] == "fit"]
    words = Page(html(Report("own:arm", "dreamer", log=lines))).text
    assert "learned from recorded data in 5,000 updates" in words


def test_a_baseline_that_earns_nothing_gives_a_difference() -> None:
    compared = compare(summarise([5.0, 6.0]), summarise([-1.0, -2.0]))
    words = Page(html(Report("own:arm", "dreamer", returns=compared))).text
    assert "Above random 7.00" in words
    assert "Times random" not in words


def test_hostile_names_stay_words() -> None:
    evil = "<img src=x onerror=alert(1)>"
    text = html(Report(evil, evil, facts={evil: evil}, config={evil: evil}, notes=(evil,)))
    Page(text).check_alone(text)


def test_titles() -> None:
    assert title("dmc:ball_in_cup_catch") == "Ball in cup catch"
    assert title("gym:Pendulum-v1") == "Pendulum-v1"


@needs_browser
@pytest.mark.parametrize("width", [1200, 390])
def test_nothing_overlaps_or_overflows_in_a_browser(
    report: Report, tmp_path: Path, width: int
) -> None:
    check_layout(html(report), tmp_path, width)
