"""PocketSphinx: embedded, English, offline. Its wheel carries the model; it makes many mistakes.

The audio is cut into utterances at pauses and each is searched on its own, in small blocks, so that a
caller who goes away is noticed soon. How the recording sounds on the whole (its cepstral mean) is
measured first: PocketSphinx by itself learns it while it listens, and mishears the beginning.
"""

from __future__ import annotations

import math
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pocketsphinx

from kikitori.engines.base import Calls, Decoding, EngineConfig, EngineInfo, Hypothesis, Language, WorksAlone
from kikitori.engines.pocketsphinx_process import DecoderFailed, DecoderProcess, Heard
from kikitori.engines.registry import engine_info
from kikitori.errors import ModelLoadFailed, Unavailable
from kikitori.options import DecodeOptions
from kikitori.types import SAMPLE_RATE, Audio, Segment, SpeechSpan, Word

ENGLISH = Language(code="en")
BLOCK_SAMPLES = SAMPLE_RATE // 4
"""Searched at a time: the most audio that is decoded for a caller who has gone."""
LEVEL_SAMPLES = 60 * SAMPLE_RATE
"""Of speech, enough to know its cepstral mean."""
STREAM_LEVEL_SAMPLES = SAMPLE_RATE
"""What a stream waits for, to know it roughly."""
IDLE_DECODERS = 4
"""Kept for the next caller: making one takes most of a second, and 100 MB."""
SETTINGS: dict[str, Any] = {
    "fwdflat": False,  # a second search at the end of an utterance: measured to be no better, and it cannot be stopped
    "loglevel": "FATAL",
}
LEAST_PROBABILITY = 1e-4

VOICE_MODE = 2
"""How strict the detector of voice is, 0 to 3."""
VOICE_SECONDS = 0.12
"""Shorter sounds are no speech."""
PAUSE_SECONDS = 0.5
"""Silence this long ends an utterance."""
PAD_SECONDS = 0.2
"""Kept around each utterance."""
LONGEST_SECONDS = 20.0
"""Longer speech is cut, at the quietest moment of the second half."""


class PocketSphinxEngine(WorksAlone):
    """Decoders with an English model. ``config.extra`` overrides PocketSphinx's own settings."""

    def __init__(self, config: EngineConfig) -> None:
        self.info: EngineInfo = engine_info("pocketsphinx")
        self._settings = SETTINGS | config.extra
        self._lock = threading.Lock()
        self._idle = [self._start_decoder()]
        self._closed = False

    def transcribe(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Decoding:
        return Decoding(ENGLISH, self._segments(audio, options, calls))

    def detect_language(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Language:
        return ENGLISH

    def stream(self, options: DecodeOptions) -> PocketSphinxStream:
        """One utterance, on a decoder of its own."""
        return PocketSphinxStream(self, options)

    def close(self) -> None:
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for decoder in idle:
            decoder.close()

    def take_decoder(self) -> DecoderProcess:
        """A decoder nobody else uses, to be given back."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._start_decoder()

    def give_back(self, decoder: DecoderProcess) -> None:
        with self._lock:
            keep = decoder.alive and not self._closed and len(self._idle) < IDLE_DECODERS
            if keep:
                self._idle.append(decoder)
        if not keep:
            decoder.close()

    def _segments(self, audio: Audio, options: DecodeOptions, calls: Calls) -> Iterator[Segment]:
        calls.check()
        spans = utterances(audio)
        if not spans:
            return
        decoder = self.take_decoder()
        try:
            with _clear_errors():
                level = decoder.level(pcm(_speech(audio, spans)))
                for span in spans:
                    words = _hear(decoder, level, _cut(audio, span), calls)
                    if words:
                        yield to_segment(words, span.start, with_words=options.word_timestamps)
        finally:
            self.give_back(decoder)

    def _start_decoder(self) -> DecoderProcess:
        try:
            return DecoderProcess(self._settings)
        except (DecoderFailed, OSError) as exc:
            raise ModelLoadFailed(
                f"PocketSphinx cannot start: {exc}.", remedy="Check its settings in KIKITORI_ENGINE_OPTIONS."
            ) from exc


class PocketSphinxStream:
    """One utterance, heard while it is spoken."""

    def __init__(self, engine: PocketSphinxEngine, options: DecodeOptions) -> None:
        self._engine, self._options = engine, options
        self._decoder: DecoderProcess | None = None
        self._waiting: list[Audio] = []
        """What came before the decoder began."""

    def accept(self, audio: Audio) -> Hypothesis:
        with _clear_errors():
            if self._decoder is None:
                self._waiting.append(audio)
                if sum(map(len, self._waiting)) < STREAM_LEVEL_SAMPLES:
                    return Hypothesis(text="")
                self._decoder, audio = self._begin()
            for block in blocks(audio):
                self._decoder.feed(block)
            words = to_words(self._decoder.words(), 0.0)
        # The words of the end come from another search, over all that was possible. It makes fewer mistakes, and it
        # changes one word in five, whether it is half a second old or three.
        return Hypothesis(text="".join(word.word for word in words).strip(), words=words, provisional=True)

    def finish(self) -> Decoding:
        segments: list[Segment] = []
        if self._decoder is None and any(map(len, self._waiting)):
            self._decoder, audio = self._begin()
            for block in blocks(audio):
                self._decoder.feed(block)
        if self._decoder:
            with _clear_errors():
                words = self._decoder.end()
            self.close()
            segments = [to_segment(words, 0.0, with_words=self._options.word_timestamps)] if words else []
        return Decoding(ENGLISH, iter(segments))

    def interrupt(self) -> None:
        """What it does takes a moment only."""

    def close(self) -> None:
        decoder, self._decoder = self._decoder, None
        if decoder is None:
            return
        with suppress(DecoderFailed):  # then it is not kept
            decoder.end()
        self._engine.give_back(decoder)

    def _begin(self) -> tuple[DecoderProcess, Audio]:
        """Start to decode; also the audio that has waited for it."""
        audio = np.concatenate(self._waiting)
        decoder = self._engine.take_decoder()
        decoder.start(decoder.level(pcm(audio)))
        return decoder, audio


def _hear(decoder: DecoderProcess, level: str, audio: Audio, calls: Calls) -> list[Heard]:
    """The words of one utterance, which ends even when the caller goes away in the middle."""
    calls.check()
    decoder.start(level)
    try:
        for block in blocks(audio):
            calls.check()
            decoder.feed(block)
    except BaseException:  # the caller went away, or Ctrl-C: the decoder must be free for the next utterance
        if decoder.alive:
            decoder.end()
        raise
    return decoder.end()


@contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except DecoderFailed as exc:
        raise Unavailable(f"PocketSphinx failed: {exc}.", remedy="Try again, or choose another model.") from exc


def utterances(audio: Audio) -> list[SpeechSpan]:
    """Where somebody speaks, cut at pauses and after ``LONGEST_SECONDS`` at the latest."""
    detector = pocketsphinx.Vad(VOICE_MODE)
    size = detector.frame_bytes // 2
    samples = _integers(audio)
    count = len(samples) // size
    voiced = [detector.is_speech(samples[n * size : (n + 1) * size].tobytes()) for n in range(count)]
    seconds = detector.frame_length
    spans: list[SpeechSpan] = []
    for start, end in _runs(voiced, shortest=VOICE_SECONDS / seconds, gap=PAUSE_SECONDS / seconds):
        padded_start = max(start * seconds - PAD_SECONDS, spans[-1].end if spans else 0.0)
        padded_end = min(end * seconds + PAD_SECONDS, len(audio) / SAMPLE_RATE)
        spans += _in_parts(audio, SpeechSpan(start=padded_start, end=padded_end))
    return spans


def _runs(voiced: Sequence[bool], *, shortest: float, gap: float) -> list[tuple[int, int]]:
    """Stretches of voiced frames: clicks left out, short gaps closed."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], voiced, [False]]).astype(np.int8)))
    joined: list[tuple[int, int]] = []
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if end - start < shortest:
            continue
        if joined and start - joined[-1][1] < gap:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _in_parts(audio: Audio, span: SpeechSpan) -> Iterator[SpeechSpan]:
    start = span.start
    while span.end - start > LONGEST_SECONDS:
        cut = _quietest(audio, start + LONGEST_SECONDS / 2, start + LONGEST_SECONDS)
        yield SpeechSpan(start=start, end=cut)
        start = cut
    yield SpeechSpan(start=start, end=span.end)


def _quietest(audio: Audio, start: float, end: float) -> float:
    """The middle of the quietest tenth of a second between ``start`` and ``end``."""
    size = SAMPLE_RATE // 10
    part = audio[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
    energy = np.square(part[: len(part) // size * size]).reshape(-1, size).sum(axis=1)
    return start + (int(energy.argmin()) + 0.5) * size / SAMPLE_RATE


def _speech(audio: Audio, spans: Sequence[SpeechSpan]) -> Audio:
    return np.concatenate([_cut(audio, span) for span in spans])[:LEVEL_SAMPLES]


def _cut(audio: Audio, span: SpeechSpan) -> Audio:
    return audio[round(span.start * SAMPLE_RATE) : round(span.end * SAMPLE_RATE)]


def pcm(audio: Audio) -> bytes:
    """Samples as PocketSphinx takes them."""
    return _integers(audio).tobytes()


def blocks(audio: Audio) -> Iterator[bytes]:
    for start in range(0, len(audio), BLOCK_SAMPLES):
        yield pcm(audio[start : start + BLOCK_SAMPLES])


def _integers(audio: Audio) -> npt.NDArray[np.int16]:
    return (np.clip(audio, -1.0, 1.0) * 32_767).astype("<i2")


def to_words(heard: Sequence[Heard], offset: float) -> tuple[Word, ...]:
    """The words of an utterance that began at ``offset``."""
    return tuple(
        Word(word=f" {each.word}", start=offset + each.start, end=offset + each.end, probability=each.probability)
        for each in heard
    )


def to_segment(heard: Sequence[Heard], offset: float, *, with_words: bool) -> Segment:
    """An utterance that began at ``offset`` and has at least one word."""
    words = to_words(heard, offset)
    text = "".join(word.word for word in words)
    logarithms = [math.log(max(word.probability, LEAST_PROBABILITY)) for word in words]
    return Segment(
        id=0,
        start=words[0].start,
        end=words[-1].end,
        text=text,
        words=words if with_words else None,
        avg_logprob=sum(logarithms) / len(logarithms),
        compression_ratio=len(text) / len(zlib.compress(text.encode())),
    )
