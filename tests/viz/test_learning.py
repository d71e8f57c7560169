"""Learning curves and losses are drawn from the lines of the log."""

import json
from pathlib import Path

import numpy as np
import pytest

from reverie.eval.returns import compare, summarise
from reverie.learn.accounting import Counters
from reverie.learn.log import Log, read
from reverie.viz.learning import learning, losses
from tests.viz.reading import Page
from tests.viz.worlds import log

COMPARED = compare(summarise([400.0, 410.0]), summarise([30.0, 40.0]))


def lines_of(text: str) -> set[str]:
    return {v for _, name, v in Page(text).attributes if name == "data-line"}


def test_the_curve_has_episodes_their_mean_evaluations_and_random_actions() -> None:
    text = learning(log(), COMPARED)
    assert lines_of(text) == {
        "training episodes",
        "their running mean",
        "evaluations, without exploration",
    }
    assert "random actions: 35.0" in Page(text).text
    assert "learned policy" not in text


def test_without_evaluations_the_final_return_is_a_level() -> None:
    lines = [line for line in log() if line["kind"] != "evaluate"]
    assert "learned policy: 405" in Page(learning(lines, COMPARED)).text


def test_every_loss_has_a_chart_and_a_gap_is_left_out() -> None:
    lines = log()
    lines[3]["loss/dyn"] = None
    page = Page(losses(lines))
    labels = [v for tag, name, v in page.attributes if tag == "svg" and name == "aria-label"]
    assert labels == [f"{n} against updates" for n in ("dyn", "decode/arm", "policy")]


def test_a_run_without_episodes_has_no_curve() -> None:
    assert learning([], COMPARED) == ""
    assert losses([]) == ""
    fits = [line for line in log() if line["kind"] == "fit"]
    assert learning(fits, None) == ""
    assert losses(fits) != ""


def test_the_log_that_a_run_writes_can_be_drawn(tmp_path: Path) -> None:
    file = Log(tmp_path / "log.jsonl")
    for k in range(1, 4):
        counters = Counters(frames=100 * k, decisions=50 * k, updates=k, seconds=float(k))
        file.write(
            "episode", counters, {"stream": 0, "episode": k, "return": 2.0 * k, "length": 50}
        )
        file.write("fit", counters, {"loss/dyn": 1.0 / k, "loss": float("nan")})
    file.close()
    lines = read(tmp_path / "log.jsonl")
    assert "their running mean" in learning(lines, None)
    assert "dyn against updates" in losses(lines)


@pytest.mark.parametrize("count", [1, 5, 3000])
def test_any_number_of_episodes_can_be_drawn(count: int) -> None:
    returns = np.random.default_rng(0).normal(size=count)
    lines = [
        {"kind": "episode", "frames": 10 * k, "updates": k, "return": float(r)}
        for k, r in enumerate(returns)
    ]
    text = learning(lines, None)
    assert len(text) < 400_000
    assert json.dumps(text)
