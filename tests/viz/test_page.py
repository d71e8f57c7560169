"""Pieces of the page say what they are given, and escape it."""

from pathlib import Path

from reverie.viz import page
from reverie.viz.charts import Chart, Line
from tests.viz.reading import Page

EVIL = '<script>alert("x")</script> & `a<b`'


def test_a_page_stands_alone() -> None:
    text = page.page(EVIL, ["<main><p>hello</p></main>"])
    found = Page(text)
    found.check_alone(text)
    assert "hello" in found.text
    assert "default-src 'none'" in text


def test_words_are_escaped_everywhere() -> None:
    chart = Chart(EVIL, EVIL, EVIL, (Line(EVIL, [0, 1], [1, 2]), Line("b", [0, 1], [2, 3])))
    parts = [
        page.section(EVIL, EVIL, page.note(EVIL)),
        f"<dl>{page.tile(EVIL, EVIL, EVIL)}</dl>",
        page.facts({EVIL: EVIL}),
        page.panel(EVIL, EVIL, chart),
        page.big(chart),
        page.details(EVIL, ""),
        page.table([EVIL], {EVIL: [[EVIL, page.Cell(EVIL, EVIL)]]}),
        page.picture(b"x", EVIL),
    ]
    found = Page("".join(parts))
    assert "script" not in {tag for tag, _, _ in found.attributes}
    assert found.text.count("alert") > 12


def test_code_is_set_as_code_and_empty_facts_are_left_out() -> None:
    assert "<code>apt install libegl1</code>" in page.text("Do `apt install libegl1`.")
    text = page.facts({"Command": "`reverie demo`", "Nothing": ""})
    assert '<dd class="code">reverie demo</dd>' in text
    assert "Nothing" not in text


def test_a_table_has_groups_intervals_and_a_best_entry() -> None:
    cells = [page.Cell("1", "0 to 2", best=True), page.Cell("3")]
    found = Page(page.table(["x", "1 s", "2 s"], {"error": [["model", *cells]]}))
    assert found.words == ["x", "1 s", "2 s", "error", "model", "1", "0 to 2", "3"]
    assert ("td", "class", "best") in found.attributes


def test_a_page_is_written_whole(tmp_path: Path) -> None:
    path = page.save("<p>one</p>", tmp_path / "a" / "page.html")
    assert path.read_text() == "<p>one</p>"
    assert page.save("two", path).read_text() == "two"
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]
