"""The page about a planner says its numbers and needs nothing from outside."""

from reverie.eval.returns import summarise
from reverie.viz.plans import PlanPage, html, write
from tests.viz.test_fan import film

TIMING = {
    "decisions": 500, "iterations": 3.5, "p50": 12.5, "p95": 20.0, "p99": 30.0, "worst": 41.0,
    "frequency": 80.0, "fallbacks": 2, "late": 1,
}  # fmt: skip


def page(**changes):
    content = {
        "task": "dmc:walker_walk", "planner": "icem", "model": "runs/a",
        "returns": summarise([700.0, 720.0]), "random": summarise([40.0, 45.0]),
        "actor": summarise([600.0]), "timing": TIMING, "budget": 40.0,
    }  # fmt: skip
    return PlanPage(**{**content, **changes})


def test_it_says_what_was_earned_and_how_fast(tmp_path):
    text = write(page(film=film()), tmp_path / "plan.html").read_text()
    for words in ("710", "600", "Walker walk", "80.0 Hz", "40 ms", "3.5", "41.0 ms"):
        assert words in text
    assert "The planner at work" in text
    assert "data:image/webp" in text
    assert 'src="http' not in text
    assert not list(tmp_path.glob("*.part"))


def test_what_there_is_not_is_left_out():
    text = html(page(actor=None, budget=0.0))
    assert "own agent" not in text
    assert "Budget" not in text
    assert "The planner at work" not in text
