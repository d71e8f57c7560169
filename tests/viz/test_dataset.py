"""The page of a dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reverie.data.check import check
from reverie.data.statistics import measure
from reverie.viz.dataset import write
from tests.data.memory import clean


def test_it_shows_what_is_there_and_stands_alone(tmp_path: Path) -> None:
    dataset = clean(tasks=[f"task {k}" for k in range(8)])
    path = write(dataset, tmp_path / "a" / "page.html", "2", measure(dataset), check(dataset))
    text = path.read_text()
    assert "Nothing wrong was found." in text
    assert "Episode 2, front" in text
    assert "image/webp;base64" in text
    assert "task 0; task 1; task 2; task 3 ..." in text
    assert text.count("<svg") >= 3
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_what_is_wrong_stands_on_it(tmp_path: Path) -> None:
    dataset = clean()
    dataset.rows[3]["state"][5, 1] = np.nan
    text = write(dataset, tmp_path / "page.html", report=check(dataset)).read_text()
    assert "1 errors" in text
    assert "episode 3" in text


def test_an_episode_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no episode '99'; it has 0, 1, 2"):
        write(clean(), tmp_path / "page.html", "99")
    assert not (tmp_path / "page.html").exists()
