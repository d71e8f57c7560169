"""`reverie evaluate RUN` as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reverie.cli import main
from reverie.recipes.run import train
from tests.recipes.conftest import tiny


def test_it_answers_on_the_terminal_and_on_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny(tmp_path / "run")
    train(recipe)
    few = ["--policies", "3", "--episodes", "1", "--windows", "6", "--samples", "4"]
    words = ["evaluate", str(recipe.run), "--parts", "prediction", "control", "speed", *few]
    assert main([*words, "--observed", "10", "--horizon", "20"]) == 0
    text = capsys.readouterr().out
    assert "Does it obey the action?" in text
    assert text.strip().endswith("evaluation.html")
    assert (recipe.run / "results" / "quality.json").is_file()


def test_wrong_words_are_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate"]) == 2
    assert "directory of a run" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path)]) == 1
    assert "holds no checkpoint" in capsys.readouterr().err
