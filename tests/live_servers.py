"""Servers for the live page: a scripted one that says what a test wants, and a line to a real one that can be cut."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kikitori.web.routes import pages

WAIT_SECONDS = 60.0
ACK_BYTES = 32_000
"""The scripted server confirms after each second of audio."""
KEY = "sk-right"
T = TypeVar("T")


@contextmanager
def loop_in_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_SECONDS)
        loop.close()


@dataclass
class ScriptedServer:
    """Serves the page. Takes audio, confirms it, and says nothing else but what ``say`` is given."""

    needs_key: bool = False
    full: bool = False
    forgets: bool = False
    """Knows no session any more when a client comes back."""
    away: bool = False
    """Closes every socket at once."""
    url: str = ""
    starts: list[dict[str, Any]] = field(default_factory=list)
    resumes: int = 0
    refusals: int = 0
    ends: int = 0
    audio: bytearray = field(default_factory=bytearray)
    """Of the session, each part once."""
    cuts: list[int] = field(default_factory=list)
    """The socket is closed when more bytes of audio than this have come; one after the other."""
    _loop: asyncio.AbstractEventLoop | None = None
    _socket: WebSocket | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)

    # What a test does

    def say(self, **message: Any) -> None:
        """Send a frame to the client."""
        self.wait_for(lambda: self._socket is not None)
        assert self._socket
        self._run(self._socket.send_text(json.dumps(message)))

    def interim(self, text: str, *, stable: str = "", utterance: int = 0, start: float = 0, end: float = 1) -> None:
        self.say(type="interim", text=text, stable=stable, utterance=utterance, start=start, end=end)

    def final(self, text: str, *, utterance: int = 0, start: float = 0, end: float = 1, **facts: Any) -> None:
        self.say(type="final", text=text, utterance=utterance, start=start, end=end, **facts)

    def cut(self, code: int = 1011) -> None:
        """Close the socket."""
        self.wait_for(lambda: self._socket is not None)
        assert self._socket
        self._run(self._socket.close(code))

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_SECONDS), "The page did not do what the test waits for."

    def wait_for_audio(self, size: int) -> None:
        """Until more than ``size`` bytes of the session have come."""
        self.wait_for(lambda: len(self.audio) > size)

    # What the server does

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._loop
        done: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        done.result(WAIT_SECONDS)

    def _app(self) -> FastAPI:
        app = FastAPI()
        app.include_router(pages.router)
        app.dependency_overrides[pages.framers] = lambda: []
        app.add_api_route("/v1/models", self._models)
        app.add_api_websocket_route("/stt/websocket", self._serve)
        return app

    async def _models(self, request: Request) -> Response:
        if self.needs_key and request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"error": {"message": "The API key is missing.", "code": "invalid_api_key"}}, 401)
        models = [
            {"id": "large-v3-turbo", "engine": "whisper"},
            {"id": "small", "engine": "whisper"},
            {"id": "pocketsphinx", "engine": "pocketsphinx"},
            {"id": "whisper-1", "engine": "whisper", "alias_of": "large-v3-turbo"},
        ]
        return JSONResponse({"object": "list", "data": models})

    async def _serve(self, client: WebSocket) -> None:
        await client.accept()
        if self.away:
            await client.close(1012)
            return
        self._change(_socket=client)
        with suppress(WebSocketDisconnect, RuntimeError):  # RuntimeError: a test has closed it
            while True:
                frame = await client.receive()
                if frame["type"] == "websocket.disconnect":
                    break
                if frame.get("bytes") is not None:
                    await self._hear(client, frame["bytes"])
                else:
                    await self._read(client, json.loads(frame["text"]))
        if self._socket is client:
            self._change(_socket=None)

    async def _hear(self, client: WebSocket, data: bytes) -> None:
        before = len(self.audio)
        with self._changed:
            self.audio += data
            self._changed.notify_all()
        if self.cuts and len(self.audio) > self.cuts[0]:
            del self.cuts[0]
            await client.close(1011)
            raise WebSocketDisconnect
        if before // ACK_BYTES != len(self.audio) // ACK_BYTES:
            await client.send_json({"type": "ack", "samples": len(self.audio) // 2})

    async def _read(self, client: WebSocket, message: dict[str, Any]) -> None:
        match message["type"]:
            case "auth" if message["api_key"] == KEY:
                self.needs_key = False
            case "start" if self.full:
                self._change(refusals=self.refusals + 1)
                await client.send_json({"type": "error", "message": "No room.", "code": "rate_limit_exceeded"})
                await client.close(1013)
            case "start":
                self.audio.clear()
                self._change(starts=[*self.starts, message])
                await client.send_json({"type": "system", "message": "Speech recognition started"})
                if message["resumable"]:
                    await client.send_json({"type": "session", "session": "s", "token": "t", "samples": 0})
            case "resume" if self.forgets:
                await client.send_json({"type": "error", "message": "There is no such session.", "code": "not_found"})
                await client.send_json({"type": "ended"})
            case "resume":
                await client.send_json({"type": "resumed", "samples": len(self.audio) // 2})
                self._change(resumes=self.resumes + 1)
            case "end":
                self._change(ends=self.ends + 1)
            case "ping":
                await client.send_json({"type": "pong"})

    def _change(self, **facts: Any) -> None:
        with self._changed:
            for name, value in facts.items():
                setattr(self, name, value)
            self._changed.notify_all()


@contextmanager
def scripted_server(*, needs_key: bool = False) -> Iterator[ScriptedServer]:
    script = ScriptedServer(needs_key=needs_key)
    config = uvicorn.Config(script._app(), ws="websockets-sansio", log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener, loop_in_a_thread() as loop:
        script._loop = loop
        script.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        serving = asyncio.run_coroutine_threadsafe(server.serve(sockets=[listener]), loop)
        try:
            yield script
        finally:
            server.should_exit = server.force_exit = True
            serving.result(WAIT_SECONDS)


class Line:
    """Passes connections on to a server; it can be cut, and stay cut."""

    def __init__(self, target: str, loop: asyncio.AbstractEventLoop) -> None:
        self._port = _port_of(target)
        self._loop = loop
        self._open: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self._server = self._call(asyncio.start_server(self._connect, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Every connection is lost, and new ones are refused."""
        self._call(self._set_cut(True))

    def mend(self) -> None:
        self._call(self._set_cut(False))

    def lead_to(self, target: str) -> None:
        """New connections go to another server."""
        self._port = _port_of(target)

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._server.close)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_SECONDS)

    async def _set_cut(self, cut: bool) -> None:
        self._is_cut = cut
        if cut:
            for writer in self._open:
                writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:  # nobody is there
            writer.transport.abort()
            return
        self._open |= {writer, far_writer}
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        self._open -= {writer, far_writer}


def _port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def line_to(target: str) -> Iterator[Line]:
    with loop_in_a_thread() as loop:
        line = Line(target, loop)
        try:
            yield line
        finally:
            line.close()
