"""The page about an optimisation says its numbers and needs nothing from outside."""

import numpy as np

from reverie.viz.optimisation import OptimisationPage, html, write


def page(**changes):
    content = {
        "title": "push-3", "about": "To push a box.", "method": "gradient",
        "curve": ([100, 200, 300], [9.0, 4.0, 3.5]), "measure": "cost of the best plan",
        "idle": 9.5, "tiles": {"Done at the end": ("100 %", "of 1")},
        "config": {"rate": 0.1}, "facts": {"Commit": "abc"},
    }  # fmt: skip
    return OptimisationPage(**{**content, **changes})


def test_it_says_what_was_done_and_what_it_took(tmp_path):
    film = np.zeros((3, 32, 32, 3), np.uint8), 10.0
    text = write(page(film=film), tmp_path / "new" / "a.html").read_text()
    for words in ("push-3", "To push a box.", "100 %", "doing nothing", "&quot;rate&quot;: 0.1"):
        assert words in text
    assert "data:image/webp" in text and 'src="http' not in text
    assert "chart wide" in text and "chart narrow" in text  # for screens and for phones
    assert not list((tmp_path / "new").glob("*.part"))


def test_without_a_film_it_is_left_out():
    assert "What came of it" not in html(page())
