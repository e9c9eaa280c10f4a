"""What a reply is asked for, and what it says while it comes.

Texts and calls come as the language model writes them, sound as the voice speaks it, side by side; the last event
is ``Ended`` or ``ReplyFailed``, and there is exactly one of them, unless the reply is stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from kikitori.audio.pcm import Encoding
from kikitori.llm.talking import Called, Ended, Said, TalkRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """How a reply is spoken."""

    voice: str = ""
    speed: float = 1.0
    language: str = ""
    """What the other one speaks: a hint for voices that read several."""
    encoding: Encoding = Encoding.S16LE
    rate: int = 24_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRequest(TalkRequest):
    """What the language model is asked, and how its answer is spoken. ``spoken`` None: its text is enough."""

    spoken: Spoken | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplySound:
    """Audio in the encoding that was asked for, whole samples."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplySpoken:
    """The sound so far is that of the first ``characters`` of the text."""

    characters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyFailed:
    code: str
    message: str


ReplyEvent: TypeAlias = Said | Called | ReplySound | ReplySpoken | Ended | ReplyFailed
