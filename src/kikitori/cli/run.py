"""Many recordings at once: decoded side by side, delivered in order, one failure never stopping the others."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from kikitori.cli.exits import ExitCode, complain
from kikitori.cli.inputs import Recording
from kikitori.cli.parallel import side_by_side
from kikitori.cli.progress import Reporter, speed
from kikitori.errors import (
    Forbidden,
    KikitoriError,
    ModelNotFound,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from kikitori.pipeline.events import Finished, Progress, SegmentDone, Started, TranscriptionEvent
from kikitori.text.durations import human_duration
from kikitori.types import Segment, Transcript

logger = logging.getLogger(__name__)

FATAL = (Unsupported, ModelNotFound, Unavailable, Unauthorized, Forbidden)
"""Would befall every other recording too."""


class Backend(Protocol):
    """Whoever decodes: this process, or a server."""

    def stream(self, recording: Recording) -> AsyncGenerator[TranscriptionEvent, None]:
        """As ``Transcriber.stream``."""
        ...


class Deliver(Protocol):
    def __call__(self, recording: Recording, transcript: Transcript, *, whole: bool) -> None:
        """Print or write ``transcript``; not ``whole`` when the recording was not heard to its end."""
        ...


@dataclass(slots=True)
class _Heard:
    """What is known of one recording."""

    recording: Recording
    transcript: Transcript | None = None
    ended: bool = False
    delivered: bool = False
    failed: bool = False
    started: Started | None = None
    seconds_done: float = 0.0
    segments: list[Segment] = field(default_factory=list)

    def so_far(self) -> Transcript:
        """The transcript up to here."""
        started = self.started
        return Transcript(
            segments=tuple(self.segments),
            language=started.language if started else "",
            language_probability=started.language_probability if started else 0.0,
            duration=self.seconds_done,
            model=started.model if started else "",
            engine=started.engine if started else "",
        )


class Run:
    """One run over all recordings."""

    def __init__(
        self,
        backend: Backend,
        deliver: Deliver,
        reporter: Reporter,
        *,
        jobs: int,
        in_order: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend, self._deliver, self._reporter = backend, deliver, reporter
        self._jobs, self._in_order, self._clock = jobs, in_order, clock
        self._heard: list[_Heard] = []

    async def all(self, recordings: Sequence[Recording]) -> ExitCode:
        """Transcribe them. When cancelled, delivers what was heard until then; raises what befalls all of them."""
        began = self._clock()
        self._heard = [_Heard(recording) for recording in recordings]
        try:
            await self._decode_all()
        except FATAL:
            self._deliver_rest(partial=False)
            raise
        except asyncio.CancelledError:
            self._deliver_rest(partial=True)
            raise
        if len(recordings) > 1:
            self._reporter.note(self._total(self._clock() - began))
        return ExitCode.FAILED if any(heard.failed for heard in self._heard) else ExitCode.OK

    def _total(self, elapsed: float) -> str:
        """``12 recordings: 1:02:03 of audio in 2:10 (28.6× real time), 1 failed``."""
        seconds = sum(heard.seconds_done for heard in self._heard)
        failed = sum(heard.failed for heard in self._heard)
        real_time = (
            f"{human_duration(seconds)} of audio in {human_duration(elapsed)} ({speed(seconds, elapsed)} real time)"
        )
        return f"{len(self._heard)} recordings: {real_time}" + (f", {failed} failed" if failed else "")

    async def _decode_all(self) -> None:
        waiting = iter(self._heard)
        async with side_by_side() as group:
            for _ in range(min(self._jobs, len(self._heard))):
                group.create_task(self._work(waiting))

    async def _work(self, waiting: Iterator[_Heard]) -> None:
        for heard in waiting:
            await self._decode(heard)
            self._deliver_ready()

    async def _decode(self, heard: _Heard) -> None:
        self._reporter.begin(heard.recording)
        try:
            async with aclosing(self._backend.stream(heard.recording)) as events:
                async for event in events:
                    self._apply(heard, event)
        except FATAL:
            raise
        except Exception as exc:  # whatever is wrong with this recording, the others go on
            self._fail(exc, heard)
        finally:
            self._reporter.end(heard.recording, heard.transcript)
        heard.ended = True

    def _apply(self, heard: _Heard, event: TranscriptionEvent) -> None:
        match event:
            case Started():
                heard.started = event
            case SegmentDone(segment=segment):
                heard.segments.append(segment)
            case Progress():
                heard.seconds_done = event.seconds_done
                self._reporter.advance(heard.recording, event)
            case Finished(transcript=transcript):
                heard.transcript = transcript

    def _fail(self, error: Exception, heard: _Heard) -> None:
        heard.failed = True
        with self._reporter.paused():
            logger.debug("recording failed", exc_info=error, extra={"action": "recording_failed"})
            complain(error, about=heard.recording.name)

    def _deliver_ready(self) -> None:
        """Whatever may go out now: in order, or as it comes."""
        for heard in self._heard:
            if not heard.ended and self._in_order:
                return
            if heard.ended:
                self._give_out(heard)

    def _deliver_rest(self, *, partial: bool) -> None:
        for heard in self._heard:
            if partial and not heard.ended and heard.segments:
                self._reporter.note(f"{heard.recording.name}: stopped at {human_duration(heard.seconds_done)}")
                self._deliver_one(heard, heard.so_far(), whole=False)
            elif heard.ended:
                self._give_out(heard)

    def _give_out(self, heard: _Heard) -> None:
        if heard.transcript is not None and not heard.delivered:
            self._deliver_one(heard, heard.transcript, whole=True)

    def _deliver_one(self, heard: _Heard, transcript: Transcript, *, whole: bool) -> None:
        heard.delivered = True
        heard.segments, heard.transcript = [], None
        try:
            with self._reporter.paused():
                self._deliver(heard.recording, transcript, whole=whole)
        except KikitoriError as exc:
            self._fail(exc, heard)
