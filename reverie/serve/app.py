"""What is answered: the page, its socket, and the films that were recorded."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reverie.serve.access import Access
from reverie.serve.hub import Hub
from reverie.serve.page import policy

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

_FILM = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9]{1,6}\.(mp4|gif)")
_TYPES = {".mp4": "video/mp4", ".gif": "image/gif"}


def build(hub: Hub, access: Access, page: str, folder: Path) -> Starlette:
    """The application; `folder` has the films."""
    from starlette.applications import Starlette
    from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse
    from starlette.routing import Route, WebSocketRoute

    def guarded(
        answer: Callable[[Request], Response],
    ) -> Callable[[Request], Awaitable[Response]]:
        async def checked(request: Request) -> Response:
            refusal = _refusal(access, request)
            made = PlainTextResponse(refusal, 403) if refusal else answer(request)
            made.headers.update(_headers(request.headers.get("host", "")))
            return made

        return checked

    def main(request: Request) -> Response:
        return HTMLResponse(page)

    def film(request: Request) -> Response:
        path = film_path(folder, request.path_params["name"])
        if path is None:
            return PlainTextResponse("There is no such recording.", 404)
        return FileResponse(path, media_type=_TYPES[path.suffix], filename=path.name)

    async def talk(socket: WebSocket) -> None:
        refusal = _refusal(access, socket)
        if refusal:
            await socket.send_denial_response(PlainTextResponse(refusal, 403))
            return
        await socket.accept()
        await hub.serve(socket)

    @contextlib.asynccontextmanager
    async def life(app: Any) -> AsyncIterator[None]:
        hub.open()
        yield

    routes = [
        Route("/", guarded(main)),
        Route("/recordings/{name:path}", guarded(film)),
        WebSocketRoute("/play", talk),
    ]
    return Starlette(routes=routes, lifespan=life)


def film_path(folder: Path, name: str) -> Path | None:
    """The film of that name; None where it is no name of ours, or leads out of the folder."""
    if not _FILM.fullmatch(name):
        return None
    path = folder / name
    inside = path.resolve().parent == folder.resolve()
    return path if inside and path.is_file() else None


def _refusal(access: Access, asked: HTTPConnection) -> str:
    kind, _, bearer = asked.headers.get("authorization", "").partition(" ")
    token = bearer if kind.lower() == "bearer" else asked.query_params.get("token", "")
    return access.refusal(asked.headers.get("host", ""), asked.headers.get("origin"), token)


def _headers(host: str) -> dict[str, str]:
    return {
        "content-security-policy": policy(host),
        "cache-control": "no-store",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }
