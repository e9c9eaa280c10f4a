"""The live socket of ``/v1/listen``, as Deepgram's own clients speak it. docs/deepgram.md has what is different."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kikitori.errors import Busy, InvalidInput, InvalidMedia, InvalidOption, KikitoriError
from kikitori.live.events import LiveEvent
from kikitori.options import parse_options
from kikitori.protocols.actions import Action, Close, Commit, Configure, End, Feed, InputFormat, Open
from kikitori.protocols.deepgram.channel import Channel
from kikitori.protocols.deepgram.listening import Listen
from kikitori.protocols.deepgram.messages import About, error, message, metadata
from kikitori.protocols.deepgram.samples import Found, Splitter, look
from kikitori.protocols.live_frames import read_object

IDLE_SECONDS = 10.0
"""Without audio and without KeepAlive."""
IDLE_CODE = 1011
IDLE_REASON = "NET-0001: neither audio nor a text message came within 10 s. Send KeepAlive while nobody speaks."
NORMAL, DATA_CODE, FULL_CODE, FAILED_CODE, RESTART_CODE = 1000, 1008, 1013, 1011, 1012
CONTAINER_RATE = 48_000
"""Samples of containers are counted at this rate."""
LONGEST_REASON_BYTES = 120
LONGEST_ECHO = 500
"""Characters of a message that is told back."""


class ListenCodec:
    """One connection, one session for each channel. Never raises for what a client sent."""

    def __init__(self, wanted: Listen, about: About, *, created: str) -> None:
        """``created`` is now, as ISO 8601."""
        self._wanted, self._about, self._created = wanted, about, created
        self._options = wanted.options
        self._splitter: Splitter | None = None
        self._head = b""
        self._channels: dict[str, Channel] = {}
        self._sha256 = hashlib.sha256()
        self._received = 0.0
        """Seconds of a container."""
        self._closing = False
        self._configuring = False
        self._end = Close(code=NORMAL)
        self._verbs: Mapping[str, Callable[[Mapping[str, Any]], Sequence[Action]]] = {
            "KeepAlive": lambda _: (),
            "Finalize": self._finalize,
            "CloseStream": lambda _: self._close_stream(),
            "Configure": self._configure,
        }

    # What the socket and the sessions say

    def opened(self) -> Sequence[Action]:
        wanted = self._wanted
        return () if wanted.format is None else self._begin(Found(format=wanted.format, channels=wanted.channels))

    def text(self, frame: str) -> Sequence[Action]:
        self._configuring = False  # what was asked before is done
        try:
            told = read_object(frame, example='{"type":"KeepAlive"}')
            kind = told.get("type")
            if not isinstance(kind, str) or kind not in self._verbs:
                raise InvalidOption("type", kind, ", ".join(self._verbs))
            return self._verbs[kind](told)
        except InvalidInput as exc:
            return [error("SchemaError", exc.public, told=frame[:LONGEST_ECHO])]

    def binary(self, frame: bytes) -> Sequence[Action]:
        """Audio; an empty frame closes the stream, as it always did."""
        self._configuring = False
        if not frame:
            return self._close_stream()
        if self._closing:
            return ()
        self._sha256.update(frame)
        if self._splitter is not None:
            return self._feed(frame)
        self._head += frame
        try:
            found = look(self._head)
        except InvalidMedia as exc:
            return self._give_up(exc)
        if found is None:
            return ()
        head, self._head = self._head[found.skip :], b""
        return [*self._begin(found), *self._feed(head)]

    def event(self, event: LiveEvent, stream: str = "") -> Sequence[Action]:
        channel = self._channels.get(stream)
        return channel.event(event) if channel else ()

    def ready(self, stream: str, *, token: str, samples: int, resumed: bool) -> Sequence[Action]:
        if channel := self._channels.get(stream):
            channel.ready = True
        return ()

    def received(self, stream: str, samples: int) -> Sequence[Action]:
        self._received = max(self._received, samples / CONTAINER_RATE)
        return ()

    def failed(self, error_: KikitoriError, stream: str = "") -> Sequence[Action]:
        """A session that could not begin ends the socket; damaged audio ends it after what was heard before."""
        channel = self._channels.get(stream)
        if self._configuring:
            self._configuring, self._options = False, self._wanted.options
            facts = {"request_id": self._about.request_id, "description": error_.public}
            return [message("ConfigureFailure", code="CONFIGURE_INTERNAL_ERROR", **facts)]
        if channel is None or channel.over:
            return [error(error_.code, error_.public)]
        if channel.ready:
            self._end = _close(error_)
            return [error(_variant(error_), error_.public)]
        channel.over = True
        return self._give_up(error_)

    def ended(self, stream: str = "") -> Sequence[Action]:
        if channel := self._channels.get(stream):
            channel.over = True
        if not all(each.over for each in self._channels.values()):
            return ()
        if not self._closing and self._end.code == NORMAL:  # nobody here asked for it
            self._end = Close(code=RESTART_CODE, reason="The server is shutting down.")
        return self._goodbye()

    def closing(self, code: int, reason: str) -> Sequence[Action]:
        return () if code == IDLE_CODE else [error(f"close_{code}", reason)]

    # What the client asks

    def _begin(self, found: Found) -> Sequence[Action]:
        """A session for each channel, or one for their mixture."""
        wanted = self._wanted
        apart = wanted.multichannel and found.channels > 1
        self._splitter = Splitter(found.format, found.channels, mix=not apart)
        return [self._open(index, found.channels if apart else 1) for index in range(found.channels if apart else 1)]

    def _open(self, index: int, count: int) -> Action:
        wanted, stream = self._wanted, f"channel-{index}"
        self._channels[stream] = Channel(
            about=self._about,
            index=index,
            count=count,
            interim=wanted.options.interim,
            endpointing=wanted.endpointing,
            vad_events=wanted.vad_events,
        )
        return Open(options=self._options, format=self._format, stream=stream)

    @property
    def _format(self) -> InputFormat:
        assert self._splitter is not None
        return self._splitter.format

    def _feed(self, data: bytes) -> Sequence[Action]:
        assert self._splitter is not None
        parts = zip(self._channels, self._splitter.push(data), strict=True)
        return [Feed(data=part, stream=stream) for stream, part in parts if part]

    def _finalize(self, told: Mapping[str, Any]) -> Sequence[Action]:
        """Decide what was said so far, of one channel or of all."""
        index = told.get("channel")
        if index is not None and (isinstance(index, bool) or f"channel-{index}" not in self._channels):
            raise InvalidOption("channel", index, f"0 to {max(0, len(self._channels) - 1)}")
        if not self._channels:
            return [Channel(about=self._about).nothing()]
        return [Commit(stream=stream) for stream in self._channels if index is None or stream == f"channel-{index}"]

    def _configure(self, told: Mapping[str, Any]) -> Sequence[Action]:
        """Other words to listen for from here on. What only shapes the text is accepted, as in the query."""
        terms, request = told.get("keyterms"), self._about.request_id
        if terms is None:
            return [message("ConfigureSuccess", request_id=request)]
        if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
            raise InvalidOption("keyterms", terms, "a list of words")
        hotwords = parse_options({"hotwords": ", ".join(terms)}).hotwords if terms else None
        self._options = replace(self._options, decode=replace(self._options.decode, hotwords=hotwords))
        self._configuring = True
        changes = [Configure(options=self._options, stream=stream) for stream in self._channels]
        done = message("ConfigureSuccess", request_id=request, keyterms=terms)
        return [*changes, done]

    def _close_stream(self) -> Sequence[Action]:
        if self._closing:
            return ()
        self._closing = True
        if not any(not channel.over for channel in self._channels.values()):
            return self._goodbye()
        return [End(stream=stream) for stream in self._channels]

    def _give_up(self, error_: KikitoriError) -> Sequence[Action]:
        self._closing = True
        return [error(_variant(error_), error_.public), _close(error_)]

    def _goodbye(self) -> Sequence[Action]:
        """What this was, and the end."""
        self._closing = True
        heard = [channel.heard_to for channel in self._channels.values()]
        duration = (self._splitter.seconds if self._splitter else 0.0) or max([self._received, *heard])
        facts = metadata(
            self._about,
            sha256=self._sha256.hexdigest(),
            created=self._created,
            duration=duration,
            channels=max(1, len(self._channels)),
        )
        return [message("Metadata", **facts), self._end]


def _variant(error_: KikitoriError) -> str:
    return "DATA-0000" if isinstance(error_, InvalidMedia) else error_.code


def _close(error_: KikitoriError) -> Close:
    code = FULL_CODE if isinstance(error_, Busy) else DATA_CODE if isinstance(error_, InvalidInput) else FAILED_CODE
    reason = f"{_variant(error_)}: {error_.public}".encode()[:LONGEST_REASON_BYTES]
    return Close(code=code, reason=reason.decode(errors="ignore"))
