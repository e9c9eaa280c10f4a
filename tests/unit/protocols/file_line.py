"""One end of a file socket: what the codec says, as a client reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from kikitori.protocols.actions import Send
from kikitori.protocols.file_actions import FileAction, Transcribe
from kikitori.protocols.file_ws import FileInfo, FileSocketCodec
from kikitori.types import Segment

AUDIO = {"type": "transcribe", "audio": "UklGRg=="}


class Line:
    """A codec and what has come of it."""

    def __init__(self, *, max_bytes: int = 1_000) -> None:
        self.codec = FileSocketCodec(max_bytes=max_bytes)

    def send(self, **message: Any) -> Sequence[FileAction]:
        return self.codec.text(json.dumps(message))

    def begin(self, **fields: Any) -> Transcribe:
        [action] = self.send(**(AUDIO | fields))
        assert isinstance(action, Transcribe), action
        return action

    def refused(self, **message: Any) -> dict[str, Any]:
        """The error that answers ``message``."""
        [error] = said(self.send(**message))
        assert error["type"] == "error"
        return error

    def hear(self, *segments: Segment, duration: float | None = 100.0) -> list[dict[str, Any]]:
        """Messages of a whole run."""
        actions = [*self.codec.info(info(duration))]
        for segment in segments:
            actions += self.codec.segment(segment)
            actions += self.codec.progress(segment.end, duration)
        actions += self.codec.finished("all of it", language="en", duration=duration or 0.0)
        return said(actions)


def said(actions: Iterable[FileAction]) -> list[dict[str, Any]]:
    return [json.loads(action.text) for action in actions if isinstance(action, Send)]


def info(duration: float | None = 100.0) -> FileInfo:
    return FileInfo(language="en", language_probability=0.98, duration=duration, model="small", engine="whisper")


def segment(start: float, end: float, text: str = " Hello.") -> Segment:
    return Segment(id=0, start=start, end=end, text=text)
