"""Tabs of browsers: what runs in one is found by its next session, and by nobody else."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from tests.unit.console.fake_server import FakeServer, install

from kikitori.console import here, tabs
from kikitori.console.running import Recording, Run
from kikitori.console.tabs import Tab, Tabs
from kikitori.console.wire import Lost

WAIT = 60


def console() -> None:
    from kikitori.console.frame import run

    run()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    server = FakeServer()
    install(server, monkeypatch)
    return server


class Browser:
    """Answers the console as ``tab.js`` does."""

    def __init__(self, kept: str = "") -> None:
        self.kept = kept
        """What stands in its ``sessionStorage``."""

    def __call__(self, *, data: dict[str, str], **_: Any) -> dict[str, str]:
        if self.kept in ("", data["id"], data["strange"]):
            self.kept = data["id"]
            return {}
        return {"id": self.kept}


def opened(browser: Browser, monkeypatch: pytest.MonkeyPatch, key: str = "") -> AppTest:
    """A session of the console in ``browser``: the page runs twice, as when the browser has answered."""
    monkeypatch.setattr(tabs, "component", lambda name: browser)
    app = AppTest.from_function(console, default_timeout=WAIT)
    if key:
        app.session_state[here.KEY] = key
    app.run().run()
    assert not app.exception
    return app


def tab_of(app: AppTest) -> Tab:
    tab: Tab = app.session_state[tabs.TAB]
    return tab


def run() -> Run:
    """A run that has ended."""

    def nobody() -> Any:
        raise Lost("Nobody is there.", final=True)

    begun = Run(Recording(name="talk.wav", content=b"x"), nobody)
    begun.start()
    assert begun.wait(WAIT)
    return begun


def shown(app: AppTest) -> str:
    return "\n".join(str(each.value) for each in app.markdown)


def test_a_page_that_is_loaded_anew_shows_what_runs_in_its_tab(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser()
    first = opened(browser, monkeypatch)
    assert browser.kept == tab_of(first).id
    tab_of(first).desk("").runs.append(run())
    again = opened(browser, monkeypatch)
    assert tab_of(again) is tab_of(first)
    assert r"talk\.wav" in shown(again)


def test_another_tab_shows_nothing_of_it(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(Browser(), monkeypatch)
    tab_of(first).desk("").runs.append(run())
    other = opened(Browser(), monkeypatch)
    assert tab_of(other).id != tab_of(first).id
    assert r"talk\.wav" not in shown(other)


@pytest.mark.parametrize("kept", ["made up", "x" * 10_000])
def test_an_id_that_nobody_knows_opens_nothing_and_is_replaced(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    browser = Browser(kept)
    app = opened(browser, monkeypatch)
    assert browser.kept == tab_of(app).id
    assert tab_of(app).is_empty


def test_the_same_tab_with_another_key_shows_nothing_of_it(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser()
    first = opened(browser, monkeypatch, "kk_ann")
    with monkeypatch.context() as patch:
        patch.setattr(here, "key", lambda: "kk_ann")
        ann = here.holder()
    assert "ann" not in ann
    tab_of(first).desk(ann).runs.append(run())
    assert r"talk\.wav" in shown(first.run())
    for key in ("kk_bob", ""):
        other = opened(browser, monkeypatch, key)
        assert tab_of(other) is tab_of(first)
        assert r"talk\.wav" not in shown(other)
    assert r"talk\.wav" in shown(opened(browser, monkeypatch, "kk_ann"))


def test_the_id_is_in_no_address(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened(Browser(), monkeypatch)
    assert app.query_params == {}
    assert tab_of(app).id not in repr(tab_of(app))


def test_a_tab_is_open_while_one_of_its_sessions_is(monkeypatch: pytest.MonkeyPatch) -> None:
    connected = {"before"}

    class Runtime:
        def is_active_session(self, session: str) -> bool:
            return session in connected

    monkeypatch.setattr(tabs, "exists", lambda: True)
    monkeypatch.setattr(tabs, "get_instance", Runtime)
    tab = Tab()
    tab.enter("before")
    assert tab.is_open()
    connected.clear()
    assert not tab.is_open()
    connected.add("after")
    assert not tab.is_open()
    tab.enter("after")
    assert tab.is_open()


def test_a_tab_that_nobody_holds_is_forgotten() -> None:
    known = Tabs()
    tab = known.open()
    id = tab.id
    assert known.find(id) is tab
    del tab
    gc.collect()
    assert known.find(id) is None


def test_who_signs_in_keeps_what_they_have() -> None:
    tab, begun = Tab(), run()
    tab.desk("").runs.append(begun)
    tab.hand_over("")
    assert tab.desk("").runs == [begun]
    tab.hand_over("ann")
    assert (tab.desk("").runs, tab.desk("ann").runs) == ([], [begun])
