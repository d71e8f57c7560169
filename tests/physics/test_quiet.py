import os
import subprocess
import sys

import pytest

from reverie.physics.quiet import quiet


def test_what_is_written_within_is_dropped_and_after_it_is_not(capfd):
    with quiet():
        os.write(2, b"within")
    with quiet(False):
        os.write(2, b"loud ")
    os.write(2, b"after")
    assert capfd.readouterr().err == "loud after"


def test_an_error_leaves_it_as_it_was(capfd):
    with pytest.raises(ValueError, match="given"), quiet():
        raise ValueError("given")
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_warp_begins_without_a_word():
    pytest.importorskip("warp")
    code = "from reverie.physics.loading import installed; assert installed()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "" and done.stderr == ""
