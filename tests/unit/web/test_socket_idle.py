"""Sockets on which nothing comes: when they are closed, with which code, and what keeps them open."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import pytest
from starlette.websockets import WebSocket
from tests.unit.idle import idle_desk

from kikitori.live.options import LiveOptions
from kikitori.protocols.deepgram.codec import IDLE_CODE, IDLE_REASON, ListenCodec
from kikitori.protocols.deepgram.listening import read_listen
from kikitori.protocols.deepgram.messages import About
from kikitori.testing import until
from kikitori.web.sockets import pump
from kikitori.web.sockets.pump import SocketLimits, SocketPump

KEEP_ALIVE = {"type": "websocket.receive", "text": '{"type":"KeepAlive"}'}


class FakeSocket:
    def __init__(self) -> None:
        self.coming: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self.closed: tuple[int, str] | None = None

    async def receive(self) -> Mapping[str, Any]:
        return await self.coming.get()

    async def send_text(self, text: str) -> None:
        raise AssertionError("Nothing is said to an idle client.")

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


class CountedClock:
    def __init__(self) -> None:
        self.now, self.looks = 0.0, 0

    def __call__(self) -> float:
        self.looks += 1
        return self.now

    def has_been_asked(self, times: int) -> bool:
        return self.looks >= times


async def test_text_keeps_a_socket_open_and_then_its_own_code_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "TICK_SECONDS", 0.005)
    clock = CountedClock()
    socket = FakeSocket()
    codec = ListenCodec(read_listen([], LiveOptions()), About(request_id="r"), created="")
    limits = SocketLimits(idle_seconds=10, idle_code=IDLE_CODE, idle_reason=IDLE_REASON, text_keeps_alive=True)
    served = SocketPump(cast(WebSocket, socket), codec, idle_desk(), owner="", limits=limits, clock=clock)
    running = asyncio.create_task(served.run())
    for seconds in (9.0, 18.0, 27.0):
        clock.now = seconds
        socket.coming.put_nowait(KEEP_ALIVE)
        enough = clock.looks + 4
        await until(partial(clock.has_been_asked, enough), seconds=60)
    assert socket.closed is None
    clock.now = 38.0
    await running
    assert socket.closed == (1011, IDLE_REASON)
    assert IDLE_REASON.startswith("NET-0001")
