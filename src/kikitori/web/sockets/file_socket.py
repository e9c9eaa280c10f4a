"""A socket of ``/ws``: one file after the other, each transcribed while its client may stop it, or leave, at any time.

Three tasks: one reads and never waits for the decoding, one writes, one works on the file; a fourth keeps the time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from starlette.types import Message
from starlette.websockets import WebSocket

from kikitori.errors import KikitoriError
from kikitori.protocols.actions import Close, Send
from kikitori.protocols.file_actions import Data, FileAction, Stop, Transcribe
from kikitori.protocols.file_ws import FileSocketCodec
from kikitori.web.auth import Caller
from kikitori.web.sockets.ending import BROKEN, part
from kikitori.web.sockets.file_work import Ending, FileParts, FileWork
from kikitori.web.sockets.to_the_end import ended
from kikitori.web.sockets.writer import Writer

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.5
NORMAL, RESTART = 1000, 1012


class FileSocket:
    """Serves one socket that is open and whose caller is known. ``run`` returns when it is closed."""

    def __init__(
        self,
        socket: WebSocket,
        codec: FileSocketCodec,
        parts: FileParts,
        caller: Caller,
        *,
        idle_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``idle_seconds``: a socket without a file, or whose file does not come, is closed after so long; 0: never."""
        self._socket, self._codec, self._parts, self._caller = socket, codec, parts, caller
        self._idle_seconds, self._clock = idle_seconds, clock
        self._writer = Writer(socket.send_text)
        self._work: FileWork | None = None
        self._closing: Close | None = None
        self._stopping = False
        self._ended = asyncio.Event()
        self._heard_from = clock()

    async def run(self) -> None:
        writing = asyncio.create_task(self._writer.run(), name="kikitori-file-writer")
        reading = asyncio.create_task(self._read(), name="kikitori-file-reader")
        keeping = asyncio.create_task(self._keep_time(), name="kikitori-file-keeper")
        ending = asyncio.create_task(self._ended.wait())
        tasks = (writing, reading, keeping, ending)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._work is not None:
                self._work.end(Ending.LEFT)
            await part(self._socket, self._closing, writing=writing, reading=reading)
        finally:
            for task in tasks:
                task.cancel()
            if self._work is not None:
                self._work.end(Ending.LEFT)
                await ended(self._work.over)
            await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self) -> None:
        """The server shuts down: the file is ended, and its client asked to come back."""
        self._stopping = True
        if self._work is None:
            self._say_goodbye(RESTART, "The server is shutting down.")
        else:
            self._work.end(Ending.SHUTDOWN)

    # Reading

    async def _read(self) -> None:
        while await self._take(await self._socket.receive()):
            pass

    async def _take(self, message: Message) -> bool:
        """Act on a message, which is forgotten then: it may be large. False: the client has left."""
        if message["type"] == "websocket.disconnect":
            return False
        self._heard_from = self._clock()
        text = message.get("text")
        for action in self._codec.text(text) if text is not None else self._codec.binary(message.get("bytes") or b""):
            await self._do(action)
        return True

    async def _do(self, action: FileAction) -> None:
        match action:
            case Transcribe():
                self._begin(action)
            case Data() if self._work is not None:
                try:
                    await self._work.spool.write(action.data, last=action.last)
                except KikitoriError as exc:
                    self._work.end(exc)
            case Stop() if self._work is not None:
                self._work.end(action.error or Ending.STOPPED)
            case Send() | Close():
                self._say([action])

    def _begin(self, asked: Transcribe) -> None:
        work = FileWork(asked, self._parts, self._caller, self._codec, self._say, clock=self._clock)
        if self._stopping:
            work.end(Ending.SHUTDOWN)
        self._work = work
        work.over.add_done_callback(lambda _: self._is_over(work))

    def _is_over(self, work: FileWork) -> None:
        if not work.over.cancelled() and (error := work.over.exception()) is not None:
            logger.error("socket failed", exc_info=error, extra={"action": "socket_failed"})
            self._say_goodbye(BROKEN, "Something went wrong here.")
        if self._work is work:
            self._work = None
        self._heard_from = self._clock()
        if self._stopping:
            self._say_goodbye(RESTART, "The server is shutting down.")

    # Time

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            work = self._work
            silent = self._clock() - self._heard_from
            if not self._idle_seconds or silent <= self._idle_seconds or (work is not None and not work.receiving):
                continue
            if work is not None:
                work.end(work.too_slow())
                await asyncio.wait([work.over])
            self._say_goodbye(NORMAL, f"No file came for {self._idle_seconds:.0f} s.")

    # Closing

    def _say(self, said: Sequence[Send | Close]) -> None:
        for action in said:
            if isinstance(action, Close):
                self._close(action)
            elif self._closing is None:
                self._writer.put(action.text, action.slot)

    def _say_goodbye(self, code: int, reason: str) -> None:
        if self._closing is None:
            self._say([*self._codec.closing(code, reason), Close(code=code, reason=reason)])

    def _close(self, action: Close) -> None:
        if self._closing is None:
            self._closing = action
            self._writer.end()
            self._ended.set()
