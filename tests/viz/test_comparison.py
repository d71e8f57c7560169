"""The page of a comparison: both tables, who is best, and one look for each subject."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from reverie.eval.score import Curve
from reverie.viz.comparison import BASELINE, Bundle, Entry, Row, Shown, Table, html, roles, write
from tests.viz.reading import Page


def shown(**changes: Any) -> Shown:
    rows = (
        Row(
            "error [sd]",
            {
                "dreamer": Entry(0.5, 0.4, 0.6),
                "tdmpc2": Entry(0.8, 0.7, 0.9),
                "simulator": Entry(0.0, 0.0, 0.0),
                "twin": Entry(words="not measured", below="give --curve"),
            },
            "lower",
        ),
        Row("parameters", {"dreamer": Entry(12_345.0), "tdmpc2": Entry(math.nan)}),
    )
    x, y = (0.1, 0.2), (0.5, 0.7)
    curve = Curve(y, (0.4, 0.6), (0.6, 0.8))
    names = ("dreamer", "tdmpc2", "simulator", "twin", BASELINE)
    bundle = Bundle(
        "error",
        "seconds ahead",
        "error [sd]",
        dict.fromkeys(names, x),
        dict.fromkeys(names, curve),
    )
    made = Shown(
        title="dmc:cartpole_swingup",
        subjects={"dreamer": "latent", "tdmpc2": "latent", "simulator": "exact", "twin": "physics"},
        lede="What it comes to.",
        tables=(
            Table("Latent against pixel space", "How & why.", {"prediction": rows}),
            Table("Learnt against differentiable physics", "", {"accuracy": rows[:1]}),
        ),
        horizons=(bundle, replace(bundle, title="position")),
        notes=("There is <no> camera.",),
        facts={"Environment": "cartpole"},
        config={"seed": 1, "bad": math.nan},
    )
    return replace(made, **changes)


def test_the_page_is_whole_and_alone(tmp_path) -> None:
    path = write(shown(), tmp_path / "deep" / "comparison.html")
    text = path.read_text()
    page = Page(text)
    page.check_alone(text)
    assert page.headings[:2] == ["Cartpole swingup", "Latent against pixel space"]
    assert "Learnt against differentiable physics" in page.headings
    assert "How data" not in page.text and "There is <no> camera." in page.text
    assert "0.40 to 0.60" in page.text and "give --curve" in page.text
    assert not list(path.parent.glob("*.part"))


def test_the_best_stands_out_and_the_simulator_never_does() -> None:
    text = html(shown())
    assert text.count('class="best"') == 2
    assert '<td class="best">0.500' in text
    row = shown().tables[0].groups["prediction"][0]
    assert row.best(["dreamer", "tdmpc2", "twin"]) == "dreamer"
    assert replace(row, better="higher").best(["dreamer", "tdmpc2"]) == "tdmpc2"
    assert row.best(["dreamer"]) == row.best(["twin", "nobody"]) == ""
    assert replace(row, better="").best(["dreamer", "tdmpc2"]) == ""


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (Entry(1.2345, 1.0, 2.0), ("1.23", "1.0 to 2.0")),
        (Entry(1.2345), ("1.23", "")),
        (Entry(3.0, below="still falling"), ("3", "still falling")),
        (Entry(words="none", below="why"), ("none", "why")),
        (Entry(), ("–", "")),
    ],
)
def test_a_cell_says_its_number_with_its_interval_or_why_there_is_none(entry, expected) -> None:
    assert entry.shown() == expected


def test_no_two_subjects_look_alike() -> None:
    kinds = {f"run {k}": "latent" for k in range(6)}
    drawn = roles({**kinds, "simulator": "exact", "twin": "physics", BASELINE: "baseline"})
    assert len(set(drawn.values())) == 9
    assert drawn["run 0"] == ("model", "line") and drawn["run 3"] == ("model", "dots")


def test_a_model_that_runs_away_does_not_flatten_the_others() -> None:
    bundle = shown().horizons[0]
    wild = Curve((1e6, 1e9), (1e6, 1e9), (1e6, 1e9))
    text = html(shown(horizons=(replace(bundle, curves={**bundle.curves, "twin": wild}),)))
    ticks = [float(v) for _, n, v in Page(text).attributes if n == "data-y"]
    assert max(ticks) < 2


def test_data_curves_have_a_section_of_their_own() -> None:
    bundle = shown().horizons[0]
    x = dict.fromkeys(("dreamer", "twin"), (4.0, 8.0))
    curves = {name: bundle.curves[name] for name in x}
    found = Page(html(shown(curves=(Bundle("d", "episodes learnt from", "error", x, curves),))))
    assert "How much data each needs" in found.headings
    assert "episodes learnt from" in found.text


def test_the_same_numbers_are_in_the_json() -> None:
    kept = json.loads(json.dumps(shown().to_json(), allow_nan=False))
    cell = kept["tables"][0]["groups"]["prediction"][0]["cells"]["dreamer"]
    assert (cell["value"], cell["low"], cell["high"]) == (0.5, 0.4, 0.6)
    assert kept["config"]["bad"] is None
