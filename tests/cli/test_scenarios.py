"""The commands about scenarios, as they are typed."""

import json

import pytest

from reverie.cli import main


def test_new_show_export(tmp_path, capsys):
    out = tmp_path / "reach.json"
    assert main(["scenario", "new", "reach", "--seed", "4", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["seed"] == 4
    assert main(["scenario", "show", str(out), "--out", str(tmp_path), "--size", "32"]) == 0
    assert (tmp_path / "reach-4.png").is_file()
    assert main(["scenario", "export", str(out), "--out", str(tmp_path / "x")]) == 0
    said = capsys.readouterr().out
    assert "reach.json" in said and "start.obj" in said


def test_list_names_every_kind(capsys):
    from reverie.models.physics.scenarios import KINDS

    assert main(["scenario", "list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in KINDS)


def test_optimise(tmp_path, capsys):
    words = ["optimise", "reach-3", "--iterations", "2", "--block", "10", "--size", "0"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "of doing nothing" in said and (tmp_path / "gradient.html").is_file()


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["scenario"], "scenario needs one of new, show, list", 2),
        (["scenario", "draw"], "got 'draw'", 2),
        (["scenario", "new", "fly"], "no kind of scenario 'fly'", 1),
        (["scenario", "show", "missing.json"], "missing.json", 1),
        (["optimise", "fly-2"], "no kind of scenario 'fly'", 1),
    ],
)
def test_what_is_wrong_is_said(words, said, code, capsys):
    assert main(words) == code
    assert said in capsys.readouterr().err
