"""`reverie play RUN` as a person types it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from reverie.cli import main
from reverie.envs import EnvConfig
from reverie.recipes.run import train
from tests.recipes.conftest import tiny


def test_wrong_words_are_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play"]) == 2
    assert "directory of a run" in capsys.readouterr().err
    assert main(["play", "--beside"]) == 2
    assert "directory of a run" in capsys.readouterr().err
    assert main(["play", str(tmp_path / "nothing")]) == 1
    assert "neither the directory of a run" in capsys.readouterr().err
    assert main(["play", str(tmp_path), "--port", "70000"]) == 1
    assert "no port 70000" in capsys.readouterr().err


def test_a_run_without_pictures_says_what_to_train(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny(tmp_path / "run")
    train(recipe)
    assert main(["play", str(recipe.run)]) == 1
    assert "--env.pixels" in capsys.readouterr().err


def test_a_port_in_use_a_short_token_and_an_open_host(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = EnvConfig("toy:pendulum", pixels=True, size=(64, 64), max_decisions=60)
    recipe = tiny(tmp_path / "run", env=env)
    train(recipe)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["play", str(recipe.run), "--port", port]) == 1
    assert "choose another --port" in capsys.readouterr().err.lower()
    words = ["play", str(recipe.run), "--port", "0", "--host", "0.0.0.0", "--token", "short"]
    assert main(words) == 1
    assert "16 or more" in capsys.readouterr().err
