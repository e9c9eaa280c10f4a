"""A conversation as a client of OpenAI's Realtime protocol has it. Without a socket: events in, events out."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

RATE = 24_000
"""Of sound both ways: 16 bit, mono."""
MOST_PROBLEM = 500
TRANSCRIPTION = "conversation.item.input_audio_transcription."
UNHEARD = "(not understood)"

Event = dict[str, Any]


class Who(StrEnum):
    YOU = "you"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Shown:
    """More of what somebody says; ``ends``: that was all. ``whole``: all of it, in place of what was shown."""

    who: Who
    text: str
    ends: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Played:
    """Sound of the reply."""

    pcm: bytes


@dataclass(frozen=True, slots=True)
class Replied:
    """The reply is complete; what failed is said."""

    problem: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """The server refused something."""

    message: str


Outcome: TypeAlias = Shown | Played | Replied | Problem


class Dialogue:
    """One connection. What the server says late of a reply that was interrupted is not heard any more."""

    def __init__(self) -> None:
        self._response = ""
        """The reply that is being made."""
        self._item = ""
        """What is heard, or was heard last."""
        self._received_ms = 0
        self._waits = False
        """A turn was committed, and no reply has begun."""
        self._cancelled: set[str] = set()
        self._drops_next = False
        """The next reply was interrupted before it began."""

    def session(self, *, instructions: str | None, voice: str, language: str, hears: str, speaks: bool) -> Event:
        """The first event: turns end when the client says so."""
        heard = {"model": hears, **({"language": language} if language else {})}
        listening = {"format": {"type": "audio/pcm", "rate": RATE}, "transcription": heard, "turn_detection": None}
        speaking = {"format": {"type": "audio/pcm", "rate": RATE}, **({"voice": voice} if voice else {})}
        session: Event = {
            "type": "realtime",
            "output_modalities": ["audio" if speaks else "text"],
            "audio": {"input": listening, "output": speaking},
        }
        if instructions is not None:
            session["instructions"] = instructions
        return {"type": "session.update", "session": session}

    # What we do

    def begin(self, played_ms: int) -> list[Event]:
        """Somebody speaks: a reply of which ``played_ms`` were heard stops there."""
        events: list[Event] = []
        if self._response:
            self._cancelled.add(self._response)
            events.append({"type": "response.cancel", "response_id": self._response})
        elif self._waits:
            self._drops_next = True
        if self._item and played_ms < self._received_ms:
            facts = {"item_id": self._item, "content_index": 0, "audio_end_ms": played_ms}
            events.append({"type": "conversation.item.truncate", **facts})
        self._response, self._item, self._received_ms, self._waits = "", "", 0, False
        return [*events, {"type": "input_audio_buffer.clear"}]

    def speak(self, pcm: bytes) -> Event:
        return {"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()}

    def commit(self) -> list[Event]:
        self._waits = True
        return [{"type": "input_audio_buffer.commit"}, {"type": "response.create"}]

    # What the server says

    def hear(self, event: Mapping[str, Any]) -> list[Outcome | Event]:
        """What comes of it: for the user, or for the server."""
        kind = str(event.get("type", ""))
        if kind == "response.created":
            return self._created(event["response"]["id"])
        if str(event.get("response_id", "")) in self._cancelled:
            return []
        if kind == "response.output_audio.delta":
            return [self._sound(event)]
        if kind in ("response.output_audio_transcript.delta", "response.output_text.delta"):
            return [Shown(Who.AGENT, str(event["delta"]))]
        if kind == f"{TRANSCRIPTION}delta":
            return [Shown(Who.YOU, str(event["delta"]))]
        if kind == f"{TRANSCRIPTION}completed":
            return [Shown(Who.YOU, str(event["transcript"]).strip(), ends=True, whole=True)]
        if kind == f"{TRANSCRIPTION}failed":
            return [Shown(Who.YOU, UNHEARD, ends=True, whole=True)]
        if kind == "response.done":
            return self._done(event["response"])
        if kind == "error":
            return self._refused(event["error"])
        return []

    def _created(self, id: str) -> list[Outcome | Event]:
        self._waits = False
        if self._drops_next:
            self._drops_next = False
            self._cancelled.add(id)
            return [{"type": "response.cancel", "response_id": id}]
        self._response = id
        return []

    def _sound(self, event: Mapping[str, Any]) -> Played:
        pcm = base64.b64decode(event["delta"])
        if event["item_id"] != self._item:
            self._item, self._received_ms = str(event["item_id"]), 0
        self._received_ms += len(pcm) * 1_000 // (2 * RATE)
        return Played(pcm)

    def _done(self, response: Mapping[str, Any]) -> list[Outcome | Event]:
        if response["id"] in self._cancelled:
            self._cancelled.discard(response["id"])
            return []
        self._response = ""
        details = response.get("status_details") or {}
        problem = str((details.get("error") or {}).get("message") or "") if response["status"] == "failed" else ""
        return [Shown(Who.AGENT, "", ends=True), Replied(problem[:MOST_PROBLEM])]

    def _refused(self, error: Mapping[str, Any]) -> list[Outcome | Event]:
        if error.get("code") in ("response_cancel_not_active", "input_audio_buffer_commit_empty"):
            return []  # it was over by then
        return [Problem(str(error.get("message", ""))[:MOST_PROBLEM])]
