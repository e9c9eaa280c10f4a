"""What of a chunk is to be decoded: its windows, and which of them an earlier run has finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kikitori.audio.vad import VadOptions, speech_spans
from kikitori.options import DecodeOptions
from kikitori.pipeline.windows import WINDOW_SECONDS, Piece, Window, join, tile
from kikitori.types import SAMPLE_RATE, Audio, DecodeMode

CERTAIN_SILENCE = VadOptions(threshold=0.2, neg_threshold=0.1, min_silence_duration_ms=160, speech_pad_ms=0)
"""For cutting: what is under this is silence beyond doubt, so that quiet speech is never left out."""
INAUDIBLE = 1e-4
"""Peak below which nobody can be heard: hours of a muted microphone need no model at all."""
SAME_SECONDS = 0.001
"""Times that differ by less are the same: seams of windows lie much further apart."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The windows of one channel of a chunk; ``finished`` of them need not be decoded again."""

    windows: Sequence[Window] = ()
    finished: int = 0

    @property
    def left(self) -> Sequence[Window]:
        return self.windows[self.finished :]


def cut_windows(
    audio: Audio,
    options: DecodeOptions,
    mode: DecodeMode,
    *,
    done: float = 0.0,
    check: Callable[[], None] = lambda: None,
) -> Cut:
    """The windows of one channel of a chunk; none in sequential mode, or where nobody speaks. Blocking.

    An earlier run, with the same options, has finished ``done`` seconds of the chunk. What ``check`` raises stops the
    work; it is called every half minute of audio.
    """
    windows = _windows(audio, options, mode, check)
    finished = sum(window.end <= done + SAME_SECONDS for window in windows)
    cut = Cut(windows, finished)
    if cut.left and cut.left[0].start < done - SAME_SECONDS:
        # The earlier run had other seams: other settings, or another kind of processor. Its seam is kept.
        at = round(done * SAMPLE_RATE)
        return Cut([_later(window, at / SAMPLE_RATE) for window in _windows(audio[at:], options, mode, check)])
    return cut


def _windows(audio: Audio, options: DecodeOptions, mode: DecodeMode, check: Callable[[], None]) -> list[Window]:
    if mode is DecodeMode.SEQUENTIAL or not audio.size or _peak(audio) < INAUDIBLE:
        return []
    limit = float(options.chunk_length or WINDOW_SECONDS)
    if options.vad_filter:
        return join(audio, speech_spans(audio, VadOptions.of(options), check=check), limit=limit)
    return tile(audio, speech_spans(audio, CERTAIN_SILENCE, check=check), limit=limit)


def _peak(audio: Audio) -> float:
    """The loudest sample's size, without a second copy of a whole chunk."""
    return max(float(audio.max()), -float(audio.min()))


def _later(window: Window, seconds: float) -> Window:
    return Window(tuple(Piece(piece.start + seconds, piece.end + seconds) for piece in window.pieces))
