"""The console beside a server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from kikitori.console import watching
from kikitori.console.launch import Place
from kikitori.console.target import Target
from kikitori.console.watching import Running, Watched
from kikitori.errors import Unavailable

WAIT = 60.0


class FakeConsole:
    def __init__(self, *, starts: bool = True) -> None:
        self.starts = starts
        self.ended = threading.Event()
        self.ready = threading.Event()
        self.closed = threading.Event()

    def wait_until_ready(self, give_up: Callable[[], bool]) -> None:
        if not self.starts:
            raise Unavailable("The console did not start.")
        self.ready.set()

    def is_running(self) -> bool:
        return not self.ended.is_set()

    def close(self) -> None:
        self.closed.set()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(watching, "WATCH_SECONDS", 0.01)


def watched(consoles: list[FakeConsole], told: list[str]) -> Watched:
    left = iter(consoles)

    def open_console(place: Place) -> Running:
        try:
            return next(left)
        except StopIteration:
            raise Unavailable("There are no more.") from None

    return Watched(Place(target=Target()), tell=told.append, open_console=open_console)


def test_one_that_dies_is_started_again_and_told_once() -> None:
    first, second, told = FakeConsole(), FakeConsole(), list[str]()
    with closing(watched([first, second], told)):
        assert first.ready.wait(WAIT)
        first.ended.set()
        assert second.ready.wait(WAIT)
        assert first.closed.is_set()
    assert second.closed.is_set()
    assert told == ["http://127.0.0.1:8501"]


def test_one_that_does_not_start_is_tried_again() -> None:
    failing, right = FakeConsole(starts=False), FakeConsole()
    with closing(watched([failing, right], [])):
        assert right.ready.wait(WAIT)
    assert failing.closed.is_set()


def test_a_reason_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    last = FakeConsole()
    with closing(watched([FakeConsole(starts=False), last], [])):
        assert last.ready.wait(WAIT)
    facts = [record.__dict__ for record in caplog.records if record.__dict__.get("action") == "console_ended"]
    assert [fact["reason"] for fact in facts] == ["The console did not start."]
