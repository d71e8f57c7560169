"""Runs, the simulator and the twin are measured side by side, and both tables are filled."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from reverie.recipes.comparison import compare
from tests.recipes.compared import FEW, cartpole, pendulums, with_simulator, without_simulator
from tests.viz.reading import Page


def test_every_cell_has_a_number_with_its_interval_or_a_reason() -> None:
    found = with_simulator()
    assert list(found.shown.subjects) == ["dreamer", "simulator", "twin"]
    assert list(found.shown.subjects.values()) == ["latent", "exact", "physics"]
    for table in found.shown.tables:
        for rows in table.groups.values():
            for row in rows:
                assert set(row.cells) == set(found.shown.subjects), row.name
                for name, cell in row.cells.items():
                    assert cell.words or math.isfinite(cell.value), (row.name, name)
                    if "error" in row.name and not cell.words and "relative" not in row.name:
                        assert cell.low <= cell.value <= cell.high, (row.name, name)


def test_the_simulator_is_exact_and_the_twin_nearly() -> None:
    errors = {m.candidate.name: m.errors for m in with_simulator().evidence.measured}
    assert errors["simulator"].pooled().max() == 0
    assert errors["twin"].pooled().max() < 1e-6
    assert errors["dreamer"].pooled().mean() > 1e-2
    assert errors["simulator"].sensors["reward"].square.max() == 0


def test_a_changed_robot_is_told_apart_and_identified() -> None:
    evidence = with_simulator().evidence
    twin = next(m for m in evidence.measured if m.candidate.name == "twin")
    for change in ("mass", "motor"):
        before, after = twin.changed[change], evidence.adapted["twin"][change]
        assert before.pooled().mean() > 1e-3, change
        assert after.pooled().mean() < before.pooled().mean() / 100, change


def test_gradients_are_right_where_there_are_any() -> None:
    found = {m.candidate.name: m for m in with_simulator().evidence.measured}
    assert found["simulator"].gradient == "no gradient"
    check = found["twin"].gradient
    assert not isinstance(check, str) and check.breaks_at is None and check.precision == "float64"
    assert found["twin"].milliseconds.mean > 0
    assert math.isnan(found["simulator"].milliseconds.mean)


def test_without_a_simulator_the_runs_are_compared_alone() -> None:
    found = without_simulator()
    assert list(found.shown.subjects) == ["dreamer", "tdmpc2"]
    assert "no exact simulator" in found.shown.notes[0]
    assert list(found.evidence.ground.changes) == ["motor"]
    assert set(found.evidence.curves) == {"dreamer", "tdmpc2"}
    assert set(found.evidence.adapted["tdmpc2"]) == {"motor"}
    assert found.shown.curves[0].x["dreamer"] == (2.0, 3.0)
    readout = found.shown.tables[0].groups["what it is"][2].cells
    assert readout["dreamer"].words == "shows it" and readout["tdmpc2"].value <= 1


def test_what_was_not_asked_for_is_not_made_up() -> None:
    found = with_simulator()
    data = found.shown.tables[0].groups["training data"][0].cells
    assert (data["dreamer"].words, data["dreamer"].below) == ("not measured", "give --curve")
    assert math.isnan(data["dreamer"].value) and not found.shown.curves
    gap = found.shown.tables[1].groups["sim-to-real gap"][0].cells
    assert (gap["dreamer"].words, gap["dreamer"].below) == ("not adapted", "give --adapt")
    assert gap["simulator"].words == "not adapted" and gap["twin"].value >= 0


def test_the_page_and_the_json_say_the_same() -> None:
    found = without_simulator()
    text = found.page.read_text()
    page = Page(text)
    page.check_alone(text)
    assert {"Latent against pixel space", "How much data each needs"} <= set(page.headings)
    kept = json.loads(found.json.read_text())
    assert [t["title"] for t in kept["tables"]] == [t.title for t in found.shown.tables]
    assert kept["data_curves"]["dreamer"]["episodes"] == [2, 3]


def test_the_same_seed_measures_the_same(tmp_path: Path) -> None:
    config = replace(FEW, out=tmp_path, planned=0)
    again = compare(pendulums(), config).evidence
    for one, other in zip(again.measured, without_simulator().evidence.measured, strict=True):
        assert one.errors.sensors.keys() == other.errors.sensors.keys()
        for name, sensor in one.errors.sensors.items():
            assert (sensor.square == other.errors.sensors[name].square).all(), name
        assert one.planned == "not asked for"


@pytest.mark.parametrize("paths", [[], "same"])
def test_nothing_to_compare_is_said(paths) -> None:
    given = [cartpole(), cartpole()] if paths == "same" else []
    with pytest.raises(ValueError, match="different runs, one or more"):
        compare(given, FEW)
