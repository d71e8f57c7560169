"""The commands about recorded episodes, as a person types them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from reverie.cli import main


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "pendulum"
    words = ["--env", "toy:pendulum", "--env.max-decisions", "40", "--episodes", "3"]
    assert main(["collect", str(out), *words, "--format", "store", "--policy", "scripted"]) == 0
    return out


def test_it_is_told_what_is_there(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "info", str(recorded)]) == 0
    text = capsys.readouterr().out
    assert "reverie store of toy:pendulum: 3 episodes, 123 rows" in text
    assert "velocity" in text
    assert main(["data", "info", str(recorded), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["episodes"], told["rows"], told["dt"]) == (3, 123, 0.05)


def test_every_entry_is_measured(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "stats", str(recorded), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["action"]["low"] == [-1.0]
    assert main(["data", "stats", str(recorded)]) == 0
    assert "orientation" in capsys.readouterr().out


def test_it_is_checked_viewed_and_converted(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(recorded)]) in (0, 1)
    assert "3 episodes, 123 rows" in capsys.readouterr().out
    assert main(["data", "view", str(recorded), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").stat().st_size > 5_000
    pytest.importorskip("pyarrow")
    assert (
        main(["data", "convert", str(recorded), str(tmp_path / "le"), "--format", "lerobot"]) == 0
    )
    capsys.readouterr()
    assert main(["data", "info", str(tmp_path / "le")]) == 0
    assert "lerobot v3.0 of toy:pendulum: 3 episodes, 123 rows" in capsys.readouterr().out


def test_wrong_words_are_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == 2
    assert main(["data", "burn", "x"]) == 2
    assert "no command `data burn`" in capsys.readouterr().err
    assert main(["data", "info", str(tmp_path / "nowhere")]) == 1
    assert "nothing is there" in capsys.readouterr().err


def test_a_missing_extra_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    words = ["--env", "toy:pendulum", "--env.max-decisions", "5", "--episodes", "1"]
    assert main(["collect", str(tmp_path / "a"), *words]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "reverie[data]" in line
