"""The landing page, as the server gives it out."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from kikitori import __version__
from kikitori.store.keys import ApiKey
from kikitori.web.assets import folder

from .conftest import Start


class SomeKeys:
    async def any(self) -> bool:
        return True

    async def verify(self, secret: str) -> ApiKey | None:
        return None


class Read(HTMLParser):
    """What the page holds: its elements, and the text of those with an id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "code":
            self._open.append(dict(attrs).get("id") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "code":
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]] = self.texts.get(self._open[-1], "") + data

    def links(self) -> list[str | None]:
        return [attributes.get("href") for tag, attributes in self.elements if tag == "a"]


async def page(start: Start, *, host: str = "localhost:8000", keys: Any = None, **settings: Any) -> httpx.Response:
    async with start(keys=keys, **settings) as app:
        return await app.client.get("/", headers={"host": host})


async def test_the_page_says_what_runs_here_and_where_to_go(start: Start) -> None:
    answer = await page(start)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    read = Read(answer.text)
    assert [link for link in read.links() if link and not link.startswith("#")] == ["./", "live", "docs"]
    assert f"<dd>{__version__}</dd>" in answer.text
    assert "{{" not in answer.text


async def test_it_runs_only_what_comes_from_here(start: Start) -> None:
    answer = await page(start)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy.pop("default-src") == policy.pop("frame-ancestors") == "'none'"
    assert set(policy.values()) == {"'self'", "'none'"}
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<style|<script>|\son\w+=|\sstyle=", answer.text)


@pytest.mark.parametrize("host", ["localhost:8000", "kiki.example.org", "192.168.0.5:9000", "[::1]:8000", "a_b-c:80"])
async def test_the_examples_have_the_name_of_this_host(start: Start, host: str) -> None:
    read = Read((await page(start, host=host)).text)
    assert read.texts["address"] == f"http://{host}/v1"
    assert f"curl http://{host}/v1/audio/transcriptions " in read.texts["curl"]
    assert f'base_url="http://{host}/v1", api_key="none"' in read.texts["python"]
    assert f'websockets.connect("ws://{host}/ws")' in read.texts["socket"]


@pytest.mark.parametrize(
    "host", ['"><script>alert(1)</script>', "a'b", "$(id)", "a b", "a/b", "-x", "[::1", "x:y", "user@host", "évil", ""]
)
async def test_a_hostile_name_is_not_repeated(start: Start, host: str) -> None:
    async with start() as app:
        answer = await app.client.get("/", headers={b"host": host.encode("latin-1")})
    read = Read(answer.text)
    assert read.texts["address"] == "http://127.0.0.1:8000/v1"
    assert "alert(1)" not in answer.text and "$(id)" not in answer.text
    assert [attributes for tag, attributes in read.elements if tag == "script"] == [
        {"type": "module", "src": "welcome/welcome.js"}
    ]


@pytest.mark.parametrize(("keys", "access"), [(None, "open"), (SomeKeys(), "keys")])
async def test_examples_carry_a_key_where_one_is_needed(start: Start, keys: Any, access: str) -> None:
    read = Read((await page(start, keys=keys)).text)
    body = next(attributes for tag, attributes in read.elements if tag == "body")
    assert body["data-access"] == access
    wanted = keys is not None
    assert ('-H "Authorization: Bearer $KIKITORI_API_KEY"' in read.texts["curl"]) == wanted
    assert ("?api_key=KEY" in read.texts["socket"]) == wanted


async def test_below_a_path_of_a_reverse_proxy(start: Start) -> None:
    async with start() as app:
        transport = app.client._transport
        assert isinstance(transport, httpx.ASGITransport)
        transport.root_path = "/speech"
        read = Read((await app.client.get("/speech/", headers={"host": "example.org"})).text)
    assert read.texts["address"] == "http://example.org/speech/v1"


@pytest.mark.parametrize(
    ("settings", "host", "console"),
    [
        ({}, "localhost:8000", ""),
        ({"console": True}, "localhost:8000", "http://localhost:8501"),
        ({"console": True, "console_port": 9001}, "[::1]:8000", "http://[::1]:9001"),
        ({"console": True}, "kiki.local", "http://kiki.local:8501"),
        (
            {"console": True, "public_url": "https://a.example", "console_origins": ["https://b.example"]},
            "a.example",
            "https://b.example",
        ),
    ],
)
async def test_the_console_is_linked_where_it_runs(
    start: Start, settings: dict[str, Any], host: str, console: str
) -> None:
    read = Read((await page(start, host=host, **settings)).text)
    assert [attributes["href"] for _, attributes in read.elements if attributes.get("id") == "console"] == [console]


async def test_its_files_are_served_and_nothing_else(start: Start) -> None:
    async with start() as app:
        for name, asset in folder("welcome").items():
            answer = await app.client.get(f"/welcome/{name}")
            if name == "index.html":  # it has places to fill in
                assert answer.status_code == 404
            else:
                assert (answer.status_code, answer.headers["content-type"]) == (200, asset.content_type)
        for name in ("nothing.js", "../app.py", ""):
            assert (await app.client.get(f"/welcome/{name}")).status_code == 404


def test_all_words_are_there_in_all_languages() -> None:
    texts = {name: asset.body.decode() for name, asset in folder("welcome").items()}
    tables = dict(re.findall(r"^  (\w\w): \{\n(.*?)^  \},$", texts["words.js"], re.MULTILINE | re.DOTALL))
    words = {language: re.findall(r'^    "([\w.]+)": "', table, re.MULTILINE) for language, table in tables.items()}
    assert set(words) == {"en", "ja", "ko", "zh"}
    assert len({tuple(names) for names in words.values()}) == 1
    used = set(re.findall(r'data-(?:text|label)="([\w.]+)"', texts["index.html"]))
    used |= set(re.findall(r'say\("([\w.]+)"', texts["welcome.js"])) | {"open", "keys"}
    assert used == set(words["en"])
