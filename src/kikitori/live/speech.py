"""Which parts of an utterance are speech."""

from __future__ import annotations

from dataclasses import dataclass, field

from kikitori.audio.vad import FRAME_SAMPLES

HYSTERESIS = 0.15
"""Speech that has begun goes on until the probability is this much below the threshold."""


@dataclass(slots=True)
class Speech:
    """Spans of speech, rising, in samples since the session began."""

    spans: list[tuple[int, int]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.spans)

    @property
    def start(self) -> int:
        """Of the first span; raises IndexError when there is no speech."""
        return self.spans[0][0]

    @property
    def end(self) -> int:
        """Of the last span; raises IndexError when there is no speech."""
        return self.spans[-1][1]

    @property
    def samples(self) -> int:
        return sum(last - first for first, last in self.spans)

    def goes_on(self, start: int) -> bool:
        """Whether the last span reaches to ``start``."""
        return bool(self.spans) and self.spans[-1][1] == start

    def add(self, start: int) -> None:
        """The frame at ``start`` is speech."""
        if self.goes_on(start):
            self.spans[-1] = (self.spans[-1][0], start + FRAME_SAMPLES)
        else:
            self.spans.append((start, start + FRAME_SAMPLES))

    def split(self, at: int) -> Speech:
        """Keep what lies before ``at``; give the rest away."""
        rest = [(max(first, at), last) for first, last in self.spans if last > at]
        self.spans = [(first, min(last, at)) for first, last in self.spans if first < at]
        return Speech(rest)
