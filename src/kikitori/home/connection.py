"""One connection of Wyoming: events in, what they ask for out, until the client goes away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar, cast

from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable, async_write_event
from wyoming.info import Describe
from wyoming.ping import Ping, Pong
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
)

from kikitori.errors import InvalidInput, KikitoriError
from kikitori.home.describing import describe
from kikitori.home.hearing import Hearing
from kikitori.home.reading import read_event
from kikitori.home.speaking import Speaking
from kikitori.services.parts import Services

logger = logging.getLogger(__name__)

IDLE_SECONDS = 300.0
"""Without an event; whoever comes back opens a new connection."""
WRITE_SECONDS = 30.0
"""A client that takes nothing for so long is gone."""
WAITING_EVENTS = 64

Verb = Callable[[Event], Awaitable[None]]
T = TypeVar("T", bound=Eventable)


class Connection:
    """Reads ahead, so that a client that vanishes stops its work at once."""

    def __init__(self, services: Services, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._services, self._reader, self._writer = services, reader, writer
        self._coming: asyncio.Queue[Event] = asyncio.Queue(WAITING_EVENTS)
        self._asked = Transcribe()
        self._hearing: Hearing | None = None
        self._speaking: Speaking | None = None
        self._verbs: dict[str, Verb] = {
            Describe().event().type: self._describe,
            Ping().event().type: self._ping,
            Transcribe().event().type: self._transcribe,
            AudioStart(rate=1, width=1, channels=1).event().type: self._audio_start,
            AudioChunk(rate=1, width=1, channels=1, audio=b"").event().type: self._audio_chunk,
            AudioStop().event().type: self._audio_stop,
            Synthesize(text="").event().type: self._synthesize,
            SynthesizeStart().event().type: self._synthesize_start,
            SynthesizeChunk(text="").event().type: self._synthesize_chunk,
            SynthesizeStop().event().type: self._synthesize_stop,
        }

    async def run(self) -> None:
        """Until either side closes it."""
        reading = asyncio.create_task(self._read(), name="kikitori-wyoming-reader")
        working = asyncio.create_task(self._work(), name="kikitori-wyoming-worker")
        try:
            await asyncio.wait([reading, working], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reading, working):
                task.cancel()
            done = await asyncio.gather(reading, working, return_exceptions=True)
            await self._stop_hearing()
            self._log(done)

    def _log(self, done: Sequence[BaseException | None]) -> None:
        for failure in done:
            if isinstance(failure, Exception) and not isinstance(failure, OSError | TimeoutError):
                logger.error("wyoming failed", exc_info=failure, extra={"action": "wyoming_failed"})

    async def _read(self) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    event = await read_event(self._reader)
            except InvalidInput as exc:  # nobody knows where the next event would begin
                return await self._write(Error(text=exc.public, code=exc.code).event())
            if event is None:
                return
            await self._coming.put(event)

    async def _work(self) -> None:
        while True:
            event = await self._coming.get()
            if verb := self._verbs.get(event.type):
                await self._do(verb, event)

    async def _do(self, verb: Verb, event: Event) -> None:
        """Whatever is wrong with one event is told; the connection goes on."""
        try:
            await verb(event)
        except KikitoriError as exc:
            logger.debug("wyoming refused", extra={"action": "wyoming_refused", "type": event.type, "reason": str(exc)})
            await self._fail(exc)

    async def _fail(self, error: KikitoriError) -> None:
        await self._stop_hearing()
        self._speaking = None
        await self._write(Error(text=error.public, code=error.code).event())

    async def _write(self, event: Event) -> None:
        async with asyncio.timeout(WRITE_SECONDS):
            await async_write_event(event, self._writer)

    async def _write_all(self, events: AsyncGenerator[Event, None]) -> None:
        async with aclosing(events):
            async for event in events:
                await self._write(event)

    # Both

    async def _describe(self, event: Event) -> None:
        await self._write((await describe(self._services)).event())

    async def _ping(self, event: Event) -> None:
        await self._write(Pong(text=_read_as(Ping, event).text).event())

    # Speech to text

    async def _transcribe(self, event: Event) -> None:
        self._asked = _read_as(Transcribe, event)

    async def _audio_start(self, event: Event) -> None:
        await self._stop_hearing()
        self._hearing = Hearing(self._services.live, self._services.live_defaults, self._asked)

    async def _audio_chunk(self, event: Event) -> None:
        if self._hearing is not None:  # after an error, more of the same audio may be on its way
            await self._hearing.feed(_read_as(AudioChunk, event))

    async def _audio_stop(self, event: Event) -> None:
        if self._hearing is not None:
            await self._write_all(self._hearing.transcript())
            await self._stop_hearing()

    async def _stop_hearing(self) -> None:
        hearing, self._hearing = self._hearing, None
        if hearing is not None:
            await hearing.close()

    # Text to speech

    async def _synthesize(self, event: Event) -> None:
        if self._speaking is not None:
            return  # the whole of a text that comes in pieces, for servers that know no pieces
        asked = _read_as(Synthesize, event)
        speaking = Speaking(self._services.speech, asked.voice)
        await self._write_all(speaking.say(asked.text))
        await self._write_all(speaking.finish())

    async def _synthesize_start(self, event: Event) -> None:
        self._speaking = Speaking(self._services.speech, _read_as(SynthesizeStart, event).voice)

    async def _synthesize_chunk(self, event: Event) -> None:
        if self._speaking is not None:
            await self._write_all(self._speaking.say(_read_as(SynthesizeChunk, event).text))

    async def _synthesize_stop(self, event: Event) -> None:
        speaking, self._speaking = self._speaking, None
        if speaking is not None:
            await self._write_all(speaking.finish())
            await self._write(SynthesizeStopped().event())


def _read_as(kind: type[T], event: Event) -> T:
    """Raises InvalidInput."""
    try:
        return cast(T, kind.from_event(event))
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise InvalidInput(
            f"{event.type} lacks something, or has it in a wrong form.", remedy="The package wyoming writes it right."
        ) from exc
