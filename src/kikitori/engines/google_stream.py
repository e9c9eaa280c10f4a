"""One utterance on Google's StreamingRecognize, over as many streams as it takes.

A stream lasts five minutes at most, and may break. A new one goes on a little before the last decided word, so audio is
kept until its words are decided. All is steered by the thread that calls; a thread for each stream only reads.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kikitori.audio.pcm import Encoding, from_float
from kikitori.engines.base import Decoding, Hypothesis, Language
from kikitori.engines.google_results import Result, Stitcher
from kikitori.errors import DecodingCancelled, RemoteFailed
from kikitori.types import SAMPLE_RATE, Audio

CHUNK_SAMPLES = SAMPLE_RATE // 10
QUEUE_CHUNKS = 100
"""Audio on its way: 10 s."""
POLL_SECONDS = 0.05
QUIET_SAMPLES = SAMPLE_RATE * 3 // 10
QUIET_SHARE = 0.1
"""Of the loudness of speech before: a pause."""
LEAST_LOUDNESS = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """In seconds, but for the number of tries."""

    soft: float = 240.0
    """A stream this long is renewed at the next pause."""
    hard: float = 285.0
    """And this long, anyhow."""
    answer: float = 0.15
    """Waited for a word after new audio."""
    stall: float = 10.0
    """Google takes nothing, or says nothing at the end, for so long: it has failed."""
    retries: int = 2
    """New streams without any progress."""
    pause: float = 0.3
    """Before the first of them; then twice as long."""


class Call(Protocol):
    """A stream that is open: its results, and how it is ended from outside."""

    def __iter__(self) -> Iterator[Sequence[Result]]: ...

    def cancel(self) -> object: ...


Open = Callable[[Iterable[bytes]], Call]
"""Opens a stream that sends these pieces of audio (s16le, 16 kHz)."""
Judge = Callable[[Exception], tuple[Exception, bool]]
"""What broke a stream, as our error, and whether it may pass."""


class Leg:
    """One stream: a bounded queue to it, and a thread that reads from it."""

    def __init__(self, open_call: Open, hear: Callable[[Sequence[Result]], None]) -> None:
        self._queue: queue.Queue[bytes | None] = queue.Queue(QUEUE_CHUNKS)
        self._hear = hear
        self._stopped = threading.Event()
        self.ended = threading.Event()
        self.error: Exception | None = None
        self.samples = 0
        """Sent."""
        self._call = open_call(self._pieces())
        self._thread = threading.Thread(target=self._read, name="kikitori-google", daemon=True)
        self._thread.start()

    def put(self, data: bytes | None, seconds: float) -> bool:
        """Send a piece, or with None the end. False: the stream has ended, or takes nothing for so long."""
        deadline = time.monotonic() + seconds
        while not self.ended.is_set() and time.monotonic() < deadline:
            try:
                self._queue.put(data, timeout=POLL_SECONDS)
            except queue.Full:
                continue
            self.samples += len(data or b"") // 2
            return True
        return False

    def stop(self) -> None:
        """From any thread."""
        self._stopped.set()
        self._call.cancel()

    def close(self) -> None:
        """Nothing is left behind."""
        self.stop()
        self._thread.join()

    def _pieces(self) -> Iterator[bytes]:
        while not self._stopped.is_set():
            try:
                piece = self._queue.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if piece is None:
                return
            yield piece

    def _read(self) -> None:
        try:
            for results in self._call:
                self._hear(results)
        except Exception as exc:  # the library raises many kinds; the calling thread judges
            self.error = exc
        finally:
            self._stopped.set()
            self.ended.set()


class Tape:
    """The audio of an utterance from its first undecided second on."""

    def __init__(self) -> None:
        self._parts: list[Audio] = []
        self._start = self.end = 0
        """Samples since the utterance began."""

    def add(self, audio: Audio) -> None:
        self._parts.append(audio)
        self.end += len(audio)

    def read(self, start: int, most: int) -> Audio:
        """At most ``most`` samples from ``start`` on."""
        self._join()
        at = max(0, start - self._start)
        return self._parts[0][at : at + most] if self._parts else np.zeros(0, np.float32)

    def forget(self, before: int) -> None:
        if before - self._start > SAMPLE_RATE:  # not for every little piece
            self._join()
            self._parts = [self._parts[0][before - self._start :]]
            self._start = before

    def is_quiet(self, at: int) -> bool:
        """Whether nobody speaks just before ``at``."""
        recent = self.read(at - QUIET_SAMPLES, QUIET_SAMPLES)
        before = self.read(at - 10 * QUIET_SAMPLES, 10 * QUIET_SAMPLES)
        return _loudness(recent) <= max(LEAST_LOUDNESS, QUIET_SHARE * _loudness(before))

    def _join(self) -> None:
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]


def _loudness(audio: Audio) -> float:
    return float(np.sqrt(np.mean(np.square(audio)))) if len(audio) else 0.0


class GoogleStream:
    """An EngineStream. ``interrupt`` may come from any thread; everything else from one at a time."""

    def __init__(self, open_call: Open, judge: Judge, limits: Limits | None = None) -> None:
        self._open, self._judge, self._limits = open_call, judge, limits or Limits()
        self._tape, self._stitcher = Tape(), Stitcher()
        self._lock = threading.Condition()
        """Of the stitcher."""
        self._answers = 0
        self._leg: Leg | None = None
        self._sent = 0
        self._failures, self._progress = 0, 0.0
        self._interrupted = threading.Event()

    def accept(self, audio: Audio) -> Hypothesis:
        """Raises RemoteFailed, Busy, DecodingCancelled."""
        self._tape.add(audio)
        answers = self._answers
        self._send()
        with self._lock:
            self._lock.wait_for(lambda: self._answers > answers, self._limits.answer)
            words = self._stitcher.words
        return Hypothesis(text="".join(word.word for word in words).strip(), words=words)

    def finish(self) -> Decoding:
        """Raises as ``accept``."""
        while self._tape.end > 0:
            self._send()
            leg = self._leg
            if leg is None or (leg.put(None, self._limits.stall) and self._wait(leg) and leg.error is None):
                break
            self._recover(leg)
        self.close()
        self._stitcher.settle(self._tape.end / SAMPLE_RATE)
        language = Language(code=self._stitcher.language, probability=1.0 if self._stitcher.language else 0.0)
        return Decoding(language, iter(self._stitcher.segments))

    def interrupt(self) -> None:
        self._interrupted.set()
        if (leg := self._leg) is not None:
            leg.stop()

    def close(self) -> None:
        leg, self._leg = self._leg, None
        if leg is not None:
            leg.close()

    # Sending

    def _send(self) -> None:
        """Send all that was not sent, over as many streams as it takes."""
        while self._sent < self._tape.end:
            leg = self._leg or self._begin()
            chunk = self._tape.read(self._sent, CHUNK_SAMPLES)
            if not leg.put(from_float(chunk, Encoding.S16LE), self._limits.stall):
                self._recover(leg)
                continue
            self._sent += len(chunk)
            if self._is_old(leg):
                self._renew(leg)
        with self._lock:
            origin = self._stitcher.origin
        self._tape.forget(min(self._sent, int(origin * SAMPLE_RATE)))

    def _begin(self) -> Leg:
        self._check()
        self._rewind()
        with self._lock:
            self._stitcher.begin(self._sent / SAMPLE_RATE)
        self._leg = Leg(self._open, self._hear)
        return self._leg

    def _rewind(self) -> None:
        """What was not decided is to be sent again."""
        with self._lock:
            self._sent = int(self._stitcher.origin * SAMPLE_RATE)

    def _hear(self, results: Sequence[Result]) -> None:
        with self._lock:
            self._stitcher.hear(results)
            self._answers += 1
            self._lock.notify_all()

    # Streams that end

    def _is_old(self, leg: Leg) -> bool:
        seconds = leg.samples / SAMPLE_RATE
        return seconds >= self._limits.hard or (seconds >= self._limits.soft and self._tape.is_quiet(self._sent))

    def _renew(self, leg: Leg) -> None:
        """End a stream in peace: it decides what it has heard. What it does not, the next one hears again."""
        if leg.put(None, self._limits.stall) and self._wait(leg) and leg.error is None:
            self.close()
            with self._lock:
                self._stitcher.settle(self._sent / SAMPLE_RATE)
            self._rewind()
        else:
            self._recover(leg)

    def _wait(self, leg: Leg) -> bool:
        """Until the stream has ended; False when nothing comes of it."""
        seen = -1
        while not leg.ended.is_set() and seen != self._answers:
            seen = self._answers
            leg.ended.wait(self._limits.stall)
        self._check()
        return leg.ended.is_set()

    def _recover(self, leg: Leg) -> None:
        """A stream has failed: let a new one go on, unless it was one too many. Raises what is wrong."""
        stalled = not leg.ended.is_set()
        self.close()
        self._rewind()
        self._check()
        failure: Exception = leg.error if leg.error is not None and not stalled else TimeoutError()
        error, passes = self._judge(failure)
        with self._lock:
            progress = self._stitcher.boundary
        self._failures = 0 if progress > self._progress else self._failures + 1
        self._progress = progress
        if not passes or self._failures > self._limits.retries:
            raise error from None
        self._interrupted.wait(self._limits.pause * 2**self._failures)
        self._check()

    def _check(self) -> None:
        if self._interrupted.is_set():
            raise DecodingCancelled


def timed_out() -> RemoteFailed:
    return RemoteFailed("Google's recogniser did not answer in time.", remedy="Try again later.")
