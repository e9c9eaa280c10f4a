"""What a reply is asked for, and what it says while it comes.

Texts and calls come as the language model writes them, sound as the voice speaks it, side by side; the last event
is ``ReplyEnded`` or ``ReplyFailed``, and there is exactly one of them, unless the reply is stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from kikitori.audio.pcm import Encoding
from kikitori.llm.talking import ChatMessage, TokenUsage


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
class ReplyRequest:
    """One reply. ``spoken`` None: its text is enough."""

    messages: tuple[ChatMessage, ...]
    spoken: Spoken | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: Any = None
    max_tokens: int | None = None
    temperature: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyText:
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyCall:
    """A piece of a function call, of which there may be several; the first piece has ``call_id`` and ``name``."""

    index: int
    call_id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplySound:
    """Audio in the encoding that was asked for, whole samples."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplySpoken:
    """The sound so far is that of the first ``characters`` of the text."""

    characters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyEnded:
    """Everything is said. ``reason``: ``stop``, ``length``, ``tool_calls``, ``content_filter``."""

    reason: str
    usage: TokenUsage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyFailed:
    code: str
    message: str


ReplyEvent: TypeAlias = ReplyText | ReplyCall | ReplySound | ReplySpoken | ReplyEnded | ReplyFailed
