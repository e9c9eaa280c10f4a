"""A client of the Realtime codec without a socket: every event it gets must fit the types of OpenAI's SDK."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from openai.types.beta.realtime import RealtimeServerEvent as BetaServerEvent
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from kikitori.live.events import Committed, EndReason, Final, Interim, LiveEvent, SpeechStarted, SpeechStopped
from kikitori.live.options import LiveOptions
from kikitori.protocols.actions import Action, Close, Send
from kikitori.protocols.openai_realtime.codec import RealtimeCodec
from kikitori.protocols.openai_realtime.responding import Replies
from kikitori.replies.events import ReplyEvent
from kikitori.types import SAMPLE_RATE, Audio, Segment, Word

Event = dict[str, Any]

NOW = 1_000_000.0
MODELS = ("whisper-1", "gpt-4o-transcribe", "small")
LISTENING = {"transcription": {"model": "whisper-1"}}
TYPES: Mapping[bool, TypeAdapter[Any]] = {
    False: TypeAdapter(RealtimeServerEvent),
    True: TypeAdapter(BetaServerEvent),
}


class Client:
    """Opens a codec and talks with it; what the codec asks of the session is kept in ``wishes``."""

    def __init__(
        self,
        *,
        intent: str = "transcription",
        model: str = "",
        beta: bool = False,
        session_config: Mapping[str, Any] | None = None,
        defaults: LiveOptions | None = None,
        listening: Mapping[str, Any] | None = None,
        ready: bool = True,
        replies: Replies | None = None,
    ) -> None:
        """``listening``: ``audio.input`` of a first update. ``ready``: the session could be opened."""
        self._beta = beta
        self._numbers = itertools.count(1)
        self.seen: set[str] = set()
        self.wishes: list[Action] = []
        self.codec = RealtimeCodec(
            defaults or LiveOptions(),
            intent=intent,
            model=model,
            beta=beta,
            models=lambda name: name in MODELS,
            now=lambda: NOW,
            session_config=session_config,
            new_id=lambda kind: f"{kind}_{next(self._numbers)}",
            replies=replies or Replies(),
        )
        self.opening = self.take(self.codec.opened())
        if ready:
            self.codec.ready("", token="", samples=0, resumed=False)
        if listening is not None:
            self.update({"audio": {"input": dict(listening)}})

    def send(self, type: str, **fields: Any) -> list[Event]:
        return self.frame(json.dumps({"type": type, **fields}))

    def frame(self, text: str) -> list[Event]:
        return self.take(self.codec.text(text))

    def update(self, session: Mapping[str, Any], **fields: Any) -> list[Event]:
        return self.send("session.update", session={"type": "transcription", **session}, **fields)

    def append(self, data: bytes) -> list[Event]:
        return self.send("input_audio_buffer.append", audio=base64.b64encode(data).decode())

    def hear(self, *events: LiveEvent) -> list[Event]:
        """What the session says, as the client gets it."""
        return [event for said in events for event in self.take(self.codec.event(said))]

    def hear_apart(self, stream: str, *events: LiveEvent) -> list[Event]:
        """What a session for audio of an item says, and then it is over."""
        for said in events:
            assert self.take(self.codec.event(said, stream)) == []
        return self.take(self.codec.ended(stream))

    def told(self, id: str, *events: ReplyEvent) -> list[Event]:
        """What a reply says, as the client gets it."""
        return [event for said in events for event in self.take(self.codec.told(id, said))]

    def take(self, actions: Sequence[Action]) -> list[Event]:
        """The server events among ``actions``, checked; the rest goes to ``wishes``."""
        self.wishes += [action for action in actions if not isinstance(action, Send)]
        return [self._checked(json.loads(action.text)) for action in actions if isinstance(action, Send)]

    @property
    def closed(self) -> Close | None:
        return next((wish for wish in self.wishes if isinstance(wish, Close)), None)

    def _checked(self, event: Event) -> Event:
        assert event["event_id"] not in self.seen
        self.seen.add(event["event_id"])
        typed = _as_sdk_knows_it(event)
        parsed = TYPES[self._beta].validate_python(typed)
        assert parsed.type == typed["type"], type(parsed)
        return event


def _as_sdk_knows_it(event: Event) -> Event:
    """The SDK has no type for the beta's first event, and types its sessions as the route does that makes secrets."""
    if not event["type"].startswith("transcription_session."):
        return event
    session = {**event["session"], "client_secret": {"value": "", "expires_at": 0}}
    return {**event, "type": "transcription_session.updated", "session": session}


def types(events: Sequence[Event]) -> list[str]:
    """Types without what all transcription events begin with."""
    return [event["type"].removeprefix("conversation.item.input_audio_transcription.") for event in events]


def error(events: Sequence[Event]) -> tuple[str | None, str | None]:
    """Code and param of the only event, which is an error."""
    [event] = events
    assert event["type"] == "error"
    assert event["error"]["message"]
    return event["error"]["code"], event["error"]["param"]


def tone(seconds: float) -> Audio:
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.5 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)


def samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def started(utterance: int = 0, at: float = 0.7) -> SpeechStarted:
    return SpeechStarted(utterance=utterance, start=samples(at))


def stopped(utterance: int = 0, at: float = 2.5) -> SpeechStopped:
    return SpeechStopped(utterance=utterance, end=samples(at))


def interim(stable: str, utterance: int = 0, tail: str = "") -> Interim:
    return Interim(utterance=utterance, revision=0, stable=stable, tail=tail, start=0, end=0)


def committed(
    utterance: int = 0, *, seconds: float = 2.0, reason: EndReason = EndReason.PAUSE, audio: Audio | None = None
) -> Committed:
    heard = tone(seconds) if audio is None else audio
    return Committed(utterance=utterance, start=0, end=len(heard), reason=reason, audio=heard)


def final(
    text: str,
    utterance: int = 0,
    *,
    seconds: float = 2.0,
    words: tuple[Word, ...] = (),
    segments: tuple[Segment, ...] = (),
    language: str = "en",
) -> Final:
    return Final(
        utterance=utterance,
        text=text,
        stable="",
        start=0,
        end=samples(seconds),
        reason=EndReason.PAUSE,
        language=language,
        words=words,
        segments=segments,
    )
