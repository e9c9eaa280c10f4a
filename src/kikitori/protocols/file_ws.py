"""The file WebSocket: one file in, its transcript while it is made; then the next one.

docs/file-websocket.md describes it for those who write clients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kikitori.errors import Busy, Conflict, InvalidInput, InvalidOption, KikitoriError, TooLarge
from kikitori.protocols.actions import Close, Send
from kikitori.protocols.file_actions import Data, FileAction, Stop, Transcribe
from kikitori.protocols.file_request import announced_bytes, read_request
from kikitori.protocols.file_told import Told, seconds
from kikitori.protocols.live_frames import error_frame, frame, read_object
from kikitori.text.durations import convert_seconds
from kikitori.types import Segment

QUIET_CLOSES = (1000, 1001, 1012)
"""Nobody did anything wrong."""
FULL_CLOSE, TOO_BIG_CLOSE = 1013, 1009
EXAMPLE = '{"type":"stop"}'
PROBABILITY_DIGITS = 4


class State(StrEnum):
    IDLE = "idle"  # waits for the next file
    RECEIVING = "receiving"  # binary frames bring the file
    RUNNING = "running"  # the file is here: it waits for its place, or is heard
    STOPPING = "stopping"  # the work on it is being ended


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """What is known of a recording as soon as its language is."""

    language: str
    language_probability: float
    duration: float | None
    """Seconds; None when the container does not say."""
    model: str
    engine: str


class FileSocketCodec:
    """One connection. Never raises for what a client sent.

    For each ``Transcribe`` the connection says exactly once how it ended: ``finished``, ``stopped``, ``failed``
    or ``shutting_down``.
    """

    def __init__(self, *, max_bytes: int) -> None:
        """``max_bytes``: of a file."""
        self._max_bytes = max_bytes
        self._state = State.IDLE
        self._told = Told()
        self._ignored: tuple[str, ...] = ()
        self._left = 0
        """Bytes of the file that are still to come."""
        self._skip = 0
        """Bytes still to come of a file that nobody wants any more."""
        self._stray = False
        """Binary frames come that belong to no file, and the client knows it."""
        self._verbs: Mapping[str, Callable[[Mapping[str, Any]], Sequence[FileAction]]] = {
            "transcribe": self._transcribe,
            "stop": self._stop,
            "auth": lambda _: (),  # who calls is known by now
        }

    @property
    def state(self) -> State:
        return self._state

    # What the client sends

    def text(self, text: str) -> Sequence[FileAction]:
        """Act on a JSON object, or answer with an ``error``."""
        self._stray = False
        try:
            message = read_object(text, example=EXAMPLE)
            kind = message.get("type")
            if not isinstance(kind, str) or kind not in self._verbs:
                raise InvalidOption("type", kind, ", ".join(self._verbs))
            return self._verbs[kind](message)
        except KikitoriError as exc:
            return self._problem(exc)

    def binary(self, data: bytes) -> Sequence[FileAction]:
        """The next bytes of the file."""
        if not data:
            return ()
        if self._state is State.RECEIVING:
            return self._receive(data)
        if self._skip:
            self._skip -= min(self._skip, len(data))
            return ()
        if self._stray:
            return ()
        self._stray = True
        remedy = 'Send {"type":"transcribe","size":N} first, then N bytes.'
        return self._problem(Conflict("Binary data came, but no file was announced.", remedy=remedy))

    # What becomes of the file

    def queued(self, position: int) -> Sequence[Send]:
        """It waits for its place; 1 is next."""
        return [frame("queued", slot="queued", position=position, done=False)]

    def info(self, info: FileInfo) -> Sequence[Send]:
        self._told.duration = info.duration
        return [
            frame(
                "info",
                language=info.language,
                language_probability=round(info.language_probability, PROBABILITY_DIGITS),
                length="" if info.duration is None else convert_seconds(info.duration),
                duration=None if info.duration is None else seconds(info.duration),
                model=info.model,
                engine=info.engine,
                ignored=list(self._ignored) or None,
                done=False,
            )
        ]

    def progress(self, seconds_done: float, duration: float | None) -> Sequence[Send]:
        """So much is heard, of so much (seconds); told with the next segment."""
        self._told.advance(seconds_done, duration)
        return ()

    def segment(self, segment: Segment) -> Sequence[Send]:
        return self._told.segment(segment)

    def finished(
        self, text: str, *, language: str, duration: float, task_id: str | None = None, warning: str | None = None
    ) -> Sequence[Send]:
        """The whole text; ``task_id`` is the task that keeps it, ``warning`` says why none does."""
        said = self._told.held_back(last=True)
        self._end()
        final = frame(
            "final",
            data={"result": text},
            language=language,
            duration=seconds(duration),
            task_id=task_id,
            warning=warning,
            done=True,
        )
        return [*said, final]

    def stopped(self, *, task_id: str | None = None) -> Sequence[Send]:
        said = self._told.held_back()
        self._end()
        return [*said, frame("stopped", done=True, task_id=task_id)]

    def failed(self, error: KikitoriError, *, task_id: str | None = None) -> Sequence[Send | Close]:
        """It cannot be done, or the socket could not be opened."""
        said = self._told.held_back()
        self._end()
        frame_of_error = self._error(error, task_id=task_id, done=True)
        if isinstance(error, Busy):
            return [*said, frame_of_error, Close(code=FULL_CLOSE, reason="The server is full.")]
        if isinstance(error, TooLarge) and error.param in ("audio", "size"):
            return [*said, frame_of_error, Close(code=TOO_BIG_CLOSE, reason="The file is too large.")]
        return [*said, frame_of_error]

    def shutting_down(self, *, task_id: str | None = None) -> Sequence[Send]:
        """The server ends before the file does."""
        said = self._told.held_back()
        self._end()
        message = "The server is shutting down. Connect again in a moment, and send the file again."
        return [*said, frame("error", message=message, code="shutting_down", task_id=task_id, done=True)]

    def closing(self, code: int, reason: str) -> Sequence[Send]:
        """The server is about to close the socket, and why."""
        kind = "system" if code in QUIET_CLOSES else "error"
        return [frame(kind, message=reason, code=f"close_{code}", done=True)]

    # Verbs

    def _transcribe(self, message: Mapping[str, Any]) -> Sequence[FileAction]:
        if self._state is not State.IDLE:
            if self._state is not State.RECEIVING:
                self._skip += announced_bytes(message)
            remedy = "Wait for its end, send stop, or open another socket."
            raise Conflict("A file is being transcribed on this socket.", remedy=remedy)
        self._skip = announced_bytes(message)  # of a file that is refused
        try:
            request = read_request(message, max_bytes=self._max_bytes)
        except TooLarge as exc:
            return self.failed(exc)
        self._skip, self._left = 0, request.size_bytes or 0
        self._told, self._ignored = Told(), request.ignored
        self._state = State.RECEIVING if self._left else State.RUNNING
        return [Transcribe(request=request, audio=message.get("audio"))]

    def _receive(self, data: bytes) -> Sequence[FileAction]:
        extra, self._left = len(data) - self._left, max(0, self._left - len(data))
        if extra > 0:
            self._state, self._stray = State.STOPPING, True
            problem = f"More came than size says: {extra:,} bytes too many, at least."
            return [Stop(error=InvalidInput(problem, remedy="size is the bytes of the whole file.", param="size"))]
        if not self._left:
            self._state = State.RUNNING
        return [Data(data=data, last=not self._left)]

    def _stop(self, message: Mapping[str, Any]) -> Sequence[FileAction]:
        if self._state is State.IDLE:
            raise Conflict("There is nothing to stop: no file is being transcribed.", remedy="Send transcribe first.")
        if self._state is State.STOPPING:
            return ()
        self._state = State.STOPPING
        self._pass_over()
        return [Stop()]

    # Parts

    def _end(self) -> None:
        """The next file may come."""
        self._pass_over()
        self._state = State.IDLE
        self._told = Told()

    def _pass_over(self) -> None:
        """What is still to come of the file is not wanted any more."""
        self._skip += self._left
        self._left = 0

    def _problem(self, error: KikitoriError) -> Sequence[Send]:
        """A message that cannot be followed; a file that runs goes on."""
        return [self._error(error, done=self._state is State.IDLE)]

    def _error(self, error: KikitoriError, *, done: bool, task_id: str | None = None) -> Send:
        if error.param == "file":  # as HTTP calls it
            error.param = "audio"
        return error_frame(error, task_id=task_id, done=done)
