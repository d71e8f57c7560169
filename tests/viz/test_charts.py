"""A chart is read back from its SVG: what is drawn is where the data says."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from reverie.viz.charts import Chart, Level, Line, thin

SVG = "{http://www.w3.org/2000/svg}"


def parse(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(
        text.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    )


def scale(root: ElementTree.Element, axis: str, log: bool = False) -> tuple[float, float]:
    """Slope and intercept from pixel to data, from the ticks (all of them must agree)."""
    ticks = [t for t in root.iter(SVG + "text") if t.get(f"data-{axis}") is not None]
    pixels = np.array([float(t.get(axis, "")) - (4 if axis == "y" else 0) for t in ticks])
    values = np.array([float(t.get(f"data-{axis}", "")) for t in ticks])
    values = np.log10(values) if log else values
    assert len(ticks) >= 2
    slope, offset = np.polyfit(pixels, values, 1)
    np.testing.assert_allclose(slope * pixels + offset, values, atol=np.ptp(values) * 2e-3)
    return float(slope), float(offset)


def read(root: ElementTree.Element, label: str, log: bool = False) -> np.ndarray:
    """The points `[n, 2]` of a line in data coordinates."""
    paths = [p for p in root.iter(SVG + "path") if p.get("data-line") == label]
    points = np.array(
        [
            [float(v) for v in pair.split()]
            for path in paths
            for pair in re.split("[ML]", path.get("d", ""))[1:]
        ]
    )
    (a, b), (c, d) = scale(root, "x"), scale(root, "y", log)
    y = c * points[:, 1] + d
    return np.stack([a * points[:, 0] + b, 10**y if log else y], 1)


X = [0.0, 500.0, 1000.0, 2500.0, 4000.0]
Y = [3.0, -1.0, 12.5, 8.0, 9.0]


@pytest.mark.parametrize("size", [(720, 320), (340, 220)])
def test_a_line_stands_where_its_data_is(size: tuple[int, int]) -> None:
    chart = Chart("t", "frames", "return", (Line("policy", X, Y),))
    found = read(parse(chart.svg(*size)), "policy")
    np.testing.assert_allclose(found[:, 0], X, atol=4000 / 300)
    np.testing.assert_allclose(found[:, 1], Y, atol=14 / 140)


def test_a_log_axis_scales_by_ratios_and_skips_what_is_not_positive() -> None:
    y = [1e-3, 0.0, 0.1, 5.0, 100.0]
    chart = Chart("t", "x", "loss", (Line("a", X, y),), log=True)
    found = read(parse(chart.svg(720, 320)), "a", log=True)
    np.testing.assert_allclose(found[:, 1], [0.1, 5.0, 100.0], rtol=0.03)


def test_a_gap_interrupts_the_line() -> None:
    chart = Chart("t", "x", "y", (Line("a", X, [1, 2, math.nan, 4, 5]),))
    paths = [p for p in parse(chart.svg(400, 200)).iter(SVG + "path") if p.get("data-line") == "a"]
    assert len(paths) == 2


def test_a_band_lies_around_its_line() -> None:
    line = Line("a", X, Y, low=[v - 2 for v in Y], high=[v + 2 for v in Y])
    root = parse(Chart("t", "x", "y", (line,)).svg(720, 320))
    band = next(p for p in root.iter(SVG + "path") if "band" in p.get("class", ""))
    points = [float(pair.split()[1]) for pair in re.split("[ML]", band.get("d", "").strip("Z"))[1:]]
    c, d = scale(root, "y")
    edges = c * np.array(points) + d
    np.testing.assert_allclose(edges[:5], np.array(Y) + 2, atol=0.1)
    np.testing.assert_allclose(edges[5:][::-1], np.array(Y) - 2, atol=0.1)


def test_a_reference_level_stands_at_its_value_with_its_name() -> None:
    chart = Chart("t", "x", "y", (Line("a", X, Y),), levels=(Level("random 5", 5.0, 4.0, 6.0),))
    root = parse(chart.svg(720, 320))
    level = next(e for e in root.iter(SVG + "line") if "level" in e.get("class", ""))
    c, d = scale(root, "y")
    assert c * float(level.get("y1", "")) + d == pytest.approx(5, abs=0.1)
    assert "random 5" in [t.text for t in root.iter(SVG + "text")]


def test_what_exceeds_the_top_does_not_flatten_the_rest() -> None:
    lines = (Line("good", X, Y), Line("bad", X, [10.0**k for k in range(5)]))
    root = parse(Chart("t", "x", "y", lines, top=15).svg(720, 320))
    found = read(root, "good")
    np.testing.assert_allclose(found[:, 1], Y, atol=0.15)
    inner = next(e for e in root.iter(SVG + "svg") if e is not root)
    assert float(inner.get("y", "")) > 0  # what is above is cut off by the inner picture


def test_the_pointer_is_told_the_values() -> None:
    chart = Chart("t", "time [s]", "y", (Line("policy <1>", X, Y), Line("other", X, Y[::-1])))
    titles = [t.text for t in parse(chart.svg(720, 320)).iter(SVG + "title")]
    assert len(titles) == 5
    assert titles[2] == "time [s]: 1,000\npolicy <1>: 12.5\nother: 12.5"


def test_the_legend_names_lines_only_where_there_are_several() -> None:
    one = Chart("t", "x", "y", (Line("a", X, Y),))
    two = Chart("t", "x", "y", (Line("a<b", X, Y), Line("c", X, Y, style="dots")))
    assert one.legend() == ""
    assert "a&lt;b" in two.legend()


def test_long_series_are_thinned_without_moving_them() -> None:
    x = np.arange(1000.0)
    a, b = thin(x.tolist(), (2 * x + 1).tolist(), 100)
    assert len(a) == 100
    np.testing.assert_allclose(b, 2 * np.array(a) + 1)
    assert thin([1, 2, 3], [1, math.nan, 3]) == ([1, 3], [1, 3])
    assert thin([], []) == ([], [])


def test_empty_and_single_charts_are_drawn() -> None:
    for line in (Line("a", [], []), Line("a", [1.0], [2.0]), Line("a", [1, 2], [math.nan] * 2)):
        root = parse(Chart("t", "x", "y", (line,)).svg(300, 200))
        assert any(t.get("data-x") for t in root.iter(SVG + "text"))


def test_parts_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        Line("a", [1.0], [1.0, 2.0])
