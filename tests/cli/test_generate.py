"""`reverie generate RUN` as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reverie.cli import main
from reverie.recipes.run import train
from tests.recipes.conftest import tiny


def test_it_writes_a_dataset_that_the_other_commands_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(tiny(run))
    real, made = str(tmp_path / "real"), str(tmp_path / "made")
    recording = ["--out", real, "--env", "toy:pendulum", "--env.max-decisions", "30"]
    assert main(["collect", *recording, "--episodes", "2"]) == 0
    few = ["--episodes", "2", "--horizon", "10"]
    assert main(["generate", str(run), "--data", real, "--out", made, *few]) == 0
    assert "mean predicted return" in capsys.readouterr().out
    assert main(["data", "info", made]) == 0
    assert "of generated: dreamer world model" in capsys.readouterr().out
    assert main(["data", "check", made]) == 0


def test_wrong_words_are_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate"]) == 2
    assert "directory of a run" in capsys.readouterr().err
    assert main(["generate", str(tmp_path), "--out", str(tmp_path / "a")]) == 1
    assert "holds no checkpoint" in capsys.readouterr().err
