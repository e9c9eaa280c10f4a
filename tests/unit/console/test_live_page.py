"""The page *Live*, with a server of ours."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from streamlit.testing.v1 import AppTest
from tests.unit.console.fake_server import FakeServer, install

from kikitori.console.pages import live

WAIT = 60


def page() -> None:
    from kikitori.console.frame import show

    show("live")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    server = FakeServer({"GET /live": policy("'none'")})
    install(server, monkeypatch)
    return server


def policy(framers: str) -> httpx.Response:
    return httpx.Response(200, headers={"content-security-policy": f"default-src 'none'; frame-ancestors {framers}"})


@pytest.mark.parametrize(
    ("framers", "origin", "may"),
    [
        ("http://localhost:8501", "http://localhost:8501", True),
        ("https://a.example http://localhost:8501", "http://localhost:8501", True),
        ("http://localhost:8501", "http://localhost:850", False),
        ("'none'", "http://localhost:8501", False),
    ],
)
def test_the_policy_says_who_may_frame(framers: str, origin: str, may: bool) -> None:
    assert live.may_frame(f"default-src 'none'; frame-ancestors {framers}", origin) is may


def test_an_origin_is_an_address_without_its_path() -> None:
    assert live.origin_of("https://c.example:8443/live?lang=ja") == "https://c.example:8443"


def test_a_page_that_may_not_be_framed_is_linked(server: FakeServer) -> None:
    app = AppTest.from_function(page, default_timeout=WAIT).run()
    assert not app.exception
    assert "KIKITORI_CONSOLE_ORIGINS" in app.info[0].value
    assert not app.toggle


def test_a_page_that_may_be_framed_is_shown_with_the_key(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted: list[dict[str, Any]] = []
    monkeypatch.setattr(live, "component", lambda name: lambda **facts: mounted.append(facts["data"]))
    monkeypatch.setattr(live, "may_frame", lambda *_: True)
    app = AppTest.from_function(page, default_timeout=WAIT)
    app.session_state["here.key"] = "kk_1"
    app.run()
    assert not app.exception
    assert (mounted[-1]["apiKey"], mounted[-1]["language"], mounted[-1]["record"]) == ("kk_1", "en", False)
    assert "kk_1" not in mounted[-1]["url"]
    app.toggle[0].set_value(True).run()
    assert mounted[-1]["record"]
