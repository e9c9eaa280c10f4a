"""Decoding that a session asks for, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kikitori.options import DecodeOptions
from kikitori.types import Audio, Priority, Segment


class JobKind(StrEnum):
    """Why something is decoded."""

    INTERIM = "interim"  # text to show; only the newest matters
    SPECULATIVE = "speculative"  # the final, made ready during a silence that may become the endpoint
    FINAL = "final"  # the whole utterance; never dropped

    @property
    def priority(self) -> Priority:
        return _PRIORITIES[self]


_PRIORITIES = {
    JobKind.INTERIM: Priority.LIVE_INTERIM,
    JobKind.SPECULATIVE: Priority.LIVE_SPECULATIVE,
    JobKind.FINAL: Priority.LIVE_FINAL,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """One stretch of audio to decode. A session has one at a time."""

    id: int
    kind: JobKind
    utterance: int
    start: int
    """Position of the first sample of ``audio``."""
    audio: Audio
    options: DecodeOptions
    """All of them, also language, prompt and window length for this pass."""
    first: bool = False
    """Streaming engines: ``audio`` begins a new utterance; otherwise it follows what was given before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came of a job. Times are seconds from the start of its audio.

    Streaming engines give all they have heard since the utterance began, with times from there.
    """

    segments: tuple[Segment, ...] = ()
    language: str = ""
    language_probability: float = 0.0
    provisional: bool = False
    """What the engine decides at the end may differ anywhere."""
    waited: float = 0.0
    """Seconds between the wish and the start of the decoding."""
    took: float = 0.0
    """Seconds of decoding."""
