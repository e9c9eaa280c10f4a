"""What the client was told of one file: segments in order, with a progress that ends at 100 with the last of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kikitori.protocols.actions import Send
from kikitori.protocols.live_frames import frame
from kikitori.text.durations import convert_seconds, finite
from kikitori.types import Segment, Word

WHOLE = 100
"""Per cent."""
MS_DIGITS = 3
"""Of seconds in messages."""


@dataclass(slots=True)
class Told:
    """Which segment is the last one shows only when nothing follows it, so each is held back until the next comes."""

    duration: float | None = None
    """Seconds; grows where a container has promised too little."""
    seconds_done: float = 0.0
    progress: int = 0
    held: Segment | None = field(default=None)

    def advance(self, seconds_done: float, duration: float | None) -> None:
        """So much of the recording is dealt with, in seconds."""
        self.seconds_done = max(self.seconds_done, seconds_done)
        self.duration = duration if duration is not None else self.duration

    def segment(self, segment: Segment) -> Sequence[Send]:
        """A segment is ready; the one before is not the last, then."""
        said = self.held_back()
        self.held = segment
        return said

    def held_back(self, *, last: bool = False) -> Sequence[Send]:
        """The segment that waits, if there is one; ``last``: nothing follows it."""
        segment, self.held = self.held, None
        if segment is None:
            return ()
        self.progress = WHOLE if last else max(self.progress, self._share(segment))
        return [frame("segment", data=segment_data(segment), progress=self.progress, done=False)]

    def _share(self, segment: Segment) -> int:
        if not self.duration:
            return 0
        done = min(1.0, finite(max(segment.end, self.seconds_done)) / self.duration)
        return max(0, min(WHOLE - 1, int(WHOLE * done)))


def segment_data(segment: Segment) -> dict[str, Any]:
    """``text`` as in a transcript: with the space that separates it from the text before."""
    times = f"[{convert_seconds(segment.start)} -> {convert_seconds(segment.end)}]"
    data: dict[str, Any] = {
        "time_line": f"{times} {segment.text.strip()}",
        "text": segment.text,
        "start": seconds(segment.start),
        "end": seconds(segment.end),
    }
    if segment.words is not None:
        data["words"] = [_word(word) for word in segment.words]
    if segment.speaker is not None:
        data["speaker"] = segment.speaker
    return data


def seconds(value: float) -> float:
    return round(finite(value), MS_DIGITS)


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.word,
        "start": seconds(word.start),
        "end": seconds(word.end),
        "probability": round(finite(word.probability), MS_DIGITS),
    }
