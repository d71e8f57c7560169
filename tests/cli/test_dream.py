"""`reverie dream RUN` as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reverie.cli import main
from reverie.recipes.run import train
from tests.recipes.conftest import tiny


def test_it_trains_judges_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(tiny(run))
    small = ["--behaviour.horizon", "3", "--behaviour.starts", "2", "--behaviour.units", "8"]
    budget = ["--training.updates", "3", "--judged", "2"]
    assert main(["dream", str(run), *small, *budget]) == 0
    text = capsys.readouterr().out
    assert "learnt in the model" in text and "random" in text
    assert text.strip().endswith(str(run / "dream"))


def test_wrong_words_are_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dream"]) == 2
    assert "directory of a run" in capsys.readouterr().err
    assert main(["dream", str(tmp_path)]) == 1
    assert "holds no checkpoint" in capsys.readouterr().err
