"""What a live session says. Positions are samples (16 kHz) since the session began.

An utterance is announced, ends, and gets exactly one ``Final`` or ``FinalFailed``, in the order in which utterances
began: ``SpeechStarted`` (VAD only), ``Interim``…, ``SpeechStopped`` (VAD only), ``Committed``, ``Interim``…, ``Final``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from kikitori.types import Audio, Segment, Word


class EndReason(StrEnum):
    """Why an utterance ended."""

    PAUSE = "pause"  # silence
    LONGEST = "longest"  # it became too long
    COMMIT = "commit"  # the client asked
    END = "end"  # the session ended
    UNBROKEN = "unbroken"  # nobody spoke while somebody was waited for: it is nothing but silence


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStarted:
    """Somebody began to speak. ``start`` has the audio kept from before subtracted, and is 0 at least."""

    utterance: int
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStopped:
    """A silence ended the utterance, or its length did; ``end`` is after the silence."""

    utterance: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Committed:
    """The audio of an utterance is complete; its final comes next."""

    utterance: int
    start: int
    end: int
    reason: EndReason
    audio: Audio


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRefused:
    """A commit found less than 100 ms: nothing was done, and the ``samples`` are kept."""

    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """Audio that was not committed is gone, and with it the open ``utterance``, if there was one."""

    utterance: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interim:
    """The text of an utterance so far. ``stable`` only ever grows; ``tail`` may change."""

    utterance: int
    revision: int
    stable: str
    tail: str
    start: int
    end: int
    """How far the audio was heard."""

    @property
    def text(self) -> str:
        return (self.stable + self.tail).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """The whole of an utterance, decided. Times of words and segments are seconds since the session began."""

    utterance: int
    text: str
    stable: str
    """What interims had called stable; usually the beginning of ``text``."""
    start: int
    end: int
    reason: EndReason
    language: str = ""
    words: tuple[Word, ...] = ()
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalFailed:
    """The utterance could not be decoded; the session goes on."""

    utterance: int
    start: int
    end: int
    code: str
    message: str
    stable: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """Nobody has spoken for ``LiveOptions.quiet_ms`` since the last speech of ``utterance``; told once for each."""

    utterance: int
    end: int
    """How far it has been quiet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NobodySpoke:
    """Somebody was waited for from ``start`` to ``end``, in vain; that silence is committed next, as ``utterance``."""

    utterance: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Degraded:
    """The machine is busy. 0: all is well; 1: fewer interims; 2: none; accepted audio is always heard."""

    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """Audio waits for the machine; 0: it has caught up."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Translating:
    """Finals are translated; ``session`` is the id under which others may follow that."""

    session: str
    language: str
    """As the client wrote it: a BCP-47 tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """The translation of a final so far; the last one of an utterance is ``done``."""

    utterance: int
    text: str
    language: str
    done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslationFailed:
    """The translation ends with ``text``, which may be empty; speech goes on."""

    utterance: int
    text: str
    language: str
    code: str
    message: str
    repeated: bool = False
    """The one before failed for the same reason."""


LiveEvent: TypeAlias = (
    SpeechStarted
    | SpeechStopped
    | Committed
    | CommitRefused
    | Cleared
    | Interim
    | Final
    | FinalFailed
    | Quiet
    | NobodySpoke
    | Degraded
    | Lag
    | Translating
    | Translation
    | TranslationFailed
)
