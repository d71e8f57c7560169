"""`reverie compare`, as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from reverie.cli.compare import compare
from reverie.recipes.comparison_learning import StoppedError
from tests.recipes.compared import pendulums

QUICK = ["--observed", "5", "--horizon", "8", "--policies", "4", "--planned", "0"]


def test_both_tables_and_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(path) for path in pendulums()]
    assert compare([*runs, *QUICK, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "Latent against pixel space" in said and "Learnt against differentiable" in said
    assert "dreamer" in said and "tdmpc2" in said and "[sd]" in said
    assert "There is no exact simulator" in said
    assert said.rstrip().endswith(str(tmp_path / "comparison.html"))
    assert (tmp_path / "comparison.json").is_file()


def test_without_runs_it_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(["--planned", "0"]) == 2
    assert "reverie compare RUN_A RUN_B" in capsys.readouterr().err


def test_help_lists_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        compare(["--help"])
    assert left.value.code == 0 and "--curve" in capsys.readouterr().out


def test_a_stopped_fit_goes_on_later(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*given: object) -> None:
        raise StoppedError("run the same command again to go on")

    monkeypatch.setattr("reverie.recipes.comparison.compare", stopped)
    assert compare(["runs/a"]) == 130
    assert "the same command" in capsys.readouterr().out
