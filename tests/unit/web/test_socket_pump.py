"""A socket of live speech, from its opening to its end, without a network: what is waited for, and what is left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import pytest
from starlette.websockets import WebSocket
from tests.unit.sessions.fakes import TEXT, FakePool
from tests.unit.sessions.test_desk import SILENCE, at_work, speech

from kikitori.live.events import LiveEvent
from kikitori.protocols.actions import Open
from kikitori.protocols.live_ws import LiveSocketCodec
from kikitori.sessions.desk import LiveDesk, LivePlan
from kikitori.sessions.running import Recorder
from kikitori.testing import FakeClock, until
from kikitori.types import Audio
from kikitori.web.sockets import pump
from kikitori.web.sockets.pump import SocketLimits, SocketPump
from kikitori.web.sockets.writer import Writer

__all__ = ["speech"]  # a fixture

START = {"type": "start", "lang": "en-US", "interim": False}
LIMITS = SocketLimits(idle_seconds=60, most_seconds=3_600, last_words=True, frame_bytes=1_000_000)


@dataclass(eq=False)
class FakeSocket:
    coming: asyncio.Queue[Mapping[str, Any]] = field(default_factory=asyncio.Queue)
    said: list[dict[str, Any]] = field(default_factory=list)
    closed: tuple[int, str] | None = None
    takes: asyncio.Event = field(default_factory=asyncio.Event)
    """Its client reads."""

    async def receive(self) -> Mapping[str, Any]:
        return await self.coming.get()

    async def send_text(self, text: str) -> None:
        await self.takes.wait()
        self.said.append(json.loads(text))

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def tell(self, message: Mapping[str, Any]) -> None:
        self.coming.put_nowait({"type": "websocket.receive", "text": json.dumps(message, ensure_ascii=False)})

    def send(self, audio: bytes) -> None:
        for start in range(0, len(audio), 1_280):
            self.coming.put_nowait({"type": "websocket.receive", "bytes": audio[start : start + 1_280]})

    def heard(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.said if message["type"] == kind]


class WatchedClock(FakeClock):
    """Knows how often it was looked at."""

    looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return super().__call__()


@dataclass(eq=False)
class Line:
    socket: FakeSocket
    pump: SocketPump
    clock: WatchedClock
    over: asyncio.Task[None]

    async def ended(self) -> None:
        async with asyncio.timeout(60):
            await self.over

    async def later(self, seconds: float) -> None:
        """Time passes, and the pump notices."""
        self.clock.advance(seconds)
        enough = self.clock.looks + 4
        await until(lambda: self.clock.looks >= enough or self.over.done())


@asynccontextmanager
async def on_the_line(
    desk: LiveDesk, monkeypatch: pytest.MonkeyPatch, *, limits: SocketLimits = LIMITS, **more: Any
) -> AsyncIterator[Line]:
    monkeypatch.setattr(pump, "TICK_SECONDS", 0.005)
    socket, clock = FakeSocket(), WatchedClock()
    socket.takes.set()
    served = SocketPump(cast(WebSocket, socket), LiveSocketCodec(), desk, owner="", limits=limits, clock=clock, **more)
    over = asyncio.create_task(served.run())
    try:
        yield Line(socket, served, clock, over)
    finally:
        over.cancel()
        await asyncio.gather(over, return_exceptions=True)


async def test_an_idle_socket_is_closed_after_its_last_words(speech: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops sending in the middle of a sentence has said it all the same."""
    pool = FakePool()
    async with at_work(pool) as desk, on_the_line(desk, monkeypatch) as line:
        line.socket.tell(START)
        line.socket.send(speech)
        await until(lambda: line.socket.coming.empty())
        await line.later(59)
        assert not line.socket.heard("final") and not line.over.done()
        await line.later(2)
        await line.ended()
        assert [message["type"] for message in line.socket.said] == ["system", "final", "ended", "system"]
        assert line.socket.heard("final")[0]["text"] == TEXT.strip()
        assert line.socket.closed == (1000, "No audio came for 60 s.")
        await until(lambda: desk.sessions == 0)


async def test_an_old_socket_is_closed_after_its_last_words(speech: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with at_work(FakePool()) as desk, on_the_line(desk, monkeypatch) as line:
        line.socket.tell(START)
        for _ in range(61):
            line.socket.send(speech[:1_280])
            await line.later(59)
        line.socket.send(speech)
        await until(lambda: line.socket.coming.empty())
        await line.later(59)
        await line.ended()
        assert len(line.socket.heard("final")) == 1
        assert line.socket.closed == (1000, "A connection may last 3600 s.")


async def test_a_client_that_is_made_to_wait_is_not_idle(speech: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that takes minutes to load, or to decode, must not cost what was said meanwhile."""
    pool = FakePool()
    async with at_work(pool, LivePlan(buffer_seconds=3)) as desk, on_the_line(desk, monkeypatch) as line:
        pool.model.gate.clear()
        line.socket.tell(START)
        for _ in range(5):
            line.socket.send(speech + SILENCE)
        line.socket.tell({"type": "end"})
        await until(lambda: line.pump._feeding and pool.model.running == 1)
        await line.later(300)
        assert line.pump._feeding and not line.over.done()
        assert not line.socket.coming.empty(), "it is not read any more"
        pool.model.gate.set()
        await until(lambda: line.socket.heard("ended"))
        assert len(line.socket.heard("final")) == 5


async def test_a_server_that_stops_says_the_last_words(speech: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with at_work(FakePool()) as desk, on_the_line(desk, monkeypatch) as line:
        line.socket.tell(START)
        line.socket.send(speech)
        await until(lambda: line.socket.coming.empty())
        line.pump.stop()
        await line.ended()
        assert len(line.socket.heard("final")) == 1
        assert line.socket.closed == (1012, "The server is shutting down.")


async def test_whoever_takes_nothing_is_too_slow(speech: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "Writer", partial(Writer, stall_seconds=0.01))
    async with at_work(FakePool()) as desk, on_the_line(desk, monkeypatch) as line:
        line.socket.takes.clear()
        line.socket.tell(START)
        await line.ended()
        assert line.socket.closed == (1008, "Too slow.")
        await until(lambda: desk.sessions == 0)


@pytest.mark.parametrize("character", ["a", "あ"])
async def test_frames_are_counted_in_bytes(monkeypatch: pytest.MonkeyPatch, character: str) -> None:
    async with at_work(FakePool()) as desk, on_the_line(desk, monkeypatch) as line:
        size = len(character.encode())
        line.socket.tell({"type": character * (900_000 // size)})
        line.socket.tell({"type": character * (1_000_000 // size)})
        await line.ended()
        assert [message["type"] for message in line.socket.said] == ["error", "error"]
        assert line.socket.closed == (1009, "A frame may have 1,000,000 bytes.")


class FakeRecorder:
    closed: bool | None = None
    """Whether it was to be kept."""

    def add(self, audio: Audio) -> None: ...

    def hear(self, event: LiveEvent) -> None: ...

    async def close(self, *, keep: bool) -> None:
        self.closed = keep


async def test_a_recording_of_a_session_that_was_refused_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = FakeRecorder()

    async def make(action: Open) -> Recorder:
        return recorder

    async with at_work(FakePool()) as desk, on_the_line(desk, monkeypatch, make_recorder=make) as line:
        line.socket.tell(START | {"record": True, "model": "missing"})
        await until(lambda: line.socket.heard("ended"))
        assert line.socket.heard("error")[0]["code"] == "model_not_found"
        assert recorder.closed is False
