import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reverie.learn.directory import RunDirectory, RunLockedError

HOLDER = """
import os, sys, time
from reverie.learn.directory import RunDirectory
with RunDirectory(sys.argv[1]):
    child = os.fork()  # a worker that outlives its parent must not hold the lock
    if child == 0:
        os.close(1)
        time.sleep(20)
        os._exit(0)
    print(child, flush=True)
    time.sleep(20)
"""


def test_a_second_process_is_kept_out_and_a_killed_one_locks_nothing(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
    )
    worker = int(holder.stdout.readline())
    try:
        with pytest.raises(RunLockedError, match=f"another process .pid {holder.pid} on "):
            RunDirectory(tmp_path / "run").__enter__()
        holder.kill()
        holder.wait()
        with RunDirectory(tmp_path / "run") as place:
            assert place.is_locked
        assert not place.is_locked
    finally:
        holder.kill()
        holder.stdout.close()
        holder.wait()
        os.kill(worker, signal.SIGKILL)


def test_one_process_cannot_use_a_directory_twice(tmp_path):
    with (
        RunDirectory(tmp_path / "run"),
        pytest.raises(RunLockedError, match="already in use by this process"),
        RunDirectory(tmp_path / "other" / ".." / "run"),
    ):
        pass
    with RunDirectory(tmp_path / "run"):
        pass
