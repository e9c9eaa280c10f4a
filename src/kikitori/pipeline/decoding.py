"""One chunk of one channel through a model, windowed or sequential."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from kikitori.engines.base import Language
from kikitori.inference.loaded import LoadedModel
from kikitori.options import DecodeOptions
from kikitori.ordered import in_order
from kikitori.pipeline.cutting import Cut
from kikitori.pipeline.events import ResumePoint
from kikitori.pipeline.windows import Window
from kikitori.types import SAMPLE_RATE, Audio, DecodeMode, Priority, Segment

WINDOW_PATIENCE_SECONDS = 0.5
"""Each further window of a file lets newcomers go first for so long: short files overtake long ones."""
CARRIED_CHARACTERS = 1_000
"""Text of the chunk before that is shown to the next one; Whisper reads the last 223 tokens of it."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Segments that are finished, and how far into the chunk everything is dealt with (seconds)."""

    segments: tuple[Segment, ...]
    seconds_done: float


class ChannelDecoder:
    """Decodes the chunks of one channel in turn, carrying what must carry over.

    ``language`` is known after the first result.
    """

    def __init__(
        self,
        model: LoadedModel,
        options: DecodeOptions,
        mode: DecodeMode,
        priority: Priority,
        resume: ResumePoint | None = None,
    ) -> None:
        self._model, self._options, self._mode, self._priority = model, options, mode, priority
        self.language = Language(code=options.language or "", probability=1.0 if options.language else 0.0)
        self._heard = False
        """There was text, so the language is settled: what silence or music sounds like must not decide it."""
        self._begun = False
        self._text = f" {(options.initial_prompt or '').strip()}"
        if resume:
            self._begun, self._text = True, resume.text
            self._heard = bool(resume.language and resume.segments)
            self.language = Language(code=resume.language, probability=resume.language_probability)

    @property
    def text(self) -> str:
        """What is shown to the next chunk; grows in sequential mode only."""
        return self._text

    def decode(self, audio: Audio, cut: Cut, start: float, *, whole: bool) -> AsyncGenerator[Decoded, None]:
        """Decode the chunk ``audio`` that begins ``start`` seconds into the file; ``cut`` are its windows.

        ``whole``: the chunk is the entire file. Times of the segments count from the chunk's start.
        """
        if self._mode is DecodeMode.SEQUENTIAL:
            return self._sequential(audio, start)
        return self._windowed(audio, cut, whole=whole)

    async def _sequential(self, audio: Audio, start: float) -> AsyncGenerator[Decoded, None]:
        options = self._for_chunk(start, len(audio) / SAMPLE_RATE)
        if options is None:
            return
        self._begun = True
        decoding = self._model.decode(audio, options, priority=self._priority)
        async with aclosing(decoding) as results:
            async for result in results:
                if isinstance(result, Segment):
                    self._carry(result)
                    yield self._deal_with(Decoded((result,), result.end))
                elif options.language is None and not self._heard:
                    self.language = result

    def _for_chunk(self, start: float, seconds: float) -> DecodeOptions | None:
        """The options for the chunk from ``start`` on; None when no clip lies in it."""
        options = self._with_language(self._options)
        if start:
            options = replace(options, prefix=None)
        if self._begun:
            carries = options.condition_on_previous_text is not False
            prompt = self._text.strip() or None if carries else None
            options = replace(options, initial_prompt=prompt, previous_text=None)
        if not options.clip_timestamps:
            return options
        clips = relative_clips(options.clip_timestamps, start, seconds)
        return replace(options, clip_timestamps=clips) if clips else None

    def _carry(self, segment: Segment) -> None:
        """Remember the text for the next chunk, as the library does from window to window."""
        forget = segment.temperature > self._options.prompt_reset_on_temperature
        self._text = "" if forget else (self._text + segment.text)[-CARRIED_CHARACTERS:]

    def _with_language(self, options: DecodeOptions) -> DecodeOptions:
        """Once the language is settled, later chunks use it."""
        detects = options.multilingual or not self._heard
        return options if options.language or detects else replace(options, language=self.language.code)

    def _deal_with(self, decoded: Decoded) -> Decoded:
        self._heard = self._heard or bool(decoded.segments)
        return decoded

    async def _windowed(self, audio: Audio, cut: Cut, *, whole: bool) -> AsyncGenerator[Decoded, None]:
        windows = cut.windows
        if not cut.left:
            return
        options = replace(self._options, vad_filter=False, mode=DecodeMode.AUTO)
        if not whole or len(windows) > 1 or len(windows[0].pieces) > 1:
            await self._find_language(audio, windows)
            language = None if options.multilingual else self.language.code
            options = replace(options, language=options.language or language, condition_on_previous_text=False)
        # else one window is the whole file: exactly what the engine alone makes of it
        later = replace(options, prefix=None)
        first, self._begun = later if self._begun else options, True
        jobs = (
            partial(self._window, window, audio, later if index else first, index)
            for index, window in enumerate(cut.left)
        )
        async with aclosing(in_order(jobs, at_once=self._model.decodings_at_once)) as results:
            async for language_heard, decoded in results:
                if options.language is None and not self._heard:
                    self.language = language_heard
                yield self._deal_with(decoded)

    async def _find_language(self, audio: Audio, windows: Sequence[Window]) -> None:
        """Detect it once for the file, on its first windows that have speech."""
        if self._options.language or self._heard or self._options.multilingual:
            return
        if not self._model.info.detects_language:
            return
        looked_at = windows[: self._options.language_detection_segments]
        speech = np.concatenate([window.audio(audio) for window in looked_at])
        self.language = await self._model.detect_language(speech, self._options, priority=self._priority)

    async def _window(
        self, window: Window, audio: Audio, options: DecodeOptions, index: int
    ) -> tuple[Language, Decoded]:
        decoding = self._model.decode(
            window.audio(audio), options, priority=self._priority, patience=index * WINDOW_PATIENCE_SECONDS
        )
        language, segments = Language(code=""), []
        async with aclosing(decoding) as results:
            async for result in results:
                if isinstance(result, Segment):
                    segments.append(window.restore(result))
                else:
                    language = result
        return language, Decoded(tuple(segments), window.end)


def relative_clips(clips: tuple[float, ...], start: float, seconds: float) -> tuple[float, ...]:
    """The parts of ``clips`` (start, end, …; the last end may be missing) inside one chunk, from its start."""
    edges = [*clips, float("inf")] if len(clips) % 2 else list(clips)
    inside: list[float] = []
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        low, high = max(begin - start, 0.0), min(end - start, seconds)
        if low < high:
            inside += [low, high]
    return tuple(inside)
