"""Who is let in."""

from __future__ import annotations

import socket

import pytest

from reverie.serve.access import Access, same

TOKEN = "a-token-of-24-letters---"


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8090", None),
        ("localhost:8090", "http://localhost:8090"),
        ("LOCALHOST", "http://localhost"),
        ("[::1]:9", "http://[::1]:9"),
        ("127.0.0.2:80", None),
    ],
)
def test_loopback_lets_its_own_pages_in(host: str, origin: str | None) -> None:
    assert Access().refusal(host, origin, "") == ""


@pytest.mark.parametrize(
    ("host", "origin", "words"),
    [
        ("evil.example:8090", None, "not called"),  # a name that was bent to this machine
        ("evil.example:8090", "http://evil.example:8090", "not called"),
        ("localhost.evil.example", None, "not called"),
        ("", None, "not called"),
        ("10.0.0.5:8090", None, "not called"),
        ("127.0.0.1:8090", "http://evil.example", "may not ask"),
        ("127.0.0.1:8090", "http://127.0.0.1:3000", "may not ask"),  # another server here
        ("127.0.0.1:8090", "null", "may not ask"),
    ],
)
def test_others_are_refused_with_words(host: str, origin: str | None, words: str) -> None:
    assert words in Access().refusal(host, origin, "")


def test_beyond_loopback_a_token_is_needed() -> None:
    with pytest.raises(ValueError, match="lets the network in"):
        Access("0.0.0.0")
    with pytest.raises(ValueError, match="16 or more"):
        Access("0.0.0.0", "short")
    access = Access("0.0.0.0", TOKEN)
    assert access.refusal("10.0.0.5:8090", None, TOKEN) == ""
    assert access.refusal(f"{socket.gethostname()}:8090", None, TOKEN) == ""
    assert "token" in access.refusal("10.0.0.5:8090", None, "")
    assert "token" in access.refusal("127.0.0.1:8090", None, TOKEN[:-1])
    assert "not called" in access.refusal("evil.example:8090", None, TOKEN)


def test_a_token_that_is_given_counts_on_loopback_too() -> None:
    assert "token" in Access(token=TOKEN).refusal("localhost:1", None, "")
    assert Access(token=TOKEN).refusal("localhost:1", None, TOKEN) == ""


def test_the_token_is_not_shown() -> None:
    assert TOKEN not in repr(Access(token=TOKEN))


def test_tokens_of_any_letters_compare() -> None:
    assert same("grün", "grün")
    assert not same("\ud800", "grün")
