"""Sections of an evaluation's page: the numbers that were measured stand on it."""

from __future__ import annotations

import pytest
import torch

from reverie.eval.conformal import conformal
from reverie.eval.detection import detect
from reverie.eval.quality import Quality
from reverie.eval.ranking import ranking
from reverie.eval.returns import summarise
from reverie.eval.usefulness import usefulness
from reverie.viz import measures
from reverie.viz.ticks import amount
from tests.eval.known import Known, System, record
from tests.eval.test_quality import AHEAD, measured
from tests.viz.reading import Page


@pytest.fixture(scope="module")
def quality() -> Quality:
    return measured(Known(System()))


def read(section: str) -> str:
    return " ".join(Page(f"<main>{section}</main>").words)


def test_control_has_a_chart_for_each_sensor(quality: Quality) -> None:
    section = measures.control(quality)
    assert quality.controllability is not None
    assert section.count('<svg class="chart') == len(quality.controllability.sensors)
    assert f"obeys: {amount(quality.controllability.sensors[0].verdict.value, 2)}" in read(section)


def test_calibration_has_two_and_the_bands(quality: Quality) -> None:
    bands = conformal(Known(System()), record(System(), episodes=48, rows=11), **AHEAD)
    assert quality.calibration is not None
    section = measures.calibration(quality.calibration, bands)
    assert section.count('<svg class="chart') == 2 * len(quality.calibration.sensors)
    assert "with probability 90%" in read(section)


def test_changed_robots_are_in_a_table(quality: Quality) -> None:
    found = detect(torch.arange(10.0), torch.arange(10.0) + 20)
    words = read(measures.unsure(Quality(detections={"all bodies twice as heavy": found})))
    assert "all bodies twice as heavy" in words
    assert "detects" in words
    assert measures.unsure(Quality()) == ""


def test_policies_are_points_and_agreement_is_told() -> None:
    scores = {f"p{k}": [float(k), k + 0.5] for k in range(6)}
    found = usefulness(
        random=summarise([0.0, 1.0, 2.0]),
        policy=summarise([5.0, 6.0, 7.0]),
        ranking=ranking(scores, scores),
    )
    words = read(measures.use(found))
    assert "spearman" in words
    assert "the run's own agent" in words
    assert "6 policies" in words


def test_speed_says_what_it_allows(quality: Quality) -> None:
    assert quality.speed is not None
    words = read(measures.speed(quality.speed))
    assert "step, batch 1" in words
    assert "times real time" in words
