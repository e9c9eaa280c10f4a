"""One pass: what an engine heard in a stretch of audio."""

from __future__ import annotations

from dataclasses import dataclass

from kikitori.live.words import Unit, units, words_of
from kikitori.types import Segment, Word

UNSURE_LOGPROB = -1.0
"""A segment less sure than this makes its pass unsure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Segments with times since the session began."""

    segments: tuple[Segment, ...]
    start: int
    """Of its audio, in samples since the session began, like ``end``."""
    end: int
    language: str = ""
    provisional: bool = False
    """Nothing of it can be called stable."""

    @property
    def words(self) -> list[Word]:
        return [word for segment in self.segments for word in words_of(segment)]

    @property
    def units(self) -> list[Unit]:
        return units(self.words)

    @property
    def sure(self) -> bool:
        return all(segment.avg_logprob >= UNSURE_LOGPROB for segment in self.segments)
