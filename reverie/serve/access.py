"""Who may ask: the host that was addressed, the page that asks, and the token.

* A page of another site that the browser also has open can send requests to this machine. Its
  `Origin` gives it away.
* A name that first leads elsewhere and then to this machine (DNS rebinding) makes such a page look
  like ours. The `Host` gives it away: it is that name, and not ours.
* Beyond loopback everybody in the network can ask, so a token is needed.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from dataclasses import dataclass, field

LOOPBACK = ("localhost", "127.0.0.1", "::1")
SHORTEST = 16
"""Letters of a token."""


@dataclass(frozen=True)
class Access:
    """What is let in."""

    host: str = "127.0.0.1"
    """Whom the server listens to."""
    token: str = field(default="", repr=False)
    """What a request must bring; empty: nothing, which only loopback may."""

    def __post_init__(self) -> None:
        if not self.token and not is_loopback(self.host):
            raise ValueError(
                f"Listening at {self.host} lets the network in: give a token of {SHORTEST} or more "
                "letters, or listen at 127.0.0.1."
            )
        if self.token and len(self.token) < SHORTEST:
            raise ValueError(
                f"The token has {len(self.token)} letters; give {SHORTEST} or more, for example "
                "from `python -c 'import secrets; print(secrets.token_urlsafe())'`."
            )

    def refusal(self, host: str, origin: str | None, token: str) -> str:
        """Why a request is not answered; empty where it is.

        Args:
            host: its header `Host`.
            origin: its header `Origin`, if it has one.
            token: what it brought.
        """
        name = _name(host)
        if not self._is_ours(name):
            return (
                f"This server is not called {name[:80]!r}. Ask for it by its address, or by "
                "localhost."
            )
        if origin is not None and origin.lower().partition("://")[2] != host.lower():
            return f"Pages of {origin[:80]!r} may not ask this server."
        if self.token and not same(token, self.token):
            return "The token is missing or wrong; open the address that the terminal shows."
        return ""

    def _is_ours(self, name: str) -> bool:
        if name in LOOPBACK:
            return True
        if is_loopback(self.host):
            return is_loopback(name)
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in {self.host.lower(), socket.gethostname().lower()}
        return True


def same(given: str, expected: str) -> bool:
    """Whether two tokens are equal, in a time that does not tell how many letters are right."""
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """The host of `host:port`, in small letters, without brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
