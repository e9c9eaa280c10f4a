"""A gRPC server that implements Google's Speech v2, hears audio that tells where it is, and fails as it is told.

Each sample of the audio says its own position, so the server knows what was said in whatever it is sent, and a word
that is lost or doubled on our side shows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
import numpy as np
from google.cloud.speech_v2.types import cloud_speech

from kikitori.types import SAMPLE_RATE, Audio

STEP = 160
"""Samples that say the same position: 10 ms."""
PAUSE_SECONDS = 0.5
"""Silence after words makes them final."""
MOST_STREAM_SECONDS = 305.0


@dataclass(frozen=True, slots=True)
class Spoken:
    word: str
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one stream."""

    after: float = 0.0
    """Seconds of its audio."""
    code: grpc.StatusCode | None = None
    hangs: bool = False
    """Takes audio, and says nothing any more."""


def sentences(count: int, *, words: int = 8, gap: float = 1.0) -> list[Spoken]:
    """Sentences of words that are all different, with pauses between them."""
    spoken, at = [], 0.5
    for sentence in range(count):
        for word in range(words):
            spoken.append(Spoken(f"w{sentence}x{word}", at, at + 0.3))
            at += 0.4
        at += gap
    return spoken


def audio_of(seconds: float) -> Audio:
    """Audio that tells its positions."""
    positions = np.arange(int(seconds * SAMPLE_RATE)) // STEP % 60_000 - 30_000
    return (positions / 2**15).astype(np.float32)


def position(data: bytes) -> float:
    """Where audio begins, in seconds."""
    return (int(np.frombuffer(data[:2], "<i2")[0]) + 30_000) * STEP / SAMPLE_RATE


@dataclass
class GoogleServer:
    """Streams fail by ``faults``, one after the other; then they are sound."""

    spoken: Sequence[Spoken] = ()
    faults: list[Fault] = field(default_factory=list)
    word_times: bool = True
    reorders: bool = False
    """Interims come late, and out of their order."""
    says: str = ""
    """Hears this in whatever it is sent."""
    slow: float = 0.0
    """Seconds before each answer."""
    endpoint: str = ""
    configs: list[Any] = field(default_factory=list)
    """Of each request: a StreamingRecognitionConfig, or a RecognizeRequest."""
    streams: int = 0
    open: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def streaming_recognize(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        with self.lock:
            self.streams += 1
            self.open += 1
            fault = self.faults.pop(0) if self.faults else Fault()
        try:
            yield from self._stream(requests, context, fault)
        finally:
            with self.lock:
                self.open -= 1

    def _stream(self, requests: Iterator[Any], context: grpc.ServicerContext, fault: Fault) -> Iterator[Any]:
        first = next(requests)
        self.configs.append((first.recognizer, first.streaming_config))
        ear = Ear(self)
        for request in requests:
            ear.take(bytes(request.audio))
            if fault.code is not None and ear.seconds >= fault.after:
                context.abort(fault.code, "as the test wants it")
            if fault.hangs and ear.seconds >= fault.after:
                continue
            if ear.seconds > MOST_STREAM_SECONDS:
                context.abort(grpc.StatusCode.ABORTED, "Max duration of 5 minutes reached for stream.")
            yield from self._paced(ear.answers())
        if fault.hangs:
            while context.is_active():
                time.sleep(0.01)
        elif fault.code is not None and fault.after > ear.seconds:
            context.abort(fault.code, "at the end")
        yield from self._paced(ear.last())

    def _paced(self, answers: Iterator[Any]) -> Iterator[Any]:
        for answer in answers:
            if self.slow:
                time.sleep(self.slow)
            yield answer

    def recognize(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.configs.append(request)
        fault = self.faults.pop(0) if self.faults else Fault()
        if fault.code is not None:
            context.abort(fault.code, "as the test wants it")
        while fault.hangs and context.is_active():
            time.sleep(0.01)
        ear = Ear(self)
        ear.take(bytes(request.content))
        results = [cloud_speech.SpeechRecognitionResult(_plain(response.results[0])) for response in ear.last()]
        return cloud_speech.RecognizeResponse(results=results)


def _plain(result: Any) -> dict[str, Any]:
    return {
        "alternatives": list(result.alternatives),
        "result_end_offset": result.result_end_offset,
        "language_code": result.language_code,
    }


class Ear:
    """What one stream has heard."""

    def __init__(self, server: GoogleServer) -> None:
        self._server = server
        self._origin: float | None = None
        self.seconds = 0.0
        self._decided = 0.0
        self._held: Any = None

    def take(self, data: bytes) -> None:
        if self._origin is None and data:
            self._origin = self._decided = position(data)
        self.seconds += len(data) / 2 / SAMPLE_RATE

    @property
    def _end(self) -> float:
        return (self._origin or 0.0) + self.seconds

    def _open(self) -> list[Spoken]:
        """Words that are not decided and of which most was heard."""
        if said := self._server.says.split():
            share = self.seconds / len(said)
            start = self._origin or 0.0
            return [Spoken(word, start + n * share, start + (n + 1) * share) for n, word in enumerate(said)]
        origin, end = self._origin or 0.0, self._end
        return [
            word
            for word in self._server.spoken
            if (word.start + word.end) / 2 > max(origin, self._decided)
            and word.start + 0.6 * (word.end - word.start) < end
        ]

    def answers(self) -> Iterator[Any]:
        words = self._open()
        if not words:
            return
        if self._end - words[-1].end >= PAUSE_SECONDS:
            yield self._final(words, words[-1].end + PAUSE_SECONDS)
            if self._server.reorders and self._held is not None:
                yield self._held  # an interim of what is decided by now
                self._held = None
            return
        interim = self._response(words, self._end, final=False)
        if self._server.reorders:
            held, self._held = self._held, interim
            yield interim
            if held is not None:
                yield held  # older than what was just sent
            return
        yield interim

    def last(self) -> Iterator[Any]:
        if words := self._open():
            yield self._final(words, self._end)

    def _final(self, words: Sequence[Spoken], end: float) -> Any:
        self._decided = end
        return self._response(words, end, final=True)

    def _response(self, words: Sequence[Spoken], end: float, *, final: bool) -> Any:
        origin = self._origin or 0.0
        timed = [
            cloud_speech.WordInfo(
                word=word.word,
                start_offset=timedelta(seconds=max(0.0, word.start - origin)),
                end_offset=timedelta(seconds=min(word.end, self._end) - origin),
                confidence=0.9,
            )
            for word in words
        ]
        best = cloud_speech.SpeechRecognitionAlternative(
            transcript=" ".join(word.word for word in words),
            confidence=0.9,
            words=timed if final and self._server.word_times else [],
        )
        result = cloud_speech.StreamingRecognitionResult(
            alternatives=[best],
            is_final=final,
            stability=0.0 if final else 0.8,
            result_end_offset=timedelta(seconds=end - origin),
            language_code="en-us",
        )
        return cloud_speech.StreamingRecognizeResponse(results=[result])


@contextmanager
def google_server(**facts: Any) -> Iterator[GoogleServer]:
    fake = GoogleServer(**facts)
    pool = ThreadPoolExecutor(16, thread_name_prefix="fake-google")
    server = grpc.server(pool)
    handlers = {
        "StreamingRecognize": grpc.stream_stream_rpc_method_handler(
            fake.streaming_recognize,
            request_deserializer=cloud_speech.StreamingRecognizeRequest.deserialize,
            response_serializer=cloud_speech.StreamingRecognizeResponse.serialize,
        ),
        "Recognize": grpc.unary_unary_rpc_method_handler(
            fake.recognize,
            request_deserializer=cloud_speech.RecognizeRequest.deserialize,
            response_serializer=cloud_speech.RecognizeResponse.serialize,
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("google.cloud.speech.v2.Speech", handlers),))
    fake.endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield fake
    finally:
        server.stop(None).wait()
        pool.shutdown()
