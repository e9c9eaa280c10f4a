"""A WebSocket server that says what a script has, over a real socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response


@dataclass
class Talk:
    """One connection, as a script sees it."""

    socket: ServerConnection

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def next_message(self) -> dict[str, Any]:
        """The next text frame; audio before it is passed over."""
        while True:
            frame = await self.socket.recv()
            if isinstance(frame, str):
                message: dict[str, Any] = json.loads(frame)
                return message

    async def audio(self, size: int) -> bytes:
        """So many bytes of binary frames."""
        data = b""
        while len(data) < size:
            frame = await self.socket.recv()
            assert isinstance(frame, bytes)
            data += frame
        return data

    async def rest(self) -> bytes:
        """The audio up to ``end``."""
        data = b""
        while isinstance(frame := await self.socket.recv(), bytes):
            data += frame
        assert json.loads(frame) == {"type": "end"}
        return data

    def break_off(self) -> None:
        """No closing handshake: the cable is cut."""
        self.socket.transport.abort()


Script = Callable[[Talk], Awaitable[None]]


@dataclass
class LiveServer:
    """Each connection gets the next script."""

    scripts: list[Script]
    refusal: tuple[int, str] | None = None
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    async def handle(self, socket: ServerConnection) -> None:
        await self.scripts.pop(0)(Talk(socket))

    def look(self, socket: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if self.refusal is None:
            return None
        status, body = self.refusal
        return socket.respond(HTTPStatus(status), body)


@asynccontextmanager
async def live_server(*scripts: Script, refusal: tuple[int, str] | None = None) -> AsyncIterator[LiveServer]:
    played = LiveServer(list(scripts), refusal)
    server: Server
    async with serve(played.handle, "127.0.0.1", 0, process_request=played.look) as server:
        played.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield played
