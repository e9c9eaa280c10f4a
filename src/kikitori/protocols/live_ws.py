"""The plain WebSocket of live speech: rounds of ``start``, audio and ``end``; audio also as JSON frames.

docs/live-websocket.md describes it for those who write clients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kikitori.errors import Busy, Conflict, InvalidInput, InvalidOption, KikitoriError
from kikitori.live.events import LiveEvent
from kikitori.live.options import LiveOptions
from kikitori.protocols.actions import Action, Clear, Close, Commit, Feed, Resume
from kikitori.protocols.live_frames import AudioId, error_frame, frame, read_audio, read_id, read_object
from kikitori.protocols.live_round import Round
from kikitori.protocols.live_rounds import Rounds
from kikitori.protocols.live_start import read_start

REMEMBERED_REFUSALS = 64
"""Streams that could not be opened: more of their audio is dropped without a further error."""
LONGEST_TOKEN = 1_024
"""Characters."""
FULL_CLOSE = 1013
QUIET_CLOSES = (1000, 1001, 1012)
"""Not the client's fault: announced as ``system``, not as ``error``."""


class LiveSocketCodec:
    """One connection. Never raises for what a client sent."""

    def __init__(self, defaults: LiveOptions | None = None) -> None:
        self._defaults = defaults or LiveOptions()
        self._rounds = Rounds(self._defaults)
        self._refused: dict[AudioId, None] = {}
        """Streams that could not be opened, and whose client has not noticed."""
        self._stray = False
        """Binary frames come that belong to no round, and the client knows it."""
        self._verbs: Mapping[str, Callable[[Mapping[str, Any]], Sequence[Action]]] = {
            "start": self._start,
            "end": self._end,
            "audio": self._audio,
            "audio_end": self._audio_end,
            "commit": self._commit,
            "clear": self._clear,
            "resume": self._resume,
            "ping": self._ping,
            "auth": lambda _: (),  # who calls is known by now
        }

    # What the socket and the session say

    def opened(self) -> Sequence[Action]:
        return ()

    def text(self, frame: str) -> Sequence[Action]:
        """Act on a JSON object, or answer with an ``error``."""
        message: Mapping[str, Any] = {}
        try:
            message = read_object(frame)
            return self._verb(message)(message)
        except KikitoriError as exc:
            return [error_frame(exc, audio_id=_id_or_none(message, "audio_id"), id=_id_or_none(message, "id"))]

    def binary(self, frame: bytes) -> Sequence[Action]:
        """Audio of the round that runs."""
        if not frame:
            return ()
        main = self._rounds.main
        if main is not None and main.audio_id is None:
            main.fed = True
            return [Feed(data=frame, stream=main.stream)]
        if self._stray:
            return ()
        self._stray = True
        if main is not None:
            problem, remedy = "The audio of this round comes as JSON frames.", "Send start for a round of binary ones."
        else:
            problem, remedy = "Audio came, but no round is running.", 'Send {"type":"start","lang":"en-US"} first.'
        return [error_frame(_out_of_order(problem, remedy))]

    def event(self, event: LiveEvent, stream: str = "") -> Sequence[Action]:
        found = self._rounds.find(stream)
        return found.event(event) if found else ()

    def ready(self, stream: str, *, token: str, samples: int, resumed: bool) -> Sequence[Action]:
        found = self._rounds.find(stream)
        return found.opened(token, samples, resumed=resumed) if found else ()

    def received(self, stream: str, samples: int) -> Sequence[Action]:
        found = self._rounds.find(stream)
        return found.received(samples) if found else ()

    def failed(self, error: KikitoriError, stream: str = "") -> Sequence[Action]:
        """A round that could not begin is over; one that runs goes on. A full server closes the socket."""
        found = self._rounds.find(stream)
        if found is None:
            return () if stream else [error_frame(error)]
        said = found.failed(error)
        if found.ready or found.over:
            return said
        if found.audio_id is not None:
            self._refused[found.audio_id] = None
            if len(self._refused) > REMEMBERED_REFUSALS:
                del self._refused[next(iter(self._refused))]
        alone = len(self._rounds) == 1
        full = isinstance(error, Busy) and alone
        return [
            *said,
            *self._rounds.finish(found),
            *([Close(code=FULL_CLOSE, reason="The server is full.")] if full else []),
        ]

    def ended(self, stream: str = "") -> Sequence[Action]:
        found = self._rounds.find(stream)
        return self._rounds.finish(found) if found else ()

    def closing(self, code: int, reason: str) -> Sequence[Action]:
        return [frame("system" if code in QUIET_CLOSES else "error", message=reason, code=f"close_{code}")]

    # What the client asks

    def _verb(self, message: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Sequence[Action]]:
        kind = message.get("type")
        if not isinstance(kind, str) or kind not in self._verbs:
            raise InvalidOption("type", kind, ", ".join(self._verbs))
        return self._verbs[kind]

    def _start(self, message: Mapping[str, Any]) -> Sequence[Action]:
        start, audio_id = read_start(message, self._defaults), read_id(message, "audio_id")
        self._rounds.check_room()
        if audio_id is not None:
            self._refused.pop(audio_id, None)
            return self._rounds.start_stream(start, audio_id)
        self._stray = False
        return self._rounds.start(start)

    def _resume(self, message: Mapping[str, Any]) -> Sequence[Action]:
        token, audio_id = message.get("token"), read_id(message, "audio_id")
        if not isinstance(token, str) or not 0 < len(token) <= LONGEST_TOKEN:
            raise InvalidOption("token", token, "the token of a session message")
        self._rounds.check_room()
        if self._rounds.begun if audio_id is None else self._rounds.named(audio_id):
            raise _out_of_order("A round is running on this socket.", "End it first, or resume on another socket.")
        self._stray = False
        return [Resume(token=token, stream=self._rounds.take_up(audio_id).stream)]

    def _end(self, message: Mapping[str, Any]) -> Sequence[Action]:
        if read_id(message, "audio_id") is not None:
            return self._audio_end(message)
        if not self._rounds.begun:
            raise _out_of_order("There is nothing to end: no round is running.", "Send start first.")
        return self._rounds.end()

    def _audio(self, message: Mapping[str, Any]) -> Sequence[Action]:
        audio_id, data = read_id(message, "audio_id"), read_audio(message.get("content"))
        if audio_id is None:
            return self.binary(data)
        if not data or audio_id in self._refused:
            return ()
        opening = [] if self._rounds.named(audio_id) else self._rounds.join(audio_id)
        running = self._running(audio_id)
        running.fed = True
        return [*opening, Feed(data=data, stream=running.stream)]

    def _audio_end(self, message: Mapping[str, Any]) -> Sequence[Action]:
        audio_id = read_id(message, "audio_id")
        if audio_id in self._refused:
            del self._refused[audio_id]
            return ()
        running = None if audio_id is None else self._rounds.named(audio_id)
        if running is None:
            raise _out_of_order("There is nothing to end: no such stream is running.", "Send audio with it first.")
        return self._rounds.end_round(running)

    def _commit(self, message: Mapping[str, Any]) -> Sequence[Action]:
        asked = read_id(message, "id")
        running = self._running(read_id(message, "audio_id"))
        running.commits.append(asked)
        return [Commit(stream=running.stream)]

    def _clear(self, message: Mapping[str, Any]) -> Sequence[Action]:
        return [Clear(stream=self._running(read_id(message, "audio_id")).stream)]

    def _ping(self, message: Mapping[str, Any]) -> Sequence[Action]:
        return [frame("pong", id=read_id(message, "id"))]

    def _running(self, audio_id: AudioId | None) -> Round:
        """Raises Conflict."""
        found = self._rounds.main if audio_id is None else self._rounds.named(audio_id)
        if found is None:
            raise _out_of_order("No round is running.", "Send start first.")
        return found


def _out_of_order(problem: str, remedy: str) -> Conflict:
    return Conflict(problem, remedy=remedy)


def _id_or_none(message: Mapping[str, Any], name: str) -> AudioId | None:
    try:
        return read_id(message, name)
    except InvalidInput:
        return None
