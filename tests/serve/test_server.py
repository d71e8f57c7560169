"""Where it listens, and what it says where it cannot."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from bench.play import measure
from reverie.serve.server import ServerConfig, address, listening
from tests.serve.served import Player, serving


def test_a_port_in_use_is_said_with_what_to_do() -> None:
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"port {port}: .*another --port"):
            listening("127.0.0.1", port)


def test_the_address_is_what_a_browser_takes() -> None:
    with listening("127.0.0.1", 0) as place:
        port = place.getsockname()[1]
        assert address(place, "127.0.0.1", "") == f"http://127.0.0.1:{port}/"
        assert address(place, "::1", "t") == f"http://[::1]:{port}/?token=t"
        name = socket.gethostname()
        assert address(place, "0.0.0.0", "t") == f"http://{name}:{port}/?token=t"


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="no port 70000"):
        ServerConfig(port=70000)
    with pytest.raises(ValueError, match="must be positive"):
        ServerConfig(patience=0)


def test_it_ends_when_interrupted_and_keeps_what_was_recorded(run: Path) -> None:
    with serving(run) as made:
        with Player(made) as player:
            player.send(kind="record", film="mp4", data=True)
            name = player.until(lambda head: head["recording"])["recording"]["name"]
            player.until(lambda head: head["recording"]["frames"] > 5)
            made.process.send_signal(signal.SIGINT)
            assert made.process.wait(15) == 0
        assert (run / "play" / f"{name}.mp4").is_file()
        assert not list((run / "play").glob("*.part*"))
        assert made.process.stdout is not None
        assert "Traceback" not in made.process.stdout.read()


def test_five_pages_one_stalled_one_killed_and_the_others_go_on(run: Path) -> None:
    found = measure(run, 5.0, patience=1.5)
    assert found["pages_together"] == 5
    assert found["pages_at_the_end"] == 3
    assert not found["crashed"]
    for page in found["pages"]:
        assert not page["problem"]
        assert page["rate"] > 8  # of 20, on a machine that may be busy
    assert found["megabytes_most"] < found["megabytes_begin"] + 40
