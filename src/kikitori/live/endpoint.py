"""Where utterances begin and end, by the probabilities of speech, one frame after the other.

An utterance begins with three frames of speech and ends with a silence, or when it becomes too long: then at the
next short pause, or else where speech is least likely.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

from kikitori.audio.vad import FRAME_SAMPLES
from kikitori.live.events import EndReason
from kikitori.live.options import LiveOptions
from kikitori.live.speech import HYSTERESIS, Speech
from kikitori.types import SAMPLE_RATE

START_FRAMES = 3
"""Frames of speech in a row that begin an utterance: 96 ms."""
SOFT_SHARE = 0.75
"""Of the longest utterance: after that any short pause ends it."""
SOFT_PAUSE_SAMPLES = SAMPLE_RATE * 120 // 1000
LOOK_BACK_FRAMES = SAMPLE_RATE * 2 // FRAME_SAMPLES
"""Speech without any pause is cut in its last 2 s."""
FAINT = 0.1
"""A frame this likely, right before speech, is the beginning of it: a first word is often softer than the rest."""
FAINT_FRAMES = SAMPLE_RATE * 8 // 10 // FRAME_SAMPLES
"""Speech begins 0.8 s before it is sure, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """Speech began. ``start`` is where it may have been heard first, or where the utterance before was cut."""

    start: int
    speech: Speech
    continues: bool = False
    """Cut off from the utterance before: nothing lies between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The utterance is over at ``end``."""

    end: int
    reason: EndReason


Mark: TypeAlias = Began | Ended


class Endpointer:
    """Finds utterances in a stream of frames. ``speech`` is that of the open utterance, None between utterances."""

    def __init__(self) -> None:
        self.speech: Speech | None = None
        self._skip_before = 0
        self._run: deque[int] = deque()
        """Starts of frames of speech in a row, too few to begin an utterance."""
        self._recent: deque[tuple[int, float]] = deque(maxlen=LOOK_BACK_FRAMES)
        self._faint: deque[int] = deque(maxlen=FAINT_FRAMES)
        """Starts of frames in a row that may be speech."""

    @property
    def run_samples(self) -> int:
        """Speech just heard that has not begun an utterance yet."""
        return len(self._run) * FRAME_SAMPLES

    def reset(self, at: int) -> None:
        """Nothing is open, and frames that end before position ``at`` do not count."""
        self.speech, self._skip_before = None, at
        self._run.clear()
        self._recent.clear()
        self._faint.clear()

    def adopt(self, speech: Speech) -> None:
        """Go on with an utterance that was begun elsewhere."""
        self.speech = speech
        self._run.clear()
        self._recent.clear()
        self._faint.clear()

    def push(
        self, start: int, probability: float, options: LiveOptions, patience_samples: int, *, look_back: bool = True
    ) -> list[Mark]:
        """Judge the frame at ``start``; a silence of ``patience_samples`` ends the utterance.

        ``look_back``: an utterance that is too long may end a little earlier than here.
        """
        if start + FRAME_SAMPLES <= self._skip_before:
            return []
        if self.speech is None:
            return self._wait(start, probability, options)
        self._recent.append((start, probability))
        if probability >= options.threshold - HYSTERESIS:
            self.speech.add(start)
        if not look_back:
            self._recent.clear()
        return self._look_for_end(start + FRAME_SAMPLES, options, patience_samples)

    def _wait(self, start: int, probability: float, options: LiveOptions) -> list[Mark]:
        if probability < FAINT:
            self._faint.clear()
        else:
            self._faint.append(start)
        if probability < options.threshold:
            self._run.clear()
            return []
        self._run.append(start)
        if len(self._run) < START_FRAMES:
            return []
        self.speech = Speech()
        for frame in self._run:
            self.speech.add(frame)
        first = min(self.speech.start, self._faint[0] if self._faint else start)
        self._run.clear()
        self._faint.clear()
        return [Began(start=first, speech=self.speech)]

    def _look_for_end(self, position: int, options: LiveOptions, patience_samples: int) -> list[Mark]:
        assert self.speech is not None
        silence = position - self.speech.end
        length = position - self.speech.start
        longest = int(options.max_utterance_seconds * SAMPLE_RATE)
        if silence >= patience_samples:
            self.reset(position)
            return [Ended(end=position, reason=EndReason.PAUSE)]
        if length >= longest * SOFT_SHARE and silence >= SOFT_PAUSE_SAMPLES:
            self.reset(position)
            return [Ended(end=position, reason=EndReason.LONGEST)]
        return self._cut(self.speech, position) if length >= longest else []

    def _cut(self, speech: Speech, position: int) -> list[Mark]:
        """End the utterance in the middle of speech; what follows the cut is the beginning of the next one."""
        frames = list(self._recent)[:-1]
        quietest = min(reversed(frames), key=lambda frame: frame[1], default=(position - FRAME_SAMPLES, 0.0))[0]
        cut = quietest + FRAME_SAMPLES
        rest = speech.split(cut)
        marks: list[Mark] = [Ended(end=cut, reason=EndReason.LONGEST)]
        self.reset(cut)
        if rest:
            self.speech = rest
            marks.append(Began(start=cut, speech=rest, continues=True))
        return marks
