"""Ctrl-C in a process of its own."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from reverie.learn.interrupt import Interrupt

PROGRAM = """
import signal, sys, time
from reverie.learn.interrupt import Interrupt
before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in a shell's background
with Interrupt() as interrupt:
    print("ready", flush=True)
    while interrupt.asked is None:
        time.sleep(0.01)
    print(interrupt.asked, flush=True)
    if sys.argv[1] == "slow":
        time.sleep(60)
print(signal.getsignal(signal.SIGINT) is before, flush=True)
"""


def start(how):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks(number):
    with start("quick") as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert out.split() == [number.name, "True"]
    assert "once more stops at once" in err
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_one_kills(number):
    with start("slow") as process:
        process.stdout.readline()
        process.send_signal(number)
        assert process.stdout.readline() == f"{number.name}\n"
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == -number


def test_other_threads_leave_signals_alone():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with Interrupt() as interrupt:
            seen.extend([signal.getsignal(signal.SIGINT), interrupt.asked])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before, None]
