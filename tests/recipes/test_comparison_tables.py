"""Both tables say what was measured, in the right unit, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.eval.datacurve import DataCurve
from reverie.eval.returns import Returns, summarise
from reverie.eval.score import Curve
from reverie.eval.sidebyside import SensorErrors, WindowErrors
from reverie.recipes.comparison_tables import (
    Evidence,
    physics_table,
    spaces_table,
)
from reverie.viz.comparison import Entry, Table
from tests.recipes.compared import without_simulator

CAMERA = Space((1, 2, 2), dtype="uint8")
EPISODES = np.arange(12) // 2


def known(scale: float, kinds: tuple[str, ...] = ("vector", "reward")) -> WindowErrors:
    """Errors that grow as step k: 2 k in the sensor's unit, k in deviations, times `scale`."""
    steps = np.arange(1, 11, dtype=float)
    square = np.tile((scale * steps) ** 2, (12, 1))
    names = {"vector": "velocity", "reward": "reward", "image": "image"}
    sensors = {
        names[kind]: SensorErrors(kind, "rad/s", 4 * square, square, 1)  # type: ignore[arg-type]
        for kind in kinds
    }
    return WindowErrors(sensors, tuple(range(1, 11)), EPISODES)


def evidence(**changes: Any) -> Evidence:
    """The real one, whose errors and returns are replaced by known ones."""
    made = without_simulator().evidence
    first, second = made.measured
    vector = {
        "first": (known(0.5), known(1.5), summarise([6.0, 8.0])),
        "second": (known(2.0), known(2.0), summarise([1.0, 3.0])),
    }
    measured = tuple(
        m.__class__(**{**vars(m), "errors": e, "changed": {"motor": c}, "planned": r})
        for m, (e, c, r) in zip((first, second), vector.values(), strict=True)
    )
    ground = made.ground._replace(sensors={"velocity": made.ground.sensors["velocity"]}, horizon=10)
    return made._replace(
        ground=ground,
        measured=measured,
        repeating=known(1.0),
        still={"motor": known(1.0)},
        random=summarise([2.0, 2.0]),
        curves={},
        adapted={"dreamer": {"motor": known(0.75)}},
    )._replace(**changes)


def row(table: Table, name: str, nth: int = 0) -> dict[str, Entry]:
    found = [r for rows in table.groups.values() for r in rows if r.name.startswith(name)]
    assert len(found) > nth, [r.name for rows in table.groups.values() for r in rows]
    return dict(found[nth].cells)


def test_errors_stand_where_they_were_made() -> None:
    table, dt = spaces_table(evidence()), evidence().dt
    for words, step in (("a quarter", 2), ("half-way", 5), ("the end", 10)):
        cells = row(table, f"error, {words}")
        assert cells["dreamer"].value == pytest.approx(0.5 * step)
        assert cells["tdmpc2"].value == pytest.approx(2.0 * step)
    assert dt == 0.05 and any("half-way (0.25 s)" in r.name for r in table.groups["prediction"])
    beside = row(table, "half-way, by that of repeating")
    assert (beside["dreamer"].value, beside["dreamer"].high) == pytest.approx((0.5, 0.5))
    assert row(table, "RMSE of velocity")["dreamer"].value == pytest.approx(5.0)
    assert row(table, "reward error")["tdmpc2"].value == pytest.approx(20.0)


def test_a_model_that_shows_nothing_says_so() -> None:
    made = evidence()
    blind = [
        m.__class__(**{**vars(m), "errors": known(1.0, ("reward",))}) for m in made.measured[:1]
    ]
    table = spaces_table(evidence(measured=(*blind, made.measured[1])))
    assert row(table, "error, half-way")["dreamer"].words == "shows none"
    assert row(table, "half-way, by")["dreamer"].words == "shows none"
    assert row(table, "RMSE of velocity")["dreamer"].words == "shows none"
    assert row(table, "reward error")["dreamer"].value == pytest.approx(10.0)
    other = physics_table(evidence(measured=(*blind, made.measured[1])))
    names = ("on the robot", "… by that of repeating", "… times that on the robot learnt")
    for name in (*names, "adapted to", "episodes to"):
        assert row(other, name)["dreamer"].words == "shows none", name


def test_pictures_are_told_in_decibel() -> None:
    made, pixels = evidence(), known(0.01, ("image",))
    seeing = tuple(m.__class__(**{**vars(m), "errors": pixels}) for m in made.measured)
    found = evidence(measured=seeing, repeating=known(0.02, ("image",)))
    found = found._replace(ground=found.ground._replace(sensors={"image": CAMERA}, deviation={}))
    cells = row(spaces_table(found), "PSNR of image, half-way")
    assert cells["dreamer"].value == pytest.approx(-10 * np.log10(4 * 0.05**2))


def test_another_robot_is_compared_by_what_repeating_makes_there() -> None:
    """Errors three times as large, on a robot that moves a third as much, are nine times worse."""
    table = physics_table(evidence(still={"motor": known(1 / 3)}))
    assert row(table, "… times that on the robot learnt")["dreamer"].value == pytest.approx(9.0)
    assert row(table, "… times that on the robot learnt")["tdmpc2"].value == pytest.approx(3.0)
    usual = (sum(k**2 for k in range(1, 11)) / 10) ** 0.5
    assert row(table, "on the robot")["dreamer"].value == pytest.approx(0.5 * usual)
    assert row(table, "motors half as strong")["dreamer"].value == pytest.approx(1.5 * usual)
    assert row(table, "… by that of repeating", 1)["dreamer"].value == pytest.approx(4.5)


def test_what_adapting_brings_is_beside_what_was_before() -> None:
    table = physics_table(evidence())
    assert row(table, "… by that before")["dreamer"].value == pytest.approx(0.5)
    assert row(table, "… by that before")["tdmpc2"].words == "not adapted"


def test_returns_are_beside_those_of_random_actions() -> None:
    table = spaces_table(evidence())
    assert row(table, "return of the planner")["dreamer"].value == 7.0
    more = row(table, "more than random")
    assert more["dreamer"].value == 5.0 and more["tdmpc2"].value == 0.0
    assert more["dreamer"].low < 5.0 < more["dreamer"].high
    made = evidence()
    without = [m.__class__(**{**vars(m), "planned": "predicts no reward"}) for m in made.measured]
    table = spaces_table(evidence(measured=tuple(without)))
    assert row(table, "return of the planner")["dreamer"].words == "predicts no reward"
    assert isinstance(made.random, Returns)


def test_data_needed_comes_from_the_curve_alone() -> None:
    falling = Curve((1.0, 0.5), (0.9, 0.4), (1.1, 0.6))
    flat = Curve((0.5, 0.5), (0.4, 0.4), (0.6, 0.6))
    curves = {"dreamer": DataCurve((4, 8), falling), "tdmpc2": DataCurve((4, 8), flat)}
    found = evidence(curves=curves)
    for table in (spaces_table(found), physics_table(found)):
        cells = row(table, "episodes to 10 %")
        assert (cells["dreamer"].value, cells["dreamer"].below) == (8, "still falling")
        assert (cells["tdmpc2"].value, cells["tdmpc2"].below) == (4, "")
    assert row(spaces_table(evidence()), "episodes to 10 %")["dreamer"].words == "not measured"


def test_compute_is_that_of_the_models() -> None:
    cells = row(spaces_table(evidence()), "parameters")
    models = {m.candidate.name: m.candidate.model for m in evidence().measured}
    assert cells["dreamer"].value == sum(p.numel() for p in models["dreamer"].parameters())
    compression = row(spaces_table(evidence()), "compression")["dreamer"]
    leaves = without_simulator().evidence.measured[0].speed.state_bytes
    assert compression.below == f"4 / {leaves:,} bytes"
    assert row(spaces_table(evidence()), "training updates")["tdmpc2"].value == 60
