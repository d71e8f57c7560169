"""The pages that look on: one drives, the others watch, and none can hold up the model.

Every page has one place for the newest frame: a frame that was not sent before the next one came is
never sent. A page answers each frame with `got`; no more than `AHEAD` are on the way to it, so that
what it shows is new and what waits in the system is little. One that does not answer for `PATIENCE`
seconds is let go.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from reverie.serve.engine import Engine
from reverie.serve.messages import LARGEST, Act, Got, RefusedError, parse

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

AHEAD = 4
PATIENCE = 5.0
MOST = 32
"""Pages at once."""
_WORDS = 8


class _Client:
    """One page: its newest frame, and what else it is to be told."""

    def __init__(self, socket: WebSocket, patience: float) -> None:
        self.socket, self.patience = socket, patience
        self.newest: bytes | None = None
        self.texts: deque[str] = deque(maxlen=_WORDS)
        self.ahead, self.moved = 0, time.monotonic()
        self.wake = asyncio.Event()

    def show(self, packet: bytes) -> None:
        self.newest = packet
        self.wake.set()

    def tell(self, **words: Any) -> None:
        self.texts.append(json.dumps(words))
        self.wake.set()

    def got(self) -> None:
        self.ahead, self.moved = max(0, self.ahead - 1), time.monotonic()
        self.wake.set()

    async def send_all(self) -> None:
        """Send what there is, for ever; returns where the page is not heard of any more."""
        while True:
            try:
                await asyncio.wait_for(self._send(), self.patience)
            except TimeoutError:
                if self.ahead and time.monotonic() - self.moved >= self.patience:
                    return

    async def _send(self) -> None:
        await self.wake.wait()
        self.wake.clear()
        while self.texts:
            await self.socket.send_text(self.texts.popleft())
        if self.newest is not None and self.ahead < AHEAD:
            packet, self.newest = self.newest, None
            self.moved = self.moved if self.ahead else time.monotonic()
            self.ahead += 1
            await self.socket.send_bytes(packet)
        elif self.ahead >= AHEAD and time.monotonic() - self.moved >= self.patience:
            raise TimeoutError


class Hub:
    """Pages of one engine. All but `publish` is called in the server's event loop."""

    def __init__(self, engine: Engine, patience: float = PATIENCE) -> None:
        self._engine, self._patience = engine, patience
        self._clients: list[_Client] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock, self._newest = threading.Lock(), b""
        self._scheduled = False

    def open(self) -> None:
        """Listen to the engine, from the running loop."""
        self._loop = asyncio.get_running_loop()
        self._engine.show_to(self.publish)

    def publish(self, packet: bytes) -> None:
        """A frame for every page, from the model's thread; the newest stands for those before."""
        with self._lock:
            self._newest = packet
            if self._scheduled or self._loop is None or self._loop.is_closed():
                return
            self._scheduled = True
        with contextlib.suppress(RuntimeError):  # the loop has just been closed
            self._loop.call_soon_threadsafe(self._spread)

    def _spread(self) -> None:
        with self._lock:
            packet, self._scheduled = self._newest, False
        for client in self._clients:
            client.show(packet)

    async def serve(self, socket: WebSocket) -> None:
        """One page, from its coming to its going."""
        if len(self._clients) >= MOST:
            await socket.close(1013, f"{MOST} pages look on already.")
            return
        client = _Client(socket, self._patience)
        self._clients.append(client)
        self._roles()
        client.show(self._engine.latest)
        hears, sends = asyncio.ensure_future(self._hear(client)), None
        try:
            sends = asyncio.ensure_future(client.send_all())
            done, _ = await asyncio.wait({hears, sends}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            drove = self._clients[0] is client
            self._clients.remove(client)
            if drove:
                self._engine.neutral()
            self._roles()
            for task in filter(None, (hears, sends)):
                task.cancel()
            await asyncio.gather(*filter(None, (hears, sends)), return_exceptions=True)
        if sends in done:
            with contextlib.suppress(Exception):
                words = f"Nothing was heard of this page for {self._patience:g} s."
                await asyncio.wait_for(socket.close(1008, words), 1.0)

    def _roles(self) -> None:
        """Tell everybody who drives: the page that has been here longest."""
        self._engine.watched_by(len(self._clients))
        for k, client in enumerate(self._clients):
            client.tell(kind="role", drives=k == 0, before=k)

    async def _hear(self, client: _Client) -> None:
        """Messages until the page goes."""
        while True:
            said = await client.socket.receive()
            if said["type"] == "websocket.disconnect":
                return
            try:
                self._take(client, said.get("text"))
            except RefusedError as error:
                client.tell(kind="refused", words=str(error))

    def _take(self, client: _Client, raw: str | None) -> None:
        if raw is None:
            raise RefusedError("The message is binary; send JSON as text.")
        if len(raw) > LARGEST:
            raise RefusedError(f"The message is larger than {LARGEST} bytes.")
        session = self._engine.session
        message = parse(raw, session.spec.action, session.text_size)
        if isinstance(message, Got):
            client.got()
            return
        if self._clients[0] is not client:
            if isinstance(message, Act):
                return  # keys held while the page before this one still drives
            raise RefusedError("Another page drives; this one watches until it leaves.")
        self._engine.order(message)
