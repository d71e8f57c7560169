"""Serving the page from this process: the server in the main thread, the model in its own."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reverie.serve.access import Access, is_loopback
from reverie.serve.app import build
from reverie.serve.engine import Engine
from reverie.serve.hub import PATIENCE, Hub
from reverie.serve.messages import HUGE
from reverie.serve.page import Sheet, render


@dataclass(frozen=True)
class ServerConfig:
    """Where the page is served, and to whom."""

    host: str = "127.0.0.1"
    """Whom it listens to: this machine alone by default; 0.0.0.0 is everybody in the network, who
    then need the token."""
    port: int = 8090
    """At which port; 0 takes a free one."""
    token: str = ""
    """What a page must bring in its address; beyond loopback one is made where none is given."""
    patience: float = PATIENCE
    """A page that is not heard of for so long is let go [s]."""

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ValueError(f"There is no port {self.port}; give 0 to 65535.")
        if not self.patience > 0:
            raise ValueError(f"ServerConfig patience is {self.patience} s; it must be positive.")


def serve(
    engine: Engine,
    sheet: Callable[[Engine], Sheet],
    folder: Path,
    config: ServerConfig | None = None,
    told: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve until interrupted.

    Args:
        engine: not yet started; it is closed at the end.
        sheet: what the page says, from the started engine.
        folder: of the recordings.
        config: where and to whom.
        told: called once, with the address.

    Raises:
        OSError: the port is taken, or the host is not of this machine.
        ImportError: the extra is missing.
    """
    config = config or ServerConfig()
    uvicorn = require_uvicorn()
    token = config.token
    if not token and not is_loopback(config.host):
        token = secrets.token_urlsafe(24)
    access = Access(config.host, token)
    with listening(config.host, config.port) as place:
        engine.start()
        try:
            hub = Hub(engine, config.patience)
            app = build(hub, access, render(sheet(engine)), folder)
            server = uvicorn.Server(_settings(uvicorn, app))
            told(address(place, config.host, token))
            server.run(sockets=[place])
        finally:
            engine.close()


def require_uvicorn() -> Any:
    """The server, or an error that names the extra."""
    try:
        import starlette  # noqa: F401
        import uvicorn
        import websockets  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"The page is served by starlette, uvicorn and websockets, and {error.name} is "
            'missing: pip install "reverie[serve]".'
        ) from error
    return uvicorn


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        OSError: it cannot; the message says what to do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(64)
    except OSError as error:
        made.close()
        raise OSError(
            f"Nothing can be served at {host}, port {port}: {error.strerror or error}. Choose "
            "another --port, or 0 for any that is free."
        ) from error
    return made


def address(place: socket.socket, host: str, token: str) -> str:
    """What to type into a browser."""
    everywhere = host in ("0.0.0.0", "::")
    name = socket.gethostname() if everywhere else f"[{host}]" if ":" in host else host
    query = f"?token={token}" if token else ""
    return f"http://{name}:{place.getsockname()[1]}/{query}"


def _settings(uvicorn: Any, app: Any) -> Any:
    return uvicorn.Config(
        app,
        http="h11",
        loop="asyncio",
        ws="websockets-sansio",
        ws_max_size=HUGE,
        ws_per_message_deflate=False,
        ws_ping_interval=10.0,
        ws_ping_timeout=10.0,
        limit_concurrency=256,
        timeout_graceful_shutdown=2,
        access_log=False,
        log_level="warning",
        server_header=False,
    )
