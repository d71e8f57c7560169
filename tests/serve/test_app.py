"""What is answered over HTTP by the real server."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from reverie.serve.app import film_path
from tests.serve.served import Player, Server, serving


def get(server: Server, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    asked = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    asked.request("GET", path, headers=headers)
    answer = asked.getresponse()
    read = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    asked.close()
    return read


def test_the_page_comes_with_a_policy_that_forbids_others(server: Server) -> None:
    status, headers, body = get(server, "/")
    assert status == 200
    assert b"<canvas" in body
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert f"connect-src 'self' ws://127.0.0.1:{server.port}" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_names_that_were_bent_to_this_machine_get_nothing(server: Server) -> None:
    status, _, body = get(server, "/", Host="evil.example")
    assert status == 403
    assert b"not called" in body
    assert get(server, "/recordings/x", Host="evil.example")[0] == 403
    assert get(server, "/", Origin="http://evil.example")[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "/recordings/../config.json",
        "/recordings/..%2fconfig.json",
        "/recordings/%2e%2e/%2e%2e/config.json",
        "/recordings//etc/passwd",
        "/recordings/20260101-000000-1.mp4",
        "/recordings/dataset/meta/info.json",
        "/recordings/",
        "/config.json",
        "/play",
        "/%00",
    ],
)
def test_nothing_else_is_given_out(server: Server, path: str) -> None:
    assert get(server, path)[0] in (403, 404)


def test_a_film_is_recorded_and_downloaded(server: Server, run: Path) -> None:
    with Player(server) as player:
        player.send(kind="record", film="mp4", data=False)
        player.until(lambda head: head["recording"] and head["recording"]["frames"] > 5)
        player.send(kind="stop")
        name = player.until(lambda head: head["saved"])["saved"][-1]
    status, headers, body = get(server, f"/recordings/{name}")
    assert status == 200
    assert headers["content-type"] == "video/mp4"
    assert body == (run / "play" / name).read_bytes()


def test_a_name_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "play", tmp_path / "secret.mp4"
    inside.mkdir()
    outside.write_text("secret")
    (inside / "20260101-000000-1.mp4").write_text("film")
    (inside / "20260101-000000-2.mp4").symlink_to(outside)
    assert film_path(inside, "20260101-000000-1.mp4") == inside / "20260101-000000-1.mp4"
    assert film_path(inside, "20260101-000000-2.mp4") is None
    assert film_path(inside, "../secret.mp4") is None
    assert film_path(inside, "20260101-000000-1.mp4\n") is None


def test_beyond_loopback_the_token_opens(run: Path) -> None:
    with serving(run, "--host", "0.0.0.0") as made:
        token = made.address.partition("?token=")[2]
        assert len(token) >= 16
        assert get(made, "/")[0] == 403
        assert get(made, "/?token=" + token[:-1] + "~")[0] == 403
        assert get(made, f"/?token={token}")[0] == 200
        assert get(made, "/", Authorization=f"Bearer {token}")[0] == 200
        with Player(made, f"?token={token}") as player:
            player.until(lambda head: head["decisions"] > 1)
