"""One recording from media to transcript: decode → chunk → windows → engine → segments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from kikitori.audio.chunks import Chunk, read_chunks
from kikitori.audio.decode import MediaInfo, decode, probe
from kikitori.engines.base import EngineInfo
from kikitori.engines.registry import check_options, engines_that
from kikitori.errors import TooLarge, Unsupported
from kikitori.inference.loaded import LoadedModel
from kikitori.inference.pool import ModelPool
from kikitori.options import DecodeOptions
from kikitori.ordered import in_order
from kikitori.pipeline.blocking import in_media_thread, in_stoppable_media_thread
from kikitori.pipeline.cutting import Cut, cut_windows
from kikitori.pipeline.decoding import ChannelDecoder, Decoded
from kikitori.pipeline.events import Begun, Finished, Progress, ResumePoint, SegmentDone, Started, TranscriptionEvent
from kikitori.pipeline.windows import WINDOW_SECONDS
from kikitori.types import DecodeMode, Media, Priority, Segment, Transcript

GUESSING = frozenset({"mp3", "aac", "ac3", "eac3", "dts", "truehd", "mpeg", "mpegts"})
"""Containers that say no length, so that FFmpeg guesses one from the bit rate: only decoding shows theirs."""
FIRST_CHUNK_SECONDS = 60.0
"""Independent windows need no long chunk, so the first one is short: text comes soon."""


CutChunk: TypeAlias = tuple[Chunk, list[Cut]]
"""A chunk, and for each of its channels the windows to decode (none in sequential mode)."""


class TranscriptionListener(Protocol):
    """Told of finished transcriptions; ``kikitori.metrics.Metrics``."""

    def transcribed(self, audio_seconds: float, wall_seconds: float, model: str) -> None: ...


class Transcriber:
    """Decodes recordings on the model pool. Owns nothing; safe for many calls at once."""

    def __init__(
        self,
        pool: ModelPool,
        *,
        chunk_seconds: float = 600.0,
        max_audio_seconds: float | None = None,
        listener: TranscriptionListener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool, self._listener, self._clock = pool, listener, clock
        self._chunk_seconds, self._max_audio_seconds = chunk_seconds, max_audio_seconds

    async def stream(
        self,
        media: Media,
        options: DecodeOptions,
        *,
        model: str = "",
        priority: Priority = Priority.NORMAL,
        resume: ResumePoint | None = None,
    ) -> AsyncGenerator[TranscriptionEvent, None]:
        """Begun, then Started, then Progress and SegmentDone as they come, then Finished.

        ``resume`` goes on from where an earlier run ended, with the same media and options: in windowed mode with
        the segments that run would have made.
        Closing the generator (``aclose``, or cancelling the task that runs it) stops decoding
        within one segment and frees the engine. Raises InvalidMedia, TooLarge, Unsupported,
        ModelNotFound, Busy, Unavailable.
        """
        started = self._clock()
        self.check(options, model=model)  # before a model is loaded for nothing
        async with self._pool.use(model) as loaded:
            check_supported(loaded.info, options)  # a model may know less than its engine
            promise = await _promise(media)
            duration = promise.duration if promise else None
            if promise and self._max_audio_seconds:
                refuse_longer(promise, self._max_audio_seconds)
            mode = choose_mode(loaded.info, options, duration)
            transcription = _Transcription(loaded, options, mode, priority, duration, resume)
            yield transcription.begun()
            async with self._chunks(media, options, mode, resume) as chunks:
                async with aclosing(transcription.events(chunks)) as events:
                    async for event in events:
                        if isinstance(event, Finished) and self._listener:  # now: nobody need ask for more
                            seconds = self._clock() - started
                            self._listener.transcribed(transcription.seconds_heard, seconds, loaded.spec.id)
                        yield event

    def check(self, options: DecodeOptions, *, model: str = "") -> None:
        """Raise ModelNotFound or Unsupported for what ``stream`` would refuse. Blocking: looks at the disk."""
        check_supported(self._pool.info(model), options)

    async def transcribe(
        self, media: Media, options: DecodeOptions, *, model: str = "", priority: Priority = Priority.NORMAL
    ) -> Transcript:
        """The whole transcript at once."""
        async with aclosing(self.stream(media, options, model=model, priority=priority)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    return event.transcript
        raise AssertionError("A transcription ends with Finished.")

    @asynccontextmanager
    async def _chunks(
        self, media: Media, options: DecodeOptions, mode: DecodeMode, resume: ResumePoint | None
    ) -> AsyncIterator[AsyncGenerator[CutChunk, None]]:
        skip = _first_needed(resume) if resume else 0.0
        first = self._chunk_seconds
        if mode is DecodeMode.WINDOWED and not skip:
            first = min(FIRST_CHUNK_SECONDS, first)
        blocks = decode(media, channels=options.channels, max_seconds=self._max_audio_seconds)
        checked = _Checked(blocks)
        chunks = read_chunks(
            checked,
            max_seconds=self._chunk_seconds,
            first_seconds=first,
            skip_seconds=skip,
        )
        done = resume.seconds if resume else 0.0
        try:
            async with aclosing(_ahead(partial(_read, checked, chunks, options, mode, done))) as iterator:
                yield iterator
        finally:
            await in_media_thread(partial(_close, chunks, blocks), must_run=True)


@dataclass(slots=True)
class _Transcription:
    """One run: the state that builds up from chunk to chunk."""

    model: LoadedModel
    options: DecodeOptions
    mode: DecodeMode
    priority: Priority
    duration: float | None
    resume: ResumePoint | None = None
    seconds_done: float = 0.0

    @property
    def seconds_heard(self) -> float:
        """By this run."""
        return max(0.0, self.seconds_done - (self.resume.seconds if self.resume else 0.0))

    def begun(self) -> Begun:
        return Begun(duration=self.duration, model=self.model.spec.id, engine=self.model.spec.engine, mode=self.mode)

    async def events(self, chunks: AsyncGenerator[CutChunk, None]) -> AsyncGenerator[TranscriptionEvent, None]:
        segments: list[Segment] = []
        earlier = self.resume.segments if self.resume else 0
        decoders: list[ChannelDecoder] = []
        started = False
        heard = self.resume.seconds if self.resume else 0.0
        async for chunk, cuts in chunks:
            decoders = decoders or [self._decoder() for _ in chunk.audio]
            heard = chunk.start + chunk.duration
            async with aclosing(self._decode(decoders, chunk, cuts)) as results:
                async for decoded in results:
                    if not started:
                        started = True
                        yield self._started(decoders)
                    for segment in decoded.segments:
                        segments.append(_placed(segment, chunk.start, earlier + len(segments)))
                        yield SegmentDone(segment=segments[-1])
                    done = min(heard, chunk.start + decoded.seconds_done)
                    yield self._progress(done, decoders, earlier + len(segments), chunk)
            if started and self.seconds_done < heard:
                yield self._progress(heard, decoders, earlier + len(segments))
        if not started:  # nobody spoke
            yield self._started(decoders)
            yield self._progress(heard, decoders, earlier)
        yield Finished(transcript=self._transcript(segments, decoders, heard))

    def _decoder(self) -> ChannelDecoder:
        return ChannelDecoder(self.model, self.options, self.mode, self.priority, self.resume)

    async def _decode(
        self, decoders: Sequence[ChannelDecoder], chunk: Chunk, cuts: Sequence[Cut]
    ) -> AsyncGenerator[Decoded, None]:
        whole = chunk.last and chunk.index == 0 and self.resume is None
        channels = [
            decoder.decode(audio, cut, chunk.start, whole=whole)
            for decoder, audio, cut in zip(decoders, chunk.audio, cuts, strict=True)
        ]
        if len(channels) == 1:
            async with aclosing(channels[0]) as results:
                async for decoded in results:
                    yield decoded
            return
        jobs = [
            partial(_collect, name, channel) for name, channel in zip(_speakers(len(channels)), channels, strict=True)
        ]
        async with aclosing(in_order(jobs, at_once=len(jobs))) as collected:
            heard = [segment async for segments in collected for segment in segments]
        yield Decoded(tuple(sorted(heard, key=lambda segment: segment.start)), chunk.duration)

    def _started(self, decoders: Sequence[ChannelDecoder]) -> Started:
        language = self._language(decoders)
        return Started(
            duration=self.duration,
            language=language[0],
            language_probability=language[1],
            model=self.model.spec.id,
            engine=self.model.spec.engine,
            mode=self.mode,
        )

    def _progress(
        self, seconds: float, decoders: Sequence[ChannelDecoder], segments: int, chunk: Chunk | None = None
    ) -> Progress:
        """``chunk`` is the one that ``seconds`` lies in; None: between two of them."""
        self.seconds_done = max(self.seconds_done, seconds)
        if self.duration is not None:
            self.duration = max(self.duration, self.seconds_done)  # containers promise wrongly
        language, probability = self._language(decoders)
        inside = chunk is not None and self.seconds_done < chunk.start + chunk.duration
        resume = ResumePoint(
            seconds=self.seconds_done,
            segments=segments,
            language=language,
            language_probability=probability,
            text=decoders[0].text if len(decoders) == 1 else "",
            chunk_start=chunk.start if chunk and inside and self.mode is DecodeMode.WINDOWED else None,
        )
        return Progress(seconds_done=self.seconds_done, duration=self.duration, resume=resume)

    def _language(self, decoders: Sequence[ChannelDecoder]) -> tuple[str, float]:
        known = [decoder.language for decoder in decoders if decoder.language.code]
        if known:
            return known[0].code, known[0].probability
        if self.resume and self.resume.language:  # nothing was left to hear
            return self.resume.language, self.resume.language_probability
        return self.options.language or "", 0.0

    def _transcript(
        self, segments: Sequence[Segment], decoders: Sequence[ChannelDecoder], duration: float
    ) -> Transcript:
        language, probability = self._language(decoders)
        return Transcript(
            segments=tuple(segments),
            language=language,
            language_probability=probability,
            duration=duration,
            model=self.model.spec.id,
            engine=self.model.spec.engine,
            task=self.options.task,
            mode=self.mode,
        )


def choose_mode(info: EngineInfo, options: DecodeOptions, duration: float | None) -> DecodeMode:
    """The mode that runs: what was asked, else windowed unless an option needs the text before."""
    if options.mode is not DecodeMode.AUTO:
        return options.mode
    if options.needs_sequential():
        return DecodeMode.SEQUENTIAL
    one_window = duration is not None and duration <= WINDOW_SECONDS
    if (options.initial_prompt or options.previous_text) and info.conditions_on_text and not one_window:
        return DecodeMode.SEQUENTIAL  # the prompt's effect carries over through the text
    return DecodeMode.WINDOWED


def check_supported(info: EngineInfo, options: DecodeOptions) -> None:
    """Raises Unsupported, which names the option and who can."""
    check_options(info, options)
    if (option := options.needs_sequential()) and not info.conditions_on_text:
        able = engines_that(lambda other: other.conditions_on_text)
        raise Unsupported(f"{info.title} cannot honour {option}.", param=option, engines=able)


def refuse_longer(promise: MediaInfo, max_seconds: float) -> None:
    """Raises TooLarge where the container itself says that the recording is longer than that."""
    if promise.duration and promise.duration > max_seconds and promise.container not in GUESSING:
        raise TooLarge(
            f"The recording is longer than {max_seconds:g} seconds: {promise.duration:.0f}.",
            remedy="Send it in parts.",
            param="file",
        )


async def _promise(media: Media) -> MediaInfo | None:
    """What the container says; None for streams, which can be read only once."""
    if not isinstance(media, str | Path) and not media.seekable():
        return None
    return await in_media_thread(partial(probe, media))


def _first_needed(resume: ResumePoint) -> float:
    """Where the audio begins that a run from ``resume`` on needs, in seconds."""
    return resume.seconds if resume.chunk_start is None else resume.chunk_start


class _Checked:
    """``blocks``, before each of which ``check`` is called: what it raises stops whoever reads them."""

    def __init__(self, blocks: Iterable[npt.NDArray[np.float32]]) -> None:
        self._blocks = blocks
        self.check: Callable[[], None] = lambda: None

    def __iter__(self) -> Iterator[npt.NDArray[np.float32]]:
        for block in self._blocks:
            self.check()
            yield block


def _read(
    blocks: _Checked,
    chunks: Iterator[Chunk],
    options: DecodeOptions,
    mode: DecodeMode,
    done: float,
    check: Callable[[], None],
) -> CutChunk | None:
    """The next of ``chunks`` (of ``blocks``) and the windows of each of its channels; None at the end. Blocking.

    What lies before ``done`` (seconds into the recording) needs no decoding any more. Minutes of audio take seconds,
    and nobody who stops should wait for them: what ``check`` raises ends it.
    """
    blocks.check = check
    chunk = next(chunks, None)
    if chunk is None:
        return None
    return chunk, [cut_windows(audio, options, mode, done=done - chunk.start, check=check) for audio in chunk.audio]


async def _ahead(read: Callable[[Callable[[], None]], CutChunk | None]) -> AsyncGenerator[CutChunk, None]:
    """Read and cut the next chunk while the one before is decoded."""
    reading = asyncio.create_task(in_stoppable_media_thread(read))
    try:
        while (cut := await reading) is not None:
            last = cut[0].last
            if not last:
                reading = asyncio.create_task(in_stoppable_media_thread(read))
            yield cut
            if last:
                return
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _collect(speaker: str, results: AsyncGenerator[Decoded, None]) -> list[Segment]:
    async with aclosing(results):
        return [replace(segment, speaker=speaker) async for decoded in results for segment in decoded.segments]


def _placed(segment: Segment, offset: float, number: int) -> Segment:
    """``segment`` with its times in the file and its number."""
    words = segment.words and tuple(
        replace(word, start=_round(word.start + offset), end=_round(word.end + offset)) for word in segment.words
    )
    return replace(
        segment, id=number, start=_round(segment.start + offset), end=_round(segment.end + offset), words=words
    )


def _round(seconds: float) -> float:
    return round(seconds, 3)


def _speakers(count: int) -> list[str]:
    return ["left", "right"] if count == 2 else [f"channel {number}" for number in range(1, count + 1)]


def _close(*generators: Generator[object, None, None]) -> None:
    for generator in generators:
        generator.close()
