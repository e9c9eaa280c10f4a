"""Fakes of our seams, for tests of this project and of programs built on it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from kikitori.engines.base import Calls, Decoding, EngineConfig, EngineInfo, Language
from kikitori.errors import KikitoriError, ModelNotFound
from kikitori.inference.models import ModelSpec
from kikitori.llm.client import Message
from kikitori.llm.talking import TalkPiece, TalkRequest
from kikitori.options import DecodeOptions
from kikitori.pipeline.events import Begun, Finished, Progress, ResumePoint, SegmentDone, Started, TranscriptionEvent
from kikitori.tts.speaker import Sound, SpeakerInfo, Voice
from kikitori.types import SAMPLE_RATE, Audio, DecodeMode, Media, Priority, Segment, Task, Transcript

QUICK_LOOKS, SLOW_LOOK_SECONDS = 1_000, 0.005
"""At first at every turn of the loop; then others, whom one waits for, have the processor."""


class Hold:
    """A point in a script where the fake waits: ``reached`` says it is there, ``release`` lets it go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.release = asyncio.Event()

    async def wait(self) -> None:
        self.reached.set()
        await self.release.wait()


Step: TypeAlias = TranscriptionEvent | Exception | Hold


@dataclass(slots=True)
class FakeCall:
    """One transcription that was asked for, and how it ended."""

    media: Media
    options: DecodeOptions
    model: str
    priority: Priority
    content: bytes
    """What the file held when decoding began."""
    resume: ResumePoint | None = None
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the stream is over, in whatever way."""
    finished: bool = False
    """The script came to its end."""


class FakeTranscriber:
    """Plays a script of events instead of decoding: raises exceptions where they stand, waits at each Hold."""

    def __init__(self, script: Iterable[Step]) -> None:
        self.script = tuple(script)
        self.calls: list[FakeCall] = []
        self.refuses: KikitoriError | None = None

    def check(self, options: DecodeOptions, *, model: str = "") -> None:
        if self.refuses is not None:
            raise self.refuses

    async def stream(
        self,
        media: Media,
        options: DecodeOptions,
        *,
        model: str = "",
        priority: Priority = Priority.NORMAL,
        resume: ResumePoint | None = None,
    ) -> AsyncGenerator[TranscriptionEvent, None]:
        path = Path(media) if isinstance(media, str | Path) else Path()
        content = await asyncio.to_thread(path.read_bytes) if path.is_file() else b""
        call = FakeCall(media, options, model, priority, content, resume)
        self.calls.append(call)
        try:
            for step in self.script:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, Hold):
                    await step.wait()
                else:
                    yield step
            call.finished = True
        finally:
            call.closed.set()

    async def transcribe(
        self, media: Media, options: DecodeOptions, *, model: str = "", priority: Priority = Priority.NORMAL
    ) -> Transcript:
        async with aclosing(self.stream(media, options, model=model, priority=priority)) as events:
            finished = [event async for event in events if isinstance(event, Finished)]
        return finished[-1].transcript


def fake_segments(*texts: str, seconds: float = 1.0, speakers: Sequence[str | None] = (None,)) -> tuple[Segment, ...]:
    """A segment of ``seconds`` for each text; speakers take turns."""
    return tuple(
        Segment(
            id=index,
            start=index * seconds,
            end=(index + 1) * seconds,
            text=text,
            tokens=(index, index + 1),
            speaker=speakers[index % len(speakers)],
        )
        for index, text in enumerate(texts)
    )


def script_of(transcript: Transcript) -> list[TranscriptionEvent]:
    """The events of a transcription that ends with ``transcript``."""
    begun = Begun(duration=transcript.duration, model=transcript.model, engine=transcript.engine, mode=transcript.mode)
    started = Started(
        duration=transcript.duration,
        language=transcript.language,
        language_probability=transcript.language_probability,
        model=transcript.model,
        engine=transcript.engine,
        mode=transcript.mode,
    )
    events: list[TranscriptionEvent] = [begun, started]
    for segment in transcript.segments:
        events.append(SegmentDone(segment=segment))
        events.append(Progress(seconds_done=segment.end, duration=transcript.duration))
    return [*events, Finished(transcript=transcript)]


def fake_transcript(*texts: str, speakers: Sequence[str | None] = (None,)) -> Transcript:
    """A transcript of ``texts``, one second each."""
    return Transcript(
        segments=fake_segments(*texts, speakers=speakers),
        language="en",
        language_probability=0.9,
        duration=float(len(texts)),
        model="fake",
        engine="fake",
        mode=DecodeMode.WINDOWED,
    )


async def until(condition: Callable[[], object], *, seconds: float = 60.0) -> None:
    """Let other tasks and threads run until ``condition`` holds; TimeoutError after ``seconds``."""
    looks = 0
    async with asyncio.timeout(seconds):
        while not condition():
            looks += 1
            await asyncio.sleep(0 if looks < QUICK_LOOKS else SLOW_LOOK_SECONDS)


class FakeClock:
    """Time that stands still until it is moved."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass(slots=True)
class FakeCatalog:
    """Models by name; "" is the first."""

    specs: list[ModelSpec] = field(default_factory=lambda: [ModelSpec(id="fake", engine="fake", size_bytes=100)])

    def resolve(self, name: str) -> ModelSpec:
        for spec in self.specs:
            if name in ("", spec.id):
                return spec
        raise ModelNotFound(name)


def fake_info(max_batch_size: int = 8) -> EngineInfo:
    return EngineInfo(
        name="fake",
        title="Fake",
        tasks=frozenset(Task),
        detects_language=True,
        word_timestamps=True,
        conditions_on_text=True,
        max_batch_size=max_batch_size,
    )


class FakeEngine:
    """Hears one segment a second: `` second 0``, `` second 1``, … through merged calls.

    ``gate`` holds every batch while it is cleared; ``batches`` records them; ``fails`` decides
    which payloads raise what.
    """

    def __init__(
        self,
        config: EngineConfig | None = None,
        *,
        max_batch_size: int = 8,
        fails: Callable[[Any], Exception | None] = lambda payload: None,
    ) -> None:
        self.config = config or EngineConfig()
        self.info = fake_info(max_batch_size)
        self.fails = fails
        self.batches: list[tuple[Hashable, list[Any]]] = []
        self.options: list[DecodeOptions] = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()
        """Set when a batch begins."""
        self.closed = False

    def transcribe(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Decoding:
        self.options.append(options)
        language = Language(code=options.language) if options.language else self.detect_language(audio, options, calls)
        return Decoding(language, self._segments(audio, options, calls))

    def detect_language(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Language:
        return Language(code=calls.submit("detect", "en"), probability=0.9)

    def batch_limit(self, key: Hashable) -> int:
        return self.info.max_batch_size

    def run(self, key: Hashable, payloads: Sequence[Any]) -> Sequence[Any]:
        self.started.set()
        self.gate.wait()
        self.batches.append((key, list(payloads)))
        for payload in payloads:
            if error := self.fails(payload):
                raise error
        return list(payloads)

    def close(self) -> None:
        self.closed = True

    def _segments(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Iterator[Segment]:
        for second in range(len(audio) // SAMPLE_RATE):
            text = calls.submit(("say", options.beam_size), f" second {second}")
            yield Segment(id=second, start=float(second), end=float(second + 1), text=text)


class FakeChatModel:
    """A language model that answers what ``answer`` makes of the messages, word by word, and keeps them."""

    name = "fake"

    def __init__(self, answer: Callable[[Sequence[Message]], str], *, context_tokens: int = 8_192) -> None:
        self.answer, self.context_tokens = answer, context_tokens
        self.asked: list[list[Message]] = []

    async def stream(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        self.asked.append([*messages])
        for number, word in enumerate(self.answer(messages).split(" ")):
            await asyncio.sleep(0)
            yield f" {word}" if number else word


@dataclass(slots=True)
class FakeSpeech:
    """One text that was spoken, and how it ended."""

    text: str
    voice: str
    speed: float
    language: str
    instructions: str
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when nobody listens any more, in whatever way it ended."""
    finished: bool = False
    """Everything was said."""


class FakeSpeaker:
    """Speaks ``seconds`` of a quiet tone for each character, in pieces of a tenth of a second.

    ``fails`` decides what a text raises, and ``hold`` stops each text before its second piece.
    """

    info = SpeakerInfo(name="fake", title="Fake")

    def __init__(
        self,
        *,
        seconds: float = 0.05,
        rate: int = 16_000,
        fails: Callable[[str], Exception | None] = lambda text: None,
        hold: Hold | None = None,
    ) -> None:
        self.seconds, self.rate, self.fails, self.hold = seconds, rate, fails, hold
        self.spoken: list[FakeSpeech] = []
        self.closed = False

    def prepare(self) -> None:
        pass

    async def voices(self) -> Sequence[Voice]:
        return [Voice(name="alloy", title="Alloy"), Voice(name="de", languages=("de",), title="German")]

    async def speak(
        self, text: str, *, voice: str = "", speed: float = 1.0, language: str = "", instructions: str = ""
    ) -> AsyncGenerator[Sound, None]:
        speech = FakeSpeech(text, voice, speed, language, instructions)
        self.spoken.append(speech)
        try:
            if error := self.fails(text):
                raise error
            left, piece = round(len(text) * self.seconds / speed * self.rate), self.rate // 10
            for number, at in enumerate(range(0, left, piece)):
                if number == 1 and self.hold is not None:
                    await self.hold.wait()
                await asyncio.sleep(0)
                yield Sound(pcm=b"\x00\x01" * min(piece, left - at), rate=self.rate)
            speech.finished = True
        finally:
            speech.closed.set()

    async def close(self) -> None:
        self.closed = True


class FakeTalkingModel:
    """A language model that plays its script: raises exceptions where they stand, waits at each Hold.

    It is its own endpoint: ``open`` gives it.
    """

    configured = True
    context_tokens = 8_192

    def __init__(self, *script: TalkPiece | Exception | Hold) -> None:
        self.script = script
        self.asked: list[TalkRequest] = []
        self.opened = 0
        self.closed = asyncio.Event()
        """Set when nobody listens any more, in whatever way it ended."""

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[FakeTalkingModel, None]:
        self.opened += 1
        yield self

    async def talk(self, request: TalkRequest) -> AsyncGenerator[TalkPiece, None]:
        self.asked.append(request)
        self.closed.clear()
        try:
            for step in self.script:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, Hold):
                    await step.wait()
                else:
                    await asyncio.sleep(0)
                    yield step
        finally:
            self.closed.set()
