"""Where somebody speaks: Silero VAD v6, as a stream.

``VadStream`` turns audio into one probability for each 512 samples, ``SpeechFinder`` turns
probabilities into spans. Results are those of ``faster_whisper.vad.get_speech_timestamps``, which
needs the whole recording at once.
"""

from __future__ import annotations

import importlib.util
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kikitori.audio.decode import decode
from kikitori.errors import Unavailable
from kikitori.types import SAMPLE_RATE, Media, SpeechSpan

if TYPE_CHECKING:
    from kikitori.options import DecodeOptions
    from kikitori.types import Audio

FRAME_SAMPLES = 512
"""Samples of one probability: 32 ms."""
CONTEXT_SAMPLES = 64
RUN_FRAMES = 512
"""Frames of one call of the model: bounds the memory, and more are not faster."""
CHECKED_SAMPLES = 2 * RUN_FRAMES * FRAME_SAMPLES
"""About half a minute: after so much, whoever finds speech asks whether it is still wanted."""

Probabilities = npt.NDArray[np.float32]

_lock = threading.Lock()
_loaded: list[Any] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class VadOptions:
    """What counts as speech; the ``vad_*`` fields of DecodeOptions, which say what each means."""

    threshold: float = 0.5
    neg_threshold: float | None = None
    min_speech_duration_ms: int = 0
    max_speech_duration_s: float = math.inf
    min_silence_duration_ms: int = 2_000
    speech_pad_ms: int = 400

    @classmethod
    def of(cls, options: DecodeOptions) -> VadOptions:
        return cls(**{item.name: getattr(options, f"vad_{item.name}") for item in fields(cls)})


class VadStream:
    """Speech probabilities of audio that comes in pieces. Not safe for two threads at once.

    However the audio is cut, the probabilities are those of the whole.
    """

    def __init__(self) -> None:
        self._session = _session()
        self._start()

    def _start(self) -> None:
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(CONTEXT_SAMPLES, np.float32)
        self._rest: Audio = np.zeros(0, np.float32)

    def push(self, audio: Audio) -> Probabilities:
        """Probabilities of the frames that ``audio`` completes; the remainder waits."""
        outputs = []
        for start in range(0, len(audio), RUN_FRAMES * FRAME_SAMPLES):
            piece = np.concatenate([self._rest, audio[start : start + RUN_FRAMES * FRAME_SAMPLES]], dtype=np.float32)
            whole = len(piece) - len(piece) % FRAME_SAMPLES
            self._rest = piece[whole:].copy()
            if whole:
                outputs.append(self._run(piece[:whole].reshape(-1, FRAME_SAMPLES)))
        return np.concatenate(outputs) if outputs else np.zeros(0, np.float32)

    def flush(self) -> Probabilities:
        """The probability of the last frame, filled up with silence; then a new stretch begins."""
        frame = np.zeros((1, FRAME_SAMPLES), np.float32)
        # The library blanks the context-sized end of the last frame even where there is sound.
        kept = min(len(self._rest), FRAME_SAMPLES - CONTEXT_SAMPLES)
        frame[0, :kept] = self._rest[:kept]
        last = self._run(frame)
        self._start()
        return last

    def _run(self, frames: npt.NDArray[np.float32]) -> Probabilities:
        inputs = np.empty((len(frames), CONTEXT_SAMPLES + FRAME_SAMPLES), np.float32)
        inputs[:, CONTEXT_SAMPLES:] = frames
        inputs[0, :CONTEXT_SAMPLES] = self._context
        inputs[1:, :CONTEXT_SAMPLES] = frames[:-1, -CONTEXT_SAMPLES:]
        self._context = frames[-1, -CONTEXT_SAMPLES:].copy()
        output, self._h, self._c = self._session.run(None, {"input": inputs, "h": self._h, "c": self._c})
        return np.asarray(output, np.float32)


class SpeechFinder:
    """Probabilities in, spans of speech out. Pure: no model, no clock.

    A span comes as soon as nothing that follows can change it: with its padding it must not run
    into the next one.
    """

    def __init__(self, options: VadOptions | None = None) -> None:
        options = options or VadOptions()
        neg = options.neg_threshold
        # The library compares in float32.
        self._threshold = _float32(options.threshold)
        self._neg_threshold = _float32(max(options.threshold - 0.15, 0.01) if neg is None else neg)
        self._pad = _samples(options.speech_pad_ms)
        self._min_speech = _samples(options.min_speech_duration_ms)
        self._min_silence = _samples(options.min_silence_duration_ms)
        self._max_speech = SAMPLE_RATE * options.max_speech_duration_s - FRAME_SAMPLES - 2 * self._pad
        self._pause_at_max = _samples(98)
        self._at = 0
        self._speech_from: int | None = None
        self._quiet_from = 0
        self._last_pause = 0
        self._resumed = 0
        self._held: tuple[int, int] | None = None
        self._held_is_out = True

    def push(self, probabilities: Probabilities) -> list[SpeechSpan]:
        """Take the probabilities of the next frames; give the spans that are sure by now."""
        spans: list[SpeechSpan] = []
        for probability in probabilities.tolist():
            self._step(probability, spans)
            self._at += FRAME_SAMPLES
        self._release(spans)
        return spans

    def finish(self, samples: int) -> list[SpeechSpan]:
        """Give the rest of a recording of ``samples`` in all."""
        spans: list[SpeechSpan] = []
        if self._speech_from is not None and samples - self._speech_from > self._min_speech:
            self._close(samples, spans)
        if self._held is not None and not self._held_is_out:
            spans.append(_span(self._held[0], int(min(samples, self._held[1] + self._pad))))
            self._held_is_out = True
        return spans

    def _step(self, probability: float, spans: list[SpeechSpan]) -> None:
        if probability >= self._threshold:
            if self._quiet_from:
                self._quiet_from = 0
                if self._resumed < self._last_pause:
                    self._resumed = self._at
            if self._speech_from is None:
                self._speech_from = self._at
                return
        if self._speech_from is None:
            return
        if self._at - self._speech_from > self._max_speech:
            self._split(spans)
        if probability < self._neg_threshold and self._speech_from is not None:
            self._hear_quiet(spans)

    def _split(self, spans: list[SpeechSpan]) -> None:
        """Speech that is too long ends at its last pause, or here if it has none."""
        if not self._last_pause:
            self._close(self._at, spans)
            return
        goes_on = self._resumed if self._resumed >= self._last_pause else None
        self._close(self._last_pause, spans)
        self._speech_from = goes_on

    def _hear_quiet(self, spans: list[SpeechSpan]) -> None:
        self._quiet_from = self._quiet_from or self._at
        if self._at - self._quiet_from > self._pause_at_max:
            self._last_pause = self._quiet_from
        if self._at - self._quiet_from >= self._min_silence:
            if self._speech_from is not None and self._quiet_from - self._speech_from > self._min_speech:
                self._close(self._quiet_from, spans)
            self._forget()

    def _close(self, end: int, spans: list[SpeechSpan]) -> None:
        """Speech up to ``end`` is kept. It shares a short silence before it with the span held."""
        assert self._speech_from is not None
        start = self._speech_from
        before = self._pad
        if self._held is not None and start - self._held[1] < 2 * self._pad:
            before = (start - self._held[1]) // 2
        if self._held is not None and not self._held_is_out:
            spans.append(_span(self._held[0], int(self._held[1] + before)))
        self._held = (int(max(0, start - before)), end)
        self._held_is_out = False
        self._forget()

    def _release(self, spans: list[SpeechSpan]) -> None:
        """Give the span held once the next one cannot begin within its padding."""
        if self._held is None or self._held_is_out:
            return
        soonest = self._at if self._speech_from is None else self._speech_from
        if soonest - self._held[1] >= 2 * self._pad:
            spans.append(_span(self._held[0], int(self._held[1] + self._pad)))
            self._held_is_out = True

    def _forget(self) -> None:
        self._speech_from = None
        self._quiet_from = self._last_pause = self._resumed = 0


def speech_spans(
    audio: Audio, options: VadOptions | None = None, *, check: Callable[[], None] = lambda: None
) -> list[SpeechSpan]:
    """Spans of speech in ``audio``, in seconds. ``check`` as in ``file_speech_spans``."""

    def blocks() -> Iterator[Audio]:
        for at in range(0, len(audio), CHECKED_SAMPLES):
            check()
            yield audio[at : at + CHECKED_SAMPLES]

    return _find(blocks(), options)[0]


def file_speech_spans(
    media: Media,
    options: VadOptions | None = None,
    max_seconds: float | None = None,
    *,
    check: Callable[[], None] = lambda: None,
) -> tuple[list[SpeechSpan], float]:
    """Spans of speech in a recording, all channels mixed, and its length in seconds.

    ``check`` is called every half minute of audio; what it raises stops the work. Raises what
    ``decode`` raises.
    """

    def blocks(decoded: Iterable[npt.NDArray[np.float32]]) -> Iterator[Audio]:
        for block in decoded:
            check()
            yield block[0]

    with closing(decode(media, max_seconds=max_seconds)) as decoded:
        return _find(blocks(decoded), options)


def _find(blocks: Iterable[Audio], options: VadOptions | None) -> tuple[list[SpeechSpan], float]:
    stream, finder, samples = VadStream(), SpeechFinder(options), 0
    spans: list[SpeechSpan] = []
    for block in blocks:
        samples += len(block)
        spans += finder.push(stream.push(block))
    spans += finder.push(stream.flush())
    return spans + finder.finish(samples), samples / SAMPLE_RATE


def _session() -> Any:
    """The model, loaded once; its ``run`` is safe for many threads."""
    with _lock:
        if not _loaded:
            _loaded.append(_load())
        return _loaded[0]


def _load() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(_model_path()), providers=["CPUExecutionProvider"], sess_options=options)


def _model_path() -> Path:
    """The model lies in the wheel of faster-whisper, which is heavy to import and need not be."""
    spec = importlib.util.find_spec("faster_whisper")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "assets" / "silero_vad_v6.onnx"
        if path.is_file():
            return path
    raise Unavailable("The speech detector (Silero VAD) is missing.", remedy="Reinstall faster-whisper.")


def _samples(ms: float) -> float:
    return SAMPLE_RATE * ms / 1_000


def _float32(value: float) -> float:
    return float(np.float32(value))


def _span(start: int, end: int) -> SpeechSpan:
    return SpeechSpan(start=start / SAMPLE_RATE, end=end / SAMPLE_RATE)
