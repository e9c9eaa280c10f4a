"""One recording on its way through ``/ws``, in a thread of its own: reruns of the page do not touch it."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

from kikitori.console import progress
from kikitori.console.progress import Progress, Stage
from kikitori.console.wire import Lost, Wire

logger = logging.getLogger(__name__)

PIECE_BYTES = 256 * 1024
RECEIVE_SECONDS = 0.5
"""How long it is deaf to stop and to a tab that was closed."""
LEFT_SECONDS = 20.0
"""A tab that is away for so long is closed; a page that is loaded anew is another tab."""
RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Before each new attempt; the last one again and again."""
GIVE_UP_SECONDS = 600.0
STOP_SECONDS = 10.0
"""A server that does not say within this that it has stopped is left alone."""
PASSING = frozenset({"shutting_down", "unavailable", "rate_limit_exceeded", "cancelled", "no_space"})
"""Codes of errors that may be gone on the next attempt."""

Update: TypeAlias = Callable[[Progress], Progress]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A file, as it was chosen, and what is asked for it."""

    name: str
    content: bytes = field(repr=False)
    media_type: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ``transcribe``."""
    keep: bool = False
    """Keep it among the tasks."""
    go_on: bool = False
    """Go on as a task when the tab is closed; it is kept, then."""

    def request(self) -> str:
        asked = {"type": "transcribe", "size": len(self.content), "file_name": self.name, "save_audio": self.keep}
        return json.dumps(asked | dict(self.options), ensure_ascii=False)


class Run:
    """Sends a recording and collects its text. ``start`` it once; all else may be called from any thread."""

    def __init__(
        self,
        recording: Recording,
        open_wire: Callable[[], Wire],
        *,
        is_open: Callable[[], bool] = lambda: True,
        go_on_as_task: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``is_open``: whether its tab is. ``go_on_as_task`` gets the id of a task that was stopped, and says whether
        the server works on it again."""
        self.recording = recording
        self._open_wire, self._is_open, self._clock = open_wire, is_open, clock
        self._go_on_as_task = go_on_as_task
        self._updates: queue.SimpleQueue[Update] = queue.SimpleQueue()
        self._known = Progress()
        self._reading = threading.Lock()
        self._wire: Wire | None = None
        self._sending = threading.Lock()
        self._stop = threading.Event()
        self._done = threading.Event()
        self._left_at: float | None = None
        self._stop_by: float | None = None
        self._moves = False
        """It was stopped in order to go on as a task."""
        self._thread = threading.Thread(target=self._work, name="console-run", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; what was heard stays."""
        self._stop_by = self._clock() + STOP_SECONDS
        self._stop.set()
        with self._sending:
            if self._wire is not None:
                try:
                    self._wire.send(json.dumps({"type": "stop"}))
                except Lost:
                    pass  # its thread sees that, too

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it has ended by then."""
        return self._done.wait(seconds)

    def progress(self) -> Progress:
        """All that is known by now."""
        with self._reading:
            while True:
                try:
                    update = self._updates.get_nowait()
                except queue.Empty:
                    return replace(self._known, now=self._clock())
                self._known = update(self._known)

    def edit(self, number: int, text: str) -> None:
        """Write another text for a line of ``progress().shown``, once it has ended."""
        self._tell(lambda known: progress.edited(known, number, text) if known.stage.is_over else known)

    # In its thread

    def _work(self) -> None:
        try:
            self._try_until_done()
            self._move()
        except Exception as exc:  # whatever it is: the page must learn that nothing more comes
            logger.exception("run failed", extra={"action": "console_run_failed", "error": type(exc).__name__})
            self._end(Stage.FAILED, f"The console made a mistake ({type(exc).__name__}).")
        finally:
            self._done.set()

    def _try_until_done(self) -> None:
        given_up_at = self._clock() + GIVE_UP_SECONDS
        for pause in _pauses():
            if self._stop.is_set():
                return self._end(Stage.STOPPED)
            try:
                return self._attempt()
            except Lost as exc:
                if self._stop.is_set():
                    return self._end(Stage.STOPPED)
                if exc.final or self._clock() > given_up_at:
                    return self._end(Stage.FAILED, exc.reason)
                if self.progress().lines:  # it worked for a while: patience begins anew
                    given_up_at = self._clock() + GIVE_UP_SECONDS
                self._tell(partial(progress.lost, problem=exc.reason, now=self._clock()))
            self._pause(pause)
        return None

    def _attempt(self) -> None:
        """Send the file and hear until the end. Raises Lost."""
        wire = self._open_wire()
        try:
            self._tell(partial(progress.begun, now=self._clock()))
            with self._sending:
                self._wire = wire
            try:
                self._send(wire)
            except Lost:
                self._hear(wire)  # why it was closed, if it was said
            self._hear(wire)
        finally:
            with self._sending:
                self._wire = None
            wire.close()

    def _send(self, wire: Wire) -> None:
        content = memoryview(self.recording.content)
        with self._sending:
            wire.send(self.recording.request())
        for start in range(0, len(content), PIECE_BYTES):
            if self._stop.is_set():
                raise Lost("Stopped.")
            with self._sending:
                wire.send(bytes(content[start : start + PIECE_BYTES]))
            self._tell(partial(progress.sent, share=min(1.0, (start + PIECE_BYTES) / len(content)), now=self._clock()))
            if self._take(wire, 0.0):  # what is refused is refused at once
                return

    def _hear(self, wire: Wire) -> None:
        while not self.progress().stage.is_over:
            self._take(wire, RECEIVE_SECONDS)

    def _take(self, wire: Wire, seconds: float) -> bool:
        """The next message, if one comes; whether it was the last one. Raises Lost."""
        frame = wire.receive(seconds)
        self._look_at_tab()
        if frame is None:
            if self._stop_by is not None and self._clock() > self._stop_by:
                raise Lost("The server does not stop.")
            return False
        message = json.loads(frame)
        if message.get("type") == "error" and message.get("code") in PASSING:
            raise Lost(str(message.get("message") or ""))
        self._tell(partial(progress.heard, message=message, now=self._clock()))
        return self.progress().stage.is_over

    def _look_at_tab(self) -> None:
        """Stop when nobody looks any more. A run that shall go on waits until the server has all of the recording."""
        if self._stop.is_set():
            return
        if self._is_open():
            self._left_at = None
        elif self._left_at is None:
            self._left_at = self._clock()
        elif self._clock() - self._left_at > LEFT_SECONDS and (not self.recording.go_on or self.progress().is_taken):
            self._moves = self.recording.go_on
            self.stop()

    def _move(self) -> None:
        """The server has kept what was stopped, and goes on with it as with any other task."""
        known = self.progress()
        if self._moves and known.stage is Stage.STOPPED and known.task_id and self._go_on_as_task(known.task_id):
            self._end(Stage.MOVED)

    def _pause(self, seconds: float) -> None:
        until = self._clock() + seconds
        while self._clock() < until and not self._stop.wait(min(seconds, RECEIVE_SECONDS)):
            self._look_at_tab()

    def _end(self, stage: Stage, problem: str = "") -> None:
        self._tell(partial(progress.ended, stage=stage, now=self._clock(), problem=problem))

    def _tell(self, update: Update) -> None:
        self._updates.put(update)


def _pauses() -> Iterator[float]:
    yield from RETRY_SECONDS
    while True:
        yield RETRY_SECONDS[-1]
