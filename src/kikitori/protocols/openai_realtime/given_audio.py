"""Audio that clients put in as items: heard one after the other, on sessions of their own beside the conversation's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from kikitori.errors import KikitoriError
from kikitori.live.events import EndReason, Final, FinalFailed, LiveEvent
from kikitori.live.options import LiveOptions
from kikitori.protocols.actions import Action, End, Feed, InputFormat, Open
from kikitori.protocols.openai_realtime.conversation import Conversation, Item
from kikitori.protocols.openai_realtime.hearing import Hearing
from kikitori.protocols.openai_realtime.problems import Problem
from kikitori.protocols.openai_realtime.turns import Turn

MAX_WAITING_BYTES = 32 * 1024 * 1024
"""Audio that waits for its turn."""

Event = dict[str, Any]
Output: TypeAlias = Event | Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Ear:
    """How such audio is heard."""

    options: LiveOptions
    format: InputFormat
    shown: bool
    """The client reads what was understood."""
    logprobs: bool


@dataclass(slots=True, eq=False, kw_only=True)
class _Part:
    """One part of an item."""

    item: Item
    index: int
    data: bytes
    ear: Ear
    stream: str
    finals: list[Final] = field(default_factory=list)
    failed: FinalFailed | None = None

    @property
    def id(self) -> str:
        return str(self.item.body["id"])

    @property
    def whole(self) -> Final:
        """All that was said; of silence, nothing."""
        nothing = Final(utterance=0, text="", stable="", start=0, end=0, reason=EndReason.END)
        first, last = (self.finals[0], self.finals[-1]) if self.finals else (nothing, nothing)
        return replace(
            last,
            text=" ".join(filter(None, (final.text.strip() for final in self.finals))),
            start=first.start,
            words=tuple(word for final in self.finals for word in final.words),
            segments=tuple(segment for final in self.finals for segment in final.segments),
        )


class GivenAudio:
    """``ear`` says how to listen now; None: nobody wants to know what was said."""

    def __init__(self, conversation: Conversation, hearing: Hearing, *, ear: Callable[[], Ear | None]) -> None:
        self._conversation, self._hearing, self._ear = conversation, hearing, ear
        self._waiting: deque[_Part] = deque()
        self._now: _Part | None = None
        self._count = 0

    def take(self, *items: Item) -> list[Action]:
        """Listen to what nobody has listened to in ``items``. Raises Problem when too much waits already."""
        size = sum(len(data) for item in items for data in item.unheard.values())
        if size and size + sum(len(part.data) for part in self._waiting) > MAX_WAITING_BYTES:
            raise Problem("rate_limit_exceeded", "Too much audio of items waits to be heard. Send it later.", "item")
        ear = self._ear()
        for item in items:
            unheard, item.unheard = item.unheard, {}
            if ear is not None:
                self._queue(item, unheard, ear)
        return self._next()

    def event(self, stream: str, event: LiveEvent) -> None:
        """What the session of ``stream`` says."""
        part = self._now
        if part is not None and part.stream == stream:
            if isinstance(event, Final):
                part.finals.append(event)
            elif isinstance(event, FinalFailed):
                part.failed = event

    def failed(self, stream: str, error: KikitoriError) -> Sequence[Output]:
        """That session could not be opened, or could not read the audio."""
        if self._now is None or self._now.stream != stream:
            return []
        self._now.failed = FinalFailed(utterance=0, start=0, end=0, code=error.code, message=error.public)
        return self.ended(stream)

    def ended(self, stream: str) -> Sequence[Output]:
        """It has said all."""
        part = self._now
        if part is None or part.stream != stream:
            return []
        self._now = None
        return [*self._decided(part), *self._next()]

    def _queue(self, item: Item, unheard: dict[int, bytes], ear: Ear) -> None:
        for index, data in unheard.items():
            self._count += 1
            part = _Part(item=item, index=index, data=data, ear=ear, stream=f"item {self._count}")
            self._waiting.append(part)
            self._hearing.hear_apart(part.id)

    def _next(self) -> list[Action]:
        if self._now is not None or not self._waiting:
            return []
        part = self._now = self._waiting.popleft()
        data, part.data = part.data, b""
        return [
            Open(options=part.ear.options, format=part.ear.format, stream=part.stream),
            Feed(data=data, stream=part.stream),
            End(stream=part.stream),
        ]

    def _decided(self, part: _Part) -> list[Event]:
        heard = part.whole
        self._hearing.heard_apart(part.id, heard.language)
        in_conversation = self._conversation.get(part.id) is part.item
        if part.failed is None:
            if in_conversation:
                self._conversation.understand(part.id, heard.text, part.index)
            else:  # it is read by one response alone, or was deleted
                part.item.understood[part.index] = heard.text
        if not (in_conversation and part.ear.shown):
            return []
        turn = Turn(item=part.id, shown=True, content_index=part.index)
        if part.failed is not None:
            return [turn.fail(part.failed)]
        self._conversation.hear(part.id, heard.text, part.index)
        return list(turn.finish(heard, logprobs=part.ear.logprobs))
