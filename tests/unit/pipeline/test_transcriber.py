import asyncio
import io
import threading
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pytest

from kikitori.audio.decode import MediaInfo
from kikitori.audio.vad import VadOptions
from kikitori.engines.base import EngineConfig, EngineInfo
from kikitori.errors import InvalidMedia, TooLarge, Unsupported
from kikitori.inference.placement import Hardware
from kikitori.inference.pool import ModelPool
from kikitori.options import DecodeOptions
from kikitori.pipeline import cutting
from kikitori.pipeline.events import (
    Begun,
    Finished,
    Progress,
    ResumePoint,
    SegmentDone,
    Started,
    TranscriptionEvent,
)
from kikitori.pipeline.transcriber import Transcriber, choose_mode, refuse_longer
from kikitori.testing import FakeCatalog, FakeEngine, fake_info, until
from kikitori.types import SAMPLE_RATE, Audio, Channels, DecodeMode, Segment, SpeechSpan, Task

Resumable: TypeAlias = tuple[list[Segment], list[ResumePoint]]

SEQUENTIAL = DecodeOptions(mode=DecodeMode.SEQUENTIAL)


WINDOWED = DecodeOptions(mode=DecodeMode.WINDOWED)


def wav(seconds: float, *, channels: int = 1) -> io.BytesIO:
    """A recording with a click in it; what is heard depends on the fake engine alone."""
    buffer = io.BytesIO()
    samples = np.zeros((round(seconds * SAMPLE_RATE), channels), dtype="<i2")
    samples[:: SAMPLE_RATE // 2] = 8_000
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())
    buffer.seek(0)
    return buffer


@asynccontextmanager
async def transcriber(engine: FakeEngine, **arguments: Any) -> AsyncIterator[Transcriber]:
    async with ModelPool(
        FakeCatalog(),
        load_engine=lambda name, config: engine,
        engine_info=lambda name: engine.info,
        hardware=Hardware(cpu_threads=1),
    ) as pool:
        await pool.load("")
        engine.options.clear()
        try:
            yield Transcriber(pool, **arguments)
        finally:
            engine.gate.set()  # a failed test must not leave the replica's thread held


async def events(transcriber: Transcriber, media: io.BytesIO, options: DecodeOptions) -> list[TranscriptionEvent]:
    async with aclosing(transcriber.stream(media, options)) as stream:
        return [event async for event in stream]


async def test_events_come_in_their_order() -> None:
    async with transcriber(FakeEngine()) as ours:
        seen = await events(ours, wav(3.5), SEQUENTIAL)
    assert isinstance(seen[0], Begun)
    assert (seen[0].duration, seen[0].model, seen[0].mode) == (3.5, "fake", DecodeMode.SEQUENTIAL)
    assert isinstance(seen[1], Started)
    assert (seen[1].language, seen[1].duration, seen[1].mode) == ("en", 3.5, DecodeMode.SEQUENTIAL)
    assert isinstance(seen[-1], Finished)
    assert [event.segment.text for event in seen if isinstance(event, SegmentDone)] == [
        " second 0",
        " second 1",
        " second 2",
    ]
    transcript = seen[-1].transcript
    assert transcript.text == "second 0 second 1 second 2"
    assert (transcript.duration, transcript.model, transcript.engine) == (3.5, "fake", "fake")


async def test_progress_never_goes_down_and_reaches_the_end() -> None:
    async with transcriber(FakeEngine(), chunk_seconds=30) as ours:
        seen = await events(ours, wav(70), SEQUENTIAL)
    progress = [event.seconds_done for event in seen if isinstance(event, Progress)]
    assert progress == sorted(progress)
    assert progress[-1] == 70
    assert [event.fraction for event in seen if isinstance(event, Progress)][-1] == 1.0


async def test_a_recording_in_which_nobody_speaks_starts_and_finishes() -> None:
    async with transcriber(FakeEngine(), chunk_seconds=30) as ours:
        seen = await events(ours, wav(70), DecodeOptions(vad_filter=True))
    assert [type(event) for event in seen] == [Begun, Started, Progress, Finished]
    assert isinstance(seen[-1], Finished)
    assert (seen[-1].transcript.text, seen[-1].transcript.duration) == ("", 70)


async def test_chunks_join_to_one_transcript() -> None:
    async with transcriber(FakeEngine(), chunk_seconds=30) as ours:
        finished = (await events(ours, wav(70), SEQUENTIAL))[-1]
    assert isinstance(finished, Finished)
    segments = finished.transcript.segments
    assert [segment.id for segment in segments] == list(range(len(segments)))
    assert [segment.start for segment in segments] == sorted(segment.start for segment in segments)
    assert segments[-1].end > 68


async def test_later_chunks_know_the_language_and_the_text_before() -> None:
    engine = FakeEngine()
    async with transcriber(engine, chunk_seconds=30) as ours:
        await events(ours, wav(50), SEQUENTIAL)
    first, second = engine.options
    assert (first.language, first.initial_prompt) == (None, None)
    assert second.language == "en"
    assert second.initial_prompt is not None
    assert second.initial_prompt.startswith("second 0 second 1")


async def test_text_is_not_carried_over_when_that_is_not_wanted() -> None:
    engine = FakeEngine()
    async with transcriber(engine, chunk_seconds=30) as ours:
        await events(
            ours, wav(50), replace(SEQUENTIAL, condition_on_previous_text=False, initial_prompt="Hello", prefix="So")
        )
    assert [(asked.initial_prompt, asked.prefix) for asked in engine.options] == [("Hello", "So"), (None, None)]


async def test_clips_are_decoded_in_their_own_chunks_alone() -> None:
    engine = FakeEngine()
    async with transcriber(engine, chunk_seconds=30) as ours:
        await events(ours, wav(100), DecodeOptions(clip_timestamps=(5.0, 10.0, 95.0)))
    assert engine.options[0].clip_timestamps == (5.0, 10.0)
    assert len(engine.options) == 2
    assert len(engine.options[1].clip_timestamps) == 2


async def test_each_channel_is_a_speaker_when_split() -> None:
    async with transcriber(FakeEngine()) as ours:
        seen = await events(ours, wav(3, channels=2), replace(SEQUENTIAL, channels=Channels.SPLIT))
    finished = seen[-1]
    assert isinstance(finished, Finished)
    heard = [(segment.start, segment.speaker) for segment in finished.transcript.segments]
    assert heard == [(second, side) for second in (0.0, 1.0, 2.0) for side in ("left", "right")]


async def test_a_stream_that_cannot_seek_has_no_duration_but_text() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *arguments: object) -> int:
            raise io.UnsupportedOperation("seek")

    async with transcriber(FakeEngine()) as ours:
        seen = await events(ours, Pipe(wav(2).getvalue()), SEQUENTIAL)
    assert isinstance(seen[0], Begun)
    assert seen[0].duration is None
    assert isinstance(seen[-1], Finished)
    assert seen[-1].transcript.text == "second 0 second 1"


async def test_closing_the_stream_frees_the_engine_while_its_batch_still_runs() -> None:
    engine = FakeEngine()
    async with transcriber(engine) as ours:
        engine.gate.clear()
        engine.started.clear()
        stream = ours.stream(wav(5), SEQUENTIAL)
        assert isinstance(await anext(stream), Begun)
        waiting = asyncio.ensure_future(anext(stream))
        await until(engine.started.is_set)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await stream.aclose()
        engine.gate.set()
        assert (await ours.transcribe(wav(1), SEQUENTIAL)).text == "second 0"


def speech_everywhere(audio: Audio, options: VadOptions, *, check: Callable[[], None]) -> list[SpeechSpan]:
    """Words of 7 s with a second of silence between them, counted from where the audio begins."""
    check()
    seconds = len(audio) / SAMPLE_RATE
    return [SpeechSpan(start=at, end=min(at + 7.0, seconds)) for at in np.arange(0.0, seconds, 8.0)]


async def points(transcriber: Transcriber, media: io.BytesIO, resume: ResumePoint | None = None) -> Resumable:
    """The segments of a run, and the points it can be resumed from."""
    async with aclosing(transcriber.stream(media, WINDOWED, resume=resume)) as stream:
        seen = [event async for event in stream]
    segments = [event.segment for event in seen if isinstance(event, SegmentDone)]
    return segments, [event.resume for event in seen if isinstance(event, Progress) and event.resume]


async def test_who_stops_does_not_wait_for_the_chunk_that_is_being_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    cutting_now = threading.Event()

    def endless(audio: Audio, options: VadOptions, *, check: Callable[[], None]) -> list[SpeechSpan]:
        if len(audio) <= 60 * SAMPLE_RATE:
            return [SpeechSpan(start=0, end=len(audio) / SAMPLE_RATE)]
        cutting_now.set()
        while True:
            check()

    monkeypatch.setattr(cutting, "speech_spans", endless)
    async with transcriber(FakeEngine()) as ours, asyncio.timeout(60):
        async with aclosing(ours.stream(wav(230), DecodeOptions())) as events:
            async for event in events:
                if isinstance(event, SegmentDone):
                    await until(cutting_now.is_set)
                    break


async def test_a_resumed_run_makes_the_segments_of_an_unbroken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "speech_spans", speech_everywhere)
    async with transcriber(FakeEngine()) as ours:  # a chunk of a minute, and a longer one
        whole, where = await points(ours, wav(230))
        assert len([point for point in where if point.chunk_start]) >= 3
        for point in where:
            rest, again = await points(ours, wav(230), point)
            assert rest == whole[point.segments :]
            later = [found for found in where if found.seconds > point.seconds]
            assert [(found.seconds, found.segments, found.chunk_start) for found in again if found in later] == [
                (found.seconds, found.segments, found.chunk_start) for found in later
            ]


async def test_a_run_with_other_chunks_goes_on_where_the_first_one_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting was changed in between: nothing is missing, nothing doubled."""
    monkeypatch.setattr(cutting, "speech_spans", speech_everywhere)
    engine = FakeEngine()
    async with transcriber(engine) as ours:
        whole, where = await points(ours, wav(230))
    point = next(point for point in where if point.chunk_start)
    for chunk_seconds in (30.0, 75.0, 120.0):
        async with transcriber(FakeEngine(), chunk_seconds=chunk_seconds) as ours:
            rest, _ = await points(ours, wav(230), point)
        assert rest[0].start == pytest.approx(point.seconds, abs=0.01)
        heard = [*whole[: point.segments], *rest]
        assert [segment.id for segment in heard] == list(range(len(heard)))
        assert all(after.start >= before.end - 0.01 for before, after in pairwise(heard))
        assert heard[-1].end == pytest.approx(whole[-1].end, abs=1.0)


async def test_leaving_the_stream_half_way_frees_the_engine() -> None:
    async with transcriber(FakeEngine()) as ours:
        async with aclosing(ours.stream(wav(5), SEQUENTIAL)) as stream:
            async for event in stream:
                if isinstance(event, SegmentDone):
                    break
        assert (await ours.transcribe(wav(1), SEQUENTIAL)).text == "second 0"


async def test_many_files_at_once_share_batches() -> None:
    engine = FakeEngine()
    async with transcriber(engine) as ours:
        engine.batches.clear()
        engine.gate.clear()
        running = [asyncio.create_task(ours.transcribe(wav(4), SEQUENTIAL)) for _ in range(8)]
        await until(lambda: sum(replica.waiting + replica.running for replica in ours._pool.loaded()[0].replicas) == 8)
        engine.gate.set()
        results = await asyncio.gather(*running)
    assert {result.text for result in results} == {"second 0 second 1 second 2 second 3"}
    assert max(len(payloads) for _, payloads in engine.batches) > 4


async def test_garbage_is_refused_and_the_next_request_works() -> None:
    async with transcriber(FakeEngine()) as ours:
        with pytest.raises(InvalidMedia):
            await ours.transcribe(io.BytesIO(b"just a text, nothing to hear " * 50), SEQUENTIAL)
        assert (await ours.transcribe(wav(1), SEQUENTIAL)).text == "second 0"


async def test_what_an_engine_cannot_do_is_refused_before_it_is_loaded() -> None:
    def load(name: str, config: EngineConfig) -> FakeEngine:
        raise AssertionError("loaded for nothing")

    info = replace(fake_info(), tasks=frozenset({Task.TRANSCRIBE}))
    async with ModelPool(FakeCatalog(), load_engine=load, engine_info=lambda name: info) as pool:
        with pytest.raises(Unsupported):
            await Transcriber(pool).transcribe(wav(1), DecodeOptions(task=Task.TRANSLATE))


async def test_a_recording_that_promises_to_be_too_long_is_refused_before_anything_is_decoded() -> None:
    engine = FakeEngine()
    async with transcriber(engine, max_audio_seconds=10.0) as ours:
        with pytest.raises(TooLarge, match="longer than 10 seconds: 11") as refused:
            await ours.transcribe(wav(11), SEQUENTIAL)
        assert engine.options == []
        assert refused.value.remedy == "Send it in parts."
        assert (await ours.transcribe(wav(10), SEQUENTIAL)).duration == 10


def test_a_length_that_was_only_guessed_refuses_nothing() -> None:
    facts = MediaInfo(duration=30.0, channels=1, sample_rate=16_000, codec="mp3", container="mp3")
    refuse_longer(facts, 10.0)
    with pytest.raises(TooLarge):
        refuse_longer(replace(facts, codec="flac", container="flac"), 10.0)
    refuse_longer(replace(facts, container="flac", duration=None), 10.0)


async def test_an_engine_without_context_refuses_what_needs_it() -> None:
    engine = FakeEngine()
    engine.info = replace(engine.info, conditions_on_text=False)
    async with transcriber(engine) as ours:
        with pytest.raises(Unsupported, match="condition_on_previous_text") as refused:
            await ours.transcribe(wav(1), DecodeOptions(condition_on_previous_text=True))
    assert "whisper" in refused.value.engines


@pytest.mark.parametrize(
    ("options", "duration", "mode"),
    [
        (DecodeOptions(), 600.0, DecodeMode.WINDOWED),
        (DecodeOptions(), None, DecodeMode.WINDOWED),
        (DecodeOptions(condition_on_previous_text=False), 600.0, DecodeMode.WINDOWED),
        (DecodeOptions(condition_on_previous_text=True), 600.0, DecodeMode.SEQUENTIAL),
        (DecodeOptions(clip_timestamps=(1.0, 2.0)), 600.0, DecodeMode.SEQUENTIAL),
        (DecodeOptions(word_timestamps=True, hallucination_silence_threshold=2), 9.0, DecodeMode.SEQUENTIAL),
        (DecodeOptions(initial_prompt="Kikitori"), 600.0, DecodeMode.SEQUENTIAL),
        (DecodeOptions(initial_prompt="Kikitori"), 12.0, DecodeMode.WINDOWED),
        (DecodeOptions(initial_prompt="Kikitori", mode=DecodeMode.WINDOWED), 600.0, DecodeMode.WINDOWED),
        (DecodeOptions(mode=DecodeMode.SEQUENTIAL), 5.0, DecodeMode.SEQUENTIAL),
    ],
)
def test_auto_is_windowed_unless_an_option_needs_the_text_before(
    options: DecodeOptions, duration: float | None, mode: DecodeMode
) -> None:
    assert choose_mode(fake_info(), options, duration) is mode


def test_a_prompt_means_nothing_to_an_engine_without_context() -> None:
    info: EngineInfo = replace(fake_info(), conditions_on_text=False)
    assert choose_mode(info, DecodeOptions(initial_prompt="x"), 600.0) is DecodeMode.WINDOWED
