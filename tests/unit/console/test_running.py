"""A run in its thread, with a wire of ours."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from kikitori.console import running
from kikitori.console.progress import Stage
from kikitori.console.running import Recording, Run
from kikitori.console.wire import Lost

WAIT = 60.0
INFO = {"type": "info", "language": "en", "duration": 4.0, "model": "mini", "done": False}
STOPPED = {"type": "stopped", "done": True}
KEPT = {**STOPPED, "task_id": "task_1"}
FINAL = {"type": "final", "data": {"result": " One."}, "done": True}


def segment(text: str, percent: int = 50) -> dict[str, Any]:
    return {"type": "segment", "data": {"text": text, "start": 0.0, "end": 2.0}, "progress": percent, "done": False}


@dataclass
class FakeWire:
    """Says ``script`` when the file is there: messages, or Lost."""

    script: Sequence[dict[str, Any] | Lost] = field(default_factory=list)
    at_stop: dict[str, Any] | None = field(default_factory=lambda: STOPPED)
    """What answers a stop; None: nothing does."""
    size: int = 1
    said: queue.SimpleQueue[str | Lost] = field(default_factory=queue.SimpleQueue)
    sent: list[dict[str, Any]] = field(default_factory=list)
    received_bytes: int = 0
    sending: threading.Lock = field(default_factory=threading.Lock)
    closed: bool = False

    def send(self, frame: str | bytes) -> None:
        assert self.sending.acquire(blocking=False), "two threads send at once"
        try:
            self._take(frame)
        finally:
            self.sending.release()

    def _take(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes):
            self.received_bytes += len(frame)
            if self.received_bytes == self.size:
                for each in self.script:
                    self.said.put(each if isinstance(each, Lost) else json.dumps(each))
            return
        message = json.loads(frame)
        self.sent.append(message)
        if message["type"] == "stop" and self.at_stop:
            self.said.put(json.dumps(self.at_stop))

    def receive(self, seconds: float) -> str | None:
        try:
            said = self.said.get(timeout=seconds or 0.001)
        except queue.Empty:
            return None
        if isinstance(said, Lost):
            raise said
        return said

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "RETRY_SECONDS", (0.01,))
    monkeypatch.setattr(running, "RECEIVE_SECONDS", 0.01)


def started(*wires: FakeWire | Lost, content: bytes = b"x", **facts: Any) -> tuple[Run, Iterator[FakeWire | Lost]]:
    left = iter(wires)

    def open_wire() -> FakeWire:
        wire = next(left)
        if isinstance(wire, Lost):
            raise wire
        wire.size = len(content)
        return wire

    watch = {name: facts.pop(name) for name in ("is_open", "go_on_as_task", "clock") if name in facts}
    run = Run(Recording(name="a.wav", content=content, **facts), open_wire, **watch)
    run.start()
    return run, left


def until(true: Callable[[], bool]) -> None:
    for _ in range(6_000):
        if true():
            return
        threading.Event().wait(0.01)
    pytest.fail("it never came to that")


def test_a_file_is_sent_and_its_text_collected() -> None:
    wire = FakeWire([INFO, segment(" One.", 100), FINAL])
    run, _ = started(wire, content=b"x" * 600_000, options={"language": "en"}, keep=True)
    assert run.wait(WAIT)
    known = run.progress()
    assert (known.stage, known.text, known.percent) == (Stage.DONE, "One.", 100)
    request = {"type": "transcribe", "size": 600_000, "file_name": "a.wav", "save_audio": True, "language": "en"}
    assert (wire.sent, wire.received_bytes, wire.closed) == ([request], 600_000, True)


def test_stop_ends_it_and_keeps_the_text() -> None:
    wire = FakeWire([INFO, segment(" One.")])
    run, _ = started(wire)
    until(lambda: bool(run.progress().lines))
    run.stop()
    assert run.wait(WAIT)
    assert (run.progress().stage, run.progress().text) == (Stage.STOPPED, "One.")
    assert wire.sent[-1] == {"type": "stop"}


def test_stop_does_not_wait_for_a_server_that_is_deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "STOP_SECONDS", 0.02)
    run, _ = started(FakeWire([INFO, segment(" One.")], at_stop=None))
    until(lambda: bool(run.progress().lines))
    run.stop()
    assert run.wait(WAIT)
    assert (run.progress().stage, run.progress().text) == (Stage.STOPPED, "One.")


def test_a_lost_connection_is_tried_again_from_the_beginning() -> None:
    broken = FakeWire([INFO, segment(" Oen."), Lost("The connection was lost.")])
    whole = FakeWire([INFO, segment(" One.", 100), FINAL])
    run, _ = started(broken, Lost("The server does not answer."), whole)
    assert run.wait(WAIT)
    known = run.progress()
    assert (known.stage, known.text, known.attempts) == (Stage.DONE, "One.", 2)
    assert broken.closed and whole.closed


def test_a_lost_connection_is_told_and_its_text_kept() -> None:
    gone = [Lost("The server does not answer.")] * 10_000
    run, _ = started(FakeWire([INFO, segment(" One."), Lost("lost")]), *gone)
    until(lambda: run.progress().stage is Stage.LOST)
    assert run.progress().text == "One."
    run.stop()
    assert run.wait(WAIT)
    assert (run.progress().stage, run.progress().text) == (Stage.STOPPED, "One.")


def test_a_server_that_shuts_down_is_waited_for() -> None:
    bye = {"type": "error", "message": "The server shuts down.", "code": "shutting_down", "done": True}
    run, _ = started(FakeWire([INFO, bye]), FakeWire([INFO, segment(" One.", 100), FINAL]))
    assert run.wait(WAIT)
    assert run.progress().stage is Stage.DONE


def test_what_would_fail_again_is_not_tried_again() -> None:
    run, left = started(Lost("The API key is wrong.", final=True), FakeWire())
    assert run.wait(WAIT)
    assert (run.progress().stage, run.progress().problem) == (Stage.FAILED, "The API key is wrong.")
    assert len(list(left)) == 1


def test_it_gives_up_after_a_while() -> None:
    now = iter(range(0, 1_000_000, 100))
    run, _ = started(*[Lost("Nobody is there.")] * 1_000, clock=lambda: float(next(now)))
    assert run.wait(WAIT)
    assert (run.progress().stage, run.progress().problem) == (Stage.FAILED, "Nobody is there.")


def test_a_refusal_while_the_file_is_sent_ends_the_sending() -> None:
    refusal = {"type": "error", "message": "beam_size is 99.", "code": "invalid_value", "done": True}
    wire = FakeWire()
    wire.said.put(json.dumps(refusal))
    run, _ = started(wire, content=b"x" * 10_000_000)
    assert run.wait(WAIT)
    assert (run.progress().stage, run.progress().problem) == (Stage.FAILED, "beam_size is 99.")
    assert wire.received_bytes < 10_000_000


def test_the_reason_of_a_close_is_heard_although_sending_failed() -> None:
    class Refusing(FakeWire):
        def _take(self, frame: str | bytes) -> None:
            if isinstance(frame, bytes):
                self.said.put(json.dumps({"type": "error", "message": "Too large.", "code": "too_large", "done": True}))
                raise Lost("closed", final=True)

    run, _ = started(Refusing())
    assert run.wait(WAIT)
    assert (run.progress().stage, run.progress().problem) == (Stage.FAILED, "Too large.")


def test_a_tab_that_was_closed_stops_it() -> None:
    now = iter(range(0, 1_000_000, 5))
    wire = FakeWire([INFO, segment(" One.")])
    run, _ = started(wire, is_open=lambda: False, clock=lambda: float(next(now)))
    assert run.wait(WAIT)
    assert run.progress().stage is Stage.STOPPED
    assert {"type": "stop"} in wire.sent


def test_a_tab_that_comes_back_does_not_stop_it() -> None:
    now = iter(range(0, 1_000_000, 5))
    answers = iter([False, False, *[True] * 100_000])
    wire = FakeWire([INFO, segment(" One.")])
    run, _ = started(wire, is_open=lambda: next(answers), clock=lambda: float(next(now)))
    until(lambda: bool(run.progress().lines))
    wire.said.put(json.dumps(FINAL))
    assert run.wait(WAIT)
    assert run.progress().stage is Stage.DONE


@dataclass
class Ticking:
    """A clock that goes on whenever somebody looks at it."""

    now: float = 0.0

    def __call__(self) -> float:
        self.now += 5.0
        return self.now


def left(wire: FakeWire, *, takes: bool = True, clock: Ticking | None = None) -> tuple[Run, list[str]]:
    """A run that shall go on, whose tab is closed, and the tasks that were asked to go on."""
    asked: list[str] = []

    def go_on_as_task(task_id: str) -> bool:
        asked.append(task_id)
        return takes

    facts: dict[str, Any] = {"is_open": lambda: False, "go_on_as_task": go_on_as_task, "go_on": True, "keep": True}
    run, _ = started(wire, clock=clock or Ticking(), **facts)
    return run, asked


@pytest.mark.parametrize("said", [[INFO, segment(" One.")], [{"type": "queued", "position": 3, "done": False}]])
def test_a_run_that_shall_go_on_becomes_a_task_when_its_tab_is_closed(said: list[dict[str, Any]]) -> None:
    wire = FakeWire(said, at_stop=KEPT)
    run, asked = left(wire)
    assert run.wait(WAIT)
    assert (run.progress().stage, run.progress().task_id, asked) == (Stage.MOVED, "task_1", ["task_1"])
    assert wire.sent[-1] == {"type": "stop"}


def test_it_does_not_leave_before_the_server_has_all_of_the_recording() -> None:
    wire, clock = FakeWire(at_stop=KEPT), Ticking()
    run, asked = left(wire, clock=clock)
    until(lambda: clock.now > 100 * running.LEFT_SECONDS)
    assert (wire.received_bytes, wire.sent[1:]) == (1, [])
    wire.said.put(json.dumps(INFO))
    assert run.wait(WAIT)
    assert (run.progress().stage, asked) == (Stage.MOVED, ["task_1"])


def test_a_run_that_ends_before_it_could_leave_is_done() -> None:
    run, asked = left(FakeWire([INFO, segment(" One.", 100)], at_stop=FINAL))
    assert run.wait(WAIT)
    assert (run.progress().stage, asked) == (Stage.DONE, [])


@pytest.mark.parametrize(("at_stop", "asked"), [(KEPT, ["task_1"]), (STOPPED, [])])
def test_a_run_that_cannot_go_on_as_a_task_is_stopped_with_its_text(at_stop: dict[str, Any], asked: list[str]) -> None:
    run, told = left(FakeWire([INFO, segment(" One.")], at_stop=at_stop), takes=False)
    assert run.wait(WAIT)
    assert (run.progress().stage, run.progress().text, told) == (Stage.STOPPED, "One.", asked)


def test_a_run_that_somebody_stops_does_not_go_on() -> None:
    asked: list[str] = []

    def go_on_as_task(task_id: str) -> bool:
        asked.append(task_id)
        return True

    wire = FakeWire([INFO, segment(" One.")], at_stop=KEPT)
    run, _ = started(wire, go_on=True, keep=True, go_on_as_task=go_on_as_task)
    until(lambda: bool(run.progress().lines))
    run.stop()
    assert run.wait(WAIT)
    assert (run.progress().stage, asked) == (Stage.STOPPED, [])


def test_a_mistake_of_ours_ends_the_run_and_not_the_page() -> None:
    wire = FakeWire()
    wire.said.put("no JSON")
    run, _ = started(wire)
    assert run.wait(WAIT)
    assert run.progress().stage is Stage.FAILED
    assert "JSONDecodeError" in run.progress().problem


def test_only_what_is_over_is_edited() -> None:
    wire = FakeWire([INFO, segment(" One.")])
    run, _ = started(wire)
    until(lambda: bool(run.progress().lines))
    run.edit(0, "Changed.")
    assert run.progress().text == "One."
    run.stop()
    assert run.wait(WAIT)
    run.edit(0, "Changed.")
    assert run.progress().text == "Changed."


def test_its_content_is_in_no_log() -> None:
    assert "secret" not in repr(Recording(name="a.wav", content=b"secret"))
