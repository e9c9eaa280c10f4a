"""Whose socket is closed because a ping was not answered, on real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect

from kikitori.testing import until
from kikitori.web.sockets.keepalive import PatientWebSocket

PING_SECONDS = 0.02
BEHIND = 16_000_000
"""Bytes: more than the buffers of a connection hold."""
PING, GONE = b"\x89", b"keepalive ping timeout"


@dataclass(slots=True)
class Server:
    """Accepts, and takes no message while ``reads`` is cleared."""

    port: int = 0
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    received: list[Message] = field(default_factory=list)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        while not self.received or self.received[-1]["type"] != "websocket.disconnect":
            await self.reads.wait()
            self.received.append(await receive())


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    served = Server()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served.port = listener.getsockname()[1]
        config = uvicorn.Config(
            served.app,
            ws=PatientWebSocket,
            ws_ping_interval=PING_SECONDS,
            ws_ping_timeout=PING_SECONDS,
            ws_per_message_deflate=False,
            interface="asgi3",
            lifespan="off",
            log_config=None,
        )
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield served
        finally:
            served.reads.set()
            server.should_exit = server.force_exit = True
            await running


async def flood(client: ClientConnection) -> None:
    for _ in range(0, BEHIND, 40_000):
        await client.send(bytes(40_000))


async def test_a_client_that_is_not_read_is_not_blamed_for_its_silence() -> None:
    """Its answers wait behind its audio. When it is read again, all of it is there."""
    async with serving() as server, connect(f"ws://127.0.0.1:{server.port}", ping_interval=None) as client:
        flooding = asyncio.create_task(flood(client))
        await asyncio.sleep(20 * PING_SECONDS)
        assert not flooding.done(), "more than the line holds"
        server.reads.set()
        await flooding
        await until(lambda: sum(len(each.get("bytes") or b"") for each in server.received) == BEHIND)
        assert client.close_code is None


class Mute:
    """A client that reads everything and answers no ping."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.heard = b""

    async def read(self) -> None:
        """Until the server closes."""
        while data := await self._reader.read(65_536):
            self.heard += data

    def say(self, data: bytes) -> None:
        """One binary frame, with a mask of nothing."""
        self._writer.write(bytes([0x82, 0x80 | len(data), 0, 0, 0, 0]) + data)


@asynccontextmanager
async def mute(server: Server) -> AsyncIterator[Mute]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    try:
        yield Mute(reader, writer)
    finally:
        writer.close()


async def test_a_client_that_says_nothing_at_all_is_gone() -> None:
    async with serving() as server, mute(server) as client:
        server.reads.set()
        await client.read()
        assert client.heard[:1] == PING
        assert GONE in client.heard
        await until(lambda: server.received and server.received[-1]["type"] == "websocket.disconnect")


async def test_who_answers_no_ping_but_speaks_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large message on a slow line comes before the answer. Time passes when this test says so."""
    opened: list[PatientWebSocket] = []
    accept = PatientWebSocket.start_keepalive
    monkeypatch.setattr(PatientWebSocket, "start_keepalive", lambda self: opened.append(self))
    async with serving() as server, mute(server) as client:
        server.reads.set()
        (protocol,) = opened
        accept(protocol)
        protocol.ping_timeout = 3_600
        protocol.send_keepalive_ping()
        for count in range(1, 4):
            client.say(b"audio")
            await until(lambda count=count: len(server.received) == count)  # type: ignore[misc]
            protocol.keepalive_timeout()
            assert not protocol.transport.is_closing()
        protocol.keepalive_timeout()
        assert protocol.transport.is_closing()
        await client.read()
        assert GONE in client.heard
