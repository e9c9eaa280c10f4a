"""A client, the codec of the plain WebSocket, and sessions that do what they are told, without a socket."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from kikitori.live.events import EndReason, Final, Interim, LiveEvent
from kikitori.live.options import LiveOptions
from kikitori.protocols.actions import Action, Close, Feed, Open, Resume, Send
from kikitori.protocols.live_ws import LiveSocketCodec
from kikitori.types import SAMPLE_RATE, Word

Message = dict[str, Any]


class Line:
    """Keeps what went either way. Sessions become ready at once, and say only what a test makes them say."""

    def __init__(self, defaults: LiveOptions | None = None, *, answering: bool = True) -> None:
        self.codec = LiveSocketCodec(defaults)
        self.answering = answering
        self.actions: list[Action] = []
        self.messages: list[Message] = []

    def send(self, kind: str, **fields: Any) -> list[Message]:
        """Send a message; what came back."""
        return self.send_text(json.dumps({"type": kind, **fields}))

    def send_text(self, frame: str) -> list[Message]:
        return self.take(self.codec.text(frame))

    def send_audio(self, data: bytes = b"\0\0") -> list[Message]:
        return self.take(self.codec.binary(data))

    def send_frame(self, audio_id: str | int, data: bytes = b"\0\0") -> list[Message]:
        return self.send("audio", audio_id=audio_id, content=base64.b64encode(data).decode())

    def hear(self, event: LiveEvent, stream: str | None = None) -> list[Message]:
        return self.take(self.codec.event(event, self.stream if stream is None else stream))

    def end(self, stream: str | None = None) -> list[Message]:
        """The session is over."""
        return self.take(self.codec.ended(self.stream if stream is None else stream))

    def take(self, actions: Sequence[Action]) -> list[Message]:
        said = [json.loads(action.text) for action in actions if isinstance(action, Send)]
        self.actions += actions
        self.messages += said
        for action in actions if self.answering else ():
            if isinstance(action, Open):
                said += self.take(self.codec.ready(action.stream, token="t-1", samples=0, resumed=False))
            elif isinstance(action, Resume):
                said += self.take(self.codec.ready(action.stream, token=action.token, samples=480, resumed=True))
        return said

    def of(self, kind: type[Any]) -> list[Any]:
        """The actions of a kind, all so far."""
        return [action for action in self.actions if isinstance(action, kind)]

    @property
    def stream(self) -> str:
        """That of the session that began last."""
        stream: str = [action for action in self.actions if isinstance(action, Open | Resume)][-1].stream
        return stream

    @property
    def streams(self) -> list[str]:
        return [action.stream for action in self.actions if isinstance(action, Open | Resume)]

    @property
    def fed(self) -> list[tuple[str, bytes]]:
        return [(feed.stream, feed.data) for feed in self.of(Feed)]

    @property
    def closed(self) -> int | None:
        return next((close.code for close in self.of(Close)), None)


def interim(text: str, *, utterance: int = 1, revision: int = 1, stable: str = "") -> Interim:
    """0.5 s to 1.5 s."""
    return Interim(
        utterance=utterance,
        revision=revision,
        stable=stable,
        tail=text.removeprefix(stable),
        start=SAMPLE_RATE // 2,
        end=SAMPLE_RATE * 3 // 2,
    )


def final(text: str, *, utterance: int = 1, reason: EndReason = EndReason.PAUSE, words: Sequence[Word] = ()) -> Final:
    """0.5 s to 2 s."""
    return Final(
        utterance=utterance,
        text=text,
        stable="",
        start=SAMPLE_RATE // 2,
        end=SAMPLE_RATE * 2,
        reason=reason,
        language="en",
        words=tuple(words),
    )


def kinds(messages: Sequence[Message]) -> list[str]:
    return [message["type"] for message in messages]
