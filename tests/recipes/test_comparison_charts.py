"""Every subject has its curve in one chart, and the data curves stand beside the simulator."""

from __future__ import annotations

import pytest

from reverie.core.spec import Space
from reverie.eval.datacurve import DataCurve
from reverie.eval.score import Curve
from reverie.recipes.comparison_charts import curve_bundles, horizon_bundles
from reverie.viz.comparison import BASELINE
from tests.recipes.test_comparison_tables import evidence, known


def test_every_subject_has_its_curve_in_one_chart() -> None:
    first, *rest = horizon_bundles(evidence())
    assert set(first.curves) == {"dreamer", "tdmpc2", BASELINE}
    assert first.curves["dreamer"].mean == pytest.approx([0.5 * k for k in range(1, 11)])
    assert first.x["dreamer"][-1] == pytest.approx(0.5)
    assert [(b.title, b.y_label) for b in rest] == [
        ("velocity", "RMSE [rad/s]"),
        ("reward", "RMSE [rad/s]"),
    ]


def test_pictures_are_drawn_in_decibel_and_who_shows_none_is_left_out() -> None:
    made, pixels = evidence(), known(0.01, ("image",))
    first, second = made.measured
    seeing = first.__class__(**{**vars(first), "errors": pixels})
    camera = made.ground._replace(sensors={"image": Space((1, 2, 2), dtype="uint8")}, deviation={})
    found = made._replace(measured=(seeing, second), repeating=pixels, ground=camera)
    (bundle,) = horizon_bundles(found)
    assert (bundle.title, bundle.y_label, bundle.higher) == ("image", "PSNR [dB]", True)
    assert set(bundle.curves) == {"dreamer", BASELINE}
    assert bundle.curves["dreamer"].mean[0] > bundle.curves["dreamer"].mean[-1]


def test_the_simulator_is_a_level_among_data_curves() -> None:
    made = evidence()
    first, second = made.measured
    exact = second.candidate._replace(name="simulator", kind="exact", loaded=None)
    second = second.__class__(**{**vars(second), "candidate": exact, "errors": known(0.0)})
    flat = Curve((0.5, 0.5), (0.4, 0.4), (0.6, 0.6))
    curves = {"dreamer": DataCurve((4, 8), flat)}
    (bundle,) = curve_bundles(made._replace(measured=(first, second), curves=curves))
    assert bundle.x == {"dreamer": (4.0, 8.0), "simulator": (4.0, 8.0)}
    assert bundle.curves["simulator"].mean == (0.0, 0.0)
    assert bundle.curves["dreamer"] == flat
    assert curve_bundles(made) == ()
