"""Engines that are programs: one process speaks one text, and is killed when nobody wants the rest.

Programs take a moment to start, some to load a voice. So one that waits for its text is kept ready.

They are started by ``subprocess``, not by the event loop: uvloop forks, and forking while a thread multiplies matrices
leaves that thread waiting for ever (OpenBLAS stops its threads before a fork). ``subprocess`` does not fork, it spawns.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, TypeVar

from kikitori.errors import SpeechFailed

logger = logging.getLogger(__name__)

PIECE_BYTES = 4_096
"""Less than a tenth of a second: the first piece is soon there."""
AHEAD_BYTES = 65_536
"""What is read before somebody wants it; then the program waits."""
PIPE_BYTES = 65_536
"""What a pipe takes at once."""
LAST_WORDS = 500
"""Bytes that are logged of what a program says on its standard error."""

Command = tuple[str, ...]
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Program:
    """One process, and what it says."""

    process: subprocess.Popen[bytes]
    sound: asyncio.StreamReader
    transport: asyncio.ReadTransport
    complaints: IO[bytes]

    @property
    def waits(self) -> bool:
        return self.process.poll() is None

    def close_input(self) -> None:
        assert self.process.stdin
        with suppress(OSError):
            self.process.stdin.close()

    async def give(self, text: bytes) -> None:
        """Hand the text over; how it ends says more than a pipe that is closed."""
        if len(text) <= PIPE_BYTES:
            self._write(text)
        else:
            await asyncio.to_thread(self._write, text)

    def _write(self, text: bytes) -> None:
        assert self.process.stdin
        with suppress(OSError):
            self.process.stdin.write(text)
        self.close_input()

    async def end(self) -> None:
        """Kill it if it still runs, and wait until it is gone. What it complained about is logged if it failed."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.transport.close()
        status = await asyncio.to_thread(self.process.wait)
        self.close_input()
        with self.complaints:
            if status not in (0, -signal.SIGKILL):
                self.complaints.seek(max(0, self.complaints.seek(0, 2) - LAST_WORDS))
                said = " ".join(self.complaints.read().decode(errors="replace").split())
                facts = {"action": "tts_failed", "status": status, "reason": said}
                logger.error("engine that speaks failed", extra=facts)


class SpareProcesses:
    """Starts programs ahead. Belongs to one event loop."""

    def __init__(self, *, spares: int = 1, silence_seconds: float = 30.0) -> None:
        """``spares`` wait for their text, all of the command that was used last.

        A program that says nothing for ``silence_seconds`` hangs.
        """
        self._most, self._silence_seconds = spares, silence_seconds
        self._command: Command = ()
        self._spares: list[_Program] = []
        self._starting = 0
        self._work: set[asyncio.Task[Any]] = set()
        self._closed = False

    def prepare(self, command: Command) -> None:
        """Have processes of this command ready soon."""
        if command != self._command:
            self._drop_spares()
            self._command = command
        while not self._closed and len(self._spares) + self._starting < self._most:
            self._starting += 1
            self._later(self._refill(command))

    async def speak(self, command: Command, text: bytes) -> AsyncGenerator[bytes, None]:
        """What the program writes when it gets ``text``, in pieces of whole samples. Raises SpeechFailed."""
        program = await self._take(command)
        try:
            await program.give(text)
            rest = b""
            while data := await self._in_time(program.sound.read(PIECE_BYTES)):
                rest += data
                whole = len(rest) - len(rest) % 2
                if whole:
                    yield rest[:whole]
                rest = rest[whole:]
            if await self._in_time(asyncio.to_thread(program.process.wait)):
                raise SpeechFailed("The engine that speaks failed.", remedy="The log says why.")
        finally:
            self._end(program)

    async def close(self) -> None:
        self._closed = True
        self._drop_spares()
        while self._work:
            await asyncio.wait(self._work)

    async def _in_time(self, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._silence_seconds):
                return await work
        except TimeoutError:
            raise SpeechFailed("The engine that speaks says nothing.", remedy="Try again.") from None

    async def _take(self, command: Command) -> _Program:
        ready = [spare for spare in self._spares if spare.waits] if command == self._command else []
        if ready:
            program = ready[0]
            self._spares.remove(program)
        else:
            program = await self._started(command)
        self.prepare(command)
        return program

    async def _started(self, command: Command) -> _Program:
        """A new process; one that nobody waits for any more is ended."""
        starting = self._later(_start(command))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(self._end_unwanted)
            raise

    def _end_unwanted(self, started: asyncio.Task[_Program]) -> None:
        if not started.cancelled() and started.exception() is None:
            self._end(started.result())

    async def _refill(self, command: Command) -> None:
        try:
            program = await _start(command)
        except SpeechFailed:
            return  # whoever wants to speak is told
        finally:
            self._starting -= 1
        if self._closed or command != self._command:
            self._end(program)
            return
        for spare in [spare for spare in self._spares if not spare.waits]:
            self._spares.remove(spare)
            self._end(spare)
        self._spares.append(program)

    def _drop_spares(self) -> None:
        for program in self._spares:
            self._end(program)
        self._spares.clear()

    def _end(self, program: _Program) -> None:
        """Kill it at once; that it is gone is waited for by ``close`` alone."""
        if program.waits:
            program.process.kill()
        self._later(program.end())

    def _later(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task


async def _start(command: Command) -> _Program:
    """Raises SpeechFailed."""
    complaints = await asyncio.to_thread(tempfile.TemporaryFile)
    try:
        process = await asyncio.to_thread(_spawn, command, complaints)
    except OSError as exc:
        complaints.close()
        facts = {"action": "tts_failed", "program": command[0], "reason": str(exc)}
        logger.error("engine that speaks cannot be started", extra=facts)
        raise SpeechFailed("The engine that speaks cannot be started.", remedy="The log says why.") from exc
    loop = asyncio.get_running_loop()
    sound = asyncio.StreamReader(limit=AHEAD_BYTES)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(sound), process.stdout)
    return _Program(process, sound, transport, complaints)


def _spawn(command: Command, complaints: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        bufsize=0,
        start_new_session=True,  # Ctrl+C is for us
    )
