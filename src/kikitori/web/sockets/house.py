"""All sockets of a server: who serves them, and how they end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Protocol

from starlette.websockets import WebSocket

from kikitori.errors import KikitoriError
from kikitori.protocols.actions import Action
from kikitori.protocols.codec import Codec
from kikitori.protocols.file_ws import FileSocketCodec
from kikitori.sessions.desk import LiveDesk
from kikitori.web.auth import Caller
from kikitori.web.limits import CallLimit
from kikitori.web.sockets.file_socket import FileSocket
from kikitori.web.sockets.opening import refuse
from kikitori.web.sockets.pump import MakeRecorder, OnReply, SocketLimits, SocketPump
from kikitori.web.sockets.replying import Replier
from kikitori.web.sockets.waiting_room import WaitingRoom


class Stoppable(Protocol):
    """A socket that is being served."""

    def stop(self) -> None:
        """The server shuts down: last words, then goodbye."""


class Sockets:
    """One for each app."""

    def __init__(self, desk: LiveDesk, calls: CallLimit, *, file_room: WaitingRoom | None = None) -> None:
        """``file_room`` is for files that sockets bring; without one they are heard one by one."""
        self._desk, self._calls = desk, calls
        self.file_room = file_room or WaitingRoom(1, most_waiting=1)
        self._running: dict[Stoppable, asyncio.Event] = {}

    async def serve(
        self,
        websocket: WebSocket,
        codec: Codec,
        caller: Caller,
        limits: SocketLimits,
        *,
        make_recorder: MakeRecorder | None = None,
        on_expiry: Callable[[], Sequence[Action]] | None = None,
        replier: Replier | None = None,
        on_reply: OnReply | None = None,
    ) -> None:
        """Serve an accepted socket of ``caller`` until it is closed."""
        try:
            with self._calls.place(caller.id):
                pump = SocketPump(
                    websocket,
                    codec,
                    self._desk,
                    owner=caller.owner,
                    limits=limits,
                    make_recorder=make_recorder,
                    on_expiry=on_expiry,
                    replier=replier,
                    on_reply=on_reply,
                )
                with self._running_now(pump):
                    await pump.run()
        except KikitoriError as exc:
            await refuse(websocket, codec, exc)

    async def serve_files(
        self, websocket: WebSocket, codec: FileSocketCodec, caller: Caller, served: FileSocket
    ) -> None:
        """The same for ``served``, which brings files to be transcribed over ``websocket``."""
        try:
            with self._calls.place(caller.id), self._running_now(served):
                await served.run()
        except KikitoriError as exc:
            await refuse(websocket, codec, exc)

    @contextmanager
    def _running_now(self, served: Stoppable) -> Generator[None, None, None]:
        """Until it is over, ``drain`` stops it, and waits for it."""
        over = self._running[served] = asyncio.Event()
        try:
            yield
        finally:
            del self._running[served]
            over.set()

    async def drain(self, seconds: float) -> None:
        """The server shuts down: sessions say their last words, for ``seconds`` at most, then sockets are closed."""
        self._desk.drain()
        waits = [asyncio.create_task(over.wait()) for over in self._running.values()]
        for served in list(self._running):
            served.stop()
        if waits:
            await asyncio.wait(waits, timeout=seconds)
            for wait in waits:
                wait.cancel()
