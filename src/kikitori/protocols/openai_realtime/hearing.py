"""What a session hears, as server events: turns, their items, their text."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from kikitori.live.events import (
    Cleared,
    CommitRefused,
    Committed,
    EndReason,
    Final,
    FinalFailed,
    Interim,
    LiveEvent,
    NobodySpoke,
    SpeechStarted,
    SpeechStopped,
)
from kikitori.protocols.openai_realtime import item_events
from kikitori.protocols.openai_realtime.conversation import Conversation, spoken
from kikitori.protocols.openai_realtime.fields import LOGPROBS
from kikitori.protocols.openai_realtime.problems import Problem
from kikitori.protocols.openai_realtime.sessions import Session
from kikitori.protocols.openai_realtime.turns import Turn
from kikitori.types import SAMPLE_RATE

LEAST_COMMIT_MS = 100
SAID_NOTHING = "(says nothing)"
"""What one reads who answers a silence in which somebody was waited for."""

Event = dict[str, Any]


class Hearing:
    """The turns of a session. ``session`` gives the object as it is now."""

    def __init__(
        self, conversation: Conversation, *, session: Callable[[], Session], new_id: Callable[[str], str]
    ) -> None:
        self._conversation, self._session, self._new_id = conversation, session, new_id
        self._turns: dict[int, Turn] = {}
        self._understanding: dict[int, str] = {}
        """Utterances that are complete and not decided, and their items."""
        self._apart: Counter[str] = Counter()
        """Parts of items that are listened to elsewhere."""
        self.language = ""
        """What was spoken last, as far as it is known."""
        self._commits: deque[str | None] = deque()

    def expect_answer(self, event_id: str | None) -> None:
        """The client commits; it is told with this id if there is too little."""
        self._commits.append(event_id)

    @property
    def not_understood(self) -> set[str]:
        """Items whose audio is not text yet."""
        return {*self._understanding.values(), *+self._apart}

    def hear_apart(self, item: str) -> None:
        """A part of ``item`` is being listened to beside what people say."""
        self._apart[item] += 1

    def heard_apart(self, item: str, language: str) -> None:
        self._apart[item] -= 1
        self.language = language or self.language

    @property
    def committing(self) -> bool:
        """The client has committed what has not become an item yet."""
        return bool(self._commits)

    @property
    def speaking(self) -> bool:
        """Somebody speaks, as far as turn detection knows."""
        return any(turn.shown and utterance not in self._understanding for utterance, turn in self._turns.items())

    def events(self, event: LiveEvent) -> list[Event]:
        """What the client is told."""
        match event:
            case SpeechStarted():
                turn = self._turn(event.utterance)
                turn.shown = True
                facts = {"audio_start_ms": _ms(event.start), "item_id": turn.item}
                return [{"type": "input_audio_buffer.speech_started", **facts}]
            case SpeechStopped():
                facts = {"audio_end_ms": _ms(event.end), "item_id": self._turn(event.utterance).item}
                return [{"type": "input_audio_buffer.speech_stopped", **facts}]
            case NobodySpoke():
                times = {"audio_start_ms": _ms(event.start), "audio_end_ms": _ms(event.end)}
                item = self._turn(event.utterance).item
                return [{"type": "input_audio_buffer.timeout_triggered", **times, "item_id": item}]
            case Committed():
                return self._committed(event)
            case CommitRefused():
                id = self._commits.popleft() if self._commits else None
                return [{"type": "error", "error": _too_short(event.samples).body(id)}]
            case Cleared():
                if event.utterance is not None:
                    self._turns.pop(event.utterance, None)
                return [{"type": "input_audio_buffer.cleared"}]
            case Interim():
                turn = self._turn(event.utterance)
                turn.stable = event.stable
                return list(turn.grow())
            case Final() | FinalFailed():
                return self._decided(event)
            case _:
                return []

    def _committed(self, event: Committed) -> list[Event]:
        if event.reason is EndReason.COMMIT and self._commits:
            self._commits.popleft()
        turn = self._turn(event.utterance)
        turn.shown = True
        turn.transcribed = self._transcribes
        self._understanding[event.utterance] = turn.item
        previous = self._conversation.last
        return [
            {"type": "input_audio_buffer.committed", "item_id": turn.item, "previous_item_id": previous},
            *item_events.added(self._conversation, spoken(turn.item, event.audio), previous),
            *turn.grow(),
        ]

    def _decided(self, event: Final | FinalFailed) -> list[Event]:
        turn = self._turns.pop(event.utterance, None)
        self._understanding.pop(event.utterance, None)
        if turn is not None and isinstance(event, Final):
            text = SAID_NOTHING if event.reason is EndReason.UNBROKEN else event.text.strip()
            self._conversation.understand(turn.item, text)
            self.language = event.language or self.language
        if turn is None or not turn.transcribed:
            return []
        if isinstance(event, FinalFailed):
            return [turn.fail(event)]
        self._conversation.hear(turn.item, event.text.strip())
        return list(turn.finish(event, logprobs=LOGPROBS in (self._session()["include"] or [])))

    def _turn(self, utterance: int) -> Turn:
        if utterance not in self._turns:
            self._turns[utterance] = Turn(item=self._new_id("item"), transcribed=self._transcribes)
        return self._turns[utterance]

    @property
    def _transcribes(self) -> bool:
        return self._session()["audio"]["input"]["transcription"] is not None


def _ms(samples: int) -> int:
    return samples * 1_000 // SAMPLE_RATE


def _too_short(samples: int) -> Problem:
    held = samples * 1_000 / SAMPLE_RATE
    return Problem(
        "input_audio_buffer_commit_empty",
        f"A commit needs at least {LEAST_COMMIT_MS} ms of audio; the buffer holds {held:.2f} ms.",
    )
