"""What a transcription says while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from kikitori.types import DecodeMode, Segment, Transcript


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """Comes once, first: the model is there, and decoding begins."""

    duration: float | None
    """Seconds the container promises; None when it does not say (streams, stdin)."""
    model: str
    engine: str
    mode: DecodeMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Comes once, before the first segment, as soon as the language is known."""

    duration: float | None
    """As in Begun."""
    language: str
    language_probability: float
    model: str
    engine: str
    mode: DecodeMode


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentDone:
    """A finished segment; ids and starts rise."""

    segment: Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePoint:
    """What a later run needs to go on from here, with every segment before it finished."""

    seconds: float
    """Into the recording."""
    segments: int
    """How many were made; the next one gets this id."""
    language: str = ""
    language_probability: float = 0.0
    text: str = ""
    """The end of the text, for a model that goes on from what it wrote."""
    chunk_start: float | None = None
    """Where the chunk began that ``seconds`` lies in: cut from there, its windows are the same again.

    None: the next chunk begins at ``seconds``.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Audio dealt with so far; never goes down."""

    seconds_done: float
    duration: float | None
    resume: ResumePoint | None = field(default=None, compare=False)
    """Where a run that ends now can be taken up again."""

    @property
    def fraction(self) -> float:
        """0 to 1; 0 while the duration is not known."""
        return min(1.0, self.seconds_done / self.duration) if self.duration else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Comes once, last. The transcript of a resumed run begins where it was resumed."""

    transcript: Transcript


TranscriptionEvent: TypeAlias = Begun | Started | SegmentDone | Progress | Finished
