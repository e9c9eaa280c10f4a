"""Who translates what was said: the recogniser itself where it can, else a language model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from kikitori.engines.base import EngineInfo
from kikitori.inference.loaded import LoadedModel
from kikitori.inference.pool import ModelPool
from kikitori.llm.client import ChatModel, ChatModels
from kikitori.llm.interpreting import interpretation
from kikitori.options import DecodeOptions
from kikitori.text.languages import LANGUAGE_NAMES
from kikitori.types import Audio, Priority, Segment, Task

ENGLISH = "en"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Said:
    """The final of one utterance."""

    utterance: int
    text: str
    language: str = ""
    """As far as it is known."""
    audio: Audio | None = None
    before: tuple[str, ...] = ()
    """The last finals before it, in order."""


class Interpreter(Protocol):
    """Translates for one session, one utterance at a time."""

    async def prepare(self) -> None:
        """Somebody will speak soon: do what takes a moment. Raises KikitoriError."""
        ...

    def interpret(self, said: Said) -> AsyncGenerator[str, None]:
        """Pieces of the translation as they come; joined they are all of it. Raises KikitoriError."""
        ...

    async def close(self) -> None: ...


def primary(tag: str) -> str:
    """The language of a BCP-47 tag: ``pt-BR`` is ``pt``."""
    return tag.replace("_", "-").partition("-")[0].lower()


def is_spoken(said: Said, tag: str) -> bool:
    """Nothing is to be done: it was said in the language ``tag``. Scripts and regions may still differ."""
    return said.language == primary(tag) and (tag.lower() == primary(tag) or primary(tag) == ENGLISH)


def language_name(tag: str) -> str:
    """As a language model understands it: ``Portuguese (pt-BR)``."""
    name = LANGUAGE_NAMES.get(primary(tag), "").title()
    if not name:
        return tag
    return name if primary(tag) == tag.lower() else f"{name} ({tag})"


class LiveInterpreter:
    """Whisper's own translation where the target is English and the model can; else the chat endpoint."""

    def __init__(
        self, tag: str, pool: ModelPool, chat: ChatModels, *, wanted: Callable[[], tuple[str, DecodeOptions]]
    ) -> None:
        """``wanted`` is the model of the session now, and how it decodes."""
        self._tag, self._pool, self._chat, self._wanted = tag, pool, chat, wanted
        self._held = AsyncExitStack()
        self._model: ChatModel | None = None
        self._opening = asyncio.Lock()

    async def prepare(self) -> None:
        if primary(self._tag) != ENGLISH:  # else the recogniser may do it alone
            await self._opened()

    async def interpret(self, said: Said) -> AsyncGenerator[str, None]:
        model, options = self._wanted()
        by_ear = said.audio is not None and self._may_hear(self._pool.info(model))
        work = self._by_ear(said, model, options) if by_ear else self._by_chat(said)
        async with aclosing(work) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        async with self._opening:
            held, self._held, self._model = self._held, AsyncExitStack(), None
        await held.aclose()

    async def _opened(self) -> ChatModel:
        async with self._opening:
            if self._model is None:
                self._model = await self._held.enter_async_context(self._chat.open())
            return self._model

    def _may_hear(self, info: EngineInfo) -> bool:
        return primary(self._tag) == ENGLISH and Task.TRANSLATE in info.tasks

    async def _by_ear(self, said: Said, name: str, options: DecodeOptions) -> AsyncGenerator[str, None]:
        assert said.audio is not None
        async with AsyncExitStack() as held:
            model = await held.enter_async_context(self._pool.use(name))
            if can_translate(model):
                decode = replace(
                    options, task=Task.TRANSLATE, language=said.language or options.language, word_timestamps=False
                )
                results = model.decode(said.audio, decode, priority=Priority.HIGH)
                async for result in await held.enter_async_context(aclosing(results)):
                    if isinstance(result, Segment):
                        yield result.text
                return
        async with aclosing(self._by_chat(said)) as pieces:
            async for piece in pieces:
                yield piece

    async def _by_chat(self, said: Said) -> AsyncGenerator[str, None]:
        model = await self._opened()
        asked = interpretation(said.text, language=language_name(self._tag), before=said.before)
        async with aclosing(model.stream(asked)) as pieces:
            async for piece in pieces:
                yield piece


def can_translate(model: LoadedModel) -> bool:
    """Models for one language and the turbo ones were not taught to."""
    languages = model.info.languages
    return (
        Task.TRANSLATE in model.info.tasks
        and (languages is None or len(languages) > 1)
        and not any(part in model.spec.id for part in ("turbo", ".en", "distil"))
    )
