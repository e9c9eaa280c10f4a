"""Speech to text for one connection: transcribe, audio-start, audio-chunk …, audio-stop → the transcript."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk
from wyoming.event import Event

from kikitori.audio.pcm import Encoding, from_float, to_float
from kikitori.errors import InvalidOption, ModelNotFound, Unavailable
from kikitori.live.events import Final, FinalFailed, LiveEvent
from kikitori.live.options import LiveOptions
from kikitori.protocols.live_start import language_code
from kikitori.sessions.desk import LiveDesk, Wanted
from kikitori.sessions.running import RunningSession

ENCODINGS = {1: Encoding.U8, 2: Encoding.S16LE, 3: Encoding.S24LE}
"""By bytes of a sample."""
MOST_CHANNELS = 8
OWNER = "wyoming"


class Hearing:
    """One transcription: its session, and what it has said. ``close`` it, whatever happened."""

    def __init__(self, desk: LiveDesk, defaults: LiveOptions, asked: Transcribe) -> None:
        self._desk, self._options = desk, _options(defaults, asked)
        self._session: RunningSession | None = None
        self._events: asyncio.Queue[Final | FinalFailed | None] = asyncio.Queue()
        self._watch: asyncio.Task[None] | None = None
        self._ear = self._hear
        """The desk knows whom a session tells by this very object."""

    async def feed(self, chunk: AudioChunk) -> None:
        """Waits while the machine is too far behind. Raises KikitoriError."""
        samples = mono(chunk)
        if self._session is None:
            self._session = await self._open(chunk)
        await self._session.feed(samples)

    async def transcript(self) -> AsyncGenerator[Event, None]:
        """The text as it is decided, and then the whole. Raises KikitoriError when an utterance cannot be decoded."""
        texts: list[str] = []
        language = self._options.decode.language
        yield TranscriptStart(language=language).event()
        if self._session is not None:
            self._session.end()
            while (event := await self._events.get()) is not None:
                if isinstance(event, FinalFailed):
                    raise Unavailable(event.message)
                if event.text:
                    language = event.language or language
                    texts.append(event.text if not texts else f" {event.text}")
                    yield TranscriptChunk(text=texts[-1]).event()
        yield Transcript(text="".join(texts), language=language).event()
        yield TranscriptStop().event()

    async def close(self) -> None:
        if self._session is not None:
            self._desk.leave(self._session, self._ear)
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def _open(self, chunk: AudioChunk) -> RunningSession:
        wanted = Wanted(options=self._options, encoding=Encoding.S16LE.value, rate=chunk.rate, owner=OWNER)
        try:
            session = await self._desk.open(wanted, self._ear)
        except ModelNotFound:  # of the pipeline's settings: the default hears it as well
            self._options = replace(self._options, model="")
            session = await self._desk.open(replace(wanted, options=self._options), self._ear)
        self._watch = asyncio.create_task(self._tell_end(session), name="kikitori-wyoming-watch")
        return session

    def _hear(self, event: LiveEvent) -> None:
        if isinstance(event, Final | FinalFailed):
            self._events.put_nowait(event)

    async def _tell_end(self, session: RunningSession) -> None:
        await session.finished.wait()
        self._events.put_nowait(None)


def mono(chunk: AudioChunk) -> bytes:
    """Its samples as s16le of one channel. Raises InvalidOption."""
    encoding = ENCODINGS.get(chunk.width) if isinstance(chunk.width, int) else None
    if encoding is None:
        raise InvalidOption("width", chunk.width, "1, 2 or 3 bytes")
    if not isinstance(chunk.rate, int):
        raise InvalidOption("rate", chunk.rate, "a whole number of Hz")
    if not isinstance(chunk.channels, int) or not 1 <= chunk.channels <= MOST_CHANNELS:
        raise InvalidOption("channels", chunk.channels, f"1 to {MOST_CHANNELS}")
    if encoding is Encoding.S16LE and chunk.channels == 1:
        return chunk.audio
    samples = to_float(chunk.audio, encoding)
    frames = samples[: len(samples) - len(samples) % chunk.channels].reshape(-1, chunk.channels)
    return from_float(frames.mean(axis=1), Encoding.S16LE)


def _options(defaults: LiveOptions, asked: Transcribe) -> LiveOptions:
    """Raises InvalidOption."""
    language = defaults.decode.language
    if asked.language:
        try:
            language = language_code(str(asked.language))
        except ValueError as exc:
            raise InvalidOption("language", asked.language, "a language such as en, ja, ko-KR") from exc
    decode = replace(defaults.decode, language=language, word_timestamps=False)
    return replace(defaults, model=str(asked.name or defaults.model), decode=decode, interim=False)
