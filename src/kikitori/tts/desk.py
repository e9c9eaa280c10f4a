"""The one voice of a server: the engine that was chosen, other names of its voices, and places to speak."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

from kikitori.errors import Busy, KikitoriError
from kikitori.tts.plan import NONE, SpeechPlan
from kikitori.tts.registry import chosen_engine, open_engine
from kikitori.tts.speaker import Sound, Speaker, SpeakerInfo, Voice

logger = logging.getLogger(__name__)

WAITING_FOR_A_PLACE = 100
"""Texts; with so many before it, another one is refused."""
RETRY_AFTER_SECONDS = 2.0


class SpeechDesk:
    """A ``Speaker`` that others share. Opened by ``speech_desk``; belongs to one event loop."""

    def __init__(self, plan: SpeechPlan, *, open_engine: Callable[[SpeechPlan], Speaker] = open_engine) -> None:
        self._plan, self._open = plan, open_engine
        self._engine: Speaker | None = None
        self._opening = asyncio.Lock()
        self._places = asyncio.Semaphore(plan.places)
        self._waiting = 0

    @property
    def speaks(self) -> bool:
        """Whether there is an engine at all."""
        return chosen_engine(self._plan) != NONE

    @property
    def info(self) -> SpeakerInfo:
        if self._engine is not None:
            return self._engine.info
        name = chosen_engine(self._plan)
        return SpeakerInfo(name=name, title=name)

    async def voices(self) -> Sequence[Voice]:
        """Those of the engine, and the operator's other names for them."""
        voices = await (await self._opened()).voices()
        by_name = {voice.name: voice for voice in voices}
        others = [
            Voice(
                name=name,
                title=name.capitalize(),
                languages=by_name[voice].languages if voice in by_name else (),
            )
            for name, voice in self._plan.voices.items()
        ]
        named = {voice.name for voice in others}
        return [*(voice for voice in voices if voice.name not in named), *others]

    async def speak(
        self, text: str, *, voice: str = "", speed: float = 1.0, language: str = "", instructions: str = ""
    ) -> AsyncGenerator[Sound, None]:
        engine = await self._opened()
        meant = self._plan.voices.get(voice, voice)
        async with (
            self._place(),
            aclosing(
                engine.speak(text, voice=meant, speed=speed, language=language, instructions=instructions)
            ) as sounds,
        ):
            async for sound in sounds:
                yield sound

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.close()

    def prepare(self) -> None:
        if self._engine is not None:
            self._engine.prepare()

    async def open(self) -> None:
        """Open the engine ahead. What is wrong with it is logged, and told to whoever wants to speak."""
        if not self.speaks:
            return
        try:
            engine = await self._opened()
        except KikitoriError as exc:
            logger.warning("nothing speaks", extra={"action": "tts_unavailable", "reason": str(exc)})
            return
        logger.info("engine that speaks", extra={"action": "tts_chosen", "engine": engine.info.name})

    async def _opened(self) -> Speaker:
        async with self._opening:
            if self._engine is None:
                self._engine = await asyncio.to_thread(self._open, self._plan)
            return self._engine

    @asynccontextmanager
    async def _place(self) -> AsyncGenerator[None, None]:
        if self._places.locked() and self._waiting >= WAITING_FOR_A_PLACE:
            raise Busy("Too much is being spoken.", retry_after=RETRY_AFTER_SECONDS)
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()


@asynccontextmanager
async def speech_desk(plan: SpeechPlan) -> AsyncGenerator[SpeechDesk, None]:
    """A desk; at the end its engine is closed."""
    desk = SpeechDesk(plan)
    await desk.open()
    try:
        yield desk
    finally:
        await desk.close()
