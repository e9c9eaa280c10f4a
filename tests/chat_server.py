"""A real HTTP server that speaks the chat completions protocol, with scripted answers and faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from kikitori.testing import Hold

Step: TypeAlias = bytes | Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that ends with its last step, and with the connection."""

    steps: tuple[Step, ...]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "text/event-stream"})


@dataclass(slots=True)
class Asked:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client closed the connection."""

    @property
    def system(self) -> str:
        return str(self.body["messages"][0]["content"])

    @property
    def user(self) -> str:
        return str(self.body["messages"][-1]["content"])


def says(*pieces: str | Hold, finish: str | None = "stop") -> Reply:
    """An answer in pieces; without ``finish`` it is cut off."""
    steps: list[Step] = [_chunk({"role": "assistant", "content": ""})]
    steps += [piece if isinstance(piece, Hold) else _chunk({"content": piece}) for piece in pieces]
    if finish:
        steps += [_chunk({}, finish), b"data: [DONE]\n\n"]
    return Reply(steps=tuple(steps))


def fails(status: int, message: str = "no", *, code: str | None = None, **headers: str) -> Reply:
    body = json.dumps({"error": {"message": message, "type": "error", "param": None, "code": code}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(steps=(body,), status=status, headers={"content-type": "application/json", **named})


def streams(
    *deltas: Mapping[str, Any] | Hold, finish: str | None = "stop", usage: Mapping[str, Any] | None = None
) -> Reply:
    """An answer of any deltas: calls of functions; and ``usage`` at its end, where it is asked for."""
    steps: list[Step] = [delta if isinstance(delta, Hold) else _chunk(delta) for delta in deltas]
    if finish:
        steps.append(_chunk({}, finish))
    if usage:
        steps.append(_event({**_CHUNK, "choices": [], "usage": usage}))
    if finish:
        steps.append(b"data: [DONE]\n\n")
    return Reply(steps=tuple(steps))


_CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "fake"}


def _event(value: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def _chunk(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
    return _event({**_CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


class FakeChatServer:
    """Answers each request with the next reply of its script, the last one again and again, or as ``answer`` says."""

    def __init__(self) -> None:
        self.url = ""
        self.script: list[Reply] = []
        self.answer: Callable[[Asked], Reply] = self._next
        self.requests: list[Asked] = []

    def _next(self, asked: Asked) -> Reply:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await _read(reader)
            self.requests.append(asked)
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(_send(writer, self.answer(asked)))
                watching = group.create_task(_watch(reader, asked, sending))
                await asyncio.wait([sending])
                watching.cancel()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def chat_server(*script: Reply) -> AsyncGenerator[FakeChatServer, None]:
    fake = FakeChatServer()
    fake.script = [*script]
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield fake
    finally:
        server.close()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *fields = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in fields if each)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(path=line.split(" ")[1], headers=headers, body=json.loads(body or b"{}"))


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    headers = {**reply.headers, "connection": "close"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {reply.status} Whatever\r\n{lines}\r\n".encode())
    for step in reply.steps:
        if isinstance(step, Hold):
            await step.wait()
        else:
            writer.write(step)
        await writer.drain()


async def _watch(reader: asyncio.StreamReader, asked: Asked, sending: asyncio.Task[None]) -> None:
    await reader.read(1)
    asked.gone.set()
    sending.cancel()
