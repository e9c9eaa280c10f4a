"""Sites on loopback, as friendly or as hostile as a test wants them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from kikitori.media.guard import Guard

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Asked:
    """One request that came in."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(slots=True)
class Site:
    """A web server on loopback; ``pages`` says what it answers, ``asked`` what it was asked."""

    port: int = 0
    scheme: str = "http"
    pages: dict[str, Answer] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client left before the end of its answer."""

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    @property
    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            self.asked.append(Asked(method, path, headers))
            answer = self.pages.get(path.partition("?")[0]) or self.pages.get("*") or status(404, b"nothing here")
            await answer(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.gone.set()
        finally:
            writer.close()


def body(content: bytes, kind: str = "audio/wav", **headers: str) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = {"content-type": kind, "content-length": str(len(content))}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        writer.write(_head("200 OK", lines) + content)

    return answer


def status(code: int, content: bytes = b"", **headers: str) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(_head(f"{code} Because", {"content-length": str(len(content))} | headers) + content)

    return answer


def redirect(target: str) -> Answer:
    return status(302, b"moved", location=target)


def endless(kind: str = "audio/wav", pause: float = 0.0) -> Answer:
    """A body that has no end and says no length."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(_head("200 OK", {"content-type": kind}))
        while True:
            writer.write(b"\0" * 65_536)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


def stalled(content: bytes = b"", length: int = 1_000_000) -> Answer:
    """``content``, and then silence until the client leaves."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(_head("200 OK", {"content-type": "audio/wav", "content-length": str(length)}) + content)
        await writer.drain()
        await _until_left(writer)

    return answer


async def _until_left(writer: asyncio.StreamWriter) -> None:
    reader: asyncio.StreamReader = writer._transport.get_protocol()._stream_reader  # type: ignore[attr-defined]
    if not await reader.read(1):
        raise ConnectionResetError


def _head(line: str, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {line}", *(f"{name}: {value}" for name, value in headers.items()), "connection: close"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


@asynccontextmanager
async def running(site: Site, context: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=context)
    site.port = server.sockets[0].getsockname()[1]
    site.scheme = "https" if context else "http"
    try:
        yield site
    finally:
        server.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running(Site()) as made:
        yield made


@pytest.fixture
def near() -> Guard:
    """Lets loopback through."""
    return Guard.allowing(["127.0.0.0/8"])


def names(**hosts: str | Sequence[str]) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    """A resolver that knows ``hosts`` (``_`` for a dot) and nothing else."""
    known = {name.replace("_", "."): [value] if isinstance(value, str) else value for name, value in hosts.items()}

    async def resolve(host: str, port: int) -> Sequence[str]:
        if host not in known:
            raise OSError("unknown")
        return known[host]

    return resolve
