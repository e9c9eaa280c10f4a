"""What the file WebSocket asks of its connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from kikitori.errors import KikitoriError
from kikitori.protocols.actions import Close, Send
from kikitori.protocols.file_request import FileRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcribe:
    """Begin with a file: check what is asked, take the file, wait for a place, hear it."""

    request: FileRequest
    audio: str | None = None
    """The whole file in base64; None: it comes as ``Data``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The next bytes of the file."""

    data: bytes
    last: bool
    """The file is complete with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End the work on the file; ``error`` None: the client wants it so."""

    error: KikitoriError | None = None


FileAction: TypeAlias = Transcribe | Data | Stop | Send | Close
