"""Many pages on one model: who drives, who is refused, and that none holds up the others."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bench.play import CLIENT
from tests.serve.served import Player, Server


def test_the_first_drives_the_others_watch_and_the_next_takes_over(server: Server) -> None:
    with Player(server) as one:
        assert one.told("role") == {"kind": "role", "drives": True, "before": 0}
        with Player(server) as other:
            assert other.told("role") == {"kind": "role", "drives": False, "before": 1}
            other.send(kind="reset", seed=99)
            assert "Another page drives" in other.told("refused")["words"]
            other.send(kind="act", action=[-1.0], id=5)
            one.send(kind="act", action=[0.5], id=6)
            head = other.until(lambda head: head["heard"] == 6 and head["action"] == [0.5])
            assert head["watching"] == 2
            one.close()
            assert other.told("role")["drives"]
            other.until(lambda head: head["action"] == [0.0])  # nobody holds a key any more
            other.send(kind="act", action=[-1.0], id=7)
            other.until(lambda head: head["action"] == [-1.0])


def test_frames_arrive_at_the_models_rate_and_change(server: Server) -> None:
    with Player(server) as player:
        player.send(kind="reset", seed=1)
        player.until(lambda head: head["seed"] == 1)
        player.send(kind="act", action=[1.0], id=1)
        player.until(lambda head: head["decisions"] > 5)
        before = player.pictures
        heads = player.watch(1.5)
        assert set(player.pictures) == {"model", "real"}
        assert player.pictures["real"] != before["real"]
        assert player.pictures["model"] != before["model"]
        decisions = [head["decisions"] for head in heads]
        assert 12 <= decisions[-1] - decisions[0] <= 38  # 20 Hz for 1.5 s, where others compute too
        assert all(0 < head["distance"] < 1 for head in heads if not head["over"])
        assert heads[0]["psnr"] == pytest.approx(-20 * np.log10(heads[0]["distance"]))


def test_bad_messages_are_answered_and_do_no_harm(server: Server) -> None:
    bad = {
        "not json": "no JSON",
        '{"kind": "act", "action": [NaN]}': "holds NaN",
        '{"kind": "act", "action": [1, 2]}': "list of 1 numbers",
        '{"kind": "tell", "text": "go"}': "reads no text",
        '{"kind": "record", "film": "/etc/x"}': "no film",
    }
    with Player(server) as player:
        for raw, words in bad.items():
            player.socket.send(raw)
            assert words in player.told("refused")["words"]
        player.socket.send(b"\x00\x01")
        assert "binary" in player.told("refused")["words"]
        now = player.until(lambda head: True)["decisions"]
        player.until(lambda head: head["decisions"] > now + 3)


def test_a_message_that_is_too_large_is_refused_with_words(server: Server) -> None:
    with Player(server) as player:
        player.send(kind="tell", text="x" * 100_000)
        assert "larger than 65536 bytes" in player.told("refused")["words"]
        player.until(lambda head: True)


def test_50_megabytes_are_not_even_read(server: Server) -> None:
    with Player(server) as watcher:
        before = server.megabytes
        with watcher.answering():
            announced = Player(server)  # of a message, only how long it is
            announced.socket.socket.sendall(b"\x81\xff" + struct.pack(">Q", 50_000_000) + b"mask")
            with pytest.raises(ConnectionClosed, match=r"1009 .*exceeds limit of 1048576 bytes"):
                announced.watch(5)
            whole = Player(server)
            with pytest.raises(ConnectionClosed):
                whole.socket.send("x" * 50_000_000)
                whole.watch(5)
        now = watcher.until(lambda head: True)["decisions"]
        watcher.until(lambda head: head["decisions"] > now + 3)
        assert server.megabytes < before + 25


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null"])
def test_pages_of_others_get_no_socket(server: Server, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        Player(server, Origin=origin)
    assert refused.value.response.status_code == 403
    assert b"may not ask" in refused.value.response.body


def test_a_name_that_was_bent_to_this_machine_gets_no_socket(server: Server) -> None:
    asked = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    host = f"evil.example:{server.port}"
    own = {"Host": host, "Origin": f"http://{host}"}  # to the browser it is one site
    asked.request("GET", "/play", headers={**upgrade, **key, **own})
    answer = asked.getresponse()
    assert answer.status == 403
    assert b"not called" in answer.read()
    asked.close()


def test_a_stalled_page_is_let_go_and_a_killed_one_forgotten(server: Server) -> None:
    with Player(server) as player:
        command = [sys.executable, "-c", CLIENT, str(server.port)]
        others = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(2)]
        try:
            player.until(lambda head: head["watching"] == 3)
            os.kill(others[0].pid, signal.SIGSTOP)
            others[1].kill()
            heads = player.watch(1.0)
            assert heads[-1]["decisions"] - heads[0]["decisions"] >= 8
            player.until(lambda head: head["watching"] == 1)
        finally:
            for other in others:
                other.kill()
                other.wait()


def test_a_driver_that_stalls_hands_over(server: Server) -> None:
    silent = Player(server)
    silent.read()  # and answers nothing from now on
    with Player(server) as player:
        assert not player.told("role")["drives"]
        begun = time.monotonic()
        assert player.told("role")["drives"]
        assert 0.5 < time.monotonic() - begun < 10
    with pytest.raises(ConnectionClosed, match=r"Nothing was heard of this page for 3 s"):
        while True:
            silent.socket.recv(timeout=5)


def test_half_a_request_holds_nobody_up(server: Server) -> None:
    half = socket.create_connection(("127.0.0.1", server.port))
    half.sendall(b"GET /play HTTP/1.1\r\nHost: 127")
    with Player(server) as player:
        assert len(player.watch(0.5)) >= 3
    half.close()
