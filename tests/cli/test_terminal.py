import os
import subprocess
import sys

import pytest

from reverie import cli
from reverie.cli.terminal import Nothing, console, parse, table, wrong


def test_words_stand_left_and_numbers_right():
    made = table("task", "about", "return", words=2)
    assert [c.justify for c in made.columns] == ["left", "left", "right"]


def test_what_is_wrong_goes_to_the_standard_error(capsys):
    assert wrong("no such thing") == 2
    kept = capsys.readouterr()
    assert kept.err == "reverie: no such thing\n" and kept.out == ""


def test_a_command_without_options_takes_none():
    assert parse(Nothing, "envs", []) == Nothing()


def test_long_lines_stay_whole(capsys):
    console().print("x" * 300)
    assert "x" * 300 in capsys.readouterr().out


@pytest.mark.parametrize("command", [["--help"], ["envs"], ["collect", "--help"]])
def test_nothing_is_said_to_a_reader_who_has_left(command):
    read, write = os.pipe()
    os.close(read)
    argv = [sys.executable, "-m", "reverie.cli", *command]
    done = subprocess.run(argv, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 1 and done.stderr == ""


def test_a_pipe_to_somebody_else_that_breaks_is_told(monkeypatch, capsys):
    def broken(argv):
        raise BrokenPipeError("the film's encoder has stopped")

    monkeypatch.setitem(cli._COMMANDS, "envs", broken)
    assert cli.main(["envs"]) == 1
    assert capsys.readouterr().err == "reverie envs: the film's encoder has stopped\n"
