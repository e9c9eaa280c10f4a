"""The client's side of the plain WebSocket, without the socket: what was sent, what is safe, what was heard.

The audio after the last final is kept. When the socket is lost the session is taken up again, and what had not arrived
is sent again; when the session is lost too, a new one hears everything after the last final.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeAlias

from kikitori.cli.api import error_from
from kikitori.cli.listen.captions import Caption, Said, Shown, Told
from kikitori.types import Word

STATUSES = {
    "invalid_value": 400, "unsupported_value": 400, "invalid_api_key": 401, "forbidden": 403, "conflict": 409,
    "unavailable": 503, "model_load_failed": 503, "close_1013": 429,
}  # fmt: skip
"""The HTTP statuses of the codes of errors, as far as exit codes tell them apart."""

KEPT_SECONDS = 60.0
"""Audio that is safe with the server is kept this long after the last final, in case the session is lost."""
PIECE_BYTES = 64 * 1024
"""Audio is sent again in frames of this size."""
REMEMBERED_FINALS = 64
"""Utterances that are remembered, to tell none of them twice."""


class State(Enum):
    CLOSED = auto()
    STARTING = auto()
    RESUMING = auto()
    OPEN = auto()
    OVER = auto()


@dataclass(frozen=True, slots=True)
class Transmit:
    """A frame for the server."""

    frame: str | bytes


Step: TypeAlias = Caption | Transmit


@dataclass(slots=True)
class Conversation:
    """``start`` is the first message; audio has ``width`` bytes a sample and ``rate`` samples a second."""

    start: Mapping[str, Any]
    width: int
    rate: int
    state: State = State.CLOSED
    ending: bool = False
    """No more audio comes."""
    _kept: bytearray = field(default_factory=bytearray)
    _kept_from: int = 0
    """Position of its first byte. Positions are bytes since listening began."""
    _sent: int = 0
    _safe: int = 0
    _heard: int = 0
    """What lies before it has its final."""
    _session_from: int = 0
    """Where the session that runs began."""
    _token: str = ""
    _end_sent: bool = False
    _done: deque[int] = field(default_factory=lambda: deque(maxlen=REMEMBERED_FINALS))
    """Utterances of this session whose final came."""
    _revision: tuple[int, int] = (-1, -1)

    # What happens here

    def connected(self) -> Iterator[Transmit]:
        """The socket is open, for the first time or again."""
        if self._token:
            self.state = State.RESUMING
            yield _message("resume", token=self._token)
        else:
            yield from self._begin()

    def disconnected(self) -> None:
        if self.state is not State.OVER:
            self.state = State.CLOSED
        self._end_sent = False

    def feed(self, data: bytes) -> Iterator[Transmit]:
        """More audio, cut anywhere; samples are sent whole."""
        self._kept += data
        yield from self._flush()

    def end(self) -> Iterator[Transmit]:
        """There is no more audio."""
        self.ending = True
        yield from self._flush()

    @property
    def unsafe_seconds(self) -> float:
        """Audio that the server has not confirmed."""
        return (self._kept_from + len(self._kept) - self._safe) / self.width / self.rate

    # What the server says

    def receive(self, message: Mapping[str, Any]) -> Iterator[Step]:
        """Raises KikitoriError when the server refuses to listen at all."""
        match message.get("type"):
            case "system" if self.state is State.STARTING:
                self.state = State.OPEN
                yield from self._flush()
            case "system":
                yield Told(message=str(message.get("message")))
            case "session":
                self._token = str(message["token"])
            case "resumed":
                self.state = State.OPEN
                self._token = str(message.get("token", self._token))
                self._sent = self._session_from + int(message["samples"]) * self.width
                self._note_safe(self._sent)
                yield from self._flush()
            case "ack":
                self._note_safe(self._session_from + int(message["samples"]) * self.width)
            case "interim":
                yield from self._on_interim(message)
            case "final":
                yield from self._on_final(message)
            case "ended":
                yield from self._on_ended()
            case "error":
                yield from self._on_error(message)
            case "lag":
                seconds = float(message["seconds"])
                text = f"The server is {seconds:.0f} s behind." if seconds else "The server has caught up."
                yield Told(message=text, problem=seconds > 0)

    def _on_interim(self, message: Mapping[str, Any]) -> Iterator[Caption]:
        utterance = int(message.get("utterance", 0))
        newest = (utterance, int(message.get("revision", self._revision[1])))
        if utterance in self._done or newest < self._revision:
            return
        self._revision = newest
        yield Shown(text=str(message["text"]), stable=str(message.get("stable", "")))

    def _on_final(self, message: Mapping[str, Any]) -> Iterator[Caption]:
        utterance = int(message.get("utterance", 0))
        if utterance in self._done:
            return
        self._done.append(utterance)
        begun = self._session_from / self.width / self.rate
        end = float(message.get("end", 0.0))
        self._heard = max(self._heard, self._session_from + round(end * self.rate) * self.width)
        self._forget()
        words = tuple(
            Word(
                word=word["word"],
                start=begun + word["start"],
                end=begun + word["end"],
                probability=word["probability"],
            )
            for word in message.get("words", ())
        )
        yield Said(
            text=str(message["text"]),
            start=begun + float(message.get("start", 0.0)),
            end=begun + end,
            language=str(message.get("language", "")),
            words=words,
        )

    def _on_ended(self) -> Iterator[Transmit]:
        if self.state is not State.OPEN:
            return
        if self._end_sent:
            self.state = State.OVER
            return
        self._session_lost()  # it had its time: a new one hears what comes after the last final
        yield from self._begin()

    def _on_error(self, message: Mapping[str, Any]) -> Iterator[Step]:
        if self.state is State.RESUMING:
            yield Told(message="The session is gone. A new one goes on after the last text.", problem=True)
            self._session_lost()
            yield from self._begin()
        elif self.state is State.STARTING:
            self.state = State.OVER
            raise error_from(STATUSES.get(str(message.get("code")), 500), message)
        else:
            yield Told(message=str(message.get("message")), problem=True)

    # Audio

    def _begin(self) -> Iterator[Transmit]:
        self._session_from = self._sent = self._safe = max(self._heard, self._kept_from)
        self.state = State.STARTING
        yield _message("start", **self.start)

    def _session_lost(self) -> None:
        self._token = ""
        self._end_sent = False
        self._done.clear()
        self._revision = (-1, -1)

    def _flush(self) -> Iterator[Transmit]:
        if self.state is not State.OPEN:
            return
        until = self._kept_from + len(self._kept)
        until -= until % self.width
        while self._sent < until:
            begin = self._sent - self._kept_from
            piece = bytes(self._kept[begin : min(begin + PIECE_BYTES, until - self._kept_from)])
            self._sent += len(piece)
            yield Transmit(piece)
        if self.ending and not self._end_sent:
            self._end_sent = True
            yield _message("end")

    def _note_safe(self, position: int) -> None:
        self._safe = max(self._safe, min(position, self._kept_from + len(self._kept)))
        self._forget()

    def _forget(self) -> None:
        """Let go of audio that has its final, or is safe for long."""
        long_safe = self._safe - int(KEPT_SECONDS * self.rate) * self.width
        position = min(self._safe, max(self._heard, long_safe))
        if position > self._kept_from:
            del self._kept[: position - self._kept_from]
            self._kept_from = position


def _message(kind: str, **fields: Any) -> Transmit:
    return Transmit(json.dumps({"type": kind, **fields}))
