"""Listening in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from kikitori.cli.listen.captions import Caption, Said, Shown, Told
from kikitori.cli.local import fetch_default_model, loaded_pool
from kikitori.errors import KikitoriError
from kikitori.live.events import Final, FinalFailed, Interim, Lag, LiveEvent
from kikitori.protocols.live_start import read_start
from kikitori.services.making import find_device, live_defaults, make_catalog, make_transcriber, plan_live
from kikitori.sessions.desk import LiveDesk, Wanted, live_desk
from kikitori.types import SAMPLE_RATE

if TYPE_CHECKING:
    from kikitori.cli.listen.sounds import Sound
    from kikitori.cli.progress import Reporter
    from kikitori.live.options import LiveOptions
    from kikitori.sessions.running import RunningSession
    from kikitori.settings import Settings


class LocalSource:
    """A desk with one session."""

    def __init__(self, desk: LiveDesk, options: LiveOptions) -> None:
        self._desk, self._options = desk, options

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, start: Mapping[str, Any], reporter: Reporter) -> AsyncIterator[Self]:
        """Loads the default model, downloading it if need be. Raises InvalidOption, ModelNotFound, Unavailable."""
        device = await asyncio.to_thread(find_device, settings)
        options = read_start(start, live_defaults(settings, device)).options
        catalog = make_catalog(settings)
        with reporter:
            await fetch_default_model(catalog, device.device, reporter)
        async with loaded_pool(settings, catalog, device, reporter) as pool:
            transcriber = make_transcriber(settings, pool)
            async with live_desk(
                pool, plan_live(settings), check=lambda model, decode: transcriber.check(decode, model=model)
            ) as desk:
                yield cls(desk, options)

    async def captions(self, sound: Sound) -> AsyncGenerator[Caption, None]:
        events: asyncio.Queue[LiveEvent | None] = asyncio.Queue()
        frames = sound.frames()
        async with aclosing(frames):
            first = await anext(frames, b"")  # the microphone knows its rate when it has begun
            wanted = Wanted(options=self._options, encoding=sound.encoding, rate=sound.rate)
            session = await self._desk.open(wanted, events.put_nowait)
            feeding = asyncio.create_task(_feed(session, first, frames))
            ending = asyncio.create_task(_finish(session, events))
            try:
                while (event := await events.get()) is not None:
                    for caption in _captions(event):
                        yield caption
            finally:
                feeding.cancel()
                ending.cancel()
                await asyncio.gather(feeding, ending, return_exceptions=True)
                await self._desk.close(session)
            if failure := feeding.result():
                raise failure


async def _feed(session: RunningSession, first: bytes, frames: AsyncGenerator[bytes, None]) -> KikitoriError | None:
    """All the sound into the session; what broke it, if something did."""
    try:
        await session.feed(first)
        async for data in frames:
            await session.feed(data)
    except KikitoriError as exc:
        return exc
    finally:
        session.end()
    return None


async def _finish(session: RunningSession, events: asyncio.Queue[LiveEvent | None]) -> None:
    await session.finished.wait()
    events.put_nowait(None)


def _captions(event: LiveEvent) -> list[Caption]:
    match event:
        case Interim():
            return [Shown(text=event.text, stable=event.stable)]
        case Final(text=""):
            return [Shown(text="")]
        case Final():
            start, end = event.start / SAMPLE_RATE, event.end / SAMPLE_RATE
            return [Said(text=event.text, start=start, end=end, language=event.language, words=event.words)]
        case FinalFailed():
            return [Told(message=event.message, problem=True)]
        case Lag():
            behind = event.seconds > 0
            message = f"This machine is {event.seconds:.0f} s behind." if behind else "This machine has caught up."
            return [Told(message=message, problem=behind)]
    return []
