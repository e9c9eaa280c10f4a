"""One chunk of one channel through a model, windowed or sequential."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from kikitori.audio.vad import VadOptions, speech_spans
from kikitori.engines.base import Language
from kikitori.inference.loaded import LoadedModel
from kikitori.options import DecodeOptions
from kikitori.pipeline.ordered import in_order
from kikitori.pipeline.windows import WINDOW_SECONDS, Window, join, tile
from kikitori.types import SAMPLE_RATE, Audio, DecodeMode, Priority, Segment

CERTAIN_SILENCE = VadOptions(threshold=0.2, neg_threshold=0.1, min_silence_duration_ms=160, speech_pad_ms=0)
"""For cutting: what is under this is silence beyond doubt, so that quiet speech is never left out."""
INAUDIBLE = 1e-4
"""Peak below which nobody can be heard: hours of a muted microphone need no model at all."""
WINDOW_PATIENCE_SECONDS = 0.5
"""Each further window of a file lets newcomers go first for so long: short files overtake long ones."""
CARRIED_CHARACTERS = 1_000
"""Text of the chunk before that is shown to the next one; Whisper reads the last 223 tokens of it."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Segments that are finished, and how far into the chunk everything is dealt with (seconds)."""

    segments: tuple[Segment, ...]
    seconds_done: float


def cut_windows(audio: Audio, options: DecodeOptions, mode: DecodeMode) -> list[Window]:
    """Windows of one channel of a chunk; none in sequential mode, or where nobody speaks. Blocking."""
    if mode is DecodeMode.SEQUENTIAL or not audio.size or float(np.abs(audio).max()) < INAUDIBLE:
        return []
    limit = float(options.chunk_length or WINDOW_SECONDS)
    if options.vad_filter:
        return join(audio, speech_spans(audio, VadOptions.of(options)), limit=limit)
    return tile(audio, speech_spans(audio, CERTAIN_SILENCE), limit=limit)


class ChannelDecoder:
    """Decodes the chunks of one channel in turn, carrying what must carry over.

    ``language`` is known after the first result.
    """

    def __init__(self, model: LoadedModel, options: DecodeOptions, mode: DecodeMode, priority: Priority) -> None:
        self._model, self._options, self._mode, self._priority = model, options, mode, priority
        self.language = Language(code=options.language or "", probability=1.0 if options.language else 0.0)
        self._text = ""

    def decode(
        self, audio: Audio, windows: list[Window], start: float, *, whole: bool
    ) -> AsyncGenerator[Decoded, None]:
        """Decode the chunk ``audio`` that begins ``start`` seconds into the file; ``windows`` are cut from it.

        ``whole``: the chunk is the entire file. Times of the segments count from the chunk's start.
        """
        if self._mode is DecodeMode.SEQUENTIAL:
            return self._sequential(audio, start)
        return self._windowed(audio, windows, whole=whole)

    async def _sequential(self, audio: Audio, start: float) -> AsyncGenerator[Decoded, None]:
        options = self._for_chunk(start, len(audio) / SAMPLE_RATE)
        if options is None:
            return
        async with aclosing(self._segments(audio, options)) as segments:
            async for segment in segments:
                self._text = (self._text + segment.text)[-CARRIED_CHARACTERS:]
                yield Decoded((segment,), segment.end)

    def _for_chunk(self, start: float, seconds: float) -> DecodeOptions | None:
        """The options for the chunk from ``start`` on; None when no clip lies in it."""
        options = self._options if start == 0 else replace(self._options, prefix=None)
        if start and options.condition_on_previous_text is not False and self._text.strip():
            options = replace(options, initial_prompt=self._text.strip())
        elif start:
            options = replace(options, initial_prompt=None)
        if not options.clip_timestamps:
            return self._with_language(options)
        clips = relative_clips(options.clip_timestamps, start, seconds)
        return self._with_language(replace(options, clip_timestamps=clips)) if clips else None

    def _with_language(self, options: DecodeOptions) -> DecodeOptions:
        """Once the language is known, later chunks use it."""
        known = options.language or (None if options.multilingual else self.language.code)
        return replace(options, language=known)

    async def _windowed(self, audio: Audio, windows: list[Window], *, whole: bool) -> AsyncGenerator[Decoded, None]:
        if whole and len(windows) == 1 and len(windows[0].pieces) == 1:
            # One window is the whole file: exactly what the engine alone makes of it.
            options = self._with_language(self._options)
        elif windows:
            await self._find_language(audio, windows)
            options = replace(self._with_language(self._options), condition_on_previous_text=False)
        else:
            return
        options = replace(options, vad_filter=False, mode=DecodeMode.AUTO)
        jobs = (
            partial(self._window, window, audio, options if index == 0 else replace(options, prefix=None), index)
            for index, window in enumerate(windows)
        )
        async with aclosing(in_order(jobs, at_once=self._model.decodings_at_once)) as results:
            async for decoded in results:
                yield decoded

    async def _find_language(self, audio: Audio, windows: list[Window]) -> None:
        """Detect it once for the file, on its first windows that have speech."""
        if self.language.code or self._options.multilingual or not self._model.info.detects_language:
            return
        looked_at = windows[: self._options.language_detection_segments]
        speech = np.concatenate([window.audio(audio) for window in looked_at])
        self.language = await self._model.detect_language(speech, self._options, priority=self._priority)

    async def _window(self, window: Window, audio: Audio, options: DecodeOptions, index: int) -> Decoded:
        patience = index * WINDOW_PATIENCE_SECONDS
        async with aclosing(self._segments(window.audio(audio), options, patience)) as segments:
            restored = [window.restore(segment) async for segment in segments]
        return Decoded(tuple(restored), window.end)

    async def _segments(
        self, audio: Audio, options: DecodeOptions, patience: float = 0.0
    ) -> AsyncGenerator[Segment, None]:
        decoding = self._model.decode(audio, options, priority=self._priority, patience=patience)
        async with aclosing(decoding) as results:
            async for result in results:
                if isinstance(result, Segment):
                    yield result
                elif not self.language.code:
                    self.language = result


def relative_clips(clips: tuple[float, ...], start: float, seconds: float) -> tuple[float, ...]:
    """The parts of ``clips`` (start, end, …; the last end may be missing) inside one chunk, from its start."""
    edges = [*clips, float("inf")] if len(clips) % 2 else list(clips)
    inside: list[float] = []
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        low, high = max(begin - start, 0.0), min(end - start, seconds)
        if low < high:
            inside += [low, high]
    return tuple(inside)
