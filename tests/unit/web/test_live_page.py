"""The files of the live page, as the server gives them out."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.unit.web.conftest import Start

from kikitori.text.languages import LANGUAGE_NAMES
from kikitori.web.errors import install_error_handlers
from kikitori.web.routes.pages import assets, framers, router

TYPES = {
    "app.js": "text/javascript; charset=utf-8",
    "capture-worklet.js": "text/javascript; charset=utf-8",
    "live.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "languages.json": "application/json",
    "words/ja.js": "text/javascript; charset=utf-8",
}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.include_router(router)
    app.dependency_overrides[framers] = lambda: []
    install_error_handlers(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
        yield client


async def test_the_page_runs_only_what_comes_from_here(client: httpx.AsyncClient) -> None:
    answer = await client.get("/live")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy.pop("default-src") == "'none'"
    assert set(policy.values()) == {"'self'", "'none'"}
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("settings", "ancestors"),
    [
        ({}, "'none'"),
        ({"console": True}, "http://server:8501"),
        ({"console": True, "console_port": 9000}, "http://server:9000"),
        ({"console_origins": ["https://console.example.org"]}, "https://console.example.org"),
        ({"console": True, "console_origins": ["https://c.example"]}, "https://c.example http://server:8501"),
    ],
)
async def test_only_consoles_may_show_it_in_a_frame(start: Start, settings: dict[str, Any], ancestors: str) -> None:
    async with start(**settings) as running:
        answer = await running.client.get("http://server/live")
    assert answer.headers["content-security-policy"].endswith(f"; frame-ancestors {ancestors}")


@pytest.mark.parametrize("name", TYPES)
async def test_files_have_their_types(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/live/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == TYPES[name]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_browser_that_has_a_file_is_told_so(client: httpx.AsyncClient) -> None:
    first = await client.get("/live/app.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await client.get("/live/app.js", headers={"if-none-match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    changed = await client.get("/live/app.js", headers={"if-none-match": '"of an older version"'})
    assert changed.status_code == 200


@pytest.mark.parametrize("name", ["nothing.js", "../../app.py", "%2e%2e/%2e%2e/app.py", "words", "/etc/passwd"])
async def test_nothing_else_is_served(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/live/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


async def test_a_slash_too_much_leads_to_the_page(client: httpx.AsyncClient) -> None:
    answer = await client.get("/live/")
    assert answer.is_redirect
    assert str(httpx.URL("http://server/live/").join(answer.headers["location"])) == "http://server/live"


async def test_all_languages_can_be_chosen(client: httpx.AsyncClient) -> None:
    assert (await client.get("/live/languages.json")).json() == list(LANGUAGE_NAMES)


def test_every_file_of_the_page_is_served_and_needed() -> None:
    folder = files("kikitori.web") / "static" / "live"
    texts = {name: asset.body.decode() for name, asset in assets().items()}
    assert {entry.name for entry in folder.iterdir()} <= {name.partition("/")[0] for name in texts}
    for name in texts.keys() - {"index.html"}:
        users = [other for other, text in texts.items() if other != name and name.rpartition("/")[2] in text]
        assert users, f"{name} is used nowhere"


def test_nothing_comes_from_elsewhere() -> None:
    for name, asset in assets().items():
        outside = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", asset.body.decode())) - {"http://www.w3.org"}
        assert not outside, name
        if name == "index.html":
            assert b"style=" not in asset.body and b"<script>" not in asset.body and b" onclick" not in asset.body


@pytest.mark.parametrize("language", ["en", "ja", "ko", "zh"])
def test_every_text_has_a_wording(language: str) -> None:
    page = {name: asset.body.decode() for name, asset in assets().items()}
    written = set(re.findall(r'^  "([\w.-]+)":', page.pop(f"words/{language}.js"), flags=re.MULTILINE))
    wanted = set(re.findall(r'data-(?:text|label)="([\w.-]+)"', page["index.html"]))
    for text in page.values():
        wanted |= set(re.findall(r'\bsay\("([\w.-]+)"', text))
    assert wanted and wanted <= written
