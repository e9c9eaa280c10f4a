"""A client that speaks a recording at the speed it was spoken, and writes down what comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from kikitori.audio.pcm import Encoding, from_float
from kikitori.cli.api import server_address
from kikitori.cli.bench.journal import Journal, Seen, seen
from kikitori.cli.bench.truth import Speech
from kikitori.types import SAMPLE_RATE

OPEN_SECONDS = 60.0
"""For a model to load."""
DRAIN_SECONDS = 120.0
"""For the finals after the end."""
APART = 0.618_034
"""Clients begin at fractions of a second that are well spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The server, and how it is asked to listen."""

    url: str
    api_key: str = ""
    start: Mapping[str, Any] = field(default_factory=dict)
    endpoint_seconds: float = 0.5
    frame_seconds: float = 0.04


async def replay_all(target: Target, speeches: Sequence[Speech]) -> list[Journal]:
    """All at once: they begin together, a fraction of a second apart, when every session is open."""
    ready = asyncio.Barrier(len(speeches))
    async with asyncio.TaskGroup() as group:
        clients = [
            group.create_task(_Client(target, speech, number, len(speeches)).run(ready))
            for number, speech in enumerate(speeches)
        ]
    return [client.result() for client in clients]


class _Client:
    def __init__(self, target: Target, speech: Speech, number: int, sessions: int) -> None:
        self._target, self._speech, self._number, self._sessions = target, speech, number, sessions
        self._clock = asyncio.get_running_loop().time
        self._begun = 0.0
        self._sent: list[float] = []
        self._seen: list[Seen] = []
        self._ended = False
        self._problem = ""

    async def run(self, ready: asyncio.Barrier) -> Journal:
        try:
            async with AsyncExitStack() as sockets:
                socket = await self._admitted(sockets)
                await ready.wait()
                if socket is not None:
                    await self._talk(socket)
        except (OSError, InvalidHandshake, ConnectionClosed, TimeoutError, ValueError, KeyError) as exc:
            self._problem = self._problem or f"{type(exc).__name__}: {exc}"
            if not self._begun and not ready.broken:
                with suppress(asyncio.BrokenBarrierError):
                    await ready.wait()
        return self._journal()

    async def _admitted(self, sockets: AsyncExitStack) -> ClientConnection | None:
        """A socket whose session has started; None when the server refuses it.

        A server that is still out of breath from the crowd before says when to ask again.
        """
        deadline = self._clock() + OPEN_SECONDS
        while True:
            socket = await connect(
                self._address(), additional_headers=self._headers(), open_timeout=OPEN_SECONDS, proxy=None
            )
            sockets.push_async_callback(socket.close)
            answer = await self._start(socket)
            if answer["type"] == "system":
                return socket
            wait = answer.get("retry_after")
            if wait is None or self._clock() + wait > deadline:
                self._problem = str(answer.get("message"))
                return None
            await socket.close()
            await asyncio.sleep(wait)

    def _address(self) -> str:
        address = server_address(self._target.url)
        return str(address.copy_with(scheme=address.scheme.replace("http", "ws")).join("stt/websocket"))

    def _headers(self) -> dict[str, str]:
        key = self._target.api_key
        return {"Authorization": f"Bearer {key}"} if key else {}

    async def _start(self, socket: ClientConnection) -> dict[str, Any]:
        """What the server says to the start of a session."""
        start = {
            "type": "start",
            **self._target.start,
            "lang": self._speech.language,
            "endpoint_ms": round(self._target.endpoint_seconds * 1000),
            "sample_rate": SAMPLE_RATE,
        }
        await socket.send(json.dumps(start))
        async with asyncio.timeout(OPEN_SECONDS):
            answer: dict[str, Any] = json.loads(await socket.recv())
        return answer

    async def _talk(self, socket: ClientConnection) -> None:
        self._begun = self._clock() + self._number * APART % 1.0
        reading = asyncio.create_task(self._read(socket))
        try:
            await self._speak(socket)
            async with asyncio.timeout(DRAIN_SECONDS):
                await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _speak(self, socket: ClientConnection) -> None:
        """Each frame when it is due, never before."""
        length = round(self._target.frame_seconds * SAMPLE_RATE)
        for number, begin in enumerate(range(0, len(self._speech.audio), length)):
            due = self._begun + number * self._target.frame_seconds
            await asyncio.sleep(due - self._clock())
            await socket.send(from_float(self._speech.audio[begin : begin + length], Encoding.S16LE))
            self._sent.append(self._clock() - self._begun)
        await socket.send(json.dumps({"type": "end"}))

    async def _read(self, socket: ClientConnection) -> None:
        while not self._ended:
            message = json.loads(await socket.recv())
            self._seen.append(seen(message, self._clock() - self._begun))
            self._ended = message["type"] == "ended"

    def _journal(self) -> Journal:
        return Journal(
            sessions=self._sessions,
            client=self._number,
            language=self._speech.language,
            endpoint_seconds=self._target.endpoint_seconds,
            frame_seconds=self._target.frame_seconds,
            sent=tuple(round(at, 4) for at in self._sent),
            truth=self._speech.words,
            seen=tuple(self._seen),
            ended=self._ended,
            problem=self._problem,
        )
