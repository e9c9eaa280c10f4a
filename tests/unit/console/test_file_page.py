"""The page *File*, with a server and sockets of ours."""

from __future__ import annotations

import json
import queue
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from tests.unit.console.fake_server import FakeServer, install, refused
from tests.unit.console.test_running import FINAL, INFO, KEPT, FakeWire, segment

from kikitori.console import here, run_view, running, runs, tabs
from kikitori.console.choosing import model_choices
from kikitori.console.pages.file import Wishes, recording
from kikitori.console.progress import Stage
from kikitori.console.running import Run
from kikitori.console.shown import plain
from kikitori.console.tabs import Tab
from kikitori.console.target import Target
from kikitori.console.transcript_view import Edited

WAIT = 60
WHOLE = [INFO, segment(" One.", 100), FINAL]


def page() -> None:
    from kikitori.console.frame import show

    show("file")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    server = FakeServer()
    install(server, monkeypatch)
    return server


@pytest.fixture
def wires(monkeypatch: pytest.MonkeyPatch) -> queue.SimpleQueue[FakeWire]:
    """The sockets that runs get, in order."""
    ready: queue.SimpleQueue[FakeWire] = queue.SimpleQueue()
    monkeypatch.setattr(runs, "SocketWire", lambda target, key: ready.get(timeout=WAIT))
    return ready


@pytest.fixture
def app(server: FakeServer, wires: queue.SimpleQueue[FakeWire]) -> AppTest:
    return AppTest.from_function(page, default_timeout=WAIT).run()


def choose(app: AppTest, *names: str) -> AppTest:
    app.file_uploader[0].set_value([(name, b"x", "audio/wav") for name in names])
    return app.run()


def start(app: AppTest) -> list[Run]:
    app.button(key="file.start").click().run()
    assert not app.exception
    return runs_of(app)


def runs_of(app: AppTest, holder: str = "") -> list[Run]:
    tab: Tab = app.session_state[tabs.TAB]
    return tab.desk(holder).runs


@pytest.fixture
def whole_texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that were drawn as a whole."""
    drawn: list[str] = []
    monkeypatch.setattr(run_view, "text_view", lambda text, key: drawn.append(text))
    return drawn


def downloads(app: AppTest) -> set[str]:
    return {str(getattr(button, "label", "")) for button in app.get("download_button")}


def test_nothing_starts_without_a_file(app: AppTest) -> None:
    assert app.button(key="file.start").disabled
    assert not choose(app, "a.wav").button(key="file.start").disabled


def test_what_is_chosen_is_asked_for(app: AppTest, wires: queue.SimpleQueue[FakeWire]) -> None:
    wire = FakeWire(WHOLE)
    wires.put(wire)
    app.selectbox(key="file.model").set_value("mini")
    app.selectbox(key="file.spoken").set_value("ja")
    app.selectbox(key="file.task").set_value("translate")
    app.checkbox(key="file.keep").check()
    [run] = start(choose(app, "会議.wav"))
    assert run.wait(WAIT)
    asked = {"model": "mini", "language": "ja", "task": "translate", "save_audio": True, "file_name": "会議.wav"}
    assert wire.sent[0] == {"type": "transcribe", "size": 1, **asked}


def test_a_run_that_shall_go_on_is_kept(app: AppTest, wires: queue.SimpleQueue[FakeWire]) -> None:
    wires.put(FakeWire(WHOLE))
    app.checkbox(key="file.go_on").check()
    [run] = start(choose(app, "a.wav"))
    assert (run.recording.keep, run.recording.go_on) == (True, True)


def test_what_was_left_goes_on_as_a_task_which_is_said(
    app: AppTest, server: FakeServer, wires: queue.SimpleQueue[FakeWire], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["POST /api/tasks/task_1/retry"] = {"id": "task_1"}
    monkeypatch.setattr(running, "LEFT_SECONDS", 0.0)
    monkeypatch.setattr(Tab, "is_open", lambda tab: False)
    wires.put(FakeWire([INFO, segment(" One.")], at_stop=KEPT))
    app.checkbox(key="file.go_on").check()
    [run] = start(choose(app, "a.wav"))
    assert run.wait(WAIT)
    assert server.calls("POST", "/api/tasks/task_1/retry") == [{}]
    assert "goes on among the tasks" in app.run().info[0].value


def test_a_task_that_cannot_be_retried_is_logged_without_its_name(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers["POST /api/tasks/task_1/retry"] = refused(429, "The queue is full.", code="rate_limit_exceeded")
    assert runs._retry(here.api(), "task_1") is False
    [record] = [record for record in caplog.records if record.name == runs.logger.name]
    assert (record.action, record.code) == ("console_run_not_moved", "rate_limit_exceeded")  # type: ignore[attr-defined]


def test_a_video_is_shown_and_a_recording_played(app: AppTest, wires: queue.SimpleQueue[FakeWire]) -> None:
    for name, kind in (("a.mp4", "video"), ("b.wav", "audio")):
        wires.put(FakeWire(WHOLE))
        app.file_uploader[0].set_value([(name, b"x", f"{kind}/mp4")])
        assert start(app.run())[-1].wait(WAIT)
        assert len(app.get(kind)) == 1


def test_a_finished_run_can_be_downloaded_in_every_form(
    app: AppTest, wires: queue.SimpleQueue[FakeWire], whole_texts: list[str]
) -> None:
    wires.put(FakeWire(WHOLE))
    [run] = start(choose(app, "a.wav"))
    assert run.wait(WAIT)
    app.run()
    assert downloads(app) == {"txt", "srt", "vtt", "docx", "json"}
    assert whole_texts[-1] == "One."


def test_a_run_can_be_stopped_while_it_runs(app: AppTest, wires: queue.SimpleQueue[FakeWire]) -> None:
    wires.put(FakeWire([INFO, segment(" One.")]))
    [run] = start(choose(app, "a.wav"))
    app.run().button(key="file.stop").click().run()
    assert run.wait(WAIT)
    app.run()
    assert run.progress().stage is Stage.STOPPED
    assert "The text so far stays here." in app.info[0].value


def test_a_failed_run_says_why_and_can_be_run_again(app: AppTest, wires: queue.SimpleQueue[FakeWire]) -> None:
    error = {"type": "error", "message": "This is no audio.", "code": "invalid_value", "done": True}
    wires.put(FakeWire([error]))
    [run] = start(choose(app, "a.wav"))
    assert run.wait(WAIT)
    app.run()
    assert app.error[0].value == plain("This is no audio.")
    wires.put(FakeWire(WHOLE))
    app.button(key="file.again").click().run()
    [again] = runs_of(app)
    assert again is not run and again.wait(WAIT)
    assert again.progress().stage is Stage.DONE


def test_a_run_stays_in_sight_while_the_server_is_away(
    app: AppTest, server: FakeServer, wires: queue.SimpleQueue[FakeWire], whole_texts: list[str]
) -> None:
    wires.put(FakeWire(WHOLE))
    [run] = start(choose(app, "a.wav"))
    assert run.wait(WAIT)
    server.away = True
    whole_texts.clear()
    app.run()
    assert not app.exception
    assert whole_texts == ["One."]
    assert app.selectbox(key="file.model").options


def test_several_files_run_at_once_and_one_is_shown(app: AppTest, wires: queue.SimpleQueue[FakeWire]) -> None:
    for _ in range(2):
        wires.put(FakeWire(WHOLE))
    first, second = start(choose(app, "a.wav", "b.wav"))
    assert first.wait(WAIT) and second.wait(WAIT)
    app.run()
    shown = [button for button in app.button if button.label == "Show"]
    assert [button.disabled for button in shown] == [True, False]
    shown[1].click().run()
    assert [button.disabled for button in app.button if button.label == "Show"] == [False, True]


def test_a_run_can_be_removed(app: AppTest, wires: queue.SimpleQueue[FakeWire]) -> None:
    wires.put(FakeWire(WHOLE))
    [run] = start(choose(app, "a.wav"))
    assert run.wait(WAIT)
    app.run().button(key="file.remove").click().run()
    assert runs_of(app) == []


def ended(task_id: str, wires: queue.SimpleQueue[FakeWire]) -> Run:
    wires.put(FakeWire([INFO, segment(" Oen.", 100), {**FINAL, "task_id": task_id}]))
    run = Run(recording("a.wav", b"x", "", Wishes(options={}, keep=True, go_on=False)), lambda: wires.get())
    run.start()
    assert run.wait(WAIT)
    return run


def correct(monkeypatch: pytest.MonkeyPatch, run: Run) -> str:
    """What is told when the first line is edited."""
    told: list[str] = []
    monkeypatch.setattr(st, "toast", lambda text, **_: told.append(text))
    run_view.save(run, Edited(id=0, text="One."))
    assert run.progress().text == "One."
    return told[0]


def test_an_edit_goes_to_the_task_that_keeps_the_recording(
    server: FakeServer, wires: queue.SimpleQueue[FakeWire], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["PATCH /api/tasks/task_1/segments/0"] = {"id": 0}
    assert correct(monkeypatch, ended("task_1", wires)) == "Saved."
    assert server.calls("PATCH", "/api/tasks/task_1/segments/0") == [{"text": " One."}]


def test_an_edit_without_a_task_stays_in_the_page(
    server: FakeServer, wires: queue.SimpleQueue[FakeWire], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Download the text" in correct(monkeypatch, ended("", wires))
    assert not server.asked


def test_an_edit_that_the_server_refuses_is_told(
    server: FakeServer, wires: queue.SimpleQueue[FakeWire], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["PATCH /api/tasks/task_1/segments/0"] = refused(409, "Somebody else was here.", code="conflict")
    assert "Somebody else was here." in correct(monkeypatch, ended("task_1", wires))


def test_models_are_offered_by_their_purpose_first() -> None:
    listed = [{"id": "small"}, {"id": "whisper-1", "alias_of": "small"}, {"id": "汎用モデル"}, {"id": "court"}]
    assert model_choices(listed) == ["汎用モデル", "チューニングモデル", "small", "court"]


@pytest.mark.parametrize(
    ("name", "said", "known"),
    [
        ("a.wav", "audio/wav", "audio/wav"),
        ("a.mp4", "", "video/mp4"),
        ("a.mp3", "application/octet-stream", "audio/mpeg"),
    ],
)
def test_the_player_knows_what_it_plays(name: str, said: str, known: str) -> None:
    wishes = Wishes(options={}, keep=False, go_on=False)
    assert recording(name, b"", said, wishes).media_type == known


def test_names_and_messages_are_no_markup() -> None:
    assert plain("[a](b) **c** $x$") == r"\[a\]\(b\) \*\*c\*\* \$x\$"


def test_a_wire_gets_the_key_of_its_session(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(runs, "SocketWire", lambda target, key: opened.append((target, key)))
    monkeypatch.setattr("kikitori.console.here.key", lambda: "kk_1")
    monkeypatch.setattr("kikitori.console.here.target", lambda: Target())
    runs.wires()()
    assert opened == [(Target(), "kk_1")]
    assert "kk_1" not in json.dumps(Target().url)
