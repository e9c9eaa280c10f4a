"""Nouns shared by every layer.

Time is float seconds called ``start`` and ``end``; audio is float32 mono at 16 kHz.
Any other unit wears a suffix (``_ms``, ``_samples``, ``_bytes``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Audio: TypeAlias = "npt.NDArray[np.float32]"
"""Samples in [-1, 1], shape (n,), 16 kHz mono; (channels, n) only where a name says so."""

SAMPLE_RATE = 16_000
"""Samples per second everywhere inside Kikitori."""


class Task(StrEnum):
    """What is done with the speech."""

    TRANSCRIBE = "transcribe"  # text in the language spoken
    TRANSLATE = "translate"  # text in English


class DecodeMode(StrEnum):
    """How a file is cut for the engine."""

    AUTO = "auto"  # windowed, unless an option needs the other
    WINDOWED = "windowed"  # independent windows cut at silences, decoded side by side
    SEQUENTIAL = "sequential"  # a sliding window that sees the text before it


class Channels(StrEnum):
    """Which channels of a recording are heard."""

    MIX = "mix"  # all of them, averaged
    LEFT = "left"  # the first
    RIGHT = "right"  # the second
    SPLIT = "split"  # each on its own: one speaker a channel


class Priority(StrEnum):
    """Who is decoded first. Waiting raises everybody, so that nothing starves."""

    LIVE_FINAL = "live_final"  # the end of an utterance somebody waits for
    LIVE_SPECULATIVE = "live_speculative"  # a final made ready before the endpoint is sure
    HIGH = "high"
    LIVE_INTERIM = "live_interim"  # text shown while somebody speaks
    NORMAL = "normal"
    LOW = "low"

    @property
    def is_live(self) -> bool:
        return self in (Priority.LIVE_FINAL, Priority.LIVE_SPECULATIVE, Priority.LIVE_INTERIM)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechSpan:
    """A stretch of speech, in seconds from the start of the audio it was found in."""

    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word; ``word`` keeps the leading space that separates it from the one before."""

    word: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of text with its time.

    ``text`` keeps its leading space (none in scripts that write without spaces), so that
    joining the texts of a transcript's segments gives the text.
    """

    id: int
    start: float
    end: float
    text: str
    words: tuple[Word, ...] | None = None
    tokens: tuple[int, ...] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 1.0
    no_speech_prob: float = 0.0
    speaker: str | None = None
    """The channel that was heard (``left``, ``right``, ``channel 3``) when channels are split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """All that was heard in one recording."""

    segments: tuple[Segment, ...]
    language: str
    """ISO 639-1 code (``en``), or ``""`` when nothing was heard."""
    language_probability: float = 1.0
    duration: float = 0.0
    model: str = ""
    engine: str = ""
    task: Task = Task.TRANSCRIBE
    mode: DecodeMode = DecodeMode.WINDOWED
    """The mode that ran; never ``auto``."""
    text: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", join_text(self.segments))


def join_text(segments: Iterable[Segment]) -> str:
    """The text of ``segments``, in order, without space at either end."""
    return "".join(segment.text for segment in segments).strip()


Media: TypeAlias = Path | str | BinaryIO
"""A file on disk, or an open binary file (seekable or not)."""
