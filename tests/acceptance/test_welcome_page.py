"""The landing page in Chromium, and its examples as programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect
from tests.live_page import WAIT_MS, chromium
from tests.servers import Server, running_server

if TYPE_CHECKING:
    from tests.conftest import Sample

HELLO = "The doctor goes to the bank on Friday."
COMMANDS = {"curl": ["sh", "-c"], "python": [sys.executable, "-c"], "socket": [sys.executable, "-c"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, mini_model: Path) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("welcome") / "data", "--model", str(mini_model)) as running:
        yield running


@pytest.fixture
def recording(tmp_path: Path, samples: Mapping[str, Sample]) -> Path:
    """A folder with the recording of the examples."""
    shutil.copy(samples["en_01"].path, tmp_path / "recording.mp3")
    return tmp_path


def run(example: str, code: str, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [*COMMANDS[example], code], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_says_what_runs_here_and_its_examples_work(server: Server, recording: Path) -> None:
    with chromium() as browser:
        context = browser.new_context(locale="en-US", permissions=["clipboard-read", "clipboard-write"])
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.extend([message.text] if message.type == "error" else []))
        page.set_default_timeout(WAIT_MS)
        page.goto(server.url)
        expect(page.locator("body[data-ready]")).to_be_attached()
        expect(page.locator("#health")).to_have_text("Ready")
        expect(page.locator("#access")).to_have_text("Open: no key is needed")
        expect(page.locator("#models")).to_contain_text("model")
        expect(page.locator("#device")).to_have_text("CPU")
        expect(page.locator("#console")).to_be_hidden()
        codes = {name: copied(page, name) for name in COMMANDS}
        page.get_by_role("link", name="Speak, and read along").click()
        expect(page).to_have_url(f"{server.url}/live")
        assert problems == []
    assert all(server.url.removeprefix("http") in code for code in codes.values())
    for name, code in codes.items():
        assert HELLO in run(name, code, recording), name


def copied(page: Page, name: str) -> str:
    button = page.locator(f'[data-copy="{name}"]')
    button.click()
    expect(button).to_have_text("Copied")
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


@pytest.mark.parametrize(
    ("locale", "title"),
    [
        ("ja-JP", "話した言葉が、このマシンの中で文字になります。"),
        ("ko-KR", "말이 이 컴퓨터 안에서 글이 됩니다."),
        ("zh-CN", "说出的话，在这台机器上变成文字。"),
        ("fr-FR", "Speech becomes text, on this machine."),
    ],
)
def test_it_speaks_the_language_of_the_browser(server: Server, locale: str, title: str) -> None:
    with chromium() as browser:
        page = browser.new_context(locale=locale, viewport={"width": 390, "height": 844}).new_page()
        page.goto(server.url)
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off on a phone"
