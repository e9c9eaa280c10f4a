"""Around every page: sign-in, the server's light, what goes wrong."""

from __future__ import annotations

import hashlib

import pytest
from streamlit.testing.v1 import AppTest
from tests.unit.console.fake_server import FakeServer, install, refused

from kikitori.console import here, tabs
from kikitori.console.progress import Progress, Stage
from kikitori.console.running import Recording, Run
from kikitori.console.tabs import Desk, Tab
from kikitori.console.target import Target

WAIT = 60


def console() -> None:
    from kikitori.console.frame import run

    run()


def page() -> None:
    from kikitori.console.frame import show

    show("file")


def tasks() -> None:
    from kikitori.console.frame import show

    show("tasks")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    server = FakeServer()
    install(server, monkeypatch)
    return server


def shown(app: AppTest) -> str:
    kinds = ("title", "markdown", "error", "warning", "info", "caption", "subheader")
    return "\n".join(str(each.value) for kind in kinds for each in getattr(app, kind))


def test_an_open_server_needs_no_sign_in(server: FakeServer) -> None:
    app = AppTest.from_function(page, default_timeout=WAIT).run()
    assert not app.exception
    assert "Recording to text" in shown(app)


def test_a_console_for_a_network_does_not_open_a_server_without_keys(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here, "target", lambda: Target(open=False))
    app = AppTest.from_function(page, default_timeout=WAIT).run()
    assert "Recording to text" not in shown(app)
    assert "its server has no API keys" in shown(app)
    server.key = "kk_right"
    app.run()
    app.text_input[0].set_value("kk_right")
    app.button[0].click().run()
    assert "Recording to text" in shown(app)


def test_a_key_is_asked_for_checked_and_kept_in_the_session(server: FakeServer) -> None:
    server.key = "kk_right"
    app = AppTest.from_function(page, default_timeout=WAIT).run()
    assert "Recording to text" not in shown(app)
    app.text_input[0].set_value("kk_wrong")
    app.button[0].click().run()
    assert "does not take this key" in shown(app)
    app.text_input[0].set_value(" kk_right ")
    app.button[0].click().run()
    assert "Recording to text" in shown(app)
    assert app.query_params == {}
    assert not any("kk_" in str(request.url) for request in server.asked)


def test_a_key_that_was_revoked_leads_to_the_sign_in(server: FakeServer) -> None:
    server.key = "kk_right"
    app = AppTest.from_function(page, default_timeout=WAIT)
    app.session_state["here.key"] = "kk_right"
    app.run()
    assert "Recording to text" in shown(app)
    server.key = "kk_other"
    app.run()
    assert "Sign in" in shown(app)
    assert "here.key" not in app.session_state


def test_a_server_that_gets_keys_asks_for_them(server: FakeServer) -> None:
    app = AppTest.from_function(page, default_timeout=WAIT).run()
    kept = FakeRun(go_on=False)
    desk(app, "").runs.append(kept)
    server.key = "kk_right"
    app.run()
    assert "Sign in" in shown(app)
    app.text_input[0].set_value("kk_right")
    app.button[0].click().run()
    assert desk(app, holder("kk_right")).runs == [kept], "who was here already keeps what they have"
    assert not kept.stopped


def test_signing_out_ends_what_runs_and_forgets_what_was_seen(server: FakeServer) -> None:
    server.key = "kk_right"
    ending, going_on = FakeRun(go_on=False), FakeRun(go_on=True)
    app = AppTest.from_function(console, default_timeout=WAIT)
    app.session_state["here.key"] = "kk_right"
    app.run()
    desk(app, holder("kk_right")).runs[:] = [ending, going_on]
    next(button for button in app.sidebar.button if button.label == "Sign out").click().run()
    assert (ending.stopped, going_on.stopped) == (True, False)
    assert desk(app, holder("kk_right")).runs == []
    assert "Sign in" in shown(app)


def desk(app: AppTest, holder: str) -> Desk:
    tab: Tab = app.session_state[tabs.TAB]
    return tab.desk(holder)


def holder(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[: here.HOLDER_DIGITS]


class FakeRun(Run):
    """A run that is over."""

    def __init__(self, *, go_on: bool) -> None:
        self.recording = Recording(name="a.wav", content=b"", go_on=go_on)
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True

    def progress(self) -> Progress:
        return Progress(stage=Stage.DONE)


def test_a_server_that_is_away_is_told_and_met_again(server: FakeServer) -> None:
    server.away = True
    app = AppTest.from_function(page, default_timeout=WAIT).run()
    assert "Server not reachable" in shown(app)
    assert not app.exception
    server.away = False
    app.run()
    assert "Recording to text" in shown(app)


def test_what_the_server_refuses_is_told_in_its_words(server: FakeServer) -> None:
    server.answers["GET /api/stats"] = refused(403, "This key lacks the scope 'transcribe'. Use a key that has it.")
    app = AppTest.from_function(tasks, default_timeout=WAIT).run()
    assert "This key lacks the scope 'transcribe'. Use a key that has it." in shown(app)


def test_the_language_can_be_switched(server: FakeServer) -> None:
    app = AppTest.from_function(console, default_timeout=WAIT).run()
    assert not app.exception
    assert "Server ready" in shown(app)
    app.sidebar.selectbox[0].set_value("ja").run()
    assert "サーバー稼働中" in shown(app)
    assert "録音を文字に" in shown(app)
    assert app.query_params == {"lang": "ja"}
    loaded_anew = AppTest.from_function(page, default_timeout=WAIT)
    loaded_anew.query_params["lang"] = "ko"
    assert "녹음을 텍스트로" in shown(loaded_anew.run())
