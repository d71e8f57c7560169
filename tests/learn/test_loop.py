"""Killed with SIGKILL at any moment and resumed: bitwise the run that was not killed."""

import subprocess
import sys
from pathlib import Path

from reverie.data import EpisodeStore
from reverie.learn.log import read
from tests.learn.tiny import Quiet, tiny_run

ROOT = Path(__file__).parents[2]


def curve(path):
    lines = [line for line in read(path / "log.jsonl") if line["kind"] != "note"]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_killed_at_random_moments(tmp_path):
    command = [sys.executable, "-m", "tests.learn.tiny", "--run", str(tmp_path / "killed")]
    command += ["--frames", "320", "--kills", "1", "--share", "0.6"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = tiny_run(tmp_path / "whole", Quiet(frames=320, evaluate=150))
    assert int(done.stdout) >= 2  # it was killed as often
    assert len(read(tmp_path / "whole" / "log.jsonl", "fit")) == result.counters.updates > 40
    assert len(read(tmp_path / "whole" / "log.jsonl", "evaluate")) == 2
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    killed, whole = (EpisodeStore.open(tmp_path / k / "episodes") for k in ("killed", "whole"))
    ours, theirs = ({e.name: e for e in s.episodes() if e.complete} for s in (killed, whole))
    assert ours == theirs
    for name in theirs:
        a, b = killed.read(name), whole.read(name)
        assert all(a[key].tobytes() == b[key].tobytes() for key in b)
