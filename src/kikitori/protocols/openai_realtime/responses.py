"""One response: its object, its items, and the events that tell how it grows."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kikitori.llm.talking import Called, TokenUsage
from kikitori.protocols.openai_realtime.asking import Asked
from kikitori.protocols.openai_realtime.context import BYTES_PER_TOKEN
from kikitori.protocols.openai_realtime.conversation import MAX_EVENT_BYTES, Conversation, Item, ReplyVoice, item_size

Event = dict[str, Any]
MS = 1_000


class Status(StrEnum):
    """How a response is, or how it ended."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"  # by the client, or because somebody spoke
    INCOMPLETE = "incomplete"  # it reached a limit
    FAILED = "failed"


@dataclass(slots=True)
class _Call:
    """A function that the language model calls."""

    item: str
    output_index: int
    call_id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class _Message:
    """What it says; of speech also the sound so far."""

    item: str
    output_index: int
    text: str = ""
    sound_bytes: int = 0
    kept: bytearray = field(default_factory=bytearray)
    """Sound that can be asked for again; as much as fits into an event."""
    marks: list[tuple[int, int]] = field(default_factory=list)


class Response:
    """``conversation`` None: what it says stands apart. Its methods return events for the client."""

    def __init__(
        self,
        asked: Asked,
        *,
        conversation: Conversation | None,
        conversation_id: str,
        new_id: Callable[[str], str],
    ) -> None:
        self.id = new_id("resp")
        self.asked = asked
        self.status = Status.IN_PROGRESS
        self.input_tokens = 0
        """An estimate, for endpoints that do not count."""
        self._conversation, self._new_id = conversation, new_id
        self._conversation_id = conversation_id if conversation is not None else None
        self._message: _Message | None = None
        self._calls: dict[int, _Call] = {}
        self._output: dict[int, Event] = {}
        self._details: Event | None = None
        self._usage: Event | None = None

    @property
    def speaks(self) -> bool:
        return self.asked.modality == "audio"

    @property
    def sound_seconds(self) -> float:
        return self._milliseconds(self._message) / MS if self._message is not None else 0.0

    def begin(self) -> list[Event]:
        return [{"type": "response.created", "response": self.body()}]

    def body(self) -> Event:
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status.value,
            "status_details": self._details,
            "output": [self._output[index] for index in sorted(self._output)],
            "conversation_id": self._conversation_id,
            "output_modalities": [self.asked.modality],
            "max_output_tokens": self.asked.max_output_tokens,
            "audio": {"output": {"format": self.asked.format, "voice": self.asked.voice}},
            "usage": self._usage,
            "metadata": self.asked.metadata,
        }

    # What it says

    def text(self, delta: str) -> list[Event]:
        events, message = self._begun_message()
        message.text += delta
        return [*events, self._part_event(f"{self._words}.delta", delta=delta)]

    def sound(self, data: bytes) -> list[Event]:
        if not self.speaks:
            return []
        events, message = self._begun_message()
        message.sound_bytes += len(data)
        message.kept += data[: max(0, MAX_EVENT_BYTES - len(message.kept))]
        delta = base64.b64encode(data).decode()
        return [*events, self._part_event("response.output_audio.delta", delta=delta)]

    def spoken(self, characters: int) -> None:
        """The sound so far is that of so many characters."""
        if self._message is not None:
            self._message.marks.append((self._milliseconds(self._message), characters))

    def call(self, piece: Called) -> list[Event]:
        events: list[Event] = []
        if (call := self._calls.get(piece.index)) is None:
            call = self._calls[piece.index] = _Call(
                item=self._new_id("item"),
                output_index=self._next_index(),
                call_id=piece.id or self._new_id("call"),
                name=piece.name,
            )
            events = self._add_item(call.output_index, self._call_body(call, Status.IN_PROGRESS))
        if piece.arguments:
            call.arguments += piece.arguments
            facts = {**self._of_call(call), "delta": piece.arguments}
            events.append({"type": "response.function_call_arguments.delta", **facts})
        return events

    # How it ends

    def finish(self, status: Status, details: Mapping[str, Any] | None, usage: TokenUsage | None) -> list[Event]:
        """Everything that is open ends, then the response."""
        whole = status is Status.COMPLETED
        events = self._finish_message("completed" if whole else "incomplete")
        for call in self._calls.values():
            events += self._finish_call(call, whole)
        self.status = status
        self._details = {"type": status.value, **details} if details else None
        self._usage = _usage(usage or self._estimate())
        return [
            *events,
            {"type": "response.done", "response": self.body()},
            {"type": "rate_limits.updated", "rate_limits": []},  # there are none, and clients wait for it
        ]

    def _finish_message(self, status: str) -> list[Event]:
        message = self._message
        if message is None:
            return []
        part = self._part(message)
        if self.speaks:
            ends = [
                self._part_event("response.output_audio.done"),
                self._part_event(f"{self._words}.done", transcript=message.text),
            ]
        else:
            ends = [self._part_event(f"{self._words}.done", text=message.text)]
        voice = None
        if self.speaks:
            voice = ReplyVoice(milliseconds=self._milliseconds(message), marks=tuple(message.marks))
        body = self._message_body(message, status)
        done = self._part_event("response.content_part.done", part=part)
        return [*ends, done, *self._item_done(message.output_index, body, bytes(message.kept), voice)]

    def _finish_call(self, call: _Call, whole: bool) -> list[Event]:
        body = self._call_body(call, Status.COMPLETED if whole else Status.INCOMPLETE)
        facts = {**self._of_call(call), "name": call.name, "arguments": call.arguments}
        done = {"type": "response.function_call_arguments.done", **facts}
        return [*([done] if whole else []), *self._item_done(call.output_index, body)]

    # Items

    def _begun_message(self) -> tuple[list[Event], _Message]:
        if self._message is not None:
            return [], self._message
        message = self._message = _Message(item=self._new_id("item"), output_index=self._next_index())
        body = {**self._message_body(message, "in_progress"), "content": []}
        events = self._add_item(message.output_index, body)
        return [*events, self._part_event("response.content_part.added", part=self._part(message))], message

    def _add_item(self, index: int, body: Event) -> list[Event]:
        self._output[index] = body
        facts = {"response_id": self.id, "output_index": index, "item": body}
        events: list[Event] = [{"type": "response.output_item.added", **facts}]
        if self._conversation is not None:
            previous = self._conversation.last
            self._conversation.add(Item(body, item_size(body)), previous)
            events.append({"type": "conversation.item.added", "previous_item_id": previous, "item": body})
        return events

    def _item_done(self, index: int, body: Event, audio: bytes = b"", voice: ReplyVoice | None = None) -> list[Event]:
        self._output[index] = body
        facts = {"response_id": self.id, "output_index": index, "item": body}
        events: list[Event] = []
        if self._conversation is not None and body["id"] in self._conversation:
            previous = self._conversation.before(body["id"])
            self._conversation.change(body["id"], body, audio, voice)
            events.append({"type": "conversation.item.done", "previous_item_id": previous, "item": body})
        return [*events, {"type": "response.output_item.done", **facts}]

    def _message_body(self, message: _Message, status: str) -> Event:
        kind, name = ("output_audio", "transcript") if self.speaks else ("output_text", "text")
        return {
            "id": message.item,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [{"type": kind, name: message.text}],
        }

    def _call_body(self, call: _Call, status: Status) -> Event:
        return {
            "id": call.item,
            "type": "function_call",
            "status": status.value,
            "call_id": call.call_id,
            "name": call.name,
            "arguments": call.arguments,
        }

    def _part(self, message: _Message) -> Event:
        return {"type": "audio", "transcript": message.text} if self.speaks else {"type": "text", "text": message.text}

    def _part_event(self, type: str, **facts: Any) -> Event:
        assert self._message is not None
        place = {"item_id": self._message.item, "output_index": self._message.output_index, "content_index": 0}
        return {"type": type, "response_id": self.id, **place, **facts}

    def _of_call(self, call: _Call) -> Event:
        return {
            "response_id": self.id,
            "item_id": call.item,
            "output_index": call.output_index,
            "call_id": call.call_id,
        }

    @property
    def _words(self) -> str:
        return "response.output_audio_transcript" if self.speaks else "response.output_text"

    def _next_index(self) -> int:
        return len(self._output)

    def _milliseconds(self, message: _Message) -> int:
        encoding, rate = self.asked.sound
        return message.sound_bytes * MS // (encoding.width * rate)

    def _estimate(self) -> TokenUsage:
        written = (self._message.text if self._message else "") + "".join(
            call.arguments for call in self._calls.values()
        )
        return TokenUsage(input_tokens=self.input_tokens, output_tokens=-(-len(written.encode()) // BYTES_PER_TOKEN))


def _usage(usage: TokenUsage) -> Event:
    """The language model reads and writes text, whatever is spoken."""
    nothing = {"audio_tokens": 0, "image_tokens": 0}
    return {
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "input_token_details": {
            "text_tokens": usage.input_tokens,
            **nothing,
            "cached_tokens": usage.cached_tokens,
            "cached_tokens_details": {"text_tokens": usage.cached_tokens, **nothing},
        },
        "output_token_details": {"text_tokens": usage.output_tokens, "audio_tokens": 0},
    }
