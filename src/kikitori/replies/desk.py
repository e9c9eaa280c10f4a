"""Replies at work: the language model writes, sentences go to the voice, and everything is told as it comes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from typing import Protocol, TypeAlias

from kikitori.audio.pcm import Encoding, Resampler, from_float, to_float
from kikitori.errors import KikitoriError
from kikitori.llm.talking import Called, Ended, Said, TalkingModel
from kikitori.replies.events import ReplyEvent, ReplyFailed, ReplyRequest, ReplySound, ReplySpoken, Spoken
from kikitori.replies.sentences import Piece, SentenceCutter, speakable
from kikitori.replies.thoughts import ThoughtFilter
from kikitori.tts.speaker import Sound, Speaker

logger = logging.getLogger(__name__)

SENTENCES_AHEAD = 8
"""That wait for the voice; then the language model waits too."""
MOST_SOUND_SECONDS = 1.0
"""Of one event."""

Tell: TypeAlias = Callable[[ReplyEvent], Awaitable[None]]
"""Called for each event in order; may wait, and then the reply waits."""


class ChatOpener(Protocol):
    """Where the language model comes from; ``llm.client.ChatModels``."""

    @property
    def configured(self) -> bool: ...

    @property
    def context_tokens(self) -> int: ...

    def open(self) -> AbstractAsyncContextManager[TalkingModel]: ...


class ReplyListener(Protocol):
    """Told how replies go; ``kikitori.metrics.Metrics``."""

    def reply_sounded(self, seconds: float) -> None: ...

    def replied(self, outcome: str) -> None: ...


class ReplyDesk:
    """The server's language model and its voice. Belongs to one event loop."""

    def __init__(
        self,
        chat: ChatOpener,
        speaker: Speaker,
        *,
        listener: ReplyListener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chat, self._speaker, self._listener, self._clock = chat, speaker, listener, clock
        self._held = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._model: TalkingModel | None = None
        self._preparing: asyncio.Task[None] | None = None

    @property
    def configured(self) -> bool:
        """Whether there is a language model."""
        return self._chat.configured

    @property
    def context_tokens(self) -> int:
        return self._chat.context_tokens

    def prepare(self) -> None:
        """A reply may be wanted soon: begin what takes a moment. From the event loop."""
        if not self.configured:
            return
        self._speaker.prepare()
        if self._model is None and self._preparing is None:
            self._preparing = asyncio.create_task(self._prepare(), name="kikitori-reply-preparation")

    async def reply(self, request: ReplyRequest, tell: Tell) -> None:
        """One reply to its end, in whatever way; cancelling stops the language model and the voice at once."""
        began, sounded = self._clock(), False

        async def tell_and_watch(event: ReplyEvent) -> None:
            nonlocal sounded
            if isinstance(event, ReplySound) and not sounded and self._listener:
                self._listener.reply_sounded(self._clock() - began)
            sounded = sounded or isinstance(event, ReplySound)
            await tell(event)

        outcome = "stopped"
        try:
            last = await self._ended(request, tell_and_watch, began)
            outcome = "failed" if isinstance(last, ReplyFailed) else "done"
        finally:
            if self._listener:
                self._listener.replied(outcome)
        await tell(last)

    async def _ended(self, request: ReplyRequest, tell: Tell, began: float) -> Ended | ReplyFailed:
        """Everything but the last event, which is returned; what went wrong is logged."""
        try:
            ended = await self._reply(request, tell)
        except KikitoriError as exc:
            facts = {"action": "reply_failed", "code": exc.code, "reason": str(exc)}
            logger.warning("reply failed", extra=facts)
            return ReplyFailed(code=exc.code, message=exc.public)
        except Exception:  # the conversation goes on; the log has the trace
            logger.exception("reply failed", extra={"action": "reply_failed", "code": "internal_error"})
            return ReplyFailed(code="internal_error", message="The server failed on this reply.")
        logger.info(
            "replied",
            extra={"action": "replied", "reason": ended.reason, "seconds": round(self._clock() - began, 3)},
        )
        return ended

    async def close(self) -> None:
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.gather(self._preparing, return_exceptions=True)
        await self._held.aclose()

    async def _prepare(self) -> None:
        try:
            await self._opened()
        except KikitoriError:
            pass  # the first reply tries again, and says so

    async def _reply(self, request: ReplyRequest, tell: Tell) -> Ended:
        model = await self._opened()
        sentences: asyncio.Queue[Piece | None] = asyncio.Queue(SENTENCES_AHEAD)
        try:
            async with asyncio.TaskGroup() as group:
                if request.spoken is not None:
                    group.create_task(self._speak(request.spoken, sentences, tell), name="kikitori-reply-voice")
                ended = await _write(model, request, sentences if request.spoken else None, tell)
        except ExceptionGroup as errors:
            raise _first(errors) from None
        return ended

    async def _speak(self, spoken: Spoken, sentences: asyncio.Queue[Piece | None], tell: Tell) -> None:
        while (piece := await sentences.get()) is not None:
            if text := speakable(piece.text):
                await self._say(text, spoken, tell)
            await tell(ReplySpoken(characters=piece.end))

    async def _say(self, text: str, spoken: Spoken, tell: Tell) -> None:
        shape = _Shape(spoken)
        speech = self._speaker.speak(text, voice=spoken.voice, speed=spoken.speed, language=spoken.language)
        async with aclosing(speech) as sounds:
            async for sound in sounds:
                for data in shape.push(sound):
                    await tell(ReplySound(data=data))
        for data in shape.finish():
            await tell(ReplySound(data=data))

    async def _opened(self) -> TalkingModel:
        """Opening reads certificates, which takes a moment; so it is kept."""
        async with self._opening:
            if self._model is None:
                self._model = await self._held.enter_async_context(self._chat.open())
            return self._model


async def _write(
    model: TalkingModel, request: ReplyRequest, sentences: asyncio.Queue[Piece | None] | None, tell: Tell
) -> Ended:
    """Tell what the model writes, and hand its sentences on."""
    cutter, thoughts = SentenceCutter(), ThoughtFilter()

    async def say(text: str) -> None:
        if text:
            await tell(Said(text=text))
            await _hand_on(cutter.push(text), sentences)

    ended = Ended(reason="stop")
    async with aclosing(model.talk(request)) as pieces:
        async for piece in pieces:
            match piece:
                case Said(text=text):
                    await say(thoughts.push(text))
                case Called():
                    await tell(piece)
                case Ended():
                    ended = piece
    await say(thoughts.finish())
    await _hand_on(cutter.finish(), sentences)
    if sentences is not None:
        await sentences.put(None)
    return ended


async def _hand_on(pieces: list[Piece], sentences: asyncio.Queue[Piece | None] | None) -> None:
    if sentences is not None:
        for piece in pieces:
            await sentences.put(piece)


class _Shape:
    """Sound of one sentence, in the encoding that was asked for."""

    def __init__(self, spoken: Spoken) -> None:
        self._encoding, self._rate = spoken.encoding, spoken.rate
        self._most_bytes = round(MOST_SOUND_SECONDS * spoken.rate) * spoken.encoding.width
        self._resampler: Resampler | None = None

    def push(self, sound: Sound) -> list[bytes]:
        self._resampler = self._resampler or Resampler(sound.rate, self._rate)
        audio = self._resampler.push(to_float(sound.pcm, Encoding.S16LE))
        return self._parts(from_float(audio, self._encoding))

    def finish(self) -> list[bytes]:
        return self._parts(from_float(self._resampler.flush(), self._encoding)) if self._resampler else []

    def _parts(self, data: bytes) -> list[bytes]:
        return [data[at : at + self._most_bytes] for at in range(0, len(data), self._most_bytes)]


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first
