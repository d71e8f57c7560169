"""The command line: what a person types, what comes back, and how wrong input is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reverie.cli import main

TINY = [
    "--size",
    "custom",
    "--model.units",
    "8",
    "--model.cell.deter",
    "16",
    "--model.cell.hidden",
    "8",
    "--model.cell.blocks",
    "4",
    "--model.latent.variables",
    "4",
    "--model.latent.classes",
    "4",
    "--behaviour.units",
    "8",
    "--behaviour.horizon",
    "3",
    "--behaviour.starts",
    "2",
    "--replay.batch",
    "2",
    "--replay.length",
    "8",
    "--training.train-ratio",
    "2",
    "--training.prefill.decisions",
    "80",
    "--training.log.progress",
    "plain",
]


def train(run: Path, *more: str, env: str = "toy:pendulum") -> list[str]:
    return ["train", "dreamer", "--env", env, "--run", str(run), *TINY, *more]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("cli") / "a"
    more = ("--training.frames", "200", "--env.max-decisions", "50")
    assert main(train(run, *more)) == 0
    return run


def test_training_leaves_a_log_and_a_checkpoint(run: Path) -> None:
    kinds = {json.loads(line)["kind"] for line in (run / "log.jsonl").read_text().splitlines()}
    assert "episode" in kinds
    assert any((run / "checkpoints").iterdir())


def test_eval_prints_both_policies(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["returns", str(run), "--episodes", "2"]) == 0
    said = capsys.readouterr().out
    assert "learned" in said
    assert "random" in said


def test_imagine_prints_errors_and_writes_a_film(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("PIL")
    film = run / "film.gif"
    arguments = ["imagine", str(run), "--horizon", "10", "--episodes", "2", "--film", str(film)]
    assert main(arguments) == 0
    assert "repeat the last" in capsys.readouterr().out
    assert film.read_bytes().startswith(b"GIF8")
    assert main([*arguments, "--steps", "2"]) == 1
    assert "does not denoise" in capsys.readouterr().err


def test_report_prints_the_path_of_the_page(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = run / "page.html"
    assert main(["report", str(run), "--out", str(page), "--episodes", "2"]) == 0
    assert str(page) in capsys.readouterr().out
    assert page.stat().st_size > 10_000


def test_imagine_and_report_take_recorded_episodes(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("PIL")
    data, film, page = str(run / "recorded"), run / "recorded.gif", run / "recorded.html"
    recording = ["--out", data, "--env", "toy:pendulum", "--env.max-decisions", "40"]
    assert main(["collect", *recording, "--episodes", "2"]) == 0
    watching = ["--observed", "5", "--horizon", "10", "--film", str(film)]
    assert main(["imagine", str(run), "--data", data, *watching]) == 0
    assert "repeat the last" in capsys.readouterr().out
    assert film.read_bytes().startswith(b"GIF8")
    assert main(["report", str(run), "--data", data, "--out", str(page)]) == 0
    assert "no return was earned" in page.read_text()


def test_envs_and_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envs"]) == 0
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert "toy:pendulum" in said
    assert "dreamer" in said
    assert "oracle" in said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["tran"], 2, "no command 'tran'"),
        (["train"], 2, "needs a model family"),
        (["train", "dremer"], 1, "No model family is called 'dremer'"),
        (["train", "oracle"], 1, "family 'oracle' is not trained"),
        (["train", "dreamer", "--env", "toy:pendulm"], 1, "did you mean toy:pendulum"),
        (["returns", "nowhere"], 1, "holds no checkpoint"),
        (["report", "nowhere"], 1, "holds no checkpoint"),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "option", [["--sizee", "1m"], ["--size", "2m"], ["--training.frames", "many"]]
)
def test_unknown_and_impossible_options_stop_before_anything_starts(
    option: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "dreamer", "--env", "toy:pendulum", *option])
    assert stopped.value.code == 2
    assert not list(tmp_path.iterdir())


def test_a_value_out_of_range_names_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "dreamer", "--behaviour.gradient", "guess"])
    assert "guess" in capsys.readouterr().err


def test_sigterm_saves_and_the_same_command_resumes(tmp_path: Path) -> None:
    """A second process, stopped as a cluster would stop it."""
    command = [sys.executable, "-m", "reverie.cli", *train(tmp_path / "b")]
    endless = [*command, "--training.frames", "1000000"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(endless, env=env, stderr=subprocess.PIPE, text=True) as process:
        log = tmp_path / "b" / "log.jsonl"
        for _ in range(600):
            if log.exists() and '"episode"' in log.read_text():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Run the same command again" in said
    frames = json.loads(log.read_text().splitlines()[-1])["frames"]
    more = [*command, "--training.frames", str(frames + 20)]
    done = subprocess.run(more, env=env, capture_output=True, text=True, timeout=120, check=True)
    assert "Resumed from" in done.stderr
