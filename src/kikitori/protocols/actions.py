"""What a protocol asks of its connection. One socket may carry several sessions, told apart by ``stream``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from kikitori.live.options import LiveOptions
from kikitori.replies.events import ReplyRequest


class Encoding(StrEnum):
    """How audio comes in."""

    S16LE = "s16le"
    F32LE = "f32le"
    MULAW = "mulaw"
    ALAW = "alaw"
    WEBM_OPUS = "webm-opus"
    OGG_OPUS = "ogg-opus"

    @property
    def has_rate(self) -> bool:
        """Samples without a container: the rate must be known."""
        return self not in (Encoding.WEBM_OPUS, Encoding.OGG_OPUS)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFormat:
    """Mono audio; ``rate`` (8,000 to 48,000 Hz) says nothing where a container does."""

    encoding: Encoding = Encoding.S16LE
    rate: int = 16_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Begin a session."""

    options: LiveOptions
    format: InputFormat = InputFormat()
    stream: str = ""
    record: bool = False
    """Keep its audio and text in the media store."""
    resumable: bool = False
    """Let it live on for a while when the socket is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Take up a session that lost its socket."""

    token: str
    stream: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    """Change a session; ``format`` None: as before. Applies to audio that comes after."""

    options: LiveOptions
    format: InputFormat | None = None
    stream: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Audio in the session's format; cut anywhere."""

    data: bytes
    stream: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """End the utterance now."""

    stream: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clear:
    """Forget the audio that was not committed."""

    stream: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitSpeech:
    """Tell when nobody speaks for ``patience`` seconds, after the next ``after`` seconds of audio; None: no longer."""

    after: float = 0.0
    patience: float | None
    stream: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """No more audio: finals of all that was said, then the session is over."""

    stream: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """A frame for the client. Of frames with the same ``slot``, a slow reader gets the newest alone."""

    text: str
    slot: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Close the socket when everything before has been sent."""

    code: int = 1000
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Have a reply made; what it says comes back under its id."""

    id: str
    request: ReplyRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReply:
    """Nobody wants the rest of a reply."""

    id: str


Action: TypeAlias = (
    Open | Resume | Configure | Feed | Commit | Clear | AwaitSpeech | End | Send | Close | Reply | StopReply
)
