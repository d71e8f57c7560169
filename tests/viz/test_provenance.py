"""Where numbers come from is said, and nothing about who made them."""

import getpass
import platform
import socket
import subprocess
from pathlib import Path

import pytest
import torch

from reverie.viz import provenance as module
from reverie.viz.provenance import commit, cores, provenance


def test_versions_hardware_and_commit_are_named() -> None:
    found = provenance()
    assert f"torch {torch.__version__}" in found["Versions"]
    assert platform.python_version() in found["System"]
    assert str(cores()) in found["Processor"]
    assert all(found.values())


def test_nothing_tells_whose_machine_it_was() -> None:
    words = " ".join(provenance().values())
    for secret in (str(Path.home()), str(Path.cwd()), socket.gethostname()):
        assert len(secret) < 3 or secret not in words
    assert getpass.getuser() == "root" or getpass.getuser() not in words.split()


def test_the_commit_says_whether_the_tree_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "reverie" / "viz" / "provenance.py"
    source.parent.mkdir(parents=True)
    source.write_text("")
    monkeypatch.setattr(module, "__file__", str(source))
    assert commit() == "not a git checkout"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    assert len(commit()) == 12
    source.write_text("changed")
    assert commit().endswith("with changes that are not committed")
