"""Cutting a chunk into windows that can be decoded side by side."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from kikitori.types import SAMPLE_RATE, Audio, Segment, SpeechSpan

WINDOW_SECONDS = 30.0
"""What Whisper's encoder takes at once."""
CUT_REGION_SHARE = 0.2
"""A cut is looked for in the last part of a window: full windows fill batches better."""
QUIET_SECONDS = 0.2
"""Without a pause, the cut goes into the quietest stretch of this length."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the chunk, in seconds."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Window:
    """At most 30 s of audio, the unit of decoding: one piece of the chunk, or several joined."""

    pieces: tuple[Piece, ...]

    @property
    def start(self) -> float:
        """Where it begins in the chunk."""
        return self.pieces[0].start

    @property
    def end(self) -> float:
        """Where it ends in the chunk."""
        return self.pieces[-1].end

    def audio(self, chunk: Audio) -> Audio:
        """Its samples, from the chunk it was cut from."""
        cuts = [chunk[round(piece.start * SAMPLE_RATE) : round(piece.end * SAMPLE_RATE)] for piece in self.pieces]
        return cuts[0] if len(cuts) == 1 else np.concatenate(cuts)

    def restore(self, segment: Segment) -> Segment:
        """``segment`` with its times in the chunk instead of in this window."""
        if segment.words:
            words = tuple(
                replace(word, start=self._time(word.start, middle), end=self._time(word.end, middle))
                for word in segment.words
                for middle in [(word.start + word.end) / 2]
            )
            return replace(segment, start=words[0].start, end=words[-1].end, words=words)
        start = self._time(segment.start, segment.start)
        return replace(segment, start=start, end=max(start, self._time(segment.end, segment.end, ending=True)))

    def _time(self, time: float, anchor: float, *, ending: bool = False) -> float:
        """Seconds in the chunk of ``time`` in the window; ``anchor`` says which piece it belongs to."""
        offsets = [0.0]
        for piece in self.pieces[:-1]:
            offsets.append(offsets[-1] + piece.seconds)
        index = max(0, bisect_right(offsets, anchor) - 1)
        if ending and index and anchor == offsets[index]:
            index -= 1  # an end on a seam belongs to the piece before it
        return self.pieces[index].start + time - offsets[index]


def tile(audio: Audio, speech: Sequence[SpeechSpan], *, limit: float = WINDOW_SECONDS) -> list[Window]:
    """Windows that together cover ``audio``, cut in pauses of ``speech``, less those without any speech."""
    duration = len(audio) / SAMPLE_RATE
    pauses = [Piece(before.end, after.start) for before, after in pairwise(speech)]
    windows, start = [], 0.0
    while start < duration:
        end = duration if duration - start <= limit else _cut(audio, start, limit, pauses)
        if any(span.start < end and span.end > start for span in speech):
            windows.append(Window((Piece(start, end),)))
        start = end
    return windows


def join(audio: Audio, speech: Sequence[SpeechSpan], *, limit: float = WINDOW_SECONDS) -> list[Window]:
    """Windows of nothing but ``speech``, joined until ``limit`` is full."""
    windows: list[Window] = []
    pieces: list[Piece] = []
    for piece in _split_long(audio, speech, limit):
        if pieces and sum(other.seconds for other in pieces) + piece.seconds > limit:
            windows.append(Window(tuple(pieces)))
            pieces = []
        pieces.append(piece)
    return [*windows, Window(tuple(pieces))] if pieces else windows


def _split_long(audio: Audio, speech: Iterable[SpeechSpan], limit: float) -> Iterator[Piece]:
    for span in speech:
        start = span.start
        while span.end - start > limit:
            end = _quietest(audio, start + limit - _region(limit), start + limit)
            yield Piece(start, end)
            start = end
        yield Piece(start, span.end)


def _cut(audio: Audio, start: float, limit: float, pauses: Sequence[Piece]) -> float:
    """Where a window from ``start`` ends: in its longest late pause, else its last, else where it is quietest."""
    inside = [pause for pause in pauses if start < (pause.start + pause.end) / 2 <= start + limit]
    late = [pause for pause in inside if (pause.start + pause.end) / 2 > start + limit - _region(limit)]
    if late:
        best = max(late, key=lambda pause: pause.seconds)
    elif inside:
        best = inside[-1]
    else:
        return _quietest(audio, start + limit - _region(limit), start + limit)
    return (best.start + best.end) / 2


def _region(limit: float) -> float:
    """How much of the end of a window of ``limit`` seconds is looked at for a cut."""
    return max(CUT_REGION_SHARE * limit, 2 * QUIET_SECONDS)


def _quietest(audio: Audio, start: float, end: float) -> float:
    """The middle of the quietest ``QUIET_SECONDS`` between ``start`` and ``end`` (seconds)."""
    size = round(QUIET_SECONDS * SAMPLE_RATE)
    region = audio[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    energy = np.square(region[: len(region) // size * size]).reshape(-1, size).mean(axis=1)
    return start + (int(energy.argmin()) + 0.5) * QUIET_SECONDS
